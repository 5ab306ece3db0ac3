//! A client's connection that may break at any time without that being an error of the bench.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest that an answer may take: longer than any limit of the gateway's settings here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Such a connection, which is made anew when it broke.
pub(crate) struct Link {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Link {
    pub(crate) const fn to(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// One request and its answer; an error is a connection that broke.
    pub(crate) fn call(
        &mut self,
        method: &str,
        target: &str,
        token: &str,
        agent: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        let answer = self.try_call(method, target, token, agent, body);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn try_call(&mut self, method: &str, target: &str, token: &str, agent: &str, body: &[u8]) -> io::Result<Answer> {
        let stream = self.stream()?;
        let mut request = head(method, target, token, agent, body.len()).into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request)?;
        let mut received = Vec::new();
        let end = loop {
            if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            more(stream, &mut received)?;
        };
        let text = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        let length = field("content-length:").map_or(0, |length| length.parse().unwrap());
        while received.len() < end + length {
            more(stream, &mut received)?;
        }
        if field("connection:").is_some_and(|value| value == "close") {
            self.stream = None;
        }
        Ok(Answer { status: text[9..12].parse().unwrap(), body: received[end..].to_vec() })
    }

    /// The connection as it is, for something else than whole requests.
    pub(crate) fn stream(&mut self) -> io::Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// The head of a request.
pub(crate) fn head(method: &str, target: &str, token: &str, agent: &str, length: usize) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {agent}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Reads some more.
pub(crate) fn more(stream: &mut TcpStream, into: &mut Vec<u8>) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    match stream.read(&mut bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            into.extend_from_slice(&bytes[..length]);
            Ok(())
        }
    }
}
