//! Opening a WebSocket (RFC 6455): the client's request, the application's consent, and where a frame ends.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, request};

use super::client::Scheme;
use super::origin::SiteOrigin;
use crate::error::{Code, Problem};

/// What the protocol is called in `Upgrade`.
pub const PROTOCOL: &str = "websocket";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request to open a WebSocket that may be one.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What the application has to answer to show that it means it.
    accept: String,
}

impl Opening {
    /// What a request asks for: `None` when it asks for no upgrade, or for another one, which then is as if it did not.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] for a WebSocket that cannot be opened like this (RFC 6455 section 4.2.1). Such a request is not
    /// made a plain one: whoever wrote it goes on in another protocol than we would.
    pub fn of(request: &request::Parts) -> Result<Option<Self>, Problem> {
        let headers = &request.headers;
        if !names(headers, &UPGRADE, PROTOCOL) || !names(headers, &CONNECTION, "upgrade") {
            return Ok(None);
        }
        if request.method != Method::GET {
            return Err(Problem::invalid("Upgrade", "A WebSocket is opened with GET."));
        }
        let empty = headers.get_all(CONTENT_LENGTH).iter().all(|length| length == "0");
        if headers.contains_key(TRANSFER_ENCODING) || !empty {
            return Err(Problem::invalid("Upgrade", "A request that opens a WebSocket has no body."));
        }
        if only(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Problem::invalid("Sec-WebSocket-Version", "The version of WebSocket that is spoken is 13."));
        }
        let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
        let key = key.ok_or_else(|| {
            Problem::invalid("Sec-WebSocket-Key", "A WebSocket is opened with one key of 16 bytes in base64.")
        })?;
        Ok(Some(Self { accept: accept(key) }))
    }

    /// Whether the headers of a 101 say that the application opens the WebSocket.
    pub fn is_accepted(&self, headers: &HeaderMap) -> bool {
        only(headers, &UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()))
            && only(headers, &SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept == self.accept.as_str())
    }
}

/// Requires that a WebSocket which a browser opens with its cookie is opened by a page of this site, or of one that is
/// `allowed`. No page is asked whether another site may do that, and the cookie goes along; so it is for the server to look
/// (RFC 6455 section 10.2). A program that sends no `Origin` is no browser.
///
/// # Errors
/// [`Code::Csrf`].
pub fn require_known_origin(
    headers: &HeaderMap,
    scheme: Scheme,
    host: Option<&HeaderValue>,
    allowed: &[SiteOrigin],
) -> Result<(), Problem> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let known = match (origins.next(), origins.next()) {
        (None, _) => headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none"),
        (Some(origin), None) => {
            host.is_some_and(|host| SiteOrigin::is_own(origin, scheme, host))
                || allowed.iter().any(|site| site.is(origin))
        }
        (Some(_), Some(_)) => false,
    };
    if known {
        Ok(())
    } else {
        Err(Problem::with_detail(Code::Csrf, "A WebSocket with the session cookie must be opened by this site itself."))
    }
}

/// Whether the request that a proxy asks about opens a WebSocket, as far as that can be known. Many proxies do not tell of
/// `Upgrade`, which is about their own connection; but no other request has the fields that stand beside it, of which one
/// is left over HTTP/2 too (RFC 8441 section 5). Some applications fold names.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    const OF_WEBSOCKETS: &[u8] = b"secwebsocket";

    let folded = |name: &HeaderName| {
        let letters = name.as_str().bytes().filter(u8::is_ascii_alphanumeric);
        letters.take(OF_WEBSOCKETS.len()).eq(OF_WEBSOCKETS.iter().copied())
    };
    headers.keys().any(folded) || names(headers, &UPGRADE, PROTOCOL)
}

/// Whether a list in fields of this name has this word.
fn names(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let mut words = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|found| found.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// The value of a field that must stand there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_key(key: &HeaderValue) -> bool {
    key.len() == 24 && STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16)
}

/// RFC 6455 section 4.2.2, item 5.4. It proves that the other side speaks the protocol, and nothing else.
fn accept(key: &HeaderValue) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat()))
}

/// Where one direction of a WebSocket stands: between two frames or within one. Payloads are counted, not looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    /// The bytes of a frame's header so far …
    header: [u8; 14],
    have: usize,
    /// … or what is left of its payload.
    payload: u64,
    closed: bool,
}

impl Frames {
    /// These bytes went by.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let length = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= length as u64;
                bytes = bytes.get(length..).unwrap_or_default();
                continue;
            }
            let (Some(byte), Some(place)) = (bytes.first(), self.header.get_mut(self.have)) else { return };
            *place = *byte;
            self.have += 1;
            bytes = bytes.get(1..).unwrap_or_default();
            if self.have == self.header_length() {
                self.payload = self.payload_length();
                self.closed |= self.header.first().is_some_and(|first| first & 0x0f == CLOSE);
                self.have = 0;
            }
        }
    }

    /// Whether another frame may be put in here: between two frames, and before the last.
    pub const fn takes_another(&self) -> bool {
        self.have == 0 && self.payload == 0 && !self.closed
    }

    /// RFC 6455 section 5.2. Of a header that is not complete, as much as is known of its length.
    const fn header_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let [_, second, ..] = self.header;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        mask + match second & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn payload_length(&self) -> u64 {
        let [_, second, extended @ ..] = self.header;
        let of = |length: usize| extended.iter().take(length).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        match second & 0x7f {
            126 => of(2),
            // The first bit is zero, says the RFC.
            127 => of(8) & (u64::MAX >> 1),
            short => u64::from(short),
        }
    }
}

const CLOSE: u8 = 0x8;

/// Why we close a WebSocket (RFC 6455 section 7.4.1, and the registry of its codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// Whoever is there goes away, or nothing was said for too long.
    GoingAway,
    /// It may not go on.
    Policy,
    /// It may be tried again later.
    TryAgainLater,
}

/// The frame with which a server closes.
pub fn close_frame(code: CloseCode, reason: &str) -> Vec<u8> {
    let code: u16 = match code {
        CloseCode::GoingAway => 1001,
        CloseCode::Policy => 1008,
        CloseCode::TryAgainLater => 1013,
    };
    // A control frame holds 125 bytes; our reasons are words.
    let reason = reason.as_bytes().get(..reason.len().min(123)).unwrap_or_default();
    let mut frame = vec![0x80 | CLOSE, u8::try_from(reason.len() + 2).unwrap_or(2)];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(reason);
    frame
}

#[cfg(test)]
mod tests;
