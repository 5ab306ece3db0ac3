//! One client connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use http::StatusCode;
use http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::http2;
use super::place::Place;
use super::resting;
use super::watched::Watched;
use crate::gate::client::{Client, UpToDate};
use crate::gate::{self, Current, Gate};
use crate::http::Scheme;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// The client's first bytes tell: whoever knows that we speak HTTP/2 may begin with it (RFC 9113 section 3.3).
    Either,
}

/// Serves requests on a connection until it is closed, by either side, by a limit of time, or by a drain.
///
/// It is generic in its transport: TLS goes between the socket and this.
pub(super) async fn serve<T>(
    transport: T,
    peer: Option<IpAddr>,
    scheme: Scheme,
    protocol: Protocol,
    current: Arc<Current>,
    place: &Place,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gate = current.gate();
    let metrics = gate.metrics.clone();
    metrics.connections.increment();
    metrics.open_connections.add(1);
    let _open = Open(metrics.clone());

    let client = Arc::new(Client::new(gate, peer, scheme));
    let mut transport = Watched::new(transport, client.clone());
    let multiplexed = match protocol {
        Protocol::Http1 => Ok(false),
        Protocol::Http2 => Ok(true),
        Protocol::Either => begins_http2(&mut transport, &client).await,
    };
    let ended = match multiplexed {
        Ok(false) => http1(transport, client, current).await,
        Ok(true) => {
            metrics.http2_connections.increment();
            http2::serve(transport, client, current, place.further()).await
        }
        Err(ended) => ended,
    };
    match ended {
        Ended::TimedOut => metrics.timed_out.increment(),
        // That was said where it was decided.
        Ended::ByProtocol(Ok(())) | Ended::Severed => {}
        Ended::ByProtocol(Err(error)) => {
            if error.is_parse() {
                metrics.unparsable.increment();
            }
            tracing::debug!(%error, client = ?peer, "a connection ended early");
        }
        Ended::Broke(error) => tracing::debug!(%error, client = ?peer, "a connection ended early"),
    }
}

/// With what a client begins that speaks HTTP/2 (RFC 9113 section 3.4). No method of HTTP/1 is called like that.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is read at first: most requests fit, so that looking at them costs no further read.
pub(super) const FIRST: usize = 4 * 1024;

/// Whether the first bytes are those of HTTP/2. They are put back.
async fn begins_http2<T: AsyncRead + Unpin>(transport: &mut Watched<T>, client: &Client) -> Result<bool, Ended> {
    let mut first = BytesMut::with_capacity(FIRST);
    let multiplexed = loop {
        let read = poll_fn(|cx| {
            if client.phases.poll_connection_limit(cx).is_ready() {
                return Poll::Ready(Err(Ended::TimedOut));
            }
            let read = pin!(transport.read_buf(&mut first)).poll(cx).map_err(Ended::Broke);
            if read.is_pending() && first.is_empty() && client.gate.deadlines.is_closing() {
                return Poll::Ready(Err(Ended::ByProtocol(Ok(()))));
            }
            read
        });
        if read.await? == 0 || !PREFACE.starts_with(first.get(..PREFACE.len()).unwrap_or(&first)) {
            break false;
        }
        if first.len() >= PREFACE.len() {
            break true;
        }
    };
    transport.put_back(first.freeze());
    Ok(multiplexed)
}

/// One request after the other. In a long pause between two, hyper's buffers and the room of a request are given back, which
/// are most of what a connection takes.
async fn http1<T>(mut transport: Watched<T>, client: Arc<Client>, current: Arc<Current>) -> Ended
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serving = UpToDate::new(client.clone(), current);
    loop {
        match requests(transport, &client, &serving).await {
            Stretch::Over(ended) => return ended,
            Stretch::Rests(resting) => transport = *resting,
        }
        if let Some(ended) = resting::wait(&mut transport, &client).await {
            return ended;
        }
    }
}

/// Why requests are not served for now.
enum Stretch<T> {
    /// The connection is over.
    Over(Ended),
    /// The client has not asked for anything for a while.
    Rests(Box<Watched<T>>),
}

/// Serves requests until the connection is over, or rests.
async fn requests<T>(transport: Watched<T>, client: &Arc<Client>, serving: &UpToDate) -> Stretch<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gate: &Gate = &client.gate;
    let max_header_bytes = gate.config.server.max_header_bytes;
    let deadlines = &gate.deadlines;
    let service = service_fn(move |request| {
        let client = serving.client();
        async move {
            let mut response = gate::handle(client, request).await;
            if deadlines.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .max_header_size(max_header_bytes)
        .max_buf_size(max_header_bytes.max(MIN_BUFFER))
        .half_close(false)
        .serve_connection(TokioIo::new(transport), service)
        .with_upgrades();
    let leaving = Leaving(client.clone());
    let mut closing = false;
    let ended = poll_fn(|cx| {
        let mut connection = Pin::new(&mut connection);
        // A connection that is closed on our side has a limit of its own, kept where the rest is read.
        if !client.phases.is_lingering() && client.phases.poll_connection_limit(cx).is_ready() {
            if !client.phases.begins_to_rest() {
                return Poll::Ready(Some(Ended::TimedOut));
            }
            if !closing {
                return Poll::Ready(None);
            }
        }
        if client.lifeline.is_severed() {
            return Poll::Ready(Some(Ended::Severed));
        }
        if !closing && gate.deadlines.is_closing() {
            // What the client has sent already is read before: it shall be answered.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(Ended::ByProtocol(ended)));
            }
            closing = true;
            // An idle connection closes at once, a busy one after its response.
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx).map(|ended| Some(Ended::ByProtocol(ended)))
    })
    .await;
    let Some(ended) = ended else {
        let Some(parts) = connection.into_parts() else { return Stretch::Over(Ended::ByProtocol(Ok(()))) };
        let mut transport = parts.io.into_inner();
        // An empty one would still hold on to the buffer.
        if !parts.read_buf.is_empty() {
            transport.put_back(parts.read_buf);
        }
        return Stretch::Rests(Box::new(transport));
    };
    if matches!(ended, Ended::ByProtocol(Ok(())))
        && let Some(tunnel) = leaving.0.lifeline.take()
    {
        let transport = |upgraded: Upgraded| {
            let parts = upgraded.downcast::<TokioIo<Watched<T>>>().ok()?;
            Some(parts.io.into_inner().into_transport(parts.read_buf))
        };
        // Most connections never become one, and need no room for it.
        Box::pin(tunnel.serve(transport)).await;
    }
    Stretch::Over(ended)
}

/// hyper reads into a buffer of at most this, bodies included.
const MIN_BUFFER: usize = 64 * 1024;

/// How a connection ended.
pub(super) enum Ended {
    /// The other side took too long.
    TimedOut,
    /// In the middle of a response: its session has ended.
    Severed,
    /// As the protocol has it, or against it.
    ByProtocol(hyper::Result<()>),
    /// Before it was known what is spoken.
    Broke(io::Error),
}

/// Takes away what the connection was to be handed over to, however it ends: that knows the connection too.
struct Leaving(Arc<Client>);

impl Drop for Leaving {
    fn drop(&mut self) {
        drop(self.0.lifeline.take());
    }
}

/// Counts the connection out, however it ends.
pub(super) struct Open(pub(super) Arc<crate::metrics::WorkerMetrics>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open_connections.add(-1);
    }
}
