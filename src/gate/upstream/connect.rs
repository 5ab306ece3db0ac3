//! Opening a connection to an application.

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use crate::config::Upstream;
use crate::error::{Code, Problem};

/// Connects to the application; its name is resolved anew each time, so that it may move.
///
/// Cancel safety: may be dropped at any time.
///
/// # Errors
/// [`Code::UpstreamUnreachable`], also when it takes longer than `connect_timeout`.
pub(super) async fn open(upstream: usize, settings: &Upstream) -> Result<Box<Connection>, Problem> {
    let unreachable = |error: &dyn std::error::Error| {
        tracing::warn!(
            upstream = settings.name,
            address = settings.authority,
            error = crate::error::causes(error),
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
    Ok(Box::new(Connection::new(stream, upstream)))
}
