//! The listener that sends clients to https.

use std::time::Duration;

use super::Site;
use super::support::client::{Connection, Response};
use super::support::now;

fn ask(site: &Site, request: &str) -> Response {
    let mut connection = Connection::open(site.gateway.redirect_address());
    connection.send(request);
    let method = request.split(' ').next().unwrap();
    let answer = connection.read(method);
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert!(connection.is_closed());
    answer
}

#[test]
fn every_request_is_sent_to_the_same_place_at_https() {
    let site = Site::start("redirect_listen = [\"127.0.0.1:0\"]");
    for (request, location) in [
        ("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n", "https://app.test/"),
        ("GET /a/b?c=d&e=%2F HTTP/1.1\r\nHost: App.Test.:80\r\n\r\n", "https://app.test/a/b?c=d&e=%2F"),
        ("HEAD /x HTTP/1.1\r\nHost: app.test:8080\r\n\r\n", "https://app.test/x"),
        ("GET /x HTTP/1.0\r\nHost: app.test\r\n\r\n", "https://app.test/x"),
        ("GET http://app.test/y?z HTTP/1.1\r\nHost: app.test\r\n\r\n", "https://app.test/y?z"),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "https://[::1]/"),
        ("GET //other.test/x HTTP/1.1\r\nHost: app.test\r\n\r\n", "https://app.test/other.test/x"),
        ("GET /_sessions HTTP/1.1\r\nHost: app.test\r\n\r\n", "https://app.test/_sessions"),
    ] {
        let answer = ask(&site, request);
        assert_eq!((answer.status, answer.header("location")), (308, Some(location)), "{request}");
        assert_eq!(answer.headers("set-cookie"), [""; 0]);
    }
    assert_eq!(site.gateway.metric("gateway_https_redirects_total"), 8.0);
    assert!(site.upstream.received().is_empty());
}

#[test]
fn a_body_is_not_waited_for_and_does_not_destroy_the_answer() {
    let site = Site::start("redirect_listen = [\"127.0.0.1:0\"]");
    let began = now();
    let answer = ask(&site, "POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\nonly this");
    assert_eq!((answer.status, answer.header("location")), (308, Some("https://app.test/x")));
    let mut connection = Connection::open(site.gateway.redirect_address());
    connection.send("POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 300000\r\n\r\n");
    connection.send(vec![b'x'; 300_000]);
    assert_eq!(connection.read("POST").status, 308);
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn nobody_is_sent_to_a_host_that_is_forged_or_not_ours() {
    let authority = super::Authority::new("authority");
    let files = tempfile::TempDir::new().unwrap();
    let table = authority.issue(&["app.test"]).table(files.path(), "app");
    let upstream = super::Upstream::hello();
    let gateway = super::Gateway::start(
        &upstream.url(),
        &format!(
            "[server]\nredirect_listen = \"127.0.0.1:0\"\n{table}[[upstream]]\nurl = \"{{upstream}}\"\nhosts = [\"app.test\", \"*.apps.test\"]\n"
        ),
    );
    let status = |request: &str| {
        let mut connection = Connection::open(gateway.redirect_address());
        connection.send(request);
        let answer = connection.read(request.split(' ').next().unwrap());
        assert!(answer.status == 308 || answer.header("location").is_none(), "{answer:?}");
        answer.status
    };
    assert_eq!(status("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"), 308);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: x.apps.test\r\n\r\n"), 308);
    for (request, refused) in [
        ("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", 404),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n", 400),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", 404),
        ("GET http://app.test@evil.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: app.test\r\nHost: evil.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: app.test@evil.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: app.test/evil\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n", 400),
        ("CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n", 400),
    ] {
        assert_eq!(status(request), refused, "{request}");
    }
}

#[test]
fn limits_of_heads_hold_there_too() {
    let site =
        Site::start("redirect_listen = [\"127.0.0.1:0\"]\nmax_header_bytes = \"8 KiB\"\nheader_timeout = \"1s\"");
    let mut large = Connection::open(site.gateway.redirect_address());
    large.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}\r\n\r\n", "x".repeat(20_000)));
    assert_eq!(large.read("GET").status, 431);
    let mut slow = Connection::open(site.gateway.redirect_address());
    slow.send("GET / HTTP/1.1\r\nHost: app");
    assert!(slow.is_closed());
    assert_eq!(site.gateway.metric("gateway_connections_timed_out_total"), 1.0);
}
