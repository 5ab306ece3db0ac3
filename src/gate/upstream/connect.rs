//! Opening a connection to an application.

use std::sync::Arc;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::line::Line;
use crate::config::Upstream;
use crate::error::{Code, Problem};
use crate::gate::Gate;

/// Connects to the application; its name is resolved anew each time, so that it may move.
///
/// Cancel safety: may be dropped at any time.
///
/// # Errors
/// [`Code::UpstreamUnreachable`], also when it takes longer than `connect_timeout`.
pub(super) async fn open(gate: &Arc<Gate>, upstream: usize, settings: &Upstream) -> Result<Line, Problem> {
    let unreachable = |error: &dyn std::error::Error| {
        tracing::warn!(
            upstream = settings.name,
            address = settings.authority,
            error = crate::sessions::causes(error),
            "the application cannot be reached"
        );
        Problem::new(Code::UpstreamUnreachable)
    };
    let stream = match timeout(settings.connect_timeout, TcpStream::connect(&settings.authority)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(&error)),
        Err(elapsed) => return Err(unreachable(&elapsed)),
    };
    // Small requests must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&error))?;
    Ok(Line::new(sender, connection, gate.clone(), upstream))
}

/// The largest head of a response, which is also the most that is read ahead of a slow client.
const MAX_HEAD: usize = 128 * 1024;
