//! A blocking HTTP/1.1 client on a plain socket, or on one with TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::ClientConnection;

/// The longest that a test waits for bytes.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub struct Connection {
    stream: TcpStream,
    session: Option<ClientConnection>,
    buffer: Vec<u8>,
    broken_off: bool,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// The status line and the header lines, as they came.
    pub head: String,
    pub body: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// A connection that is there already, of either side.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, session: None, buffer: Vec::new(), broken_off: false }
    }

    /// A connection on which TLS was agreed on.
    pub fn secure(stream: TcpStream, session: ClientConnection) -> Self {
        Self { session: Some(session), ..Self::over(stream) }
    }

    /// Sends these bytes and nothing else.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write(bytes.as_ref()).unwrap();
    }

    /// Sends these bytes if the other side still takes them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write(bytes.as_ref()).is_ok()
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.session {
            None => self.stream.write_all(bytes),
            Some(session) => rustls::Stream::new(session, &mut self.stream).write_all(bytes),
        }
    }

    /// Reads one response to a request with this method; early hints before it are passed over.
    pub fn read(&mut self, method: &str) -> Response {
        self.try_read(method).expect("a response, but the connection was closed")
    }

    /// Reads one response; `None` when the connection is closed before it begins.
    pub fn try_read(&mut self, method: &str) -> Option<Response> {
        let mut head = self.read_head()?;
        while head.starts_with("HTTP/1.1 103 ") {
            head = self.read_head()?;
        }
        let status: u16 = head[9..12].parse().unwrap();
        let header = |name: &str| find(&head, name);
        let body = if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            Vec::new()
        } else if header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            self.read_chunks()
        } else if let Some(length) = header("content-length") {
            self.take(length.parse().unwrap())
        } else {
            self.read_to_end()
        };
        Some(Response { status, head, body })
    }

    /// Reads a status line and headers, and leaves the body.
    pub fn read_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.fill() {
                assert!(self.buffer.is_empty(), "closed inside a head: {:?}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        }
    }

    /// Reads exactly so many bytes.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill(), "closed after {} of {length} bytes", self.buffer.len());
        }
        self.buffer.drain(..length).collect()
    }

    /// Reads one chunk of a chunked body; empty is the last.
    pub fn read_chunk(&mut self) -> Vec<u8> {
        let line = self.read_line();
        let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            while !self.read_line().is_empty() {}
            return Vec::new();
        }
        let chunk = self.take(size);
        assert_eq!(self.take(2), b"\r\n");
        chunk
    }

    /// Reads until the other side closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the other side closes without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill()
    }

    /// Whether it was closed without the word that TLS has for it, so that nobody knows whether something is missing.
    pub fn is_broken_off(&self) -> bool {
        self.broken_off
    }

    /// What was agreed on, where TLS is spoken.
    pub fn session(&self) -> Option<&ClientConnection> {
        self.session.as_ref()
    }

    pub fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.read_chunk();
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.fill(), "closed inside a line");
        }
    }

    /// Reads some more; false when the other side has closed.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        let read = match &mut self.session {
            None => self.stream.read(&mut bytes),
            Some(session) => rustls::Stream::new(session, &mut self.stream).read(&mut bytes),
        };
        match read {
            Ok(0) => false,
            Ok(length) => {
                self.buffer.extend_from_slice(&bytes[..length]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.broken_off = true;
                false
            }
            Err(error) => panic!("nothing came within {PATIENCE:?}: {error}"),
        }
    }
}

impl Response {
    /// A header's value; the first of several.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.head, name)
    }

    /// A figure of a page of metrics, given its name with labels.
    #[track_caller]
    pub fn figure(&self, name: &str) -> f64 {
        let line = self.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no figure {name} in\n{}", self.text())).parse().unwrap()
    }

    /// All values of a header, in their order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        all(&self.head, name).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The `code` of a problem.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        self.json()["code"].as_str().unwrap().to_owned()
    }

    /// The value of a cookie that this response sets, without its attributes.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let set = self.headers("set-cookie").into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        set.map(|rest| rest.split(';').next().unwrap().to_owned())
    }
}

/// The value of a header in a head; the first of several.
pub fn find<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    all(head, name).next()
}

/// All values of a header in a head.
pub fn all<'a>(head: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    head.lines().skip(1).filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
