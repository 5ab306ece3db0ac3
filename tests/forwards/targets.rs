//! One canonical target: what is matched is what is forwarded, and what can be read in two ways goes nowhere.

use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const PUBLIC: &str = "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/public\"\nauth = \"off\"\n";

/// The status of a request written exactly so, and what of it reached the application.
fn sent(gateway: &Gateway, upstream: &Upstream, request: &str) -> (u16, Option<String>) {
    let before = upstream.received().len();
    let mut connection = gateway.connect();
    connection.send(request);
    let response = connection.read(request.split(' ').next().unwrap());
    let arrived = upstream.received().get(before).map(|received| received.target().to_owned());
    (response.status, arrived)
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n")
}

#[test]
fn a_target_is_matched_and_forwarded_in_the_same_canonical_form() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), PUBLIC);
    for (target, canonical) in [
        ("/public", "/public"),
        ("/public/a%2Db?x=%2F..%2f&y=//", "/public/a-b?x=%2F..%2f&y=//"),
        ("//public///a", "/public/a"),
        ("/./public/./a/.", "/public/a/"),
        ("/private/../public/a", "/public/a"),
        ("/%70ublic/%7Ea", "/public/~a"),
        ("/private/%2e%2E/public/a", "/public/a"),
        ("/public/%c3%bc", "/public/%C3%BC"),
        ("/public/a%20b", "/public/a%20b"),
        ("/public/?", "/public/?"),
        ("/public/a;v=1", "/public/a;v=1"),
        ("http://app.test/public/a?b", "/public/a?b"),
        ("HTTP://APP.test./public", "/public"),
    ] {
        let arrived = sent(&gateway, &upstream, &get(target));
        assert_eq!(arrived, (200, Some(canonical.to_owned())), "{target}");
    }
}

#[test]
fn a_detour_through_a_public_path_does_not_open_a_private_one() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), PUBLIC);
    for target in [
        "/public/../private",
        "/public/%2e%2e/private",
        "/public/.%2E/private",
        "/public/..//private",
        "//private",
        "/publicx",
        "/public%20/private",
        "/PUBLIC/a",
        "/private?/public/",
        "/private?a=/../public",
        "http://app.test/private",
    ] {
        assert_eq!(sent(&gateway, &upstream, &get(target)), (401, None), "{target}");
    }
}

#[test]
fn a_target_that_two_programs_may_read_differently_is_refused() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), PUBLIC);
    for target in [
        "/public/..%2fprivate",
        "/public%2F..%2Fprivate",
        "/public/..%5cprivate",
        "/public/..\\private",
        "/public/%00",
        "/public/%0d%0aX:%20y",
        "/public/%7f",
        "/public/%zz",
        "/public/%",
        "/public/..;/private",
        "/public/..;x=y/private",
        "/public/%2e%2e;/private",
        "/public/%c0%ae%c0%ae/private",
        "/public/%c0%afprivate",
        "/..",
        "/public/../../private",
        "/%2e%2e/public",
        "/public;x/../private;y",
        "/;/public",
        "/public%3b/x",
        "*",
        "ftp://app.test/public",
        "http://other.test/public",
        "http://app.test:81/public",
        "http://user@app.test/public",
        "app.test/public",
        "public",
    ] {
        let (status, arrived) = sent(&gateway, &upstream, &get(target));
        assert_eq!(arrived, None, "{target}");
        assert!(status == 400 || status == 401, "{target}: {status}");
        let refused = !matches!(target, "/public;x/../private;y");
        assert_eq!(status == 400, refused, "{target}: {status}");
    }
}

#[test]
fn methods_that_would_echo_or_tunnel_are_refused() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), PUBLIC);
    for request in [
        "TRACE /public HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n",
        "CONNECT /public HTTP/1.1\r\nHost: app.test\r\n\r\n",
    ] {
        let (status, arrived) = sent(&gateway, &upstream, request);
        assert!(status == 405 || status == 400 && request.starts_with("CONNECT /"), "{request}: {status}");
        assert_eq!(arrived, None, "{request}");
    }
    let (status, arrived) = sent(&gateway, &upstream, "OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!((status, arrived), (400, None));
    let (status, _) = sent(&gateway, &upstream, "BREW /public HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!((status, upstream.last().method()), (200, "BREW"), "unknown methods are the application's");
}

#[test]
fn a_request_names_its_host_exactly_once() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), PUBLIC);
    for fields in [
        "",
        "Host: app.test\r\nHost: app.test\r\n",
        "Host: app.test\r\nHost: other.test\r\n",
        "Host: app.test, other.test\r\n",
        "Host: user@app.test\r\n",
        "Host: app.test/x\r\n",
        "Host:\r\n",
        "Host: app.test:x\r\n",
        "Host: a b\r\n",
    ] {
        let request = format!("GET /public HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(sent(&gateway, &upstream, &request), (400, None), "{fields}");
    }
}

#[test]
fn only_the_gateway_s_own_paths_are_the_gateway_s() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), crate::OPEN);
    for (target, canonical) in [
        ("/_sessionsX", "/_sessionsX"),
        ("/_sessions/../x", "/x"),
        ("/_sessions/current/../../x", "/x"),
        ("/x/_sessions", "/x/_sessions"),
        ("/_Sessions", "/_Sessions"),
    ] {
        let arrived = sent(&gateway, &upstream, &get(target));
        assert_eq!(arrived, (200, Some(canonical.to_owned())), "{target}");
    }
    for target in [
        "/_sessions",
        "/_sessions/",
        "//_sessions",
        "/./_sessions/current",
        "/%5fsessions",
        "/%5Fsessions/current",
        "/x/../_sessions",
        "http://app.test/_sessions",
        "/_sessions?x=/../x",
    ] {
        assert_eq!(sent(&gateway, &upstream, &get(target)), (401, None), "{target}");
    }
    for target in ["/_sessions;x", "/_sessions;/current", "/_sessions%3bx"] {
        assert_eq!(sent(&gateway, &upstream, &get(target)), (400, None), "{target}");
    }
}
