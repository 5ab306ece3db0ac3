//! The access log: one line a request, formatted where the request ends, written where nobody waits.
//!
//! Each worker formats into a buffer of its own. Full buffers, and part-filled ones a few times a second, go through a
//! bounded channel to one writer thread. When the disk cannot keep up the channel is full, and whole buffers are dropped
//! and their lines counted; a request never waits for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::{AccessLog, LogFormat};
use crate::http::trace_context::TraceId;
use crate::metrics::SharedMetrics;
use crate::session::Session;

/// A buffer is handed over when it holds this much.
const BLOCK: usize = 32 * 1024;
/// The most blocks that wait for the disk: two megabytes.
const BLOCKS: usize = 64;

/// What one line tells. No token, digest or query stands in it unless the query was asked for.
#[derive(Debug)]
pub struct Line<'a> {
    /// When the request came.
    pub at: Timestamp,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The request's method.
    pub method: &'a str,
    /// The host that was asked for.
    pub host: &'a str,
    /// The target, without its query by default.
    pub target: &'a str,
    /// The response's status.
    pub status: u16,
    /// From the request's headers to the end of the response.
    pub duration: Duration,
    /// From the request's way to the application to the head of its response.
    pub upstream: Option<Duration>,
    /// Bytes of the response's body.
    pub bytes: u64,
    /// Whose session it was.
    pub session: Option<&'a Session>,
    /// `forwarded`, `anonymous`, … or the code of the refusal.
    pub verdict: &'a str,
    /// Whether the response reached its end.
    pub complete: bool,
    /// Why the gateway did not let it.
    pub cut: Option<&'a str>,
    /// Bytes that came from the client on a connection that was handed over to it.
    pub received: Option<u64>,
    /// The request's id.
    pub request_id: Option<&'a str>,
    /// The trace that it is part of.
    pub trace: Option<TraceId>,
}

/// The writer thread's end: handed to workers, and joined when the gateway stops.
#[derive(Debug)]
pub struct AccessWriter {
    blocks: SyncSender<Block>,
    thread: JoinHandle<()>,
}

/// Whole lines.
#[derive(Debug)]
struct Block(Vec<u8>);

/// One worker's buffer.
#[derive(Debug)]
pub struct AccessBuffer {
    buffer: Mutex<Buffer>,
    blocks: SyncSender<Block>,
    format: LogFormat,
    metrics: Arc<SharedMetrics>,
}

#[derive(Debug, Default)]
struct Buffer {
    text: Vec<u8>,
    lines: u64,
    /// The date and time of `second` as text: most lines share it.
    second: i64,
    prefix: String,
}

impl AccessWriter {
    /// Opens the log and starts its thread; `None` when there is to be no access log.
    ///
    /// # Errors
    /// When the file cannot be opened for appending, or no thread can be had.
    pub fn start(place: &AccessLog) -> io::Result<Option<Self>> {
        let sink: Box<dyn Write + Send> = match place {
            AccessLog::Off => return Ok(None),
            AccessLog::Stdout => Box::new(io::stdout()),
            AccessLog::File(path) => Box::new(open(path)?),
        };
        let (blocks, waiting) = sync_channel(BLOCKS);
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write(sink, &waiting))?;
        Ok(Some(Self { blocks, thread }))
    }

    /// A buffer for one worker.
    pub fn buffer(&self, format: LogFormat, metrics: Arc<SharedMetrics>) -> AccessBuffer {
        AccessBuffer { buffer: Mutex::default(), blocks: self.blocks.clone(), format, metrics }
    }

    /// Waits until everything is written. All buffers must have been flushed and dropped before.
    pub fn finish(self) {
        drop(self.blocks);
        if self.thread.join().is_err() {
            tracing::error!("the access log's thread had panicked");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // It names people and their addresses; a program that collects logs may be of the file's group.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn write(mut sink: Box<dyn Write + Send>, blocks: &Receiver<Block>) {
    let mut healthy = true;
    for block in blocks {
        let result = sink.write_all(&block.0).and_then(|()| sink.flush());
        match result {
            Ok(()) => healthy = true,
            // Once, not for every block: a full disk would fill the other log too.
            Err(error) if healthy => {
                tracing::error!(%error, "the access log cannot be written");
                healthy = false;
            }
            Err(_) => {}
        }
    }
}

impl AccessBuffer {
    /// Adds a line.
    pub fn add(&self, line: &Line<'_>) {
        // Only this worker's thread comes here, so the lock is never contended.
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffer { text, lines, second, prefix } = &mut *buffer;
        let now = line.at.as_millis();
        if prefix.is_empty() || now.div_euclid(1000) != *second {
            *second = now.div_euclid(1000);
            prefix.clear();
            // `2026-11-20T16:30:04.000Z` up to the seconds.
            prefix.push_str(Timestamp::from_millis(*second * 1000).to_string().get(..19).unwrap_or_default());
        }
        match self.format {
            LogFormat::Text => write_text(text, line, prefix),
            LogFormat::Json => write_json(text, line, prefix),
        }
        *lines += 1;
        if text.len() >= BLOCK {
            self.hand_over(&mut buffer);
        }
    }

    /// Hands over what there is, however little.
    pub fn flush(&self) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.lines > 0 {
            self.hand_over(&mut buffer);
        }
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        let text = std::mem::replace(&mut buffer.text, Vec::with_capacity(BLOCK + 1024));
        let lines = std::mem::take(&mut buffer.lines);
        if self.blocks.try_send(Block(text)).is_err() {
            self.metrics.log_lines_dropped.add(lines);
        }
    }
}

// Writing to a `Vec` cannot fail, here and below.
fn write_text(out: &mut Vec<u8>, line: &Line<'_>, prefix: &str) {
    time(out, line, prefix);
    out.extend_from_slice(b" client=");
    match line.client {
        Some(IpAddr::V4(ip)) => {
            for (position, part) in ip.octets().into_iter().enumerate() {
                if position > 0 {
                    out.push(b'.');
                }
                number(out, part);
            }
        }
        Some(IpAddr::V6(ip)) => drop(write!(out, "{ip}")),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" method=");
    out.extend_from_slice(line.method.as_bytes());
    out.extend_from_slice(b" host=");
    word(out, line.host);
    out.extend_from_slice(b" target=");
    word(out, line.target);
    out.extend_from_slice(b" status=");
    number(out, line.status);
    out.extend_from_slice(b" ms=");
    millis(out, line.duration);
    if let Some(upstream) = line.upstream {
        out.extend_from_slice(b" upstream_ms=");
        millis(out, upstream);
    }
    out.extend_from_slice(b" bytes=");
    number(out, line.bytes);
    if let Some(received) = line.received {
        out.extend_from_slice(b" bytes_in=");
        number(out, received);
    }
    if let Some(session) = line.session {
        out.extend_from_slice(b" user=");
        word(out, &session.identity.user_text());
        out.extend_from_slice(b" session=");
        out.extend_from_slice(session.identity.session());
    }
    // Of letters, digits and three marks.
    if let Some(id) = line.request_id {
        out.extend_from_slice(b" id=");
        out.extend_from_slice(id.as_bytes());
    }
    if let Some(trace) = line.trace {
        out.extend_from_slice(b" trace=");
        out.extend_from_slice(&trace.hex());
    }
    out.extend_from_slice(b" verdict=");
    out.extend_from_slice(line.verdict.as_bytes());
    if !line.complete {
        out.extend_from_slice(b" aborted=true");
    }
    if let Some(cut) = line.cut {
        out.extend_from_slice(b" cut=");
        out.extend_from_slice(cut.as_bytes());
    }
    out.push(b'\n');
}

fn write_json(out: &mut Vec<u8>, line: &Line<'_>, prefix: &str) {
    out.extend_from_slice(b"{\"time\":\"");
    time(out, line, prefix);
    out.push(b'"');
    if let Some(ip) = line.client {
        let _ = write!(out, ",\"client\":\"{ip}\"");
    }
    for (key, value) in [("method", line.method), ("host", line.host), ("target", line.target)] {
        let _ = write!(out, ",\"{key}\":");
        quoted(out, value);
    }
    let _ = write!(out, ",\"status\":{},\"ms\":", line.status);
    millis(out, line.duration);
    if let Some(upstream) = line.upstream {
        out.extend_from_slice(b",\"upstream_ms\":");
        millis(out, upstream);
    }
    let _ = write!(out, ",\"bytes\":{}", line.bytes);
    if let Some(received) = line.received {
        let _ = write!(out, ",\"bytes_in\":{received}");
    }
    if let Some(session) = line.session {
        out.extend_from_slice(b",\"user\":");
        quoted(out, &session.identity.user_text());
        let _ = write!(out, ",\"session\":\"{}\"", session.id);
    }
    if let Some(id) = line.request_id {
        let _ = write!(out, ",\"id\":\"{id}\"");
    }
    if let Some(trace) = line.trace {
        out.extend_from_slice(b",\"trace\":\"");
        out.extend_from_slice(&trace.hex());
        out.push(b'"');
    }
    let _ = write!(out, ",\"verdict\":\"{}\"", line.verdict);
    if !line.complete {
        out.extend_from_slice(b",\"aborted\":true");
    }
    if let Some(cut) = line.cut {
        let _ = write!(out, ",\"cut\":\"{cut}\"");
    }
    out.extend_from_slice(b"}\n");
}

/// Milliseconds with three places, without the cost of formatting a float.
fn millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    out.push(b'.');
    three_digits(out, micros % 1000);
}

fn time(out: &mut Vec<u8>, line: &Line<'_>, prefix: &str) {
    out.extend_from_slice(prefix.as_bytes());
    out.push(b'.');
    three_digits(out, u64::try_from(line.at.as_millis().rem_euclid(1000)).unwrap_or(0));
    out.push(b'Z');
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A number below a thousand, zeros before it included.
fn three_digits(out: &mut Vec<u8>, number: u64) {
    // Each is one decimal digit.
    let digit = |value: u64| b'0' + u8::try_from(value % 10).unwrap_or(0);
    out.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]);
}

/// A word as it is; anything that could be mistaken for the end of it, or for another line, in quotes.
fn word(out: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        out.push(b'-');
    // All bytes are looked at whatever the first ones are, so that many are looked at at once.
    } else if text.bytes().fold(true, |plain, byte| plain & !matches!(byte, 0..=b' ' | b'"' | b'\\' | 0x7f)) {
        out.extend_from_slice(text.as_bytes());
    } else {
        quoted(out, text);
    }
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for char in text.chars() {
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            control if control.is_control() => drop(write!(out, "\\u{:04x}", u32::from(control))),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(target: &str) -> Line<'_> {
        Line {
            at: Timestamp::from_millis(1_763_656_204_250),
            client: Some("192.0.2.7".parse().unwrap()),
            method: "GET",
            host: "app.example.org",
            target,
            status: 200,
            duration: Duration::from_micros(1_234),
            upstream: Some(Duration::from_micros(987)),
            bytes: 17,
            session: None,
            verdict: "forwarded",
            complete: true,
            cut: None,
            received: None,
            request_id: None,
            trace: None,
        }
    }

    fn logged(format: LogFormat, lines: &[Line<'_>]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = AccessWriter::start(&AccessLog::File(file.path().to_owned())).unwrap().unwrap();
        let buffer = writer.buffer(format, Arc::default());
        for line in lines {
            buffer.add(line);
        }
        buffer.flush();
        drop(buffer);
        writer.finish();
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn a_new_log_is_not_for_everybody_to_read() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("access.log");
        let writer = AccessWriter::start(&AccessLog::File(path.clone())).unwrap().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
        writer.finish();
    }

    #[test]
    fn a_request_is_one_line_of_words() {
        assert_eq!(
            logged(LogFormat::Text, &[line("/a/b")]),
            "2025-11-20T16:30:04.250Z client=192.0.2.7 method=GET host=app.example.org target=/a/b status=200 ms=1.234 \
             upstream_ms=0.987 bytes=17 verdict=forwarded\n"
        );
    }

    #[test]
    fn a_stream_that_was_cut_says_why_and_a_tunnel_counts_both_ways() {
        let cut =
            || Line { status: 101, complete: false, cut: Some("session_revoked"), received: Some(5), ..line("/ws") };
        let log = logged(LogFormat::Text, &[cut()]);
        assert!(log.ends_with("bytes=17 bytes_in=5 verdict=forwarded aborted=true cut=session_revoked\n"), "{log}");
        let log: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, &[cut()])).unwrap();
        assert_eq!((&log["bytes_in"], &log["cut"]), (&5.into(), &"session_revoked".into()));
    }

    #[test]
    fn an_id_and_a_trace_stand_in_front_of_the_verdict() {
        let known = || Line { request_id: Some("a.b-1"), trace: TraceId::new(0xab), ..line("/a") };
        let trace = format!("{:032x}", 0xab);
        let log = logged(LogFormat::Text, &[known()]);
        assert!(log.ends_with(&format!("bytes=17 id=a.b-1 trace={trace} verdict=forwarded\n")), "{log}");
        let log: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, &[known()])).unwrap();
        assert_eq!((&log["id"], &log["trace"]), (&"a.b-1".into(), &trace.into()));
    }

    #[test]
    fn a_target_cannot_forge_a_line() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged(format, &[line("/a\" status=200\n2025 x"), Line { complete: false, ..line("/b") }]);
            assert_eq!(log.lines().count(), 2, "{log}");
            assert!(log.lines().next().unwrap().contains(r#"\" status=200\u000a2025 x"#), "{log}");
        }
    }

    #[test]
    fn every_json_line_is_json() {
        let log = logged(LogFormat::Json, &[line("/a\"\\\u{1}"), line("/b")]);
        for line in log.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["status"], 200);
            assert_eq!(value["ms"], 1.234);
        }
    }

    #[test]
    fn lines_that_find_no_room_are_counted() {
        let (blocks, _never_read) = sync_channel(0);
        let metrics = Arc::new(SharedMetrics::default());
        let buffer =
            AccessBuffer { buffer: Mutex::default(), blocks, format: LogFormat::Text, metrics: metrics.clone() };
        buffer.add(&line("/a"));
        buffer.add(&line("/b"));
        buffer.flush();
        assert_eq!(metrics.log_lines_dropped.get(), 2);
    }
}
