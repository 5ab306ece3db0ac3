//! A worker's connections of HTTP/2 to one address.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;

use super::stream::Upload;
use crate::clock::{self, Uptime};
use crate::error::causes;
use crate::gate::upstream::connect;
use crate::gate::upstream::standing::Application;
use crate::http::response;

/// The most requests at a time on one connection; more of them open another. Applications commonly take 100 to 250.
const MOST_REQUESTS: usize = 64;
/// What an application may send of one response before a client has taken the first of it …
const STREAM_WINDOW: u32 = 128 * 1024;
/// … and of all: clients that take nothing must not stand in the way of the others on their connection.
const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;
/// What is held of a request's body that the application does not take.
const SEND_BUFFER: usize = 64 * 1024;
/// An application that has requests and says nothing is asked after so long whether it is there …
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
    pub(super) sender: SendRequest<Upload>,
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
        open.retain(|link| !link.sender.is_closed());
        // It is counted as it is cloned, under the lock.
        open.iter().find(|link| link.requests() < MOST_REQUESTS).cloned()
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
            !link.sender.is_closed() && rested < keep_alive && link.peer.is_none_or(&leads_there)
        });
    }

    /// Keeps nothing from now on.
    pub(in crate::gate::upstream) fn close(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Link {
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
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(response::MAX_HEAD).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let upstream = application.settings.name.clone();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(upstream, error = causes(&error), "a connection to the application ended");
        }
    });
    let used = Arc::new(AtomicU64::new(clock::uptime().as_micros()));
    Ok(Link { sender, requests: Arc::new(()), peer, used })
}
