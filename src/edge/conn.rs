//! One client connection, from its first byte to its last.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::place::Place;
use super::watched::Watched;
use super::{http1, http2};
use crate::gate::Current;
use crate::gate::client::Client;
use crate::http::Scheme;
use crate::http::request::Unreadable;

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
        Ok(false) => http1::serve(transport, client, current).await,
        Ok(true) => {
            metrics.http2_connections.increment();
            http2::serve(transport, client, current, place.further()).await
        }
        Err(ended) => ended,
    };
    match ended {
        Ended::TimedOut => metrics.timed_out.increment(),
        // That was said where it was decided.
        Ended::InOrder | Ended::Multiplexed(Ok(())) | Ended::Severed | Ended::Cut => {}
        Ended::Unreadable(why) => {
            metrics.unparsable.increment();
            tracing::debug!(%why, client = ?peer, "what came on a connection cannot be read");
        }
        Ended::Multiplexed(Err(error)) => tracing::debug!(%error, client = ?peer, "a connection ended early"),
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
                return Poll::Ready(Err(Ended::InOrder));
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

/// How a connection ended.
pub(super) enum Ended {
    /// The other side took too long.
    TimedOut,
    /// In the middle of a response: its session has ended.
    Severed,
    /// As HTTP/1.1 has it.
    InOrder,
    /// With bytes that are no request of HTTP/1.1.
    Unreadable(Unreadable),
    /// In the middle of a response, which has no end.
    Cut,
    /// As HTTP/2 has it, or against it.
    Multiplexed(Result<(), h2::Error>),
    /// With the transport.
    Broke(io::Error),
}

/// Counts the connection out, however it ends.
pub(super) struct Open(pub(super) Arc<crate::metrics::WorkerMetrics>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open_connections.add(-1);
    }
}
