//! Properties of what reads bytes from outside, on random ones that look a little like the real thing.
//!
//! `scripts/fuzz` gives the same checks bytes that a fuzzer makes.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

#[path = "properties/checks.rs"]
mod checks;

use proptest::prelude::*;

/// Pieces that mean something to one of the readers, strung together with noise.
fn like(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => "[ -~]{0,6}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

#[test]
fn a_number_with_a_fraction_is_read_and_written_as_it_is() {
    checks::login_bodies(b"288.8383e88");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_canonical_target_has_one_reading(bytes in like(&[
        "/", "//", ".", "..", "/../", "%2e", "%2E%2e", "%2f", "%5C", "%00", "%41", "%", "%zz", ";a=b", "%3b", "?", "?a=/../b", "#", "a", "Å", "\\", "http://",
        "http://h", "@", ":", "*",
    ])) {
        checks::target(&bytes);
        checks::target(&[b"/", &bytes[..]].concat());
    }

    #[test]
    fn a_host_is_read_the_same_way_again(bytes in like(&["a", "A", ".", "-", ":", "80", "65536", "[", "]", "::1", "@", "/", "xn--", "_", "127.0.0.1", "%41"])) {
        checks::host(&bytes);
    }

    #[test]
    fn only_a_trusted_peer_is_believed(bytes in like(&[
        "\n", "\0", "\u{1}", "\u{2}", "\u{3}", "\u{4}", "for=", "by=", "proto=https", "host=", "\"", "[", "]", "::1", "127.0.0.1", "10.0.0.2", "192.0.2.7", ":80", ",", ";", "_x", "unknown",
        "\\\"", "::ffff:10.0.0.1",
    ])) {
        checks::forwarded(&bytes);
    }

    #[test]
    fn no_credential_is_left_when_it_was_stripped(bytes in like(&[
        "\n", "\0", "\u{1}", "session", "session=", "SESSION=", "=", ";", "; ", " ", "\t", "\"", "abc", "Bearer ", "bearer\t", "Token", "Basic x", ",", "__Host-session=1", "Å",
    ])) {
        checks::credentials(&bytes);
    }

    #[test]
    fn a_login_is_read_without_harm(bytes in like(&[
        "username", "=", "&", "%", "%41", "%00", "+", "{", "}", "\"username\"", ":", "\"a\"", ",", "[", "]", "null", "1e999", "\\u0000", "\\ud800", "remember=on",
    ])) {
        checks::login_bodies(&bytes);
    }

    #[test]
    fn a_response_is_read_to_its_end(bytes in like(&[
        "HTTP/1.1 200 OK\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1 204 X\r\n", "HTTP/1.1 100 C\r\n\r\n", "Content-Length: ", "Transfer-Encoding: chunked\r\n", "\r\n", "\n", "5", "0", "a;b=c", "5\r\nhello\r\n",
        "0\r\n\r\n", "ffffffffffffffff", "Connection: close\r\n", "X: y\r\n", " ", "\0",
    ])) {
        checks::responses(&bytes);
        checks::responses(&[&b"\x01HTTP/1.1 200 OK\r\n"[..], &bytes].concat());
    }

    #[test]
    fn a_request_is_read_to_its_end_and_no_further(bytes in like(&[
        "GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.0\r\n", "HEAD http://a/ HTTP/1.1\n", "Host: a\r\n", "Content-Length: ", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "\r\n", "\n", "5", "a;b=c",
        "5\r\nhello\r\n", "0\r\n\r\n", "ffffffffffffffff", "Connection: close\r\n", "Expect: 100-continue\r\n", "X: y\r\n", " ", "\r", "\0", "\t",
    ])) {
        checks::requests(&bytes);
        checks::requests(&[&b"POST / HTTP/1.1\r\n"[..], &bytes].concat());
        checks::requests(&[&b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &bytes].concat());
    }

    #[test]
    fn a_key_set_is_read_without_harm(bytes in like(&[
        "{\"keys\":[", "]}", "{", "}", "\"kty\":", "\"RSA\"", "\"EC\"", "\"OKP\"", "\"crv\":", "\"P-256\"", "\"Ed25519\"", "\"x\":", "\"y\":", "\"n\":", "\"e\":\"AQAB\"", "\"AA\"", ",", "\"use\":\"sig\"",
    ])) {
        checks::key_sets(&bytes);
    }

    #[test]
    fn a_proxy_header_is_read_no_further_than_it_says(bytes in like(&[
        "PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", "\r\n", "\r\n\r\n\0\r\nQUIT\n", "\u{21}", "\u{11}", "\0", "\u{c}", "1.2.3.4 ", "::1 ", "80 ", "65536", " ", "\n", "GET / HTTP/1.1\r\n",
    ])) {
        checks::proxy_lines(&bytes);
    }

    #[test]
    fn a_cursor_opens_for_what_it_was_made_for_and_nothing_else_does(bytes in like(&["A", "AAAA", "_", "-", "=", "0:&user=3:ann", "Å"])) {
        checks::cursors(&bytes);
    }

    #[test]
    fn a_trace_is_continued_if_it_is_one(bytes in like(&[
        "00-", "01-", "ff-", "4bf92f3577b34da6a3ce929d0e0e4736", "-", "00f067aa0ba902b7", "-01", "-00", "-ff", "0000000000000000", "A", "0", "00",
    ]), parts in ("[0f][0-9a-f]", "[0-9a-f]{31,32}", "[0-9a-fA]{16}", "[0-9a-fg]{2}", "(-?[a-z]{0,3})?")) {
        checks::trace_parents(&bytes);
        let (version, trace, span, flags, more) = parts;
        checks::trace_parents(format!("{version}-{trace}-{span}-{flags}{more}").as_bytes());
    }
}
