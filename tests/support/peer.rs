//! An application that the test plays itself: it accepts, reads and answers when the test says so.

use std::net::TcpListener;

use super::client::Connection;
use super::wait_until;

/// A listener whose connections the test serves by hand.
pub struct Peer {
    listener: TcpListener,
}

impl Peer {
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// The next connection.
    pub fn accept(&self) -> Connection {
        let mut accepted = None;
        wait_until("the gateway connects to the application", || {
            accepted = self.try_accept();
            accepted.is_some()
        });
        accepted.unwrap()
    }

    /// The next connection, if it is there already.
    pub fn try_accept(&self) -> Option<Connection> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        Some(Connection::over(stream))
    }
}
