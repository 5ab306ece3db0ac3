//! Opening a connection to an application.

use std::io;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::connection::Connection;
use super::stream::Stream;
use super::tls;
use crate::config::{Address, Place, Upstream, UpstreamTls};
use crate::error::{Code, Problem, causes};

/// Connects to the application; its name is resolved anew each time, so that it may move.
///
/// Cancel safety: may be dropped at any time.
///
/// # Errors
/// [`Code::UpstreamUnreachable`], also when it takes longer than `connect_timeout`.
pub(super) async fn open(upstream: usize, settings: &Upstream) -> Result<Box<Connection>, Problem> {
    let address = settings.addresses.first().ok_or_else(|| Problem::new(Code::Internal))?;
    let connected = timeout(settings.connect_timeout, connect(address, settings.tls.as_ref())).await;
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "it took longer than connect_timeout"));
    match connected.unwrap_or_else(late) {
        Ok(stream) => Ok(Box::new(Connection::new(stream, upstream))),
        Err(error) => {
            tracing::warn!(
                upstream = settings.name,
                %address,
                error = causes(&error),
                hint = tls::hint(&error),
                "the application cannot be reached"
            );
            Err(Problem::new(Code::UpstreamUnreachable))
        }
    }
}

async fn connect(address: &Address, tls: Option<&UpstreamTls>) -> io::Result<Stream> {
    match &address.place {
        Place::Tcp { host, port } => tcp(host, *port).await.map(Stream::Tcp),
        Place::Tls { host, port, name } => {
            let tls = tls.ok_or_else(|| io::Error::other("there are no settings for TLS"))?;
            tls::shake(tcp(host, *port).await?, name, tls).await
        }
        Place::Unix { path } => UnixStream::connect(path).await.map(Stream::Unix),
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Small requests must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true)?;
    Ok(stream)
}
