//! Who is calling: told by the gateway alone, and the credential stays here.

use serde_json::json;

use crate::OPEN;
use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::{Received, Upstream};

/// Every way of writing an identity header that some application would take for the real one.
const SPOOFED: &str = "X-Auth-User: mallory\r\nx-auth-user: mallory\r\nX_Auth_User: mallory\r\nX.Auth.User: mallory\r\n\
                       X-Auth_User: mallory\r\nXAuthUser: mallory\r\nX-Auth-Roles: mallory\r\nX-Auth-Session: mallory\r\n\
                       X-Auth-Email: mallory\r\nX-Auth-Name: mallory\r\nX-Auth-Anything: mallory\r\n";

/// The names of all identity headers that arrived, in any spelling.
fn identity_of(received: &Received) -> Vec<String> {
    let names = received.head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()));
    let folded = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let mut found: Vec<String> = names.filter(|name| folded(name).starts_with("xauth")).collect();
    found.sort();
    found
}

#[test]
fn a_request_with_a_session_arrives_with_identity_headers_and_without_its_token() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login_with(json!({ "user": "ann", "roles": ["staff", "ops"] }));

    let response = gateway.get_as(&session.token, "/a?b=c");

    assert_eq!((response.status, response.text()), (200, "hello"));
    let received = upstream.last();
    assert_eq!(received.target(), "/a?b=c");
    assert_eq!(received.header("x-auth-user"), Some("ann"));
    assert_eq!(received.header("x-auth-session"), Some(session.id.as_str()));
    assert_eq!(received.header("x-auth-roles"), Some("staff,ops"));
    assert_eq!(received.header("host"), Some("app.test"));
    assert_eq!(received.header("authorization"), None);
}

#[test]
fn identity_headers_of_a_client_never_arrive_whoever_it_is() {
    let upstream = Upstream::hello();
    let settings = "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/off\"\nauth = \"off\"\n\
                    [[upstream.route]]\npath = \"/optional\"\nauth = \"optional\"\n";
    let gateway = Gateway::start(&upstream.url(), settings);
    let session = gateway.login("ann");
    let named = "Connection: X-Auth-User, X-Auth-Session\r\n";

    for (target, credential, expected) in [
        ("/", bearer(&session.token), vec!["x-auth-session", "x-auth-user"]),
        ("/optional", bearer(&session.token), vec!["x-auth-session", "x-auth-user"]),
        ("/optional", bearer("dead-token-dead-token-dead-token-dead-token"), vec![]),
        ("/optional", String::new(), vec![]),
        ("/off", bearer(&session.token), vec![]),
        ("/off", String::new(), vec![]),
    ] {
        let response = gateway.get(target, &format!("{credential}{named}{SPOOFED}"));
        assert_eq!(response.status, 200, "{target} {response:?}");
        let received = upstream.last();
        assert!(!received.head.contains("mallory"), "{}", received.head);
        assert_eq!(identity_of(&received), expected, "{target} {credential}");
        assert!(!received.head.contains(&session.token), "{}", received.head);
        assert_eq!(received.header("authorization"), None);
    }
}

#[test]
fn a_trailer_cannot_bring_an_identity_or_an_address_in() {
    let upstream = crate::support::peer::Peer::listen();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Auth-User, X_Auth_User, X-Forwarded-For, X-Sum\r\n\r\n\
         1\r\na\r\n0\r\nX-Auth-User: mallory\r\nX_Auth_User: mallory\r\nX-Forwarded-For: mallory\r\nX-Sum: 1\r\n\r\n",
    );
    let mut app = upstream.accept();
    app.read_head().unwrap();
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(client.read("POST").status, 200);
    app.stream().shutdown(std::net::Shutdown::Write).unwrap();
    let rest = String::from_utf8(app.read_to_end()).unwrap();
    assert!(!rest.contains("mallory"), "{rest}");
    assert!(rest.to_ascii_lowercase().contains("x-sum: 1\r\n"), "other trailers pass: {rest}");
}

#[test]
fn what_a_session_does_not_have_is_absent_and_what_is_no_ascii_is_escaped() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let bare = gateway.login("ann");
    gateway.get_as(&bare.token, "/");
    assert_eq!(identity_of(&upstream.last()), ["x-auth-session", "x-auth-user"]);

    let full =
        gateway.login_with(json!({ "user": "jörg", "name": "Jörg 100%", "email": "j@app.test", "roles": ["a"] }));
    gateway.get_as(&full.token, "/");
    let received = upstream.last();
    assert_eq!(received.header("x-auth-user"), Some("j%C3%B6rg"));
    assert_eq!(received.header("x-auth-name"), Some("J%C3%B6rg%20100%25"));
    assert_eq!(received.header("x-auth-email"), Some("j@app.test"));
    assert_eq!(received.header("x-auth-roles"), Some("a"));
}

#[test]
fn a_session_cookie_is_cut_out_and_the_other_cookies_stay_byte_for_byte() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;
    for (sent, expected) in [
        (format!("__Host-session={token}"), None),
        (format!("a=1; __Host-session={token}"), Some("a=1")),
        (format!("__Host-session={token}; a=1"), Some("a=1")),
        (format!("a=\"x y\";b==;  __Host-session={token}; c=%20;; d"), Some("a=\"x y\";b==; c=%20;; d")),
    ] {
        let response = gateway.get("/", &format!("Cookie: {sent}\r\n"));
        assert_eq!(response.status, 200, "{sent}");
        let received = upstream.last();
        assert!(!received.head.contains(&token), "{}", received.head);
        assert_eq!(received.header("x-auth-user"), Some("ann"));
        let cookie = received.header("cookie").map(|cookie| cookie.split_whitespace().collect::<String>());
        assert_eq!(cookie, expected.map(|cookie| cookie.split_whitespace().collect()), "{sent}");
    }
}

#[test]
fn a_basic_authorization_is_the_application_s_and_the_cookie_counts() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let token = gateway.login("ann").token;

    gateway.get("/", &format!("Authorization: Basic dTpw\r\nCookie: __Host-session={token}\r\n"));

    let received = upstream.last();
    assert_eq!(received.headers("authorization"), ["Basic dTpw"]);
    assert_eq!(received.header("x-auth-user"), Some("ann"));
    assert_eq!(received.header("cookie"), None);
}

#[test]
fn the_application_sees_the_credential_only_when_it_shall() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[token]\nforward = true\n");
    let token = gateway.login("ann").token;

    gateway.get_as(&token, "/");
    assert_eq!(upstream.last().header("authorization"), Some(format!("Bearer {token}").as_str()));
    gateway.get("/", &format!("Cookie: a=1; __Host-session={token}\r\n"));
    assert_eq!(upstream.last().header("cookie"), Some(format!("a=1; __Host-session={token}").as_str()));
}
