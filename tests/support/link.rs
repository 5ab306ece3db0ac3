//! A TCP link that can be cut or held up: what lies between a gateway and its store.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// A link to a server on this machine.
pub struct Link {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Questions,
    /// From the server.
    Answers,
}

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    lanes: Mutex<Vec<Lane>>,
    changed: Condvar,
}

/// One connection.
struct Lane {
    ends: [TcpStream; 2],
    /// Whether it is the one on which the gateway listens; it is never held up.
    listens: bool,
    held: Option<Way>,
    /// How many pieces wait.
    waiting: usize,
}

impl Link {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        // It ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut lanes = accepting.lanes.lock().unwrap();
                if accepting.cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let number = lanes.len();
                for (way, from, to) in [(Way::Questions, &client, &server), (Way::Answers, &server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let shared = accepting.clone();
                    thread::spawn(move || shared.pump(number, way, from, to));
                }
                lanes.push(Lane { ends: [client, server], listens: false, held: None, waiting: 0 });
            }
        });
        Self { address, shared }
    }

    /// Breaks every connection, and every new one at once.
    pub fn cut(&self) {
        let lanes = self.shared.lanes.lock().unwrap();
        self.shared.cut.store(true, Ordering::SeqCst);
        for end in lanes.iter().flat_map(|lane| &lane.ends) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Breaks every new connection at once, and leaves the others.
    pub fn refuse(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// Lets nothing through on the connections that there are, but for the one on which the gateway listens.
    pub fn hold(&self, way: Way) {
        self.shared.lanes.lock().unwrap().iter_mut().for_each(|lane| lane.held = (!lane.listens).then_some(way));
    }

    /// How many pieces were held up and wait.
    pub fn waiting(&self) -> usize {
        self.shared.lanes.lock().unwrap().iter().map(|lane| lane.waiting).sum()
    }

    /// Lets everything through again, beginning with what was held up.
    pub fn release(&self) {
        self.shared.lanes.lock().unwrap().iter_mut().for_each(|lane| lane.held = None);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn pump(&self, number: usize, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            let piece = &bytes[..length];
            let mut lanes = self.lanes.lock().unwrap();
            lanes[number].listens |= piece.windows(7).any(|window| window == b"LISTEN ");
            lanes[number].waiting += 1;
            let mut lanes = self.changed.wait_while(lanes, |lanes| lanes[number].held == Some(way)).unwrap();
            lanes[number].waiting -= 1;
            drop(lanes);
            if to.write_all(piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
