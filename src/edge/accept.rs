//! Taking connections: as long as there is room, until the worker stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use super::conn::{self, Protocol};
use super::redirect;
use super::tls::Tls;
use crate::gate::Current;
use crate::http::Scheme;

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

/// Accepts connections until `stop`, then those that the kernel has accepted already.
pub(super) async fn until(
    listener: TcpListener,
    entry: Entry,
    current: Arc<Current>,
    room: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    /// After an error such as "too many open files", which does not go away by trying again at once.
    const PAUSE: Duration = Duration::from_millis(100);

    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &room) => accepted,
            // Also while there is no room: idle connections make none before they are told to close.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer, permit)) => spawn(stream, peer, &entry, &current, permit),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
    // Asked of the kernel itself: the runtime may not have heard of the last ones yet.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        let Ok(permit) = room.clone().try_acquire_owned() else { return };
        match stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            Ok(stream) => spawn(stream, peer, &entry, &current, permit),
            Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
        }
    }
}

/// The next connection, when there is room for it; more than that wait in the kernel's backlog.
///
/// Cancel safety: a connection is not lost, and the room is given back.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

fn spawn(stream: TcpStream, peer: SocketAddr, entry: &Entry, current: &Arc<Current>, permit: OwnedSemaphorePermit) {
    // Small responses must not wait for the acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it was served");
        return;
    }
    let current = current.clone();
    let peer = Some(peer.ip().to_canonical());
    // A task for each, so that none is as large as the largest.
    match entry {
        Entry::Plain => {
            tokio::spawn(async move {
                let protocol = if current.gate().config.server.http2 { Protocol::Either } else { Protocol::Http1 };
                conn::serve(stream, peer, Scheme::Http, protocol, current).await;
                drop(permit);
            });
        }
        Entry::Tls(tls) => {
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Some((stream, protocol)) = tls.accept(stream, peer, &current.gate()).await {
                    conn::serve(stream, peer, Scheme::Https, protocol, current).await;
                }
                drop(permit);
            });
        }
        Entry::Redirect => {
            tokio::spawn(async move {
                redirect::serve(stream, peer, current.gate()).await;
                drop(permit);
            });
        }
    }
}
