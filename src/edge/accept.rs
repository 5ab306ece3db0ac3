//! Taking connections: as long as there is room, until the worker stops.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use super::conn::{self, Protocol};
use super::crowd::Crowd;
use super::listen::{Listener, Socket};
use super::place::Place;
use super::tls::Tls;
use super::{introduced, redirect};
use crate::gate::Current;
use crate::http::Scheme;
use crate::metrics::TurnedAway;

/// After an error such as "too many open files", which does not go away by trying again at once.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// A listener that a runtime waits for.
#[derive(Debug)]
pub(super) struct Source {
    socket: Registered,
    /// Whether it stays when the gateway ends.
    kept: bool,
}

#[derive(Debug)]
enum Registered {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was just taken.
#[derive(Debug)]
pub(super) enum Taken {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

/// What is spoken with the clients of a listener.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// HTTP.
    Plain,
    /// HTTP inside TLS.
    Tls(Arc<Tls>),
    /// Only as much HTTP as it takes to send them to https.
    Redirect,
}

/// What each connection of a listener passes on its way in.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) entry: Entry,
    pub(super) current: Arc<Current>,
    pub(super) crowd: Option<Arc<Crowd>>,
}

impl Source {
    /// # Errors
    /// When the socket cannot be registered with the runtime that this is called in.
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        let socket = match listener.socket {
            Socket::Tcp(socket) => Registered::Tcp(TcpListener::from_std(socket)?),
            Socket::Unix(socket) => Registered::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Self { socket, kept: listener.kept })
    }

    /// Cancel safety: a connection is not lost.
    pub(super) async fn accept(&self) -> io::Result<Taken> {
        match &self.socket {
            Registered::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Taken::tcp(stream, peer.ip())),
            Registered::Unix(listener) => listener.accept().await.map(|(stream, _)| Taken::Unix(stream)),
        }
    }

    /// The connections that the kernel has accepted already. It is asked itself: the runtime may not have heard of the
    /// last ones yet. The listener is closed after the last.
    fn rest(self) -> impl Iterator<Item = io::Result<Taken>> {
        let socket = match self.socket {
            Registered::Tcp(listener) => listener.into_std().map(Socket::Tcp),
            Registered::Unix(listener) => listener.into_std().map(Socket::Unix),
        };
        let mut socket = socket.ok();
        std::iter::from_fn(move || {
            let taken = match socket.as_ref()? {
                Socket::Tcp(socket) => socket.accept().ok().map(|(stream, peer)| {
                    stream.set_nonblocking(true)?;
                    Ok(Taken::tcp(TcpStream::from_std(stream)?, peer.ip()))
                }),
                Socket::Unix(socket) => socket.accept().ok().map(|(stream, _)| {
                    stream.set_nonblocking(true)?;
                    UnixStream::from_std(stream).map(Taken::Unix)
                }),
            };
            if taken.is_none() {
                socket = None;
            }
            taken
        })
    }
}

impl Taken {
    fn tcp(stream: TcpStream, peer: IpAddr) -> Self {
        Self::Tcp(stream, peer.to_canonical())
    }
}

/// Accepts connections until `stop`, then those that the kernel has accepted already, unless the listener is one that
/// stays: then they are for whoever comes next.
pub(super) async fn until(source: Source, door: Arc<Door>, room: Arc<Semaphore>, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            // A stop goes first: what it leaves in a listener that stays is served by the successor.
            biased;
            // Also while there is no room: idle connections make none before they are told to close.
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = next(&source, &room) => accepted,
        };
        match accepted {
            Ok((taken, permit)) => spawn(taken, &door, permit),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
    if source.kept {
        return;
    }
    for taken in source.rest() {
        let Ok(permit) = room.clone().try_acquire_owned() else { break };
        match taken {
            Ok(taken) => spawn(taken, &door, permit),
            Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
        }
    }
}

/// The next connection, when there is room for it; more than that wait in the kernel's backlog.
///
/// Cancel safety: a connection is not lost, and the room is given back.
async fn next(source: &Source, room: &Arc<Semaphore>) -> io::Result<(Taken, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok((source.accept().await?, permit))
}

fn spawn(taken: Taken, door: &Arc<Door>, permit: OwnedSemaphorePermit) {
    match taken {
        Taken::Tcp(stream, peer) => {
            // Small responses must not wait for the acknowledgement of earlier ones.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection was gone before it was served");
                return;
            }
            begin(stream, Some(peer), door.clone(), permit);
        }
        Taken::Unix(stream) => begin(stream, None, door.clone(), permit),
    }
}

/// A task for each kind of connection, so that none is as large as the largest.
fn begin<T>(mut stream: T, peer: Option<IpAddr>, door: Arc<Door>, permit: OwnedSemaphorePermit)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let current = door.current.clone();
    match &door.entry {
        Entry::Plain => {
            tokio::spawn(async move {
                if let Some((peer, place)) = door.admit(&mut stream, peer, permit).await {
                    let protocol = if current.gate().config.server.http2 { Protocol::Either } else { Protocol::Http1 };
                    conn::serve(stream, peer, Scheme::Http, protocol, current, &place).await;
                }
            });
        }
        Entry::Tls(tls) => {
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Some((peer, place)) = door.admit(&mut stream, peer, permit).await
                    && let Some((stream, protocol)) = tls.accept(stream, peer, &current.gate()).await
                {
                    conn::serve(stream, peer, Scheme::Https, protocol, current, &place).await;
                }
            });
        }
        Entry::Redirect => {
            tokio::spawn(async move {
                if let Some((peer, _place)) = door.admit(&mut stream, peer, permit).await {
                    redirect::serve(stream, peer, current.gate()).await;
                }
            });
        }
    }
}

impl Door {
    /// Whose connection it is, and its place, if it may come in.
    async fn admit<T>(
        &self,
        stream: &mut T,
        peer: Option<IpAddr>,
        room: OwnedSemaphorePermit,
    ) -> Option<(Option<IpAddr>, Place)>
    where
        T: AsyncRead + Unpin + Send,
    {
        let gate = self.current.gate();
        let peer = if gate.config.server.proxy_protocol {
            Box::pin(introduced::by_proxy(stream, peer, &gate)).await?
        } else {
            peer
        };
        let (Some(crowd), Some(ip)) = (&self.crowd, peer) else { return Some((peer, Place::new(None, room))) };
        // A proxy brings many clients.
        if gate.config.server.trusted_proxies.trusts(peer) {
            return Some((peer, Place::new(None, room)));
        }
        let member = crowd.enter(ip);
        if member.is_none() {
            gate.metrics.turned_away(TurnedAway::ClientLimit);
            tracing::debug!(client = %ip, "a connection was closed: its client has as many as it may have");
            return None;
        }
        Some((peer, Place::new(member, room)))
    }
}
