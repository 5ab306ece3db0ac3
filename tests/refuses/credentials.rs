//! Which credential of a request counts.

use crate::problem;
use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::Upstream;

fn cookie(token: &str) -> String {
    format!("Cookie: __Host-session={token}\r\n")
}

#[test]
fn a_token_is_taken_from_either_scheme_in_any_case_and_from_the_cookie() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;
    for line in [
        format!("Authorization: Bearer {token}\r\n"),
        format!("authorization: bearer {token}\r\n"),
        format!("Authorization: BEARER   {token}\r\n"),
        format!("Authorization: Token {token}\r\n"),
        format!("Authorization: tOKEN {token}\r\n"),
        cookie(&token),
        format!("Cookie: a=1; __Host-session={token}; b=2\r\n"),
        format!("Cookie: a=1\r\nCookie: __Host-session={token}\r\n"),
        format!("Cookie: __Host-session={token}; __Host-session={token}\r\n"),
    ] {
        let response = gateway.get("/", &line);
        assert_eq!(response.status, 200, "{line}");
        let received = upstream.last();
        assert_eq!(received.header("x-auth-user"), Some("ann"), "{line}");
        assert!(!received.head.contains(&token), "{line}");
    }
    assert_eq!(upstream.last().header("cookie"), None);
}

#[test]
fn what_cannot_be_a_token_is_malformed() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;
    for line in [
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Bearer  \r\n".to_owned(),
        "Authorization: Token\r\n".to_owned(),
        format!("Authorization: Bearer {token} {token}\r\n"),
        format!("Authorization: Bearer {token},\r\n"),
        format!("Authorization: Bearer \"{token}\"\r\n"),
        format!("Authorization: Bearer\t{token}\r\n"),
        format!("Authorization: Bearer {}\r\n", "x".repeat(9000)),
        cookie("a b"),
        cookie(&format!("{token}; __Host-session={}", "y".repeat(43))),
        format!("{}{}", cookie(&token), cookie(&"y".repeat(43))),
    ] {
        problem(&gateway.get("/", &line), 401, "malformed_token");
    }
    let mut connection = gateway.connect();
    connection.send(b"GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer \xff\xfe\r\n\r\n");
    problem(&connection.read("GET"), 401, "malformed_token");
    assert!(upstream.received().is_empty());
}

#[test]
fn garbage_costs_no_store_call_and_an_unknown_token_one() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let before = gateway.store_finds();
    for garbage in ["x", "short-token", &"x".repeat(21), &"x".repeat(87), &"x".repeat(8000), "a.b.c", &"=".repeat(43)] {
        problem(&gateway.get("/", &bearer(garbage)), 401, "unknown_token");
        problem(&gateway.get("/", &cookie(garbage)), 401, "unknown_token");
    }
    problem(&gateway.get("/", "Authorization: Bearer !\r\n"), 401, "malformed_token");
    assert_eq!(gateway.store_finds(), before);
    for _ in 0..5 {
        problem(&gateway.get("/", &bearer(&"x".repeat(43))), 401, "unknown_token");
    }
    assert_eq!(gateway.store_finds(), before + 1.0, "the unknown token is remembered");
}

#[test]
fn a_bad_header_never_falls_back_to_a_good_cookie() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;
    for (header, code) in
        [(bearer(&"x".repeat(43)), "unknown_token"), ("Authorization: Token\r\n".into(), "malformed_token")]
    {
        problem(&gateway.get("/", &format!("{header}{}", cookie(&token))), 401, code);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn another_scheme_is_the_applications_and_the_cookie_counts() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;
    for scheme in ["Basic YTpi", "Digest username=\"a\"", "BearerX abc", "Bear er"] {
        let response = gateway.get("/", &format!("Authorization: {scheme}\r\n{}", cookie(&token)));
        assert_eq!(response.status, 200, "{scheme}");
        assert_eq!(upstream.last().header("authorization"), Some(scheme));
        assert_eq!(upstream.last().header("x-auth-user"), Some("ann"));
        problem(&gateway.get("/", &format!("Authorization: {scheme}\r\n")), 401, "missing_token");
    }
}

#[test]
fn two_authorization_fields_are_a_bad_request() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;
    for lines in [
        format!("{}{}", bearer(&token), bearer(&token)),
        format!("{}Authorization: Basic YTpi\r\n", bearer(&token)),
        format!("Authorization: Basic YTpi\r\n{}", bearer(&token)),
        format!("Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n{}", cookie(&token)),
    ] {
        let body = problem(&gateway.get("/", &lines), 400, "invalid_request");
        assert_eq!(body["field"], "Authorization");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_token_is_never_taken_from_elsewhere() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;
    for name in ["token", "access_token", "session", "__Host-session"] {
        problem(&gateway.get(&format!("/?{name}={token}"), ""), 401, "missing_token");
    }
    for line in [
        format!("X-Auth-Token: {token}\r\n"),
        format!("X-Session-Token: {token}\r\n"),
        format!("Proxy-Authorization: Bearer {token}\r\n"),
        format!("Cookie: session={token}; __host-session={token}; x__Host-session={token}\r\n"),
        "Cookie: __Host-session=\r\n".to_owned(),
    ] {
        problem(&gateway.get("/", &line), 401, "missing_token");
    }
    let id = gateway.login("ann").id;
    problem(&gateway.get("/", &bearer(&id)), 401, "unknown_token");
}

#[test]
fn the_cookie_and_the_schemes_are_named_by_the_settings() {
    let upstream = Upstream::hello();
    let toml = "[token]\nschemes = [\"Session\"]\ncookie = \"sid\"\ncookie_secure = false\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    let token = gateway.login("ann").token;
    assert_eq!(gateway.get("/", &format!("Authorization: session {token}\r\n")).status, 200);
    assert_eq!(gateway.get("/", &format!("Cookie: sid={token}\r\n")).status, 200);
    problem(&gateway.get("/", &cookie(&token)), 401, "missing_token");
    problem(&gateway.get("/", &bearer(&token)), 401, "missing_token");
}

#[test]
fn the_application_sees_the_credential_when_the_settings_say_so() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[token]\nforward = true\n");
    let token = gateway.login("ann").token;
    assert_eq!(gateway.get_as(&token, "/").status, 200);
    assert_eq!(upstream.last().header("authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(gateway.get("/", &format!("Cookie: a=1; __Host-session={token}\r\n")).status, 200);
    assert_eq!(upstream.last().header("cookie"), Some(format!("a=1; __Host-session={token}").as_str()));
}

#[test]
fn no_byte_in_a_cookie_opens_anything() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[limits]\nunknown_tokens_per_client = \"0\"\n");
    let token = gateway.login("ann").token;
    for byte in (0..=255_u8).filter(|byte| !matches!(byte, b'\r' | b'\n')) {
        for at in [0, 20, token.len()] {
            let mut cookie = token.clone().into_bytes();
            cookie.insert(at, byte);
            let mut connection = gateway.connect();
            connection.send("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: __Host-session=");
            connection.send(&cookie);
            connection.send("\r\nConnection: close\r\n\r\n");
            let status = connection.read("GET").status;
            // White space around a value, and what follows a semicolon, is no part of it.
            let is_whole = matches!((byte, at), (b' ' | b'\t', 0) | (b' ' | b'\t' | b';', 43));
            assert!(matches!(status, 400 | 401) || is_whole, "{byte:#04x} at {at}: {status}");
        }
    }
    assert!(upstream.received().iter().all(|request| request.header("x-auth-user") == Some("ann")));
}
