//! Header fields on their way through: hop-by-hop ones end here, forwarding ones are ours, the rest passes as it is.

use crate::OPEN;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Reaction, Upstream, response};

/// `OPEN` with this line under `[server]` and this one under `[[upstream]]`.
fn open_with(server: &str, upstream: &str) -> String {
    OPEN.replace("workers = 1", &format!("workers = 1\n{server}"))
        .replace("url = \"{upstream}\"", &format!("url = \"{{upstream}}\"\n{upstream}"))
}

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.1/32\"]";

#[test]
fn fields_that_concern_one_connection_end_at_the_gateway_in_both_directions() {
    let upstream = Upstream::start(|_| {
        let headers = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
                       Upgrade: h2c\r\nX-End: 2\r\n";
        Reaction::Send(response("200 OK", headers, "hello"))
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);

    let headers = "Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 300\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
                   Upgrade: websocket\r\nProxy-Authorization: Basic YTpi\r\nHTTP2-Settings: AAMAAABkAAQ\r\nX-End: 2\r\n";
    let response = gateway.get("/", headers);

    let received = upstream.last();
    for name in ["x-hop", "keep-alive", "proxy-connection", "te", "upgrade", "proxy-authorization", "http2-settings"] {
        assert_eq!(received.header(name), None, "{name}");
    }
    assert_eq!(received.header("x-end"), Some("2"));
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert_eq!(response.header("x-end"), Some("2"));
    let connection = response.header("connection").unwrap_or_default();
    assert!(!connection.contains("X-Hop") && !connection.contains("x-hop"), "{connection}");
}

#[test]
fn fields_that_frame_or_address_a_message_cannot_be_dropped_by_naming_them() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let headers = "Connection: Host, Content-Length, Content-Type, X-Forwarded-For, X-Real-IP, Forwarded\r\n\
                   Content-Type: text/plain\r\n";

    gateway.request("POST", "/", headers, b"body");

    let received = upstream.last();
    assert_eq!(received.body, b"body");
    for (name, value) in [
        ("host", "app.test"),
        ("content-length", "4"),
        ("content-type", "text/plain"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
    ] {
        assert_eq!(received.headers(name), [value], "{name}");
    }
    assert!(received.header("forwarded").is_some());
}

#[test]
fn a_connection_that_names_too_much_is_refused_in_a_request_and_malformed_in_a_response() {
    let words = |number: usize| (0..number).map(|at| format!("X-{at}")).collect::<Vec<_>>().join(", ");
    let upstream = Upstream::start(move |received| {
        let number = received.target().trim_start_matches('/').parse().unwrap();
        Reaction::Send(response("200 OK", &format!("X-7: 1\r\nConnection: {}\r\n", words(number)), "hello"))
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let send = |target: &str, words: &str| gateway.get(target, &format!("X-7: 1\r\nConnection: {words}\r\n"));

    let response = send("/100", &words(101));
    assert_eq!((response.status, response.code().as_str()), (400, "invalid_request"), "{response:?}");
    assert_eq!(response.json()["field"], "Connection");
    assert!(upstream.received().is_empty());

    // So many that all of them were looked at once for every field.
    for words in [words(100), "x-7,close,".repeat(3000)] {
        let response = send("/100", &words);
        assert_eq!((response.status, response.header("x-7")), (200, None), "{response:?}");
        assert_eq!(upstream.last().header("x-7"), None);
    }
    let response = send("/101", "close");
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"), "{response:?}");
}

#[test]
fn every_other_field_passes_in_its_order_and_byte_for_byte() {
    let upstream = Upstream::start(|_| {
        let headers =
            "Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nServer: app\r\nDate: then\r\nX-Empty:\r\nVary: A, B\r\n";
        Reaction::Send(response("299 Whatever It Says", headers, ""))
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let headers = "Accept: a/b;q=0.1\r\nAccept: c/d\r\nX-Text: \"quoted, text\"\tand tab\r\nX-Empty:\r\nReferer: http://x/?y\r\n\
                   Authorization: Basic dTpw\r\n";

    let response = gateway.get("/", headers);

    let received = upstream.last();
    assert_eq!(received.headers("accept"), ["a/b;q=0.1", "c/d"]);
    assert_eq!(received.header("x-text"), Some("\"quoted, text\"\tand tab"));
    assert_eq!(received.header("x-empty"), Some(""));
    assert_eq!(received.header("referer"), Some("http://x/?y"));
    assert_eq!(received.header("authorization"), Some("Basic dTpw"));
    assert_eq!(response.status, 299);
    assert_eq!(response.headers("set-cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!((response.header("server"), response.headers("date")), (Some("app"), vec!["then"]));
    assert_eq!((response.header("x-empty"), response.header("vary")), (Some(""), Some("A, B")));
}

#[test]
fn the_application_gets_the_client_s_host_or_its_own() {
    let upstream = Upstream::hello();
    let preserving = Gateway::start(&upstream.url(), OPEN);
    preserving.get("/", "Host: WWW.App.test.:8080\r\n");
    assert_eq!(upstream.last().headers("host"), ["www.app.test:8080"], "in its canonical form, as it was matched");

    let rewriting = Gateway::start(&upstream.url(), &open_with("", "preserve_host = false"));
    rewriting.get("/", "Host: app.test\r\n");
    let received = upstream.last();
    assert_eq!(received.headers("host"), [upstream.address.to_string()]);
    assert_eq!(received.header("x-forwarded-host"), Some("app.test"), "it still learns what the client asked for");
}

#[test]
fn forwarding_fields_of_a_client_that_is_no_trusted_proxy_are_replaced_in_every_spelling() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let spoofed = "X-Forwarded-For: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nX.Forwarded.For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                   X_Real_IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nForwarded_: for=6.6.6.6\r\nX-Forwarded-Proto: https6666\r\n\
                   X-Forwarded-Host: 6.6.6.6\r\nX-Forwarded-Port: 6666\r\nX-Forwarded-Prefix: /6.6.6.6\r\n\
                   X-Forwarded-User: 6.6.6.6\r\nX-Forwarded-Server: 6.6.6.6\r\nX-Forwarded-Client-Cert: 6.6.6.6\r\n";

    gateway.get("/", spoofed);

    let received = upstream.last();
    assert!(!received.head.contains("6.6.6.6") && !received.head.contains("6666"), "{}", received.head);
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "app.test"),
        ("forwarded", "for=127.0.0.1;proto=http;host=\"app.test\""),
    ] {
        assert_eq!(received.headers(name), [value], "{name}");
    }
}

#[test]
fn behind_a_trusted_proxy_the_rightmost_untrusted_address_is_the_client() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open_with(TRUSTING, ""));
    for (headers, client, proto, host) in [
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.9\r\n", "192.0.2.9", "http", "app.test"),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.9, 127.0.0.1\r\n", "192.0.2.9", "http", "app.test"),
        ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.9\r\n", "192.0.2.9", "http", "app.test"),
        (
            "X-Forwarded-For: 2001:db8::7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: Shop.test:8443\r\n",
            "2001:db8::7",
            "https",
            "shop.test:8443",
        ),
        (
            "Forwarded: for=6.6.6.6, for=\"[2001:db8::8]:99\";proto=https;host=a.test\r\n",
            "2001:db8::8",
            "https",
            "a.test",
        ),
        ("X-Real-IP: 6.6.6.6\r\n", "127.0.0.1", "http", "app.test"),
        ("", "127.0.0.1", "http", "app.test"),
    ] {
        gateway.get("/", headers);
        let received = upstream.last();
        assert!(!received.head.contains("6.6.6.6"), "{headers}: {}", received.head);
        assert_eq!(received.headers("x-forwarded-for"), [client], "{headers}");
        assert_eq!(received.headers("x-real-ip"), [client], "{headers}");
        assert_eq!(received.headers("x-forwarded-proto"), [proto], "{headers}");
        assert_eq!(received.headers("x-forwarded-host"), [host], "{headers}");
        assert_eq!(received.headers("host"), [host], "{headers}");
        let node = if client.contains(':') { format!("\"[{client}]\"") } else { client.to_owned() };
        assert_eq!(received.headers("forwarded"), [format!("for={node};proto={proto};host=\"{host}\"")], "{headers}");
    }
}

#[test]
fn an_unasked_switch_of_protocols_is_not_passed_on() {
    let upstream = Upstream::start(|_| {
        Reaction::Send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".to_vec())
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let response = gateway.get("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n");
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"));
}
