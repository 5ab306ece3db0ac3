//! An application: a blocking HTTP/1.1 server that records every request and answers as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::client::{all, find};

/// One request, as it reached the application.
#[derive(Clone, Debug)]
pub struct Received {
    /// The request line and the header lines, byte for byte.
    pub head: String,
    pub body: Vec<u8>,
    /// Which connection it came on: 1 is the first.
    pub connection: usize,
}

impl Received {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.head, name)
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        all(&self.head, name).collect()
    }
}

/// What the application does with the connection after a request.
pub enum Reaction {
    /// Sends these bytes, and keeps the connection.
    Send(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    SendAndClose(Vec<u8>),
    /// Takes the connection over.
    Custom(Box<dyn FnOnce(&mut TcpStream) + Send>),
    /// Closes the connection without a byte.
    Close,
}

type Handler = dyn Fn(&Received) -> Reaction + Send + Sync;

/// A running application.
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
    handler: Box<Handler>,
}

/// A whole response with this status, these header lines (each ending in CRLF) and this body.
pub fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A 200 with these bytes as its body.
pub fn response_of(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

impl Upstream {
    /// An application that answers 200 `hello` to everything.
    pub fn hello() -> Self {
        Self::start(|_| Reaction::Send(response("200 OK", "", "hello")))
    }

    /// An application that answers with what `handler` makes of each request.
    pub fn start(handler: impl Fn(&Received) -> Reaction + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), handler)
    }

    pub fn start_on(listener: TcpListener, handler: impl Fn(&Received) -> Reaction + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            streams: Mutex::default(),
            stopped: AtomicBool::new(false),
            handler: Box::new(handler),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                let number = accepting.connections.fetch_add(1, Ordering::SeqCst) + 1;
                accepting.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let shared = accepting.clone();
                thread::spawn(move || shared.serve(stream, number));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The last request.
    pub fn last(&self) -> Received {
        self.received().pop().expect("no request reached the application")
    }

    /// How many connections were opened to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection that is open.
    pub fn close_connections(&self) {
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stops listening and closes every connection.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.close_connections();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, number: usize) {
        let mut buffer = Vec::new();
        while let Some(received) = read_request(&mut stream, &mut buffer, number) {
            self.received.lock().unwrap().push(received.clone());
            match (self.handler)(&received) {
                Reaction::Send(bytes) => {
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
                Reaction::SendAndClose(bytes) => {
                    let _ = stream.write_all(&bytes);
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                Reaction::Custom(act) => act(&mut stream),
                Reaction::Close => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }
}

/// Reads one request; `None` when the connection ends.
fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Received> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        fill(stream, buffer)?;
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let body = if find(&head, "transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        read_chunks(stream, buffer)?
    } else {
        let length: usize = find(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        while buffer.len() < length {
            fill(stream, buffer)?;
        }
        buffer.drain(..length).collect()
    };
    Some(Received { head, body, connection })
}

fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream, buffer)?;
        let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            while !read_line(stream, buffer)?.is_empty() {}
            return Some(body);
        }
        while buffer.len() < size + 2 {
            fill(stream, buffer)?;
        }
        body.extend(buffer.drain(..size));
        buffer.drain(..2);
    }
}

fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line: Vec<u8> = buffer.drain(..end + 2).collect();
            return Some(String::from_utf8(line[..end].to_vec()).unwrap());
        }
        fill(stream, buffer)?;
    }
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 64 * 1024];
    match stream.read(&mut bytes) {
        Ok(0) | Err(_) => None,
        Ok(length) => {
            buffer.extend_from_slice(&bytes[..length]);
            Some(())
        }
    }
}
