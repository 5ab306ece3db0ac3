//! One client connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::watched::Watched;
use crate::gate::client::Client;
use crate::gate::{self, Gate};
use crate::http::Scheme;

/// Serves requests on a connection until it is closed, by either side, by a limit of time, or by a drain.
///
/// It is generic in its transport: TLS goes between the socket and this.
pub(super) async fn serve<T>(transport: T, peer: Option<IpAddr>, scheme: Scheme, gate: Arc<Gate>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = gate.metrics.clone();
    metrics.connections.increment();
    metrics.open_connections.add(1);
    let _open = Open(metrics.clone());

    let max_header_bytes = gate.config.server.max_header_bytes;
    let client = Arc::new(Client::new(gate.clone(), peer, scheme));
    let io = TokioIo::new(Watched::new(transport, client.clone()));
    let serving = client.clone();
    let service = service_fn(move |request| {
        let client = serving.clone();
        async move { Ok::<_, Infallible>(gate::handle(client, request).await) }
    });
    let connection = http1::Builder::new()
        .max_header_size(max_header_bytes)
        .max_buf_size(max_header_bytes.max(MIN_BUFFER))
        .half_close(false)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut draining = false;
    let ended = poll_fn(|cx| {
        // A connection that is closed on our side has a limit of its own, kept where the rest is read.
        if !client.phases.is_lingering() && client.phases.poll_connection_limit(cx).is_ready() {
            return Poll::Ready(Ended::TimedOut);
        }
        if !draining && gate.deadlines.is_draining() {
            draining = true;
            // An idle connection closes at once, a busy one after its response, which says so.
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx).map(Ended::ByProtocol)
    })
    .await;
    match ended {
        Ended::TimedOut => metrics.timed_out.increment(),
        Ended::ByProtocol(Ok(())) => {}
        Ended::ByProtocol(Err(error)) => {
            if error.is_parse() {
                metrics.unparsable.increment();
            }
            tracing::debug!(%error, client = ?peer, "a connection ended early");
        }
    }
}

/// hyper reads into a buffer of at most this, bodies included.
const MIN_BUFFER: usize = 64 * 1024;

enum Ended {
    TimedOut,
    ByProtocol(hyper::Result<()>),
}

/// Counts the connection out, however it ends.
struct Open(Arc<crate::metrics::WorkerMetrics>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open_connections.add(-1);
    }
}
