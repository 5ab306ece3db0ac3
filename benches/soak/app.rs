//! The application: it says whom it was told, takes uploads, has a large page, and echoes WebSockets. It can be restarted.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::support::upstream::{Reaction, Received, Upstream, response, response_of};
use crate::support::websocket;

/// An application with a port of its own.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    running: Mutex<Option<Upstream>>,
}

/// How much a large page is.
pub(crate) const LARGE: usize = 400_000;

impl App {
    pub(crate) fn start() -> Self {
        let running = Upstream::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), answer);
        Self { address: running.address, running: Mutex::new(Some(running)) }
    }

    /// Breaks everything off, stays away for a moment, and comes back at the same port.
    pub(crate) fn restart(&self) {
        let mut running = self.running.lock().unwrap();
        drop(running.take());
        thread::sleep(Duration::from_millis(300));
        // The listener of the one before may not be gone yet.
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        *running = Some(Upstream::start_on(listener, answer));
    }
}

fn answer(received: &Received) -> Reaction {
    let user = received.header("x-auth-user").unwrap_or("nobody").to_owned();
    match received.target() {
        "/large" => Reaction::Send(response_of(&vec![b'x'; LARGE])),
        "/upload" => Reaction::Send(response("200 OK", "", &format!("{user} {}", received.body.len()))),
        "/socket" => Reaction::Custom(Box::new(echo)),
        _ => Reaction::Send(response("200 OK", "", &user)),
    }
}

/// Sends back whatever comes; frames of clients are masked, and so is their echo, which is no matter of the gateway's.
fn echo(stream: &mut TcpStream) {
    if stream.write_all(websocket::consent("").as_bytes()).is_err() {
        return;
    }
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}
