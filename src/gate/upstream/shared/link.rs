//! A worker's connections of HTTP/2 to one address.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use crate::clock::{self, Uptime};
use crate::error::causes;
use crate::gate::upstream::connect;
use crate::gate::upstream::standing::Application;
use crate::http::response;

/// The most requests at a time on one connection; more of them open another. Applications commonly take 100 to 250.
const MOST_REQUESTS: u32 = 64;
/// What an application may send of one response before a client has taken the first of it …
const STREAM_WINDOW: u32 = 128 * 1024;
/// … and of all: clients that take nothing must not stand in the way of the others on their connection.
const CONNECTION_WINDOW: u32 = MOST_REQUESTS * STREAM_WINDOW;
/// What is held of a request's body that the application does not take.
const SEND_BUFFER: usize = 64 * 1024;
/// An application that has requests is asked so often whether it is there …
const PING: Duration = Duration::from_secs(20);
/// … and has so long to say so.
const PONG: Duration = Duration::from_secs(20);

/// Those connections.
#[derive(Debug)]
pub(in crate::gate::upstream) struct Links {
    /// In the order in which they were opened; `None` when nothing is kept any more.
    open: Mutex<Option<Vec<Link>>>,
    /// One request at a time opens a connection. Those that come meanwhile wait, and go along.
    opening: tokio::sync::Mutex<()>,
}

/// One connection. The last one of them that is dropped closes it, after the requests that are on their way.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) sender: SendRequest<Bytes>,
    /// The connection's own task holds one, and each request. The task's is gone when the connection is.
    requests: Weak<()>,
    peer: Option<SocketAddr>,
    /// When it was in use last, in microseconds of uptime.
    used: Arc<AtomicU64>,
}

/// A request that is on its way on a connection. They are counted by how many there are.
pub(super) type Request = Arc<()>;

impl Default for Links {
    fn default() -> Self {
        Self { open: Mutex::new(Some(Vec::new())), opening: tokio::sync::Mutex::default() }
    }
}

impl Links {
    /// A connection with room for a request, and whether it was opened for it.
    ///
    /// Cancel safety: may be dropped at any time.
    ///
    /// # Errors
    /// Those of connecting.
    pub(super) async fn link(&self, application: &Application, at: usize) -> io::Result<(Link, Request, bool)> {
        if let Some((link, request)) = self.take() {
            return Ok((link, request, false));
        }
        let longest = application.settings.connect_timeout;
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "it took longer than connect_timeout"));
        timeout(longest, self.along(application, at, longest)).await.unwrap_or_else(late)
    }

    async fn along(
        &self,
        application: &Application,
        at: usize,
        longest: Duration,
    ) -> io::Result<(Link, Request, bool)> {
        let _turn = self.opening.lock().await;
        if let Some((link, request)) = self.take() {
            return Ok((link, request, false));
        }
        let (link, request) = open(application, at, longest).await?;
        if let Some(open) = &mut *self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            open.push(link.clone());
        }
        Ok((link, request, true))
    }

    /// The oldest one that has room: the others may then become idle and be closed.
    fn take(&self) -> Option<(Link, Request)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut()?;
        open.retain(Link::is_open);
        let link = open.iter().find(|link| link.has_room())?;
        // Under the lock, so that there are never more than there is room for.
        let request = link.requests.upgrade()?;
        link.used.store(clock::uptime().as_micros(), Ordering::Relaxed);
        Some((link.clone(), request))
    }

    /// Lets go of those that have not been used for too long, and of those to where a name leads no more.
    pub(in crate::gate::upstream) fn sweep(
        &self,
        now: Uptime,
        keep_alive: Duration,
        leads_there: impl Fn(SocketAddr) -> bool,
    ) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = open.as_mut() else { return };
        open.retain(|link| {
            if link.requests() > 0 {
                link.used.store(now.as_micros(), Ordering::Relaxed);
            }
            let rested = now.since(Uptime::from_micros(link.used.load(Ordering::Relaxed)));
            link.is_open() && rested < keep_alive && link.peer.is_none_or(&leads_there)
        });
    }

    /// Keeps nothing from now on.
    pub(in crate::gate::upstream) fn close(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Link {
    /// Whether the application takes requests on it, as far as is known: it is there, and did not say goodbye.
    fn is_open(&self) -> bool {
        // Only a handle that has just sent a request would wait here.
        self.requests.strong_count() > 0
            && !matches!(self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Whether another request would not have to wait for one of the others to end.
    fn has_room(&self) -> bool {
        self.requests() < self.sender.current_max_send_streams().clamp(1, MOST_REQUESTS as usize)
    }

    /// How many requests are on their way on it.
    fn requests(&self) -> usize {
        self.requests.strong_count().saturating_sub(1)
    }
}

async fn open(application: &Application, at: usize, longest: Duration) -> io::Result<(Link, Request)> {
    let (stream, peer) = connect::open(application, at, longest).await?;
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(response::MAX_HEAD).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(stream)
        .await
        .map_err(io::Error::other)?;
    let request = Arc::new(());
    let (requests, counted) = (Arc::downgrade(&request), request.clone());
    let (upstream, pings) = (application.settings.name.clone(), connection.ping_pong());
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(upstream, error = causes(&error), "a connection to the application ended");
            },
            // Dropping the connection ends its requests.
            () = falls_silent(pings, &counted) => {
                tracing::warn!(upstream, "the application does not answer a ping: its connection is closed");
            }
        }
    });
    let used = Arc::new(AtomicU64::new(clock::uptime().as_micros()));
    Ok((Link { sender, requests, peer, used }, request))
}

/// Ready when an application that has requests does not say that it is there.
async fn falls_silent(pings: Option<PingPong>, counted: &Request) {
    // There is always one, for the first who asks.
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        sleep(PING).await;
        // The one is its own.
        if Arc::strong_count(counted) > 1 && !matches!(timeout(PONG, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}
