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
    requests: Request,
    peer: Option<SocketAddr>,
    /// When it was in use last, in microseconds of uptime.
    used: Arc<AtomicU64>,
}

/// A request that is on its way on a connection. They are counted by their number.
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
    pub(super) async fn link(&self, application: &Application, at: usize) -> io::Result<(Link, bool)> {
        if let Some(link) = self.take() {
            return Ok((link, false));
        }
        let longest = application.settings.connect_timeout;
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "it took longer than connect_timeout"));
        timeout(longest, self.along(application, at, longest)).await.unwrap_or_else(late)
    }

    async fn along(&self, application: &Application, at: usize, longest: Duration) -> io::Result<(Link, bool)> {
        let _turn = self.opening.lock().await;
        if let Some(link) = self.take() {
            return Ok((link, false));
        }
        let link = open(application, at, longest).await?;
        if let Some(open) = &mut *self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            open.push(link.clone());
        }
        Ok((link, true))
    }

    /// The oldest one that has room: the others may then become idle and be closed.
    fn take(&self) -> Option<Link> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut()?;
        open.retain(Link::is_open);
        // It is counted as it is cloned, under the lock.
        let link = open.iter().find(|link| link.has_room()).cloned()?;
        link.used.store(clock::uptime().as_micros(), Ordering::Relaxed);
        Some(link)
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
        !matches!(self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Whether another request would not have to wait for one of the others to end.
    fn has_room(&self) -> bool {
        self.requests() < self.sender.current_max_send_streams().clamp(1, MOST_REQUESTS as usize)
    }

    /// How many requests are on their way on it, besides what is kept.
    fn requests(&self) -> usize {
        Arc::strong_count(&self.requests) - 1
    }

    /// What counts a request as long as it lasts.
    pub(super) fn into_request(self) -> Request {
        self.requests
    }
}

async fn open(application: &Application, at: usize, longest: Duration) -> io::Result<Link> {
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
    let requests = Arc::new(());
    let (upstream, pings, busy) =
        (application.settings.name.clone(), connection.ping_pong(), Arc::downgrade(&requests));
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(upstream, error = causes(&error), "a connection to the application ended");
            },
            // Dropping the connection ends its requests.
            () = falls_silent(pings, busy) => {
                tracing::warn!(upstream, "the application does not answer a ping: its connection is closed");
            }
        }
    });
    let used = Arc::new(AtomicU64::new(clock::uptime().as_micros()));
    Ok(Link { sender, requests, peer, used })
}

/// Ready when an application that has requests does not say that it is there.
async fn falls_silent(pings: Option<PingPong>, busy: Weak<()>) {
    // There is always one, for the first who asks.
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        sleep(PING).await;
        // The one is what is kept.
        if busy.strong_count() > 1 && !matches!(timeout(PONG, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}
