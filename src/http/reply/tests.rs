//! Responses as clients get them.

use http::Response;
use http::header::HeaderValue;

use super::*;

const PLAIN: Terms = Terms { is_http_10: false, is_head: false, keep_alive: true, takes_trailers: false };
const OLD: Terms = Terms { is_http_10: true, ..PLAIN };
const HEAD: Terms = Terms { is_head: true, ..PLAIN };

/// The head of a response with a date, without that date.
fn written(
    status: u16,
    fields: &[(&'static str, &str)],
    length: Option<u64>,
    terms: Terms,
) -> (String, Delimited, bool) {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        parts.headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    parts.headers.insert("date", HeaderValue::from_static("d"));
    let mut out = BytesMut::new();
    let (delimited, keep_alive) = write_head(&mut out, &parts, length, terms);
    (String::from_utf8(out.to_vec()).unwrap().replace("date: d\r\n", ""), delimited, keep_alive)
}

#[test]
fn a_body_is_framed_as_its_length_is_known() {
    let (text, delimited, kept) = written(200, &[("x-a", "b"), ("content-length", "9")], Some(5), PLAIN);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 5\r\n\r\n", "what is there counts");
    assert_eq!((delimited, kept), (Delimited::Length(5), true));
    let (text, delimited, kept) = written(404, &[], None, PLAIN);
    assert_eq!(text, "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!((delimited, kept), (Delimited::Chunks, true));
    let (text, delimited, _) = written(201, &[], Some(0), PLAIN);
    assert_eq!((text.as_str(), delimited), ("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", Delimited::Length(0)));
    assert_eq!(written(200, &[], Some(u64::MAX), PLAIN).0.lines().nth(1), Some("content-length: 18446744073709551615"));
}

#[test]
fn a_client_of_http_10_gets_no_chunks_and_the_end_of_the_connection_instead() {
    let (text, delimited, kept) = written(200, &[("trailer", "x-sum")], None, OLD);
    assert_eq!(text, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n");
    assert_eq!((delimited, kept), (Delimited::ByClose, false));
    let (text, _, kept) = written(200, &[], Some(1), OLD);
    assert_eq!((text.as_str(), kept), ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n", true));
}

#[test]
fn what_has_no_content_is_followed_by_none_whatever_it_says() {
    for (status, terms, length, says) in [
        (200, HEAD, Some(0), "content-length: 9\r\n"),
        (200, HEAD, None, "content-length: 9\r\n"),
        (304, PLAIN, Some(0), "content-length: 9\r\n"),
        (304, PLAIN, None, "content-length: 9\r\n"),
        (204, PLAIN, Some(0), ""),
        (204, PLAIN, None, ""),
    ] {
        let (text, delimited, kept) = written(status, &[("content-length", "9"), ("trailer", "x-sum")], length, terms);
        let (_, fields) = text.split_once("\r\n").unwrap();
        assert_eq!(fields, format!("{says}\r\n"), "{status} {length:?}");
        assert_eq!((delimited, kept), (Delimited::Bodiless, true), "{status}");
    }
    assert_eq!(written(401, &[], Some(7), HEAD).0, "HTTP/1.1 401 Unauthorized\r\ncontent-length: 7\r\n\r\n");
    assert_eq!(written(200, &[], None, HEAD).0, "HTTP/1.1 200 OK\r\n\r\n");
}

#[test]
fn an_end_of_the_connection_is_told_whoever_wants_it() {
    for (fields, terms) in [
        (&[("connection", "close")][..], PLAIN),
        (&[], Terms { keep_alive: false, ..PLAIN }),
        (&[("connection", "x, Close")], OLD),
    ] {
        let (text, _, kept) = written(200, fields, Some(0), terms);
        assert!(text.ends_with("connection: close\r\n\r\n") && !kept, "{text}");
        assert_eq!(text.matches("connection").count(), 1, "{text}");
    }
}

#[test]
fn a_switch_of_protocols_keeps_what_it_says_and_has_no_length() {
    let fields = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let (text, delimited, kept) = written(101, &fields, Some(0), PLAIN);
    assert_eq!(text, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!((delimited, kept), (Delimited::Bodiless, false), "no request comes behind it");
}

#[test]
fn a_status_without_a_name_has_a_line_all_the_same() {
    assert!(written(599, &[], Some(0), PLAIN).0.starts_with("HTTP/1.1 599 \r\n"));
}

#[test]
fn a_response_without_a_date_gets_the_one_of_now_and_one_with_keeps_its_own() {
    let (mut parts, ()) = Response::new(()).into_parts();
    let date = |parts: &response::Parts| {
        let mut out = BytesMut::new();
        write_head(&mut out, parts, Some(0), PLAIN);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let dates: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("date: ").map(str::to_owned)).collect();
        assert_eq!(dates.len(), 1, "{text}");
        dates[0].clone()
    };
    let now = date(&parts);
    let ages: Vec<_> =
        (0..3).filter_map(|age| clock::wall().minus(std::time::Duration::from_secs(age)).to_http_date()).collect();
    assert!(ages.contains(&now), "{now} is none of {ages:?}");
    parts.headers.insert("date", HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(date(&parts), "Thu, 01 Jan 1970 00:00:00 GMT");
}

#[test]
fn the_date_is_made_anew_with_each_second() {
    let line = |millis| {
        let mut out = BytesMut::new();
        write_date(&mut out, Timestamp::from_millis(millis));
        String::from_utf8(out.to_vec()).unwrap()
    };
    assert_eq!(line(784_111_777_000), "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    assert_eq!(line(784_111_777_999), "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    assert_eq!(line(784_111_778_000), "date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
    assert_eq!(line(784_111_777_000), "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    assert_eq!(line(i64::MAX), "", "a clock out of its mind leaves it out");
}

#[test]
fn chunks_have_their_size_before_them_and_an_empty_one_with_the_trailers_behind_them() {
    let mut out = BytesMut::new();
    write_chunk_size(&mut out, 0x1af);
    let mut headers = HeaderMap::new();
    headers.append(TRAILER, HeaderValue::from_static("X-Sum, Content-Length,set-cookie, a b"));
    headers.append(TRAILER, HeaderValue::from_static("grpc-status, transfer-encoding"));
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "content-length", "transfer-encoding", "set-cookie", "grpc-status", "location"] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    write_last_chunk(&mut out, &trailers, &announced(&headers));
    assert_eq!(&out[..], b"1af\r\n0\r\nx-sum: 1\r\ngrpc-status: 1\r\n\r\n", "what was announced, and may be");
}
