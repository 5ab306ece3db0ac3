//! Requests as clients send them, good and bad.

use super::*;
use crate::http::framing::Piece;

const LONGEST: usize = 4096;

fn read(text: &str) -> Result<Option<Head>, Unreadable> {
    take_head(&mut BytesMut::from(text), LONGEST, &mut HeaderMap::new())
}

fn head(text: &str) -> Head {
    read(text).unwrap().unwrap_or_else(|| panic!("incomplete: {text:?}"))
}

fn with(fields: &str) -> Result<Option<Head>, Unreadable> {
    read(&format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
}

#[test]
fn a_request_is_the_same_however_it_is_cut_up_and_what_is_behind_it_is_left() {
    let text = b"GET /a?b=c HTTP/1.1\r\nHost: a.test\r\nAccept: x\r\nAccept: y\r\nX-Odd: \xe4\r\n\r\nGET /next";
    for step in [1, 2, 7, 1000] {
        let mut buffer = BytesMut::new();
        let mut pieces = text.chunks(step);
        let found = loop {
            if let Some(found) = take_head(&mut buffer, LONGEST, &mut HeaderMap::new()).unwrap() {
                break found;
            }
            buffer.extend_from_slice(pieces.next().unwrap());
        };
        pieces.for_each(|piece| buffer.extend_from_slice(piece));
        assert_eq!(&buffer[..], b"GET /next", "by {step}");
        let request = found.request;
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::GET, "/a?b=c"));
        assert_eq!(request.version(), Version::HTTP_11);
        assert_eq!(request.headers().get_all("accept").iter().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(request.headers()["x-odd"].as_bytes(), b"\xe4");
        assert_eq!(found.framing, Framing::Length(0));
    }
}

#[test]
fn line_breaks_before_a_request_are_passed_over() {
    assert_eq!(head("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").request.method(), Method::GET);
}

#[test]
fn what_is_no_request_is_malformed() {
    for text in [
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "G(T / HTTP/1.1\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nA b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nA : c\r\n\r\n",
        "GET / HTTP/1.1\r\n: c\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\n A: b\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        assert_eq!(read(text).unwrap_err(), Unreadable::Malformed, "{text:?}");
    }
}

#[test]
fn a_doubt_about_the_length_makes_it_malformed() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: x\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ] {
        assert_eq!(with(fields).unwrap_err(), Unreadable::Malformed, "{fields}");
    }
    assert_eq!(read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err(), Unreadable::Malformed);
}

#[test]
fn a_length_beside_chunks_is_taken_out_and_ends_the_connection() {
    for fields in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"]
    {
        let found = with(fields).unwrap().unwrap();
        assert_eq!((found.framing, found.terms.keep_alive), (Framing::Chunked(Chunk::Size), false), "{fields}");
        assert!(!found.request.headers().contains_key(CONTENT_LENGTH));
    }
}

#[test]
fn the_same_length_twice_is_made_one() {
    let found = with("Content-Length: 5\r\nContent-Length: 5\r\n").unwrap().unwrap();
    assert_eq!(found.framing, Framing::Length(5));
    assert_eq!(found.request.headers().get_all(CONTENT_LENGTH).iter().count(), 1);
}

#[test]
fn the_connection_is_kept_as_its_version_and_its_client_have_it() {
    for (version, connection, kept) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Foo, CLOSE\r\n", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let found = head(&format!("GET / HTTP/{version}\r\n{connection}\r\n"));
        assert_eq!(found.terms.keep_alive, kept, "{version} {connection}");
        assert_eq!(found.terms.is_http_10, version == "1.0");
    }
}

#[test]
fn what_a_client_of_an_older_version_says_of_newer_things_means_nothing() {
    let fields = "Expect: 100-Continue\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n";
    let new = head(&format!("POST / HTTP/1.1\r\n{fields}"));
    assert!(new.expects_continue && new.upgrades);
    let old = head(&format!("POST / HTTP/1.0\r\n{fields}"));
    assert!(!old.expects_continue && !old.upgrades);
}

#[test]
fn trailers_are_welcome_where_the_client_says_so() {
    for (te, welcome) in [("", false), ("TE: trailers\r\n", true), ("TE: gzip;q=0.5, Trailers\r\n", true)] {
        assert_eq!(with(te).unwrap().unwrap().terms.takes_trailers, welcome, "{te}");
    }
}

#[test]
fn a_head_has_its_bounds() {
    let fields = |number: usize| "A: b\r\n".repeat(number);
    assert_eq!(with(&fields(MOST_FIELDS - 1)).unwrap().unwrap().request.headers().len(), MOST_FIELDS);
    assert_eq!(with(&fields(MOST_FIELDS)).unwrap_err(), Unreadable::TooLarge);
    let long = |length: usize| format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(length - 19));
    assert!(read(&long(LONGEST)).unwrap().is_none(), "it may still end");
    assert_eq!(read(&long(LONGEST + 1)).unwrap_err(), Unreadable::TooLarge);
    assert_eq!(read(&format!("{}\r\n\r\n", long(LONGEST))).unwrap_err(), Unreadable::TooLarge);
    let target = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(LONGEST_TARGET));
    let found = take_head(&mut BytesMut::from(target.as_str()), 1 << 20, &mut HeaderMap::new());
    assert_eq!(found.unwrap_err(), Unreadable::TargetTooLong);
}

#[test]
fn each_fault_has_its_status() {
    let statuses = [Unreadable::Malformed, Unreadable::TooLarge, Unreadable::TargetTooLong].map(Unreadable::status);
    assert_eq!(statuses.map(|status| status.as_u16()), [400, 431, 414]);
}

#[test]
fn the_body_behind_a_head_is_read_by_its_framing() {
    let text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET";
    let mut buffer = BytesMut::from(text);
    let mut framing = take_head(&mut buffer, LONGEST, &mut HeaderMap::new()).unwrap().unwrap().framing;
    assert!(matches!(framing.take(&mut buffer, false), Ok(Some(Piece::Data(data))) if data == "abc"));
    assert!(matches!(framing.take(&mut buffer, false), Ok(Some(Piece::Trailers(sum))) if sum["x-sum"] == "1"));
    assert_eq!((framing.is_done(), &buffer[..]), (true, &b"GET"[..]));
}
