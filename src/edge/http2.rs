//! One client connection that carries many requests at a time (RFC 9113).
//!
//! hyper and h2 keep the protocol and its bounds. What is ours is the time: the connection has a limit while no request is
//! on it, and each request has the limits that it would have on a connection of its own. A client that stalls one stream
//! loses that stream alone. And the number: a request beside the first counts as a connection of its own would.
//!
//! Server push is not used, and an extended CONNECT (RFC 8441) is not offered.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::COOKIE;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::conn::Ended;
use super::place::{Full, Place, Places};
use super::watched::Watched;
use crate::gate::body::{self, ResponseBody};
use crate::gate::client::{Client, UpToDate};
use crate::gate::{self, Current, UNHURRIED, Unhurried};
use crate::http::forwarding::MOST_FIELDS;

/// What a client may send on one stream before we have passed on the first of it …
const STREAM_WINDOW: u32 = 256 * 1024;
/// … and on all of them. It bounds what a connection makes us hold of uploads.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What we hold of a response that the client does not take: enough for the pieces in which bodies come.
const SEND_BUFFER: usize = 128 * 1024;
/// How long the answer to a ping may take of a client that has requests open and says nothing.
const PONG: Duration = Duration::from_secs(20);
/// The most streams that a connection keeps for requests to come. Each has two limits of time, which are looked over.
const MOST_SPARE: usize = 8;
/// The most requests of a connection at a time that are told why there is no place for them. A client that takes no bodies lets
/// them pile up: others get the status alone, which waits for nothing.
const MOST_TOLD: usize = 16;

/// Serves requests on a connection until it is closed, by either side, by a limit of time, or by a drain.
pub(super) async fn serve<T>(transport: Watched<T>, client: Arc<Client>, current: Arc<Current>, places: Places) -> Ended
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client.phases.multiplexed();
    let gate = &client.gate;
    let server = &gate.config.server;
    let streams = Streams::of(client.clone(), current, server.http2_max_streams, places);
    let beginning = streams.clone();
    let service = service_fn(move |request| {
        let (stream, refusal) = beginning.begin();
        async move { Ok::<_, Infallible>(answer(stream, request, refusal).await) }
    });
    let connection = http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .max_concurrent_streams(server.http2_max_streams)
        .max_header_list_size(u32::try_from(server.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(server.idle_timeout)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(transport), service);
    let mut connection = pin!(connection);
    let mut told_to_leave = false;
    poll_fn(|cx| {
        if client.phases.poll_write_limit(cx).is_ready() {
            return Poll::Ready(Ended::TimedOut);
        }
        let lingering = client.phases.is_lingering();
        if !lingering && client.phases.poll_connection_limit(cx).is_ready() {
            if told_to_leave {
                return Poll::Ready(Ended::TimedOut);
            }
            told_to_leave = true;
            // Requests that are on their way already are still answered (RFC 9113 section 6.8).
            connection.as_mut().graceful_shutdown();
            client.phases.closing();
        }
        if !told_to_leave && gate.deadlines.is_draining() {
            told_to_leave = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx).map(Ended::Multiplexed)
    })
    .await
}

async fn answer(stream: Arc<Client>, request: Request<Incoming>, refusal: Option<Refusal>) -> Response<ResponseBody> {
    if let Some(Refusal { full, told }) = refusal {
        return gate::refuse(stream, request, &full.problem(), told);
    }
    // Browsers send each cookie as a field of its own.
    let cookies = request.headers().get_all(COOKIE).iter().count();
    if request.headers().len() - cookies > MOST_FIELDS {
        let mut response = Response::new(ResponseBody::whole(Bytes::new()));
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return response;
    }
    let response = gate::handle(stream, request.map(body::Incoming::Shared)).await;
    // There is no not listening to one client's requests alone: each takes its time instead.
    if response.extensions().get::<Unhurried>().is_some() {
        sleep(UNHURRIED).await;
    }
    response
}

/// The requests of a connection. It is the executor that hyper gives each of them to.
#[derive(Clone, Debug)]
struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Arc<Client>,
    latest: UpToDate,
    open: AtomicUsize,
    places: Places,
    /// Whether one of the open ones has the place of the connection.
    has_first: AtomicBool,
    /// How many of the open ones are being told that there is no place for them.
    refused: AtomicUsize,
    /// The stream whose request has just been read. hyper asks for its answer and gives that to be run right afterwards.
    begun: Mutex<Option<(Arc<Client>, Held)>>,
    /// Streams that are over, for requests to come.
    spare: Mutex<Vec<Arc<Client>>>,
    most_spare: usize,
}

/// What a request holds while it is answered.
#[derive(Debug)]
enum Held {
    /// The place of the connection.
    First,
    /// One of its own, which is given back with this.
    Further { _place: Place },
    /// None: it is refused.
    Nothing,
}

/// A request for which there is no place.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    full: Full,
    /// Whether it is told why.
    told: bool,
}

impl Streams {
    fn of(connection: Arc<Client>, current: Arc<Current>, most: u32, places: Places) -> Self {
        Self(Arc::new(Shared {
            latest: UpToDate::new(connection.clone(), current),
            connection,
            open: AtomicUsize::new(0),
            places,
            has_first: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            begun: Mutex::default(),
            spare: Mutex::default(),
            most_spare: usize::try_from(most).unwrap_or(usize::MAX).min(MOST_SPARE),
        }))
    }

    fn begin(&self) -> (Arc<Client>, Option<Refusal>) {
        let Shared { latest, begun, spare, .. } = &*self.0;
        let used_before = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let stream = used_before
            .filter(|stream| latest.is_up_to_date(stream))
            .unwrap_or_else(|| Arc::new(latest.client().stream()));
        let (held, refusal) = self.seat(stream.gate.deadlines.is_draining());
        *begun.lock().unwrap_or_else(PoisonError::into_inner) = Some((stream.clone(), held));
        (stream, refusal)
    }

    fn seat(&self, draining: bool) -> (Held, Option<Refusal>) {
        let Shared { places, has_first, refused, .. } = &*self.0;
        if !has_first.swap(true, Ordering::Relaxed) {
            return (Held::First, None);
        }
        match places.take(draining) {
            Ok(place) => (Held::Further { _place: place }, None),
            Err(full) => {
                let before = refused.fetch_add(1, Ordering::Relaxed);
                (Held::Nothing, Some(Refusal { full, told: before < MOST_TOLD }))
            }
        }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let Some((stream, held)) = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            // Nothing but answers is given to be run, since no tunnels are offered.
            tokio::spawn(future);
            return;
        };
        let running = Running::new(self.0.clone(), stream, held);
        tokio::spawn(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                if running.stream.phases.poll_connection_limit(cx).is_ready() {
                    // Dropping the answer resets the stream.
                    running.stream.gate.metrics.timed_out.increment();
                    return Poll::Ready(());
                }
                if running.stream.lifeline.is_severed() {
                    return Poll::Ready(());
                }
                future.as_mut().poll(cx)
            })
            .await;
        });
    }
}

/// A request that is being answered; counted out however that ends.
struct Running {
    shared: Arc<Shared>,
    stream: Arc<Client>,
    held: Held,
}

impl Running {
    fn new(shared: Arc<Shared>, stream: Arc<Client>, held: Held) -> Self {
        if shared.open.fetch_add(1, Ordering::Relaxed) == 0 {
            shared.connection.phases.streams_began();
        }
        Self { shared, stream, held }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Shared { connection, open, has_first, refused, spare, most_spare, .. } = &*self.shared;
        match self.held {
            Held::First => has_first.store(false, Ordering::Relaxed),
            Held::Further { .. } => {}
            Held::Nothing => {
                refused.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if open.fetch_sub(1, Ordering::Relaxed) == 1 {
            connection.phases.streams_ended();
        }
        // Whatever still holds it (an upload that goes on after the answer) may arm its limits.
        if Arc::strong_count(&self.stream) == 1 {
            let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < *most_spare {
                self.stream.lifeline.mend();
                spare.push(self.stream.clone());
            }
        }
    }
}
