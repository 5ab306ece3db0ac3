//! What holds for whatever bytes come from outside. Each check takes any bytes, and panics when something does not hold;
//! the fuzz targets give them bytes that are found by looking for new ways through the code.

use aws_lc_rs::hmac;
use bytes::BytesMut;
use http::header::{AUTHORIZATION, COOKIE, FORWARDED, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use session_gateway::api::cursor::List;
use session_gateway::clock::Timestamp;
use session_gateway::http::client::TrustedProxies;
use session_gateway::http::cookie::CookieName;
use session_gateway::http::framing::{Framing, Piece};
use session_gateway::http::proxy_line::{self, Step};
use session_gateway::http::request;
use session_gateway::http::response::take_head;
use session_gateway::http::trace_context::TraceParent;
use session_gateway::http::{Caller, Host, Scheme, Target, cookie, credential, fields};
use session_gateway::jwt;
use session_gateway::store::{EventPosition, Position};

/// A canonical target is its own canonical form, and has nothing in it that two programs read differently.
pub fn target(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from(bytes) else { return };
    let Ok(target) = Target::parse(&Method::GET, &uri) else { return };
    let path = target.path();
    assert!(path.starts_with('/') && !path.contains("//"), "{path:?}");
    assert!(!Target::has_dot_segments(path), "{path:?}");
    assert!(path.bytes().all(|byte| byte > b' ' && byte != b'\\' && byte != 0x7f), "{path:?}");
    let lower = path.to_ascii_lowercase();
    assert!(["%2f", "%5c", "%00", "%2e"].iter().all(|escape| !lower.contains(escape)), "{path:?}");
    let again = Uri::try_from(target.path_and_query().as_str()).unwrap();
    assert_eq!(
        Target::parse(&Method::GET, &again).unwrap().path_and_query().as_str(),
        target.path_and_query().as_str()
    );
    assert_eq!(uri.query(), target.path_and_query().query(), "the query is as it came");
}

/// A host that was understood is understood the same way again.
pub fn host(bytes: &[u8]) {
    let Ok(host) = Host::parse(bytes) else { return };
    assert!(!host.name().is_empty() && !host.name().ends_with('.'), "{host:?}");
    assert!(host.name().bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{host:?}");
    if let Some(value) = host.to_header_value(None) {
        assert_eq!(Host::parse(value.as_bytes()).unwrap(), host);
    }
}

/// Whatever a client says of where it comes from, only a trusted peer is believed.
pub fn forwarded(bytes: &[u8]) {
    let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"];
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((kind, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        let name = names.get(usize::from(*kind) % 5).map_or(FORWARDED, |name| HeaderName::from_static(name));
        headers.append(name, value);
    }
    let trusted = TrustedProxies::parse(["10.0.0.0/8"]).unwrap();
    let stranger = "192.0.2.1".parse().unwrap();
    let caller = Caller::resolve(Some(stranger), Scheme::Http, &headers, &trusted);
    assert_eq!((caller.ip, caller.scheme, caller.host.is_none()), (stranger, Scheme::Http, true));
    let proxy = "10.0.0.1".parse().unwrap();
    let caller = Caller::resolve(Some(proxy), Scheme::Http, &headers, &trusted);
    if let Some(host) = &caller.host {
        assert!(host.name().bytes().all(|byte| byte.is_ascii_graphic()), "{host:?}");
    }
}

/// No credential of ours is left when it was stripped, however it was written.
pub fn credentials(bytes: &[u8]) {
    let name = CookieName::parse("session").unwrap();
    let settings = credential::Settings::new(vec!["Bearer".to_owned(), "Token".to_owned()], name, false).unwrap();
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((kind, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        headers.append(if kind % 4 == 0 { AUTHORIZATION } else { COOKIE }, value);
    }
    let mut joined = headers.clone();
    cookie::join(&mut joined);
    assert!(joined.get_all(COOKIE).iter().count() <= 1);
    for headers in [&mut headers, &mut joined] {
        let _ = credential::present(headers, &settings);
        credential::strip(headers, &settings);
        if let Ok(left) = credential::present(headers, &settings) {
            assert!(left.is_none(), "{headers:?}");
        }
        let once = headers.clone();
        credential::strip(headers, &settings);
        assert_eq!(&once, headers, "what is stripped stays as it is");
    }
}

/// Bodies of logins.
pub fn login_bodies(bytes: &[u8]) {
    let _ = fields::form_field(bytes, "username");
    let _ = fields::form_says_yes(bytes, "remember");
    if let Some(document) = fields::json_document(bytes) {
        let written = document.to_string();
        assert_eq!(fields::json_document(written.as_bytes()), Some(document));
    }
}

/// What an application answers is read to an end, and no further than its framing.
pub fn responses(bytes: &[u8]) {
    let Some((method, bytes)) = bytes.split_first() else { return };
    let method = if method % 4 == 0 { Method::HEAD } else { Method::GET };
    let mut buffer = BytesMut::from(bytes);
    let Ok(Some(head)) = take_head(&mut buffer, &method, drop) else { return };
    let mut framing = head.framing;
    let mut taken = 0;
    loop {
        match framing.take(&mut buffer, true) {
            Ok(Some(Piece::Data(data))) => taken += data.len(),
            Ok(Some(Piece::Trailers(_))) => {}
            Ok(Some(Piece::End)) => break,
            Ok(None) | Err(_) => return,
        }
        assert!(taken <= bytes.len());
    }
    assert!(framing.is_done());
}

/// What a client sends is read to the end of its body, and no further; the rest is the next request.
pub fn requests(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let Ok(Some(head)) = request::take_head(&mut buffer, 4096, &mut HeaderMap::new()) else { return };
    let length = bytes.len() - buffer.len();
    assert!(bytes[..length].ends_with(b"\n"), "a head ends with its line");
    // However it comes in, it is the same.
    let mut again = BytesMut::from(&bytes[..length - 1]);
    assert!(matches!(request::take_head(&mut again, 4096, &mut HeaderMap::new()), Ok(None)), "it ends nowhere before");
    let mut framing = head.framing;
    assert!(framing != Framing::UntilClose, "a request ends before its connection does");
    loop {
        match framing.take(&mut buffer, true) {
            Ok(Some(Piece::Data(_) | Piece::Trailers(_))) => {}
            Ok(Some(Piece::End)) => break,
            Ok(None) | Err(_) => return,
        }
    }
    assert!(framing.is_done() && bytes.ends_with(&buffer));
}

/// A `traceparent` is read if it is one by the words of the specification, and is sent on as it is meant.
pub fn trace_parents(bytes: &[u8]) {
    let is_hex = |text: &&[u8]| text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&[u8]> = bytes.splitn(5, |byte| *byte == b'-').collect();
    let good = match parts[..] {
        [version, trace, span, flags] | [version, trace, span, flags, _] => {
            [(version, 2), (trace, 32), (span, 16), (flags, 2)]
                .iter()
                .all(|(part, length)| part.len() == *length && is_hex(part))
                && version != b"ff"
                && (version != b"00" || parts.len() == 4)
                && [trace, span].iter().all(|id| id.iter().any(|digit| *digit != b'0'))
        }
        _ => false,
    };
    let read = TraceParent::parse(bytes);
    assert_eq!(read.is_some(), good, "{:?}", String::from_utf8_lossy(bytes));
    let Some(read) = read else { return };
    let mut out = BytesMut::new();
    read.write(&mut out);
    let written = out.strip_prefix(b"traceparent: ").unwrap().strip_suffix(b"\r\n").unwrap();
    assert_eq!(written[2..53], bytes[2..53]);
    assert_eq!(TraceParent::parse(written), Some(read));
}

/// Key sets of issuers.
pub fn key_sets(bytes: &[u8]) {
    if let Ok(keys) = jwt::jwks::parse(bytes, &jwt::Algorithm::ALL) {
        assert!(!keys.is_empty() && keys.len() <= jwt::jwks::MOST_KEYS);
    }
}

/// A header of the PROXY protocol is read no further than it says, however its bytes come, and what it wants is there.
pub fn proxy_lines(bytes: &[u8]) {
    let mut seen = 0;
    loop {
        let Some(so_far) = bytes.get(..seen) else { return };
        match proxy_line::parse(so_far) {
            Ok(Step::Wants(more)) => {
                assert!(more > 0, "nothing is wanted of an unfinished header");
                seen += more;
            }
            Ok(Step::Complete(_)) => {
                assert_eq!(proxy_line::parse(so_far), proxy_line::parse(so_far));
                return;
            }
            Err(_) => return,
        }
        assert!(seen <= 16 + 216 + 2048, "more is wanted than a header can have");
    }
}

/// A cursor opens for its list, its filter and its key, and nothing else does: not one byte may differ.
pub fn cursors(bytes: &[u8]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"the key of the store, thirty-two");
    let list = List::named("sessions", "0:&user=3:ann".to_owned());
    let text = String::from_utf8_lossy(bytes);
    assert!(list.open::<Position>(&key, &text).is_none() && list.open::<EventPosition>(&key, &text).is_none());

    let millis = bytes.iter().fold(0_i64, |sum, byte| sum.wrapping_mul(31).wrapping_add(i64::from(*byte)));
    let place = EventPosition { at: Timestamp::from_millis(millis), id: millis.wrapping_neg() };
    let sealed = list.seal(&key, &place);
    assert_eq!(list.open(&key, &sealed), Some(place));
    let other = List::named("sessions", format!("another: {text}"));
    assert_eq!(other.open::<EventPosition>(&key, &sealed), None);
    let mut changed = sealed.into_bytes();
    let at = millis.unsigned_abs() as usize % changed.len();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    // The last character has bits to spare, which must be zero.
    assert_eq!(list.open::<EventPosition>(&key, std::str::from_utf8(&changed).unwrap()), None);
}
