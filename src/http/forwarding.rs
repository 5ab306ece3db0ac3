//! What changes in a message's headers on its way through: hop-by-hop fields go, forwarding fields are written anew,
//! identity fields become ours.
//!
//! The order is the security of it (RFC 9110 section 7.6.1): everything that a client could have named in `Connection`
//! is removed first, and ours is set afterwards, so that `Connection: X-Auth-User` cannot drop it.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::client::Scheme;
use super::identity;
use crate::session::Session;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// How the application is told where a request came from, in the forms that header values need.
#[derive(Clone, Debug)]
pub struct Origin {
    address: HeaderValue,
    /// `for=…;proto=…` for `Forwarded` (RFC 7239), to which the host is added.
    forwarded: String,
    scheme: HeaderValue,
}

impl Origin {
    /// A request of the client at `address`, made over `scheme`.
    pub fn new(address: IpAddr, scheme: Scheme) -> Self {
        let node = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("\"[{v6}]\""),
        };
        let forwarded = format!("for={node};proto={}", scheme.as_str());
        Self {
            // An address in text is visible ASCII, so this cannot fail.
            address: HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown")),
            forwarded,
            scheme: HeaderValue::from_static(scheme.as_str()),
        }
    }

    /// `Forwarded` for a request to `host`.
    fn forwarded(&self, host: Option<&HeaderValue>) -> Option<HeaderValue> {
        let mut value = String::with_capacity(self.forwarded.len() + 40);
        value.push_str(&self.forwarded);
        // A canonical host has neither quotes nor backslashes, but may have a port or brackets: always quoted.
        if let Some(host) = host.and_then(|host| host.to_str().ok()) {
            value.push_str(";host=\"");
            value.push_str(host);
            value.push('"');
        }
        HeaderValue::try_from(value).ok()
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
}

/// Makes a client's request headers those of the request to the application. `Expect` goes too: the gateway itself says
/// `100 Continue`, when the application begins to read.
pub fn to_upstream(headers: &mut HeaderMap, telling: &Telling<'_>) {
    remove_connection_options(headers);
    remove_matching(headers, |name| {
        is_hop_by_hop(name) || is_forwarding(name) || telling.names.claims(name) || *name == header::EXPECT
    });

    let origin = telling.origin;
    headers.insert(X_FORWARDED_FOR, origin.address.clone());
    headers.insert(X_REAL_IP, origin.address.clone());
    headers.insert(X_FORWARDED_PROTO, origin.scheme.clone());
    if let Some(host) = telling.host {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    if let Some(forwarded) = origin.forwarded(telling.host) {
        headers.insert(header::FORWARDED, forwarded);
    }
    if let Some(session) = telling.session {
        telling.names.set(headers, session);
    }
}

/// Makes an application's response headers those of the response to the client.
pub fn to_client(headers: &mut HeaderMap) {
    remove_connection_options(headers);
    remove_matching(headers, is_hop_by_hop);
}

/// Removes from a request's trailers what only we may say, and what belongs to one connection.
pub fn trailers_to_upstream(trailers: &mut HeaderMap, names: &identity::Names) {
    remove_matching(trailers, |name| is_hop_by_hop(name) || is_forwarding(name) || names.claims(name));
}

/// Whether a message's body is what it seems. Each connection frames a body anew, so a coding other than `chunked` would
/// be left on it without a name; nobody may use one unasked (RFC 9112 section 7.4).
pub fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (fields.next(), fields.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// RFC 9110 section 7.6.1: fields named in `Connection` end here.
fn remove_connection_options(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let options: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        // These say how the message is framed and addressed; a client cannot have them dropped.
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE))
        .collect();
    for name in options {
        headers.remove(name);
    }
}

/// Removes the fields that `condemned` picks. Most messages have none or one, so nothing is collected up front.
fn remove_matching(headers: &mut HeaderMap, condemned: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| condemned(name)).cloned() {
        headers.remove(name);
    }
}

/// RFC 9110 section 7.6.1 and the older names that are still sent. Framing is written anew by the connection that sends.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
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
