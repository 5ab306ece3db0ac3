//! Sockets to listen on: for each worker one of every entry of the settings.
//!
//! A TCP address is opened once for each worker, and the kernel spreads connections over them (`SO_REUSEPORT`). A socket file
//! and a socket of the service manager exist once: the workers hold copies of one descriptor, and who is free first takes
//! the next connection.

mod file;
mod passed;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use socket2::{Domain, Protocol, Type};

pub use self::file::SocketFile;
pub use self::passed::Passed;
use crate::config::Listen;

/// How many connections the kernel holds for a worker that has no room for them.
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a file.
    Unix(UnixListener),
}

/// One worker's socket.
#[derive(Debug)]
pub struct Listener {
    /// The socket, which does not block.
    pub socket: Socket,
    /// Whether the service manager keeps it open when the gateway ends. What waits in it then waits for the successor.
    pub kept: bool,
}

/// Where connections come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Through a socket file.
    Unix(PathBuf),
}

impl Address {
    /// The address, if it is one of TCP.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What one entry of the settings has become.
#[derive(Debug)]
pub struct Bound {
    /// One socket for each worker.
    pub listeners: Vec<Listener>,
    /// Where it is.
    pub address: Address,
    /// The file to remove at the end, if the gateway made one.
    pub file: Option<SocketFile>,
}

/// Listens for `workers` workers. A socket file gets the permissions `mode`.
///
/// # Errors
/// When the address is not this machine's, is in use or is not permitted; when a file is in the way; when the service manager
/// passed no such socket.
pub fn open(entry: &Listen, workers: usize, mode: u32, passed: &mut Passed) -> io::Result<Vec<Bound>> {
    match entry {
        Listen::Tcp(address) => {
            let (sockets, address) = bind(*address, workers)?;
            let own = |socket| Listener { socket: Socket::Tcp(socket), kept: false };
            let listeners = sockets.into_iter().map(own).collect();
            Ok(vec![Bound { listeners, address: Address::Tcp(address), file: None }])
        }
        Listen::Unix(path) => {
            let (socket, file) = file::bind(path, mode, BACKLOG)?;
            let listeners = copies(Socket::Unix(socket), workers, false)?;
            Ok(vec![Bound { listeners, address: Address::Unix(path.clone()), file: Some(file) }])
        }
        Listen::Passed(name) => {
            let bound = |socket: Socket| {
                let address = socket.address()?;
                Ok(Bound { listeners: copies(socket, workers, true)?, address, file: None })
            };
            passed.take(name)?.into_iter().map(bound).collect()
        }
    }
}

/// As many descriptors of one socket as there are workers.
fn copies(socket: Socket, workers: usize, kept: bool) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::with_capacity(workers);
    for _ in 1..workers {
        listeners.push(Listener { socket: socket.try_clone()?, kept });
    }
    listeners.push(Listener { socket, kept });
    Ok(listeners)
}

impl Socket {
    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(PathBuf::from).unwrap_or_default()))
            }
        }
    }
}

/// As many sockets on `address` as there are workers, and the address they have; port 0 is any free one.
fn bind(address: SocketAddr, workers: usize) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    // Sockets with SO_REUSEPORT share a port without complaint, also with another gateway that was started by mistake. One
    // without it finds that out.
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    let listeners = (0..workers).map(|_| {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    });
    Ok((listeners.collect::<io::Result<_>>()?, address))
}

fn socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run may linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_that_nobody_else_can_have() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listeners, address) = bind(any, 3).unwrap();
        assert_eq!(listeners.len(), 3);
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
