//! Reading the heads of an application's HTTP/1.1 responses: where they end, and how long the body is (RFC 9112).
//!
//! Pure functions on a buffer of what was received so far. Whatever leaves a doubt about where a response ends is an
//! error: a connection on which two parties disagree about that must not be used again, let alone by another client.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Response, StatusCode, Version};
use smallvec::SmallVec;

use super::forwarding::{is_hop_by_hop, named_in, options};
use super::framing::{Chunk, Framing, MAX_FIELDS, length};
use super::places::{Places, field};

/// The largest head of a response.
pub const MAX_HEAD: usize = 128 * 1024;

/// Why a response cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no HTTP/1 response.
    #[error("the response's head is not HTTP/1.1")]
    Head,
    /// Its head is larger than [`MAX_HEAD`] or has too many fields.
    #[error("the response's head is too large")]
    HeadTooLarge,
    /// It does not say clearly how long its body is.
    #[error("the response's length is not clear")]
    Length,
    /// Its trailers, which came without chunks, have too many fields.
    #[error("the response's trailers have too many fields")]
    Trailers,
}

/// A head and what follows it.
#[derive(Debug)]
pub struct Head {
    /// Status and headers, without those that end at this connection.
    pub response: Response<()>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the connection may be used for another request after the body.
    pub keep_alive: bool,
}

/// Takes the head of a final response off the buffer; `interim` gets those before it (1xx). `None` when there is not enough yet.
///
/// # Errors
/// [`Malformed`] when this can never become a response.
pub fn take_head(
    buffer: &mut BytesMut,
    method: &Method,
    interim: impl Fn(Response<()>),
) -> Result<Option<Head>, Malformed> {
    loop {
        let Some(head) = parse(buffer, method)? else { return Ok(None) };
        // RFC 9110 section 15.2; the switch to another protocol is final.
        if !head.response.status().is_informational() || head.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
        interim(head.response);
    }
}

fn parse(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => Malformed::HeadTooLarge,
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version => Malformed::Head,
        })?;
    let httparse::Status::Complete(length) = status else {
        return if buffer.len() > MAX_HEAD { Err(Malformed::HeadTooLarge) } else { Ok(None) };
    };
    if length > MAX_HEAD {
        return Err(Malformed::HeadTooLarge);
    }
    let code = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed::Head)?;
    let is_http_11 = parsed.version == Some(1);
    let places = Places::of(buffer, parsed.headers);
    let head = buffer.split_to(length).freeze();
    let mut response = Response::new(());
    *response.status_mut() = code;
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    headers.reserve(places.len());
    let mut hop = Hop::default();
    for place in places.fields() {
        let (name, value) = field(&head, place).ok_or(Malformed::Head)?;
        if hop.keeps(&name, &value)? {
            headers.append(name, value);
        }
    }
    for name in named_in(&hop.connection).map_err(|_| Malformed::Head)?.keys() {
        headers.remove(name);
    }
    if code == StatusCode::SWITCHING_PROTOCOLS {
        hop.tell_upgrade(headers);
    }
    let (framing, clear) = framing(method, code, headers, &hop, is_http_11)?;
    let keep_alive = clear && is_http_11 && framing != Framing::UntilClose && !hop.closes;
    Ok(Some(Head { response, framing, keep_alive }))
}

/// What a head says about this connection alone. It is taken out while the head is read, and not looked for afterwards.
#[derive(Debug, Default)]
struct Hop {
    connection: SmallVec<[HeaderValue; 1]>,
    closes: bool,
    upgrades: SmallVec<[HeaderValue; 1]>,
    codings: SmallVec<[HeaderValue; 1]>,
    length: Option<u64>,
}

impl Hop {
    /// Takes note of a field, and says whether it goes on to the client (RFC 9110 section 7.6.1).
    fn keeps(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Malformed> {
        match name.as_str() {
            "connection" => {
                self.closes |= options(value).any(|option| option.eq_ignore_ascii_case(b"close"));
                self.connection.push(value.clone());
                Ok(false)
            }
            "transfer-encoding" => {
                self.codings.push(value.clone());
                Ok(false)
            }
            "upgrade" => {
                self.upgrades.push(value.clone());
                Ok(false)
            }
            // The same one several times is tolerated and made one.
            "content-length" => {
                let length = length(value).ok_or(Malformed::Length)?;
                match self.length.replace(length) {
                    None => Ok(true),
                    Some(first) if first == length => Ok(false),
                    Some(_) => Err(Malformed::Length),
                }
            }
            _ => Ok(!is_hop_by_hop(name)),
        }
    }

    /// A switch to another protocol says to which one, for whoever asked for it: if `Connection` says so too (RFC 9110
    /// section 7.8). There is no body, whatever else it says.
    fn tell_upgrade(&mut self, headers: &mut HeaderMap) {
        headers.remove(CONTENT_LENGTH);
        if self.connection.iter().flat_map(options).any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            for protocol in self.upgrades.drain(..) {
                headers.append(UPGRADE, protocol);
            }
        }
    }
}

/// RFC 9112 section 6.3, and whether it left no doubt.
fn framing(
    method: &Method,
    status: StatusCode,
    headers: &mut HeaderMap,
    hop: &Hop,
    is_http_11: bool,
) -> Result<(Framing, bool), Malformed> {
    let chunked = match hop.codings.as_slice() {
        [] => false,
        [one] if one.as_bytes().eq_ignore_ascii_case(b"chunked") && is_http_11 => true,
        // Codings inside the chunks were not asked for, and HTTP/1.0 knows none.
        _ => return Err(Malformed::Length),
    };
    let length = hop.length;
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        // HEAD and 304 tell the length that a body would have had (RFC 9110 section 9.3.2). Who announces one may send it as well, a
        // moment later, and it would be taken for the next response: nobody else may be served on this connection.
        let announced = chunked || length.is_some_and(|length| length > 0);
        if status == StatusCode::NO_CONTENT {
            headers.remove(CONTENT_LENGTH);
        }
        return Ok((Framing::Length(0), !announced));
    }
    match (chunked, length) {
        // Both: the length is wrong, and somebody may have believed it (RFC 9112 section 6.3, item 3).
        (true, Some(_)) => {
            headers.remove(CONTENT_LENGTH);
            Ok((Framing::Chunked(Chunk::Size), false))
        }
        (true, None) => Ok((Framing::Chunked(Chunk::Size), true)),
        (false, Some(length)) => Ok((Framing::Length(length), true)),
        (false, None) => Ok((Framing::UntilClose, true)),
    }
}

#[cfg(test)]
mod tests;
