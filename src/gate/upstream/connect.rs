//! Opening a connection to an address of an application.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::names::Names;
use super::standing::{Application, Standing};
use super::stream::Stream;
use super::tls;
use crate::clock;
use crate::config::{Address, Place};

/// A stream to the address at this place, and to whom it leads.
///
/// Cancel safety: may be dropped at any time.
///
/// # Errors
/// Those of the network and of TLS, also when it takes longer than `longest`.
pub(super) async fn open(
    application: &Application,
    at: usize,
    longest: Duration,
) -> io::Result<(Stream, Option<SocketAddr>)> {
    let known = application.settings.addresses.get(at).zip(application.standings.get(at));
    let (address, standing) = known.ok_or_else(|| io::Error::other("there is no such address"))?;
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "it took longer than connect_timeout"));
    timeout(longest, connect(application, address, standing, longest)).await.unwrap_or_else(late)
}

async fn connect(
    application: &Application,
    address: &Address,
    standing: &Standing,
    longest: Duration,
) -> io::Result<(Stream, Option<SocketAddr>)> {
    let nameless = || io::Error::other("there is no name to connect to");
    match &address.place {
        Place::Tcp { .. } => {
            let (stream, peer) = tcp(standing.names.as_ref().ok_or_else(nameless)?, longest).await?;
            Ok((Stream::Tcp(stream), Some(peer)))
        }
        Place::Tls { name, .. } => {
            let settings = application.settings.tls.as_ref();
            let tls = settings.ok_or_else(|| io::Error::other("there are no settings for TLS"))?;
            let (stream, peer) = tcp(standing.names.as_ref().ok_or_else(nameless)?, longest).await?;
            Ok((tls::shake(stream, name, tls).await?, Some(peer)))
        }
        Place::Unix { path } => Ok((Stream::Unix(UnixStream::connect(path).await?), None)),
    }
}

/// Tries where the name leads, one after the other; each has its share of the time that is left.
async fn tcp(names: &Names, longest: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    let until = clock::uptime().plus(longest);
    let addresses = names.addresses().await?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (address, left) in addresses.iter().zip((1..=u32::try_from(addresses.len()).unwrap_or(u32::MAX)).rev()) {
        let share = until.since(clock::uptime()) / left;
        match timeout(share, TcpStream::connect(*address)).await {
            Ok(Ok(stream)) => {
                // Small requests must not wait for the acknowledgement of earlier ones.
                stream.set_nodelay(true)?;
                return Ok((stream, *address));
            }
            Ok(Err(error)) => failure = error,
            Err(_) => {
                failure = io::Error::new(io::ErrorKind::TimedOut, "it took longer than its share of connect_timeout")
            }
        }
        names.demote(*address);
    }
    names.doubt();
    Err(failure)
}
