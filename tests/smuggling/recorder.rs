//! An application that keeps the bytes of every request as they came, and reads them as strictly as the standard allows.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::wait_until;

pub struct Recorder {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Vec<u8>>>,
    /// Connections on which a request has begun and not ended.
    begun: AtomicUsize,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let recorded = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let recorded = recorded.clone();
                thread::spawn(move || serve(stream.unwrap(), &recorded));
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, head and body as they came; bytes that are no request count as one.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        wait_until("what has begun has ended", || self.seen.begun.load(Ordering::SeqCst) == 0);
        self.seen.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, seen: &Seen) {
    let mut buffer = Vec::new();
    loop {
        if let Some(end) = head_end(&buffer).and_then(|end| whole(&buffer, end)) {
            seen.requests.lock().unwrap().push(buffer.drain(..end).collect());
            if buffer.is_empty() {
                seen.begun.fetch_sub(1, Ordering::SeqCst);
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
            continue;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(length @ 1..) => {
                if buffer.is_empty() {
                    seen.begun.fetch_add(1, Ordering::SeqCst);
                }
                buffer.extend_from_slice(&piece[..length]);
            }
            Ok(0) | Err(_) => {
                if !buffer.is_empty() {
                    seen.requests.lock().unwrap().push(buffer);
                    seen.begun.fetch_sub(1, Ordering::SeqCst);
                }
                return;
            }
        }
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Where the request ends whose head ends there.
fn whole(bytes: &[u8], head: usize) -> Option<usize> {
    if !values(bytes, "transfer-encoding").is_empty() {
        // Chunks as we write them; the last one has no trailers, or some.
        let mut at = head;
        loop {
            let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).ok()?, 16).ok()?;
            at += line + 2;
            if size == 0 {
                let rest = &bytes[at..];
                if rest.starts_with(b"\r\n") {
                    return Some(at + 2);
                }
                return head_end(rest).map(|end| at + end);
            }
            at += size + 2;
            if at > bytes.len() {
                return None;
            }
        }
    }
    let length: usize = values(bytes, "content-length").first().map_or(0, |length| length.parse().unwrap());
    (bytes.len() >= head + length).then_some(head + length)
}

fn head(raw: &[u8]) -> &[u8] {
    head_end(raw).map_or(raw, |end| &raw[..end])
}

/// The values of a field in a request's head.
pub fn values(raw: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(head(raw)).into_owned();
    let fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
}

/// The target of a request.
pub fn target(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Whether there is one way to read these bytes.
pub fn is_unambiguous(raw: &[u8]) -> Result<(), String> {
    let end = head_end(raw).ok_or("bytes that are no request")?;
    let lines = raw[..end - 4].split(|byte| *byte == b'\n').collect::<Vec<_>>();
    for (number, line) in lines.iter().enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().any(|byte| matches!(byte, 0 | b'\r')) {
            return Err("a NUL or a stray CR".to_owned());
        }
        if number > 0 {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let is_name = !name.is_empty()
                && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte));
            if name.len() == line.len() || !is_name {
                return Err(format!("the line {:?}", String::from_utf8_lossy(line)));
            }
        }
    }
    let line = String::from_utf8_lossy(lines[0]).trim_end().to_owned();
    let words: Vec<_> = line.split(' ').collect();
    if words.len() != 3 || words[2] != "HTTP/1.1" || !words[1].starts_with('/') {
        return Err(format!("the request line {line:?}"));
    }
    let (lengths, codings) = (values(raw, "content-length"), values(raw, "transfer-encoding"));
    if lengths.len() + codings.len() > 1 {
        return Err(format!("framing {lengths:?} {codings:?}"));
    }
    if lengths.iter().any(|length| length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("length {lengths:?}"));
    }
    if codings.iter().any(|coding| coding != "chunked") {
        return Err(format!("coding {codings:?}"));
    }
    if values(raw, "host").len() != 1 {
        return Err("more or less than one Host".to_owned());
    }
    if values(raw, "x-auth-user").iter().any(|user| user == "root") {
        return Err("an identity of the client's".to_owned());
    }
    Ok(())
}
