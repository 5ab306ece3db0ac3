//! Reading the heads of a client's HTTP/1.1 requests: where they end, what they say about the connection, and how long the
//! body is (RFC 9112).
//!
//! A pure function on a buffer of what was received so far. What can be read in two ways is refused: behind the end that we
//! see, somebody else may see the middle of another request.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri, Version};

use super::forwarding::{MOST_FIELDS, options};
use super::framing::{Chunk, Framing, length};
use super::places::{Places, field, share};

/// The longest target that the `http` crate holds.
const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// A request's head, and what follows it.
#[derive(Debug)]
pub struct Head {
    /// Method, target, version and fields.
    pub request: Request<()>,
    /// How the body is delimited.
    pub framing: Framing,
    /// What the request says about its connection and its answer.
    pub terms: Terms,
    /// Whether the client waits for a word before it sends the body (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    /// Whether it would have another protocol on this connection (RFC 9110 section 7.8).
    pub upgrades: bool,
}

/// On which terms a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// In HTTP/1.0: without chunks, and without interim answers.
    pub is_http_10: bool,
    /// Whether the answer has no content, whatever it says of it.
    pub is_head: bool,
    /// Whether the connection may be used for another request after the answer.
    pub keep_alive: bool,
    /// Whether the client reads trailers (RFC 9110 section 10.1.4).
    pub takes_trailers: bool,
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no HTTP/1 request, or leaves a doubt about where it ends.
    #[error("it is no request of HTTP/1.1")]
    Malformed,
    /// Its head is too large, or has more than [`MOST_FIELDS`] fields.
    #[error("its head is too large")]
    TooLarge,
    /// Its target is too long.
    #[error("its target is too long")]
    TargetTooLong,
}

impl Unreadable {
    /// With what it is answered.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
        }
    }
}

/// Takes the head of a request off the buffer; it may have `longest` bytes. `None` when there is not enough yet.
///
/// `room` is an empty map whose memory the fields may have.
///
/// # Errors
/// [`Unreadable`] when this can never become a request.
pub fn take_head(buffer: &mut BytesMut, longest: usize, room: &mut HeaderMap) -> Result<Option<Head>, Unreadable> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_request_with_uninit_headers(&mut parsed, buffer, &mut fields)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => Unreadable::TooLarge,
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version => Unreadable::Malformed,
        })?;
    let httparse::Status::Complete(head_length) = status else {
        return if buffer.len() > longest { Err(Unreadable::TooLarge) } else { Ok(None) };
    };
    if head_length > longest {
        return Err(Unreadable::TooLarge);
    }
    let (Some(method), Some(path), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Unreadable::Malformed);
    };
    if path.len() > LONGEST_TARGET {
        return Err(Unreadable::TargetTooLong);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Unreadable::Malformed)?;
    let places = Places::of(buffer, parsed.headers);
    let path = places.place(path.as_bytes());
    let head = buffer.split_to(head_length).freeze();

    let target =
        share(&head, &path).and_then(|target| Uri::from_maybe_shared(target).ok()).ok_or(Unreadable::Malformed)?;
    let mut said = Said::new(minor == 0);
    let mut headers = std::mem::take(room);
    headers.reserve(places.len());
    for place in places.fields() {
        let (name, value) = field(&head, place).ok_or(Unreadable::Malformed)?;
        if said.keeps(&name, &value)? {
            headers.append(name, value);
        }
    }
    let framing = said.framing(&mut headers)?;
    let terms = Terms {
        is_http_10: said.is_http_10,
        is_head: method == Method::HEAD,
        keep_alive: said.keep_alive(),
        takes_trailers: said.takes_trailers,
    };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.version_mut() = if said.is_http_10 { Version::HTTP_10 } else { Version::HTTP_11 };
    *request.headers_mut() = headers;
    let expects_continue = said.expects_continue && !said.is_http_10;
    Ok(Some(Head { request, framing, terms, expects_continue, upgrades: said.upgrades && !said.is_http_10 }))
}

/// What a head says about its connection and its body, gathered while it is read.
#[derive(Debug)]
struct Said {
    is_http_10: bool,
    /// The last transfer coding that was named, if any was: whether it is `chunked`.
    chunked: Option<bool>,
    length: Option<u64>,
    closes: bool,
    keeps_alive: bool,
    expects_continue: bool,
    upgrades: bool,
    takes_trailers: bool,
}

impl Said {
    const fn new(is_http_10: bool) -> Self {
        Self {
            is_http_10,
            chunked: None,
            length: None,
            closes: false,
            keeps_alive: false,
            expects_continue: false,
            upgrades: false,
            takes_trailers: false,
        }
    }

    /// Takes note of a field, and says whether it is one of the request's.
    fn keeps(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Unreadable> {
        match name.as_str() {
            "connection" => {
                for option in options(value) {
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            // HTTP/1.0 knows no codings (RFC 9112 section 6.1).
            "transfer-encoding" if self.is_http_10 => return Err(Unreadable::Malformed),
            "transfer-encoding" => {
                self.chunked =
                    Some(options(value).last().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")));
            }
            // The same one several times is tolerated and made one.
            "content-length" => {
                let length = length(value).ok_or(Unreadable::Malformed)?;
                return match self.length.replace(length) {
                    None => Ok(true),
                    Some(first) if first == length => Ok(false),
                    Some(_) => Err(Unreadable::Malformed),
                };
            }
            "expect" => self.expects_continue = value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
            "upgrade" => self.upgrades = true,
            "te" => {
                // A weight may follow, as in `trailers;q=0.5`; it is not one of this coding (RFC 9110 section 10.1.4).
                self.takes_trailers |= options(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            _ => {}
        }
        Ok(true)
    }

    /// RFC 9112 section 6.3.
    fn framing(&self, headers: &mut HeaderMap) -> Result<Framing, Unreadable> {
        match (self.chunked, self.length) {
            (Some(false), _) => Err(Unreadable::Malformed),
            (Some(true), length) => {
                // The length is wrong, and somebody may have believed it: what follows on this connection is not read.
                if length.is_some() {
                    headers.remove(CONTENT_LENGTH);
                }
                Ok(Framing::Chunked(Chunk::Size))
            }
            (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }

    /// RFC 9112 section 9.3.
    const fn keep_alive(&self) -> bool {
        let is_doubtful = self.chunked.is_some() && self.length.is_some();
        !self.closes && !is_doubtful && (!self.is_http_10 || self.keeps_alive)
    }
}

#[cfg(test)]
mod tests;
