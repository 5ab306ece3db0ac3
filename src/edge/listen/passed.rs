//! Sockets that the service manager holds open and passes on at the start (`LISTEN_FDS`, sd_listen_fds(3)).

use std::io;

use listenfd::ListenFd;
use socket2::SockRef;

use super::Socket;

/// What was passed and not taken yet.
pub struct Passed {
    names: Vec<String>,
    sockets: ListenFd,
}

impl Passed {
    /// Nothing.
    pub fn none() -> Self {
        Self { names: Vec::new(), sockets: ListenFd::empty() }
    }

    /// What this process was started with. It is there once: the environment forgets it, so that no child takes it for its own.
    ///
    /// # Errors
    /// When the environment contradicts itself.
    pub fn take_over() -> io::Result<Self> {
        let names: Vec<String> = sd_notify::listen_fds_with_names()?.map(|(_, name)| name).collect();
        // It would also take what names no process; the other insists on our id.
        if names.is_empty() {
            return Ok(Self::none());
        }
        Ok(Self { names, sockets: ListenFd::from_env() })
    }

    /// All sockets of this name: a socket unit may have several.
    ///
    /// # Errors
    /// When there is none, or one is no listening stream socket.
    pub fn take(&mut self, name: &str) -> io::Result<Vec<Socket>> {
        let mut taken = Vec::new();
        let mut known = false;
        for (place, _) in self.names.iter().enumerate().filter(|(_, other)| *other == name) {
            known = true;
            taken.extend(take(&mut self.sockets, place)?);
        }
        match (taken.is_empty(), known, self.names.as_slice()) {
            (false, ..) => Ok(taken),
            (true, true, _) => Err(io::Error::other("another entry has taken this socket")),
            (true, false, []) => Err(io::Error::other(
                "the service manager passed no sockets; is the socket unit enabled and started, and the gateway started by it?",
            )),
            (true, false, names) => Err(io::Error::other(format!(
                "the service manager passed no socket of this name, but {}",
                names.join(", ")
            ))),
        }
    }
}

fn take(sockets: &mut ListenFd, place: usize) -> io::Result<Option<Socket>> {
    let socket = match sockets.take_tcp_listener(place) {
        Ok(socket) => socket.map(Socket::Tcp),
        Err(_) => sockets.take_unix_listener(place)?.map(Socket::Unix),
    };
    if let Some(socket) = &socket {
        let inner = match socket {
            Socket::Tcp(socket) => SockRef::from(socket),
            Socket::Unix(socket) => SockRef::from(socket),
        };
        if !inner.is_listener()? {
            return Err(io::Error::other("it is a single connection; the socket unit must not have Accept=yes"));
        }
        inner.set_nonblocking(true)?;
    }
    Ok(socket)
}
