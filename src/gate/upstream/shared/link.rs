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
/// At which pace applications are asked whether they are there.
const PACE: Pace = Pace { every: Duration::from_secs(20), longest: Duration::from_secs(20) };

/// Those connections.
#[derive(Debug)]
pub(in crate::gate::upstream) struct Links {
    /// In the order in which they were opened; `None` when nothing is kept any more.
    open: Mutex<Option<Vec<Link>>>,
    /// One request at a time opens a connection. Those that come meanwhile wait, and go along.
    opening: tokio::sync::Mutex<()>,
    pace: Pace,
}

/// At which pace an application that has requests is asked whether it is there.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// So often …
    every: Duration,
    /// … and it has so long to say so.
    longest: Duration,
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
        Self { open: Mutex::new(Some(Vec::new())), opening: tokio::sync::Mutex::default(), pace: PACE }
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
        let (link, request) = open(application, at, longest, self.pace).await?;
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

async fn open(application: &Application, at: usize, longest: Duration, pace: Pace) -> io::Result<(Link, Request)> {
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
            () = falls_silent(pings, pace, &counted) => {
                tracing::warn!(upstream, "the application does not answer a ping: its connection is closed");
            }
        }
    });
    let used = Arc::new(AtomicU64::new(clock::uptime().as_micros()));
    Ok((Link { sender, requests, peer, used }, request))
}

/// Ready when an application that has requests does not say that it is there.
async fn falls_silent(pings: Option<PingPong>, pace: Pace, counted: &Request) {
    // There is always one, for the first who asks.
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        sleep(pace.every).await;
        // The one is its own.
        if Arc::strong_count(counted) > 1
            && !matches!(timeout(pace.longest, pings.ping(Ping::opaque())).await, Ok(Ok(_)))
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{Config, Overrides, Sources};
    use crate::gate::upstream::Upstreams;

    /// The longest that a test waits.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// How connections are let go of: other settings take the place of these, or a name leads elsewhere.
    const WAYS: [fn(&Links); 2] = [Links::close, |links| links.sweep(clock::uptime(), Duration::MAX, |_| false)];

    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;
    /// Of headers: that is all.
    const END: u8 = 5;

    /// A frame of HTTP/2 with less than 256 bytes (RFC 9113 section 4.1).
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// An application that answers so many pings, with the last one its only request, and is silent from then on. Says how many
    /// came until its connection was closed.
    async fn serve(listener: TcpListener, answered: usize) -> usize {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.read_exact(&mut [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()]).await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let (mut pings, mut head) = (0, [0; 9]);
        while stream.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; u16::from_be_bytes([head[1], head[2]]).into()];
            stream.read_exact(&mut payload).await.unwrap();
            match (head[3], head[4]) {
                (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap(),
                (PING, 0) => {
                    pings += 1;
                    if pings <= answered {
                        stream.write_all(&frame(PING, ACK, 0, &payload)).await.unwrap();
                    }
                    if pings == answered {
                        // The number of a status of 200 in HPACK.
                        stream.write_all(&frame(HEADERS, END, 1, &[0x88])).await.unwrap();
                    }
                }
                _ => {}
            }
        }
        pings
    }

    /// What becomes of a request whose connection is let go of in this way, and how many pings its application got.
    async fn outcome(answered: usize, pace: Pace, let_go: fn(&Links)) -> (Result<StatusCode, h2::Error>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let request_to = Request::get(&url);
        let overrides = Overrides { upstream: Some(url), ..Overrides::default() };
        let config = Config::load(&Sources { overrides, ..Sources::default() }).unwrap();
        let application = Upstreams::new(&config, 1).all[0].clone();
        let served = tokio::spawn(serve(listener, answered));
        let links = Links { pace, ..Links::default() };

        let (mut link, request, _) = links.link(&application, 0).await.unwrap();
        let (response, _) = link.sender.send_request(request_to.body(()).unwrap(), true).unwrap();
        drop(link);
        let_go(&links);
        assert!(links.take().is_none(), "no other request goes there");
        let response = timeout(PATIENCE, response).await.unwrap();
        drop(request);
        (response.map(|response| response.status()), timeout(PATIENCE, served).await.unwrap().unwrap())
    }

    #[tokio::test]
    async fn a_connection_that_was_let_go_of_ends_when_its_application_falls_silent_under_a_request() {
        for let_go in WAYS {
            let quick = Pace { every: Duration::from_millis(10), longest: Duration::from_millis(100) };
            let (response, pings) = outcome(0, quick, let_go).await;
            assert!(response.is_err(), "{response:?}");
            assert_eq!(pings, 1);
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_let_go_of_lasts_for_its_request_as_long_as_its_application_answers_pings() {
        for let_go in WAYS {
            let patient = Pace { every: Duration::from_millis(10), longest: PATIENCE };
            let (response, pings) = outcome(3, patient, let_go).await;
            assert_eq!(response.unwrap(), StatusCode::OK);
            assert!(pings >= 3, "{pings}");
        }
    }
}
