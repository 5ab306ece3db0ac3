//! Writing a response to a client in HTTP/1.1 or 1.0: its head, and the frame around its body (RFC 9112).

use std::cell::RefCell;

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue, TRAILER};
use http::{StatusCode, Version, response};

use super::forwarding::{MOST_FIELDS, options, remove_matching, write_field};
use super::request::Terms;
use crate::clock::{self, Timestamp};

/// How a body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimited {
    /// There is none, whatever the head says of it.
    Bodiless,
    /// So many bytes, as the head says.
    Length(u64),
    /// In chunks.
    Chunks,
    /// Until the connection is closed.
    ByClose,
}

/// Writes the head of a final response, and says how its body is to be written and whether the connection may be used for
/// another request behind it. `length` is that of the body, when it is known.
pub fn write_head(
    out: &mut BytesMut,
    response: &response::Parts,
    length: Option<u64>,
    terms: Terms,
) -> (Delimited, bool) {
    let status = response.status;
    write_status_line(out, if terms.is_http_10 { Version::HTTP_10 } else { Version::HTTP_11 }, status);
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let has_no_length = status.is_informational() || status == StatusCode::NO_CONTENT;
    let bodiless = terms.is_head || has_no_length || status == StatusCode::NOT_MODIFIED;
    let (mut closes, mut dated, mut sized) = (!terms.keep_alive, false, false);
    for (name, value) in &response.headers {
        match name.as_str() {
            "connection" if !switches => {
                closes |= options(value).any(|option| option.eq_ignore_ascii_case(b"close"));
                continue;
            }
            // How long the body is, we know better. Where there is none, this is about the one that there would have been.
            "content-length" if !bodiless || has_no_length => continue,
            "content-length" => sized = true,
            // They are announced for chunks (RFC 9110 section 6.6.2).
            "trailer" if bodiless || length.is_some() || terms.is_http_10 => continue,
            "transfer-encoding" => continue,
            "date" => dated = true,
            _ => {}
        }
        write_field(out, name.as_str(), value.as_bytes());
    }
    let delimited = match length {
        _ if has_no_length || status == StatusCode::NOT_MODIFIED => Delimited::Bodiless,
        Some(length) if terms.is_head => {
            if !sized && length > 0 {
                write_length(out, length);
            }
            Delimited::Bodiless
        }
        None if terms.is_head => Delimited::Bodiless,
        Some(length) => {
            write_length(out, length);
            Delimited::Length(length)
        }
        None if terms.is_http_10 => Delimited::ByClose,
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Delimited::Chunks
        }
    };
    closes |= delimited == Delimited::ByClose;
    if !switches {
        match (closes, terms.is_http_10) {
            (true, _) => out.extend_from_slice(b"connection: close\r\n"),
            (false, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (false, false) => {}
        }
    }
    // RFC 9110 section 6.6.1: who passes a response on adds the date that it lacks.
    if !dated {
        write_date(out, clock::now().wall);
    }
    out.extend_from_slice(b"\r\n");
    (delimited, !closes && !switches)
}

/// Writes an interim response (RFC 9110 section 15.2).
pub fn write_interim(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    write_status_line(out, Version::HTTP_11, status);
    for (name, value) in headers {
        write_field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The client is to send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn write_status_line(out: &mut BytesMut, version: Version, status: StatusCode) {
    if version == Version::HTTP_11 && status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    // Nobody reads it; the space before it is asked for (RFC 9112 section 4).
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes what stands before a chunk of so many bytes; behind it stands a line break.
pub fn write_chunk_size(out: &mut BytesMut, size: usize) {
    out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
}

/// Which trailers a response announces, of those that may be.
pub fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = headers.get_all(TRAILER).iter().flat_map(options).filter_map(|name| HeaderName::from_bytes(name).ok());
    names.filter(may_trail).take(MOST_FIELDS).collect()
}

/// Writes the last chunk, and what of the trailers was `announced`.
pub fn write_last_chunk(out: &mut BytesMut, trailers: &HeaderMap, announced: &[HeaderName]) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| announced.contains(name)) {
        write_field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Takes out of trailers what may not be among them.
pub fn keep_what_may_trail(trailers: &mut HeaderMap) {
    remove_matching(trailers, |name| !may_trail(name));
}

/// RFC 9110 section 6.5.1: not what frames, routes or describes the content, and not what a client would act upon.
fn may_trail(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "host"
            | "max-forwards"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The date for a response that lacks one. `None` in a year that has no such form.
pub fn date() -> Option<HeaderValue> {
    with_date(clock::now().wall, |latest| latest.value.clone())
}

/// The date in the form of the header, made once a second on each thread.
struct Dated {
    second: i64,
    line: Vec<u8>,
    value: Option<HeaderValue>,
}

thread_local! {
    static LATEST: RefCell<Dated> = const { RefCell::new(Dated { second: i64::MIN, line: Vec::new(), value: None }) };
}

fn with_date<R>(now: Timestamp, look: impl FnOnce(&Dated) -> R) -> R {
    LATEST.with_borrow_mut(|latest| {
        let second = now.as_millis().div_euclid(1000);
        if latest.second != second {
            let date = now.to_http_date();
            let line = date.as_ref().map_or_else(Vec::new, |date| format!("date: {date}\r\n").into_bytes());
            *latest = Dated { second, line, value: date.and_then(|date| HeaderValue::try_from(date).ok()) };
        }
        look(latest)
    })
}

fn write_date(out: &mut BytesMut, now: Timestamp) {
    with_date(now, |latest| out.extend_from_slice(&latest.line));
}

#[cfg(test)]
mod tests;
