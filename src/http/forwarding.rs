//! What changes in a message's headers on its way through: hop-by-hop fields go, forwarding fields are written anew,
//! identity fields become ours.
//!
//! The order is the security of it (RFC 9110 section 7.6.1): everything that a client could have named in `Connection`
//! is removed first, and ours is set afterwards, so that `Connection: X-Auth-User` cannot drop it.

use std::net::IpAddr;

use bytes::BytesMut;
use http::Method;
use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use smallvec::SmallVec;

use super::client::Scheme;
use super::identity;
use super::trace_context::{Known, Rewritten};
use crate::error::Problem;
use crate::session::Session;

/// The most fields of a client's head or trailers, and the most that a `Connection` names.
pub const MOST_FIELDS: usize = 100;

/// There are more fields than [`MOST_FIELDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more fields than a message may have")]
pub struct TooManyFields;

/// How the application is told where a request came from: the header lines, written once for a connection.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `X-Forwarded-For`, `X-Real-IP` and `X-Forwarded-Proto`, and `Forwarded` (RFC 7239) up to its host.
    lines: Box<[u8]>,
}

impl Origin {
    /// A request of the client at `address`, made over `scheme`.
    pub fn new(address: IpAddr, scheme: Scheme) -> Self {
        let node = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("\"[{v6}]\""),
        };
        let scheme = scheme.as_str();
        let lines = format!(
            "x-forwarded-for: {address}\r\nx-real-ip: {address}\r\nx-forwarded-proto: {scheme}\r\n\
             forwarded: for={node};proto={scheme}"
        );
        Self { lines: lines.into_bytes().into_boxed_slice() }
    }

    /// Writes the lines for a request to `host`. A canonical host has neither quotes nor backslashes nor control bytes, but
    /// may have a port or brackets, so it is quoted where that matters.
    fn write(&self, out: &mut BytesMut, host: Option<&HeaderValue>) {
        out.extend_from_slice(&self.lines);
        if let Some(host) = host {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host.as_bytes());
            out.extend_from_slice(b"\"\r\nx-forwarded-host: ");
            out.extend_from_slice(host.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What the application is told beside the client's own headers.
#[derive(Debug)]
pub struct Telling<'a> {
    /// Where the request came from.
    pub origin: &'a Origin,
    /// The host that the client asked for.
    pub host: Option<&'a HeaderValue>,
    /// Which headers carry the identity.
    pub names: &'a identity::Names,
    /// Whose session it is, if anybody's.
    pub session: Option<&'a Session>,
    /// The signed assertion of that, if the application gets one.
    pub assertion: Option<&'a str>,
    /// By what the request is known beyond us, where that is ours to say.
    pub known: Option<&'a Known>,
}

/// How a request's body is delimited on its way to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none, and nothing is said about it.
    None,
    /// So many bytes.
    Exactly(u64),
    /// In chunks.
    Chunked,
    /// There is none: what follows is a WebSocket, if the application agrees.
    WebSocket,
}

/// The first line of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a Method,
    /// The canonical target.
    pub target: &'a PathAndQuery,
    /// The value of `Host`.
    pub host: &'a HeaderValue,
}

/// Writes the head of the request to the application, from the headers of the client's request, in one pass over them.
///
/// `Expect` goes too: the gateway itself says `100 Continue`, when the application begins to read. So does the client's
/// framing: `length` says how the body is sent on, whatever the client said.
///
/// # Errors
/// `invalid_request` when `Connection` names more than a message may have; nothing is written then.
pub fn write_request_head(
    out: &mut BytesMut,
    line: RequestLine<'_>,
    headers: &HeaderMap,
    telling: &Telling<'_>,
    length: BodyLength,
) -> Result<(), Problem> {
    let named = named_in(headers.get_all(header::CONNECTION))
        .map_err(|TooManyFields| Problem::invalid("Connection", "It names more fields than a request may have."))?;
    out.extend_from_slice(line.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(line.target.as_str().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(line.host.as_bytes());
    out.extend_from_slice(b"\r\n");

    for (name, value) in headers {
        let dropped = is_hop_by_hop(name)
            || matches!(name.as_str(), "host" | "content-length" | "expect")
            || is_forwarding(name)
            || telling.names.claims(name)
            || named.contains_key(name);
        if !dropped {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }

    telling.origin.write(out, telling.host);
    if let Some(session) = telling.session {
        telling.names.write(out, session);
    }
    if let Some(assertion) = telling.assertion {
        write_field(out, telling.names.assertion.as_str(), assertion.as_bytes());
    }
    if let Some(known) = telling.known {
        known.write(out);
    }
    match length {
        BodyLength::None => {}
        BodyLength::Exactly(length) => {
            write_field(out, "content-length", itoa::Buffer::new().format(length).as_bytes())
        }
        BodyLength::Chunked => write_field(out, "transfer-encoding", b"chunked"),
        // The one protocol that is ever asked for, whatever else the client would have liked.
        BodyLength::WebSocket => out.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Names and values of a [`HeaderMap`] hold no line break, so a field is one line.
pub(super) fn write_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Removes from a request's trailers what only we may say, what belongs to one connection, and what means something in
/// the headers alone.
///
/// # Errors
/// [`TooManyFields`], as for a head.
pub fn trailers_to_upstream(
    trailers: &mut HeaderMap,
    names: &identity::Names,
    rewritten: Rewritten,
) -> Result<(), TooManyFields> {
    if trailers.len() > MOST_FIELDS {
        return Err(TooManyFields);
    }
    remove_matching(trailers, |name| {
        is_hop_by_hop(name)
            || is_forwarding(name)
            || names.claims(name)
            || rewritten.claims(name)
            || belongs_to_headers(name)
    });
    Ok(())
}

/// RFC 9110 section 6.5.1: fields that frame, address or describe the content, and credentials, which would bypass what is
/// done with them in the headers. Some applications merge trailers into the headers all the same, and fold names there.
fn belongs_to_headers(name: &HeaderName) -> bool {
    const THESE: [&[u8]; 12] = [
        b"authorization",
        b"cachecontrol",
        b"contentencoding",
        b"contentlength",
        b"contentrange",
        b"contenttype",
        b"cookie",
        b"expect",
        b"host",
        b"range",
        b"trailer",
        b"transferencoding",
    ];
    THESE.iter().any(|this| folds_to(name, this))
}

/// Whether a name is this one but for marks, which some applications fold away.
pub(super) fn folds_to(name: &HeaderName, this: &[u8]) -> bool {
    name.as_str().bytes().filter(u8::is_ascii_alphanumeric).eq(this.iter().copied())
}

/// Whether a request's body is what it seems. Each connection frames a body anew, so a coding other than `chunked` would
/// be left on it without a name; nobody may use one unasked (RFC 9112 section 7.4).
pub fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (fields.next(), fields.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// RFC 9110 section 7.6.1: the fields that `Connection` names, which end here.
///
/// They are a set, so that a long list costs one look for each word, and each field one more. Most lists have nothing but words
/// that drop no field; for them nothing is allocated.
///
/// # Errors
/// [`TooManyFields`] when it names more different ones than any message has.
pub(super) fn named_in<'h>(
    connection: impl IntoIterator<Item = &'h HeaderValue>,
) -> Result<HeaderMap<()>, TooManyFields> {
    // What is about the connection goes anyway. The others say how the message is framed and addressed, and nobody can have
    // them dropped.
    const DROPS_NOTHING: [&[u8]; 7] =
        [b"keep-alive", b"close", b"upgrade", b"te", b"host", b"content-length", b"content-type"];

    let mut named = HeaderMap::default();
    for option in connection.into_iter().flat_map(options) {
        if DROPS_NOTHING.iter().any(|word| option.eq_ignore_ascii_case(word)) {
            continue;
        }
        let full = named.len() >= MOST_FIELDS;
        // What cannot be a name is no field's.
        let Ok(option) = std::str::from_utf8(option) else { continue };
        match named.try_entry(option) {
            Ok(Entry::Vacant(_)) if full => return Err(TooManyFields),
            Ok(Entry::Vacant(place)) => {
                place.insert(());
            }
            Ok(Entry::Occupied(_)) | Err(_) => {}
        }
    }
    Ok(named)
}

/// The words of one `Connection` field.
pub(super) fn options(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Removes the fields that `condemned` picks, each of which is looked at once: to begin anew after each removal is quadratic.
/// Most messages have none or a few, for which nothing is allocated.
pub(super) fn remove_matching(headers: &mut HeaderMap, condemned: impl Fn(&HeaderName) -> bool) {
    let names: SmallVec<[HeaderName; 4]> = headers.keys().filter(|name| condemned(name)).cloned().collect();
    for name in &names {
        headers.remove(name);
    }
}

/// RFC 9110 section 7.6.1 and the older names that are still sent. Framing is written anew by the connection that sends.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    // As text, which is told apart by its length first; each comparison with a name of the `http` crate would be a call.
    matches!(
        name.as_str(),
        "connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
    )
}

/// `Forwarded`, `X-Real-IP` and all of `X-Forwarded-*`, in every spelling that an application might fold.
fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    // The names begin with x or f, perhaps after marks that fold away; most other headers are told apart by one byte.
    if !name.starts_with(['x', 'f']) && name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return false;
    }
    let mut folded = name.bytes().filter(u8::is_ascii_alphanumeric);
    let mut rest = folded.clone();
    if b"xforwarded".iter().all(|byte| rest.next() == Some(*byte)) {
        return true;
    }
    folded.clone().eq(b"forwarded".iter().copied()) || folded.by_ref().eq(b"xrealip".iter().copied())
}

#[cfg(test)]
mod tests;
