//! Requests and consents, good and bad, and frames cut up anywhere.

use http::Request;

use super::*;

/// The example of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const GOOD: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "keep-alive, Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

fn opening(method: &str, fields: &[(&str, &str)]) -> Result<Option<Opening>, Problem> {
    let mut request = Request::builder().method(method);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    Opening::of(&request.body(()).unwrap().into_parts().0)
}

/// The good fields with this one in place of its namesakes; an empty value is none.
fn but(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let others = GOOD.into_iter().filter(|(other, _)| *other != name);
    others.chain(Some((name, value)).filter(|_| !value.is_empty())).collect()
}

#[test]
fn a_browsers_request_is_one_and_so_are_its_spellings() {
    for fields in [
        GOOD.to_vec(),
        but("upgrade", "WebSocket"),
        but("upgrade", "h2c, websocket"),
        but("connection", "UPGRADE"),
        [GOOD.as_slice(), &[("content-length", "0")]].concat(),
    ] {
        assert!(matches!(opening("GET", &fields), Ok(Some(_))), "{fields:?}");
    }
}

#[test]
fn another_protocol_or_none_is_no_websocket() {
    for fields in [
        vec![],
        but("upgrade", ""),
        but("upgrade", "h2c"),
        but("upgrade", "websocket2"),
        but("connection", ""),
        but("connection", "close"),
    ] {
        assert!(matches!(opening("GET", &fields), Ok(None)), "{fields:?}");
    }
}

#[test]
fn a_proxy_that_keeps_the_upgrade_to_itself_still_tells_that_a_websocket_is_opened() {
    let asks = |fields: &[(&'static str, &'static str)]| {
        let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        is_asked_for(&fields.collect())
    };
    assert!(asks(&GOOD));
    for alone in [
        ("upgrade", "websocket"),
        ("upgrade", "h2c, WebSocket"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-key", "none"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
        ("sec_websocket_key", KEY),
    ] {
        assert!(asks(&[("accept", "*/*"), alone]), "{alone:?}");
    }
    let others =
        [("upgrade", "h2c"), ("connection", "upgrade"), ("sec-fetch-mode", "websocket"), ("sec-websocke", "x")];
    assert!(!asks(&others));
}

#[test]
fn one_that_cannot_be_opened_is_refused_and_not_made_a_plain_request() {
    let with = |name, value| [GOOD.as_slice(), &[(name, value)]].concat();
    for (method, fields, field) in [
        ("POST", GOOD.to_vec(), "Upgrade"),
        ("HEAD", GOOD.to_vec(), "Upgrade"),
        ("GET", with("content-length", "5"), "Upgrade"),
        ("GET", with("transfer-encoding", "chunked"), "Upgrade"),
        ("GET", but("sec-websocket-version", ""), "Sec-WebSocket-Version"),
        ("GET", but("sec-websocket-version", "8"), "Sec-WebSocket-Version"),
        ("GET", with("sec-websocket-version", "13"), "Sec-WebSocket-Version"),
        ("GET", but("sec-websocket-key", ""), "Sec-WebSocket-Key"),
        ("GET", but("sec-websocket-key", "c2hvcnQ="), "Sec-WebSocket-Key"),
        ("GET", but("sec-websocket-key", "!!!!!!!!!!!!!!!!!!!!!!=="), "Sec-WebSocket-Key"),
        ("GET", with("sec-websocket-key", KEY), "Sec-WebSocket-Key"),
    ] {
        let problem = opening(method, &fields).unwrap_err();
        assert_eq!(
            (problem.code, problem.field.as_deref()),
            (Code::InvalidRequest, Some(field)),
            "{method} {fields:?}"
        );
    }
}

#[test]
fn the_application_consents_with_the_protocol_and_the_digest_of_the_key() {
    let opening = opening("GET", &GOOD).unwrap().unwrap();
    let accepted = |fields: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        opening.is_accepted(&headers)
    };
    assert!(accepted(&[("upgrade", "WebSocket"), ("sec-websocket-accept", ACCEPT)]));
    for fields in [
        &[("sec-websocket-accept", ACCEPT)][..],
        &[("upgrade", "websocket")],
        &[("upgrade", "h2c"), ("sec-websocket-accept", ACCEPT)],
        &[("upgrade", "websocket, h2c"), ("sec-websocket-accept", ACCEPT)],
        &[("upgrade", "websocket"), ("upgrade", "h2c"), ("sec-websocket-accept", ACCEPT)],
        &[("upgrade", "websocket"), ("sec-websocket-accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
        &[("upgrade", "websocket"), ("sec-websocket-accept", ACCEPT), ("sec-websocket-accept", ACCEPT)],
    ] {
        assert!(!accepted(fields), "{fields:?}");
    }
}

#[test]
fn only_a_known_origin_opens_one_with_the_cookie() {
    let allowed = [SiteOrigin::parse("https://other.example.org").unwrap()];
    let known = |fields: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let host = HeaderValue::from_static("app.example.org");
        require_known_origin(&headers, Scheme::Https, Some(&host), &allowed).is_ok()
    };
    for fields in [
        &[][..],
        &[("sec-fetch-site", "same-origin")],
        &[("origin", "https://app.example.org")],
        &[("origin", "https://app.example.org:443"), ("sec-fetch-site", "same-origin")],
        &[("origin", "https://other.example.org"), ("sec-fetch-site", "same-site")],
    ] {
        assert!(known(fields), "{fields:?}");
    }
    for fields in [
        &[("origin", "https://evil.test")][..],
        &[("origin", "null")],
        &[("origin", "http://app.example.org")],
        &[("origin", "https://app.example.org.evil.test")],
        &[("origin", "https://app.example.org"), ("origin", "https://app.example.org")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
    ] {
        assert!(!known(fields), "{fields:?}");
    }
}

/// A frame with this payload; a long form of its length may be asked for.
fn frame(first: u8, length: usize, form: u8, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match form {
        126 => {
            frame.push(mask | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        127 => {
            frame.push(mask | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
        _ => frame.push(mask | u8::try_from(length).unwrap()),
    }
    frame.extend(std::iter::repeat_n(0x88, if masked { length + 4 } else { length }));
    frame
}

#[test]
fn the_place_between_two_frames_is_found_however_the_bytes_are_cut_up() {
    let frames = [
        frame(0x81, 5, 0, false),
        frame(0x82, 0, 0, false),
        frame(0x01, 300, 126, false),
        frame(0x89, 125, 0, false),
        frame(0x80, 70_000, 127, false),
        frame(0x82, 7, 126, true),
        frame(0x82, 7, 127, true),
        frame(0xc1, 1, 0, true),
    ];
    let bytes = frames.concat();
    for step in [1, 2, 3, 7, 64, 1000, bytes.len()] {
        let (mut state, mut passed) = (Frames::default(), 0);
        let mut ends = vec![0];
        for frame in &frames {
            ends.push(ends.last().unwrap() + frame.len());
        }
        for piece in bytes.chunks(step) {
            state.pass(piece);
            passed += piece.len();
            assert_eq!(state.takes_another(), ends.contains(&passed), "after {passed} bytes by {step}");
        }
    }
}

#[test]
fn nothing_follows_the_frame_that_closes() {
    let mut state = Frames::default();
    state.pass(&frame(0x88, 2, 0, false));
    assert!(!state.takes_another());
}

#[test]
fn a_frame_that_closes_has_its_code_and_its_reason() {
    assert_eq!(close_frame(CloseCode::Policy, "why"), [0x88, 5, 0x03, 0xf0, b'w', b'h', b'y']);
    assert_eq!(close_frame(CloseCode::GoingAway, "")[..4], [0x88, 2, 0x03, 0xe9]);
    let long = close_frame(CloseCode::TryAgainLater, &"x".repeat(500));
    assert_eq!((long.len(), long[1]), (127, 125));
}
