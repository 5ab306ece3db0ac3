//! Responses as applications send them, whole and byte by byte, good and bad.

use super::*;
use crate::http::framing::{Broken, Piece};

/// What is wrong with a response.
#[derive(Debug, PartialEq)]
enum Wrong {
    Head(Malformed),
    Body(Broken),
}

impl From<Malformed> for Wrong {
    fn from(head: Malformed) -> Self {
        Self::Head(head)
    }
}

impl From<Broken> for Wrong {
    fn from(body: Broken) -> Self {
        Self::Body(body)
    }
}

fn head(text: &str) -> Result<Option<Head>, Malformed> {
    take_head(&mut BytesMut::from(text), &Method::GET, drop)
}

/// Reads a response that arrives in pieces of `step` bytes, then the end of the connection.
fn read(text: &[u8], method: &Method, step: usize) -> Result<(Head, Vec<u8>, Option<HeaderMap>, usize), Wrong> {
    let mut buffer = BytesMut::new();
    let mut rest = text.chunks(step);
    let mut closed = false;
    let mut more = |buffer: &mut BytesMut, closed: &mut bool| match rest.next() {
        Some(bytes) => buffer.extend_from_slice(bytes),
        None => *closed = true,
    };
    let mut head = loop {
        if let Some(head) = take_head(&mut buffer, method, drop)? {
            break head;
        }
        if closed {
            return Err(Broken::Incomplete.into());
        }
        more(&mut buffer, &mut closed);
    };
    let (mut body, mut trailers) = (Vec::new(), None);
    loop {
        match head.framing.take(&mut buffer, closed)? {
            None => more(&mut buffer, &mut closed),
            Some(Piece::Data(data)) => body.extend_from_slice(&data),
            Some(Piece::Trailers(found)) => trailers = Some(found),
            Some(Piece::End) => return Ok((head, body, trailers, buffer.len())),
        }
    }
}

#[test]
fn a_response_is_the_same_however_it_is_cut_up() {
    let cases: [(&str, &str, bool); 5] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=\"y\"\r\nlo\r\n0\r\n\r\n",
            "hello",
            true,
        ),
        ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end", false),
        ("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\nx", "x", false),
    ];
    for (text, expected, keep_alive) in cases {
        for step in [1, 2, 3, 7, 1000] {
            let (head, body, _, left) = read(text.as_bytes(), &Method::GET, step).unwrap();
            assert_eq!(
                (body.as_slice(), head.keep_alive, left),
                (expected.as_bytes(), keep_alive, 0),
                "{text} by {step}"
            );
        }
    }
}

#[test]
fn trailers_arrive_as_the_last_piece() {
    let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 7\r\nX-More: 8\r\n\r\n";
    for step in [1, 5, 1000] {
        let (_, body, trailers, _) = read(text, &Method::GET, step).unwrap();
        assert_eq!(body, b"x");
        assert_eq!(trailers.unwrap().get("x-sum").unwrap(), "7");
    }
}

#[test]
fn responses_that_have_no_body_have_none_whatever_they_say() {
    for (method, status) in
        [(Method::HEAD, "200 OK"), (Method::GET, "204 No Content"), (Method::GET, "304 Not Modified")]
    {
        for length in ["Content-Length: 50\r\n", "Transfer-Encoding: chunked\r\n", ""] {
            let text = format!("HTTP/1.1 {status}\r\n{length}\r\n");
            let (_, body, _, _) = read(text.as_bytes(), &method, 1000).unwrap();
            assert!(body.is_empty(), "{text}");
        }
    }
}

#[test]
fn a_doubt_about_the_length_is_an_error() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: ",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
    ] {
        assert_eq!(head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")).unwrap_err(), Malformed::Length, "{fields}");
    }
    assert_eq!(head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err(), Malformed::Length);
}

#[test]
fn a_length_beside_chunks_is_dropped_and_the_connection_not_used_again() {
    let found = head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap();
    assert_eq!(found.framing, Framing::Chunked(Chunk::Size));
    assert!(!found.keep_alive);
    assert!(!found.response.headers().contains_key(CONTENT_LENGTH));
}

#[test]
fn the_same_length_twice_is_made_one() {
    let found = head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n").unwrap().unwrap();
    assert_eq!(found.framing, Framing::Length(5));
    assert_eq!(found.response.headers().get_all(CONTENT_LENGTH).iter().count(), 1);
}

#[test]
fn what_is_no_response_is_refused() {
    for text in [
        "SSH-2.0-x\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 2 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
    ] {
        assert_eq!(head(text).unwrap_err(), Malformed::Head, "{text:?}");
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200));
    assert_eq!(head(&many).unwrap_err(), Malformed::HeadTooLarge);
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(MAX_HEAD));
    assert_eq!(head(&long).unwrap_err(), Malformed::HeadTooLarge);
}

#[test]
fn broken_chunks_are_an_error() {
    for chunks in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "1\nx\r\n",
        "1\r\nxy\r\n",
        "1\r\nx\n0\r\n\r\n",
        "1 x\r\n",
        "1111111111111111\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "1;a=\x01b\r\nx\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(read(text.as_bytes(), &Method::GET, 1000).unwrap_err(), Wrong::Body(Broken::Chunk), "{chunks:?}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}", "x".repeat(400));
    assert_eq!(read(endless.as_bytes(), &Method::GET, 1000).unwrap_err(), Wrong::Body(Broken::Chunk));
}

#[test]
fn a_body_that_breaks_off_is_incomplete() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        assert_eq!(read(text.as_bytes(), &Method::GET, 1000).unwrap_err(), Wrong::Body(Broken::Incomplete), "{text:?}");
    }
}

#[test]
fn bytes_behind_the_end_are_left_for_the_caller_to_see() {
    let (_, _, _, left) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1", &Method::GET, 1000).unwrap();
    assert_eq!(left, 8);
}

#[test]
fn a_body_that_is_announced_where_none_follows_costs_the_connection() {
    for (text, method, keep_alive) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", Method::GET, true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Method::GET, true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Method::GET, false),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", Method::GET, false),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", Method::GET, true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::GET, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Method::HEAD, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD, false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::HEAD, false),
    ] {
        let head = take_head(&mut BytesMut::from(text), &method, drop).unwrap().unwrap();
        assert_eq!((head.framing, head.keep_alive), (Framing::Length(0), keep_alive), "{text}");
        let length = head.response.headers().get(CONTENT_LENGTH);
        assert!(length.is_none() || head.response.status() != StatusCode::NO_CONTENT, "{text}");
    }
}

#[test]
fn trailers_that_a_bare_line_feed_ends_swallow_nothing() {
    let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\nHTTP/1.1 200 OK\r\nB: c\r\n\r\n";
    assert_eq!(read(text, &Method::GET, 1000).unwrap_err(), Wrong::Body(Broken::Chunk));
}

#[test]
fn the_fields_of_this_connection_end_here_and_the_others_go_on() {
    let text = "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
                Server: app\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n";
    let found = head(text).unwrap().unwrap();
    let mut names: Vec<&str> = found.response.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "server", "set-cookie"]);
    assert_eq!(found.response.headers().get_all("set-cookie").iter().count(), 2);
    assert!(!found.keep_alive);
}

#[test]
fn connection_cannot_drop_what_delimits_and_describes_the_body() {
    let text = "HTTP/1.1 200 OK\r\nConnection: content-length, content-type\r\nContent-Type: text/plain\r\n\
                Content-Length: 5\r\n\r\n";
    let found = head(text).unwrap().unwrap();
    assert_eq!(found.response.headers().len(), 2);
    assert_eq!(found.framing, Framing::Length(5));
}

#[test]
fn a_switch_of_protocols_says_to_which_one_if_its_connection_says_so() {
    let told = |fields: &str| {
        let found = head(&format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nbytes")).unwrap().unwrap();
        let mut names: Vec<_> =
            found.response.headers().iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        names.sort_unstable();
        (names.join(" "), found.keep_alive)
    };
    let (names, _) =
        told("Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: websocket\r\nContent-Length: 5\r\nX-A: b\r\n");
    assert_eq!(names, "upgrade=websocket x-a=b");
    assert_eq!(told("Upgrade: websocket\r\n").0, "", "this is about the connection, and it does not say so");
}

#[test]
fn a_connection_that_names_more_than_a_response_has_is_malformed_and_the_same_name_again_is_not() {
    let named =
        |words: String| head(&format!("HTTP/1.1 204 No Content\r\nX-0: 1\r\nX-End: 2\r\nConnection: {words}\r\n\r\n"));
    let words = |number: usize| (0..number).map(|at| format!("x-{at}")).collect::<Vec<_>>().join(",");
    assert!(matches!(named(words(101)), Err(Malformed::Head)));
    for words in [words(100), "X-0, keep-alive,".repeat(5_000)] {
        let response = named(words).unwrap().unwrap().response;
        assert_eq!(response.headers().keys().collect::<Vec<_>>(), ["x-end"]);
    }
}
