//! Frames and fields that no honest client sends (RFC 9113). None of them may reach the application.

use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, Verdict, WINDOW_UPDATE, block, get,
};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Reaction, Upstream, response};

const OPEN: &str =
    "[server]\nworkers = 1\n[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n";

const BASE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "app.example"), (":path", "/")];

/// What becomes of a request with these fields.
fn judged(gateway: &Gateway, fields: &[(&str, &str)]) -> Verdict {
    let mut frames = Frames::open(gateway.address);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    frames.verdict()
}

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&BASE[..], more].concat()
}

fn but<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    BASE.iter().map(|(field, usual)| (*field, if *field == name { value } else { usual })).collect()
}

#[test]
fn malformed_fields_are_refused_before_anything_is_forwarded() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    assert_eq!(judged(&gateway, &BASE), Verdict::Answered(Some(200)), "the honest one passes");
    let good = upstream.received().len();
    let without = |name: &str| BASE.iter().copied().filter(|(field, _)| *field != name).collect::<Vec<_>>();
    let shapes: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("an upper-case name", with(&[("X-Upper", "1")])),
        ("connection", with(&[("connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "1")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("te other than trailers", with(&[("te", "gzip")])),
        ("a line break in a value", with(&[("x-a", "1\r\nx-auth-user: root")])),
        ("a NUL in a value", with(&[("x-a", "1\u{0}2")])),
        ("a line break in a name", with(&[("x-a\r\nx-b", "1")])),
        ("a colon in a name", with(&[("x-a:b", "1")])),
        ("an empty name", with(&[("", "1")])),
        ("a space in a name", with(&[("x a", "1")])),
        ("an unknown pseudo field", with(&[(":extra", "1")])),
        ("a pseudo field of responses", with(&[(":status", "200")])),
        ("a pseudo field after fields", [&[("x-a", "1")][..], &BASE[..]].concat()),
        ("two paths", with(&[(":path", "/b")])),
        ("two methods", with(&[(":method", "POST")])),
        ("two authorities", with(&[(":authority", "b.example")])),
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("an empty path", but(":path", "")),
        ("a path without a slash", but(":path", "a")),
        ("a path that is an address", but(":path", "http://b.example/")),
        ("an asterisk with GET", but(":path", "*")),
        ("a line break in the path", but(":path", "/ HTTP/1.1\r\nx-auth-user: root")),
        ("a space in the path", but(":path", "/a b")),
        ("a NUL in the path", but(":path", "/\u{0}")),
        ("dot segments that escape", but(":path", "/../x")),
        ("an encoded slash", but(":path", "/a%2fb")),
        ("a fragment in the authority", but(":authority", "a#b")),
        ("userinfo in the authority", but(":authority", "user@app.example")),
        ("a line break in the authority", but(":authority", "a\r\nx: y")),
        ("a line break in the method", but(":method", "GET / HTTP/1.1\r\nx: y")),
        ("a space in the method", but(":method", "GE T")),
        ("a method in lower case", but(":method", "get")),
        ("a method with one lower-case letter", but(":method", "DELETe")),
        ("another host in Host", with(&[("host", "b.example")])),
        ("two Hosts", with(&[("host", "app.example"), ("host", "b.example")])),
        ("no host at all", without(":authority")),
        ("another scheme", but(":scheme", "ftp")),
        ("TRACE", but(":method", "TRACE")),
        ("two lengths that differ", with(&[("content-length", "0"), ("content-length", "5")])),
        ("a length with a sign", with(&[("content-length", "+0")])),
        ("a length that is not kept", with(&[("content-length", "5")])),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "db.internal:5432")]),
        (
            "an extended CONNECT",
            vec![
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "app.example"),
                (":path", "/"),
            ],
        ),
    ];
    let mut passed = Vec::new();
    for (what, fields) in &shapes {
        let verdict = judged(&gateway, fields);
        if verdict == Verdict::Answered(Some(200)) || upstream.received().len() != good {
            passed.push((*what, verdict, upstream.last().head));
        }
    }
    assert!(passed.is_empty(), "{passed:#?}");
    assert_eq!(judged(&gateway, &BASE), Verdict::Answered(Some(200)), "and it still serves");
}

#[test]
fn a_method_with_a_lower_case_letter_is_a_bad_request() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    for method in ["get", "delete", "Delete", "trace", "connecT"] {
        assert_eq!(judged(&gateway, &but(":method", method)), Verdict::Answered(Some(400)), "{method}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn broken_frames_cost_the_stream_or_the_connection_and_nothing_else() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    type Break = fn(&mut Frames);
    let shapes: [(&str, Break); 20] = [
        ("DATA on stream 0", |f| f.send(DATA, 0, 0, b"x")),
        ("DATA on a stream that was never opened", |f| f.send(DATA, END_STREAM, 1, b"x")),
        ("HEADERS on stream 0", |f| f.send(HEADERS, END_HEADERS | END_STREAM, 0, &block(&BASE))),
        ("HEADERS on a stream of the server", |f| f.send(HEADERS, END_HEADERS | END_STREAM, 2, &block(&BASE))),
        ("a stream below an earlier one", |f| {
            f.send(
                HEADERS,
                END_HEADERS,
                5,
                &block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]),
            );
            f.send(HEADERS, END_HEADERS | END_STREAM, 3, &block(&BASE));
        }),
        ("a CONTINUATION out of nowhere", |f| f.send(CONTINUATION, END_HEADERS, 1, &block(&BASE))),
        ("a frame between HEADERS and CONTINUATION", |f| {
            f.send(HEADERS, END_STREAM, 1, &block(&BASE));
            f.send(PING, 0, 0, &[0; 8]);
        }),
        ("a CONTINUATION of another stream", |f| {
            f.send(HEADERS, END_STREAM, 1, &block(&BASE));
            f.send(CONTINUATION, END_HEADERS, 3, &[]);
        }),
        ("a field block that is no HPACK", |f| f.send(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 40])),
        ("an index beyond the table", |f| f.send(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f])),
        ("a table larger than allowed", |f| f.send(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0x7f])),
        ("padding longer than the frame", |f| f.send(HEADERS, END_HEADERS | END_STREAM | 8, 1, &[200, 1, 2])),
        ("a PING of seven bytes", |f| f.send(PING, 0, 0, &[0; 7])),
        ("a PING on a stream", |f| f.send(PING, 0, 1, &[0; 8])),
        ("SETTINGS of five bytes", |f| f.send(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", |f| f.send(SETTINGS, 0, 1, &[])),
        ("a window that overflows", |f| f.send(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("a window update of nothing", |f| f.send(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("PUSH_PROMISE of a client", |f| f.send(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("a frame larger than allowed", |f| f.send(PING, 0, 0, &vec![0; 20_000])),
    ];
    for (what, shape) in shapes {
        let mut frames = Frames::open(gateway.address);
        shape(&mut frames);
        let verdict = frames.verdict();
        assert!(matches!(verdict, Verdict::Closed(_) | Verdict::Reset(_)), "{what}: {verdict:?}");
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
    assert_eq!(judged(&gateway, &BASE), Verdict::Answered(Some(200)), "and it still serves");
}

#[test]
fn frames_that_mean_nothing_to_us_are_passed_over() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut frames = Frames::open(gateway.address);
    frames.send(0x77, 0xff, 0, b"of a kind that nobody knows");
    frames.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]);
    frames.send(SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 1]);
    frames.send(HEADERS, END_STREAM, 1, &get("/", &[])[..5]);
    frames.send(CONTINUATION, 0, 1, &get("/", &[])[5..9]);
    frames.send(CONTINUATION, END_HEADERS, 1, &get("/", &[])[9..]);
    assert_eq!(frames.verdict(), Verdict::Answered(Some(200)));
    frames.send(PING, 0, 0, b"12345678");
    while let Some(frame) = frames.next() {
        if frame.kind == PING {
            assert_eq!((frame.flags, frame.payload.as_slice()), (ACK, &b"12345678"[..]));
            return;
        }
    }
    panic!("the ping was not answered");
}

/// CVE-2023-44487: requests that are given up as soon as they are made.
#[test]
fn a_flood_of_requests_that_are_reset_at_once_ends_the_connection() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut frames = Frames::open(gateway.address);
    let mut flood = Vec::new();
    for number in 0..20_000_u32 {
        let stream = number * 2 + 1;
        flood.extend(crate::support::frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&BASE)));
        flood.extend(crate::support::frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    frames.send_raw(&flood);
    let mut told = None;
    while let Some(frame) = frames.next() {
        if frame.kind == GOAWAY {
            told = Some(frame.error());
        }
    }
    assert!(upstream.received().len() < 10_000, "{} of 20,000 reached the application", upstream.received().len());
    assert!(told.is_none_or(|error| error == 11), "ENHANCE_YOUR_CALM, not {told:?}");
    assert_eq!(judged(&gateway, &BASE), Verdict::Answered(Some(200)), "and it still serves");
}

/// CVE-2024-27316 and its kin: a field block without end.
#[test]
fn a_field_block_without_end_ends_the_connection_within_its_bound() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut frames = Frames::open(gateway.address);
    frames.send(HEADERS, END_STREAM, 1, &block(&BASE));
    let field = block(&[("x-filler", &"x".repeat(1000))]);
    for _ in 0..10_000 {
        frames.send(CONTINUATION, 0, 1, &field);
    }
    assert!(matches!(frames.verdict(), Verdict::Closed(_)), "not ten megabytes of it are read");
    let mut frames = Frames::open(gateway.address);
    frames.send(HEADERS, END_STREAM, 1, &block(&BASE));
    for _ in 0..200_000 {
        frames.send(CONTINUATION, 0, 1, &[]);
    }
    assert!(matches!(frames.verdict(), Verdict::Closed(_)), "nor empty ones for ever");
    assert!(upstream.received().is_empty());
}

#[test]
fn more_header_fields_than_allowed_are_431_in_number_and_in_bytes() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let names: Vec<String> = (0..200).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    for fields in [many, vec![("x-large", &*"x".repeat(40_000))]] {
        let mut frames = Frames::open(gateway.address);
        let block = block(&with(&fields));
        let (first, rest) = block.split_at(block.len().min(16_000));
        frames.send(HEADERS, END_STREAM | if rest.is_empty() { END_HEADERS } else { 0 }, 1, first);
        for (at, piece) in rest.chunks(16_000).enumerate() {
            let last = (at + 1) * 16_000 >= rest.len();
            frames.send(CONTINUATION, if last { END_HEADERS } else { 0 }, 1, piece);
        }
        let verdict = frames.verdict();
        assert!(matches!(verdict, Verdict::Answered(None) | Verdict::Reset(_) | Verdict::Closed(_)), "{verdict:?}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn trailers_with_more_fields_than_a_head_may_have_end_the_request_before_it_is_whole() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let upload = |harmless: usize, condemned: usize| {
        let names = |prefix: &str, number: usize| (0..number).map(|at| format!("{prefix}{at}")).collect::<Vec<_>>();
        let names = [names("x-sum-", harmless), names("x-auth-", condemned)].concat();
        let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let mut frames = Frames::open(gateway.address);
        frames.send(HEADERS, END_HEADERS, 1, &block(&but(":method", "POST")));
        frames.send(DATA, 0, 1, b"body");
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        frames.verdict()
    };
    for (harmless, condemned) in [(101, 0), (0, 101), (300, 300)] {
        assert_eq!(upload(harmless, condemned), Verdict::Answered(Some(400)), "{harmless} and {condemned}");
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
    assert_eq!(upload(50, 50), Verdict::Answered(Some(200)));
    assert_eq!(upstream.last().body, b"body");
}

/// "MadeYouReset" (CVE-2025-8671): frames that make the server reset its own streams.
#[test]
fn streams_that_the_client_makes_us_reset_are_bounded() {
    let upstream = Upstream::start(|_| Reaction::Send(response("200 OK", "", "hello")));
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut frames = Frames::open(gateway.address);
    let mut flood = Vec::new();
    for number in 0..20_000_u32 {
        let stream = number * 2 + 1;
        flood.extend(crate::support::frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&BASE)));
        flood.extend(crate::support::frames::frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
    }
    frames.send_raw(&flood);
    while frames.next().is_some() {}
    assert!(upstream.received().len() < 10_000, "{} of 20,000 reached the application", upstream.received().len());
    assert_eq!(judged(&gateway, &BASE), Verdict::Answered(Some(200)), "and it still serves");
}

/// A stream that its client resets with NO_ERROR is a body that ended for the library below us.
#[test]
fn a_body_that_the_client_gives_up_in_the_middle_is_never_a_whole_one_for_the_application() {
    let app = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::start(&format!("http://{}", app.local_addr().unwrap()), OPEN);
    for (length, reason) in [(None, 0_u32), (Some("8"), 0), (None, 8), (Some("8"), 8)] {
        let mut fields = but(":method", "POST");
        fields.extend(length.map(|length| ("content-length", length)));
        let mut frames = Frames::open(gateway.address);
        frames.send(HEADERS, END_HEADERS, 1, &block(&fields));
        frames.send(DATA, 0, 1, b"half");
        let (mut stream, _) = app.accept().unwrap();
        let mut received = Vec::new();
        let mut piece = [0; 1024];
        while !received.ends_with(b"half\r\n") && !received.ends_with(b"half") {
            let read = std::io::Read::read(&mut stream, &mut piece).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&received));
            received.extend_from_slice(&piece[..read]);
        }
        frames.send(RST_STREAM, 0, 1, &reason.to_be_bytes());
        // The connection is closed, reset or not, and the end of the body never came.
        let _ = std::io::Read::read_to_end(&mut stream, &mut received);
        let received = String::from_utf8(received).unwrap();
        assert!(received.trim_end().ends_with("half"), "{length:?} {reason}: {received}");
    }
}
