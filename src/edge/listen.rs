//! Sockets to listen on: one for each worker and address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections the kernel holds for a worker that has no room for them.
const BACKLOG: i32 = 4096;

/// As many sockets on `address` as there are workers, and the address they have; port 0 is any free one.
///
/// # Errors
/// When the address is not this machine's, or the port is in use or not permitted.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
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

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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
