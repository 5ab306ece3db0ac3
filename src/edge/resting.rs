//! A client's connection in a long pause between two requests: only the socket is kept, and what is known of the client.
//!
//! Most connections of most clients are like this most of the time, and what serving a request needs (buffers, the room of a
//! request) is several times as large as what is left.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conn::{Ended, FIRST};
use super::http1;
use super::watched::Watched;
use crate::gate::client::Client;
use crate::metrics::WorkerMetrics;

/// Waits until the client says something, without room for what that may be. `Some` when the connection is over instead.
pub(super) async fn wait<T>(transport: &mut Watched<T>, client: &Client) -> Option<Ended>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let _resting = Resting::begin(client.gate.metrics.clone());
    let first = poll_fn(|cx| {
        if client.phases.poll_connection_limit(cx).is_ready() {
            return Poll::Ready(Err(Ended::TimedOut));
        }
        // On the stack, and only while there is something to read.
        let mut first = [MaybeUninit::uninit(); FIRST];
        let mut first = ReadBuf::uninit(&mut first);
        match Pin::new(&mut *transport).poll_read(cx, &mut first) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Bytes::copy_from_slice(first.filled()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Ended::Broke(error))),
            Poll::Pending if client.gate.deadlines.is_closing() => Poll::Ready(Ok(Bytes::new())),
            Poll::Pending => Poll::Pending,
        }
    });
    match first.await {
        Ok(first) if first.is_empty() => {
            http1::close(transport, client).await;
            Some(Ended::InOrder)
        }
        Ok(first) => {
            transport.put_back(first);
            None
        }
        Err(ended) => Some(ended),
    }
}

/// Counts the connection as one that rests, however that ends.
struct Resting(Arc<WorkerMetrics>);

impl Resting {
    fn begin(metrics: Arc<WorkerMetrics>) -> Self {
        metrics.resting_connections.add(1);
        Self(metrics)
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        self.0.resting_connections.add(-1);
    }
}
