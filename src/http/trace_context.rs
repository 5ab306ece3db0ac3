//! The headers by which a request is known beyond one program: `traceparent` and `tracestate` (W3C Trace Context, section
//! 3), and `X-Request-Id`.
//!
//! What cannot be read in one way is no `traceparent`: the trace begins anew, and the `tracestate` beside it goes, since it
//! belongs to a trace that nobody knows.

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::forwarding::{folds_to, remove_matching, write_field};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header of a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The longest id of a request that is kept.
const LONGEST_ID: usize = 128;

/// The id of a trace, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(u128);

/// The id of a span, never zero: what one program did in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(u64);

impl TraceId {
    /// The id of these bits; all zero is none.
    pub const fn new(bits: u128) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// Its bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// As it is written: 32 digits in lower case.
    pub fn hex(self) -> [u8; 32] {
        hex(self.0)
    }
}

impl SpanId {
    /// The id of these bits; all zero is none.
    pub const fn new(bits: u64) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// As it is written: 16 digits in lower case.
    pub fn hex(self) -> [u8; 16] {
        hex(u128::from(self.0))
    }
}

/// The last digits of a number, without an allocation.
fn hex<const N: usize>(mut number: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        // Four bits fit into a byte.
        let four = u8::try_from(number & 0xf).unwrap_or(0);
        *digit = if four < 10 { b'0' + four } else { b'a' + (four - 10) };
        number >>= 4;
    }
    digits
}

/// What a `traceparent` says: in which trace a request is, and which span it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span that sent the request.
    pub span: SpanId,
    /// Whether whoever sent it keeps what happens in the trace.
    pub sampled: bool,
}

impl TraceParent {
    /// The one of a request; `None` when there is none, several, or one that cannot be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(TRACEPARENT).iter();
        match (fields.next(), fields.next()) {
            (Some(field), None) => Self::parse(field.as_bytes()),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// Reads one: version, trace, span and flags, in lower-case digits. A later version may have more behind a dash.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let mut next = |length| parts.next().filter(|part| part.len() == length).and_then(digits);
        let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let ends = match version {
            0xff => false,
            0 => more.is_empty(),
            _ => more.is_empty() || more.first() == Some(&b'-'),
        };
        if !ends {
            return None;
        }
        Some(Self {
            trace: TraceId::new(trace)?,
            span: SpanId::new(u64::try_from(span).ok()?)?,
            // The other flags mean nothing in version 00, and are to be zero when they are sent on.
            sampled: flags & SAMPLED != 0,
        })
    }

    /// As it is sent.
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"traceparent: 00-");
        out.extend_from_slice(&self.trace.hex());
        out.extend_from_slice(b"-");
        out.extend_from_slice(&self.span.hex());
        out.extend_from_slice(if self.sampled { b"-01\r\n" } else { b"-00\r\n" });
    }
}

const SAMPLED: u128 = 1;

/// A number in lower-case hexadecimal digits.
fn digits(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(digit))
    })
}

/// The id that a request came with, if it is one that may be kept: it goes into logs and headers.
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut fields = headers.get_all(REQUEST_ID).iter();
    match (fields.next(), fields.next()) {
        (Some(id), None) if is_id(id.as_bytes()) => Some(id),
        (Some(_), Some(_) | None) | (None, _) => None,
    }
}

fn is_id(id: &[u8]) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// Which of these headers are ours to write, so that a client's are not passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// `traceparent` and `tracestate`.
    pub context: bool,
    /// `X-Request-Id`.
    pub request_id: bool,
}

impl Rewritten {
    /// Whether any is.
    pub const fn any(self) -> bool {
        self.context || self.request_id
    }

    /// Whether a header (or trailer) of a client would be taken for one of them by some application, which may fold names.
    pub fn claims(self, name: &HeaderName) -> bool {
        (self.context && (folds_to(name, b"traceparent") || folds_to(name, b"tracestate")))
            || (self.request_id && folds_to(name, b"xrequestid"))
    }

    /// Removes a client's from the headers. The `tracestate` of a trace that goes on is kept, and it alone.
    pub fn strip(self, headers: &mut HeaderMap, continued: bool) {
        remove_matching(headers, |name| self.claims(name) && !(continued && name.as_str() == "tracestate"));
    }
}

/// What an application is told of these.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The trace, and our span as the one that the request comes from.
    pub parent: Option<TraceParent>,
    /// The id of the request.
    pub request_id: Option<HeaderValue>,
}

impl Known {
    /// Writes it as header lines.
    pub fn write(&self, out: &mut BytesMut) {
        if let Some(parent) = &self.parent {
            parent.write(out);
        }
        if let Some(id) = &self.request_id {
            write_field(out, REQUEST_ID.as_str(), id.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
