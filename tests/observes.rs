//! What the operator sees: metrics, health, the access log. And that clients see none of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::gateway::{AGENT, Gateway, SERVICE_KEY, bearer};
use support::peer::Peer;
use support::upstream::{Reaction, Upstream, response};
use support::wait_until;

const SETTINGS: &str = r#"
[server]
workers = 1
[[upstream]]
url = "{upstream}"
[[upstream.route]]
path = "/public"
auth = "off"
[[upstream.route]]
path = "/admin"
roles = ["staff"]
[[upstream.login]]
path = "/login"
user = { form = "username" }
"#;

/// The lines of the access log, once there are so many of them.
fn lines(gateway: &Gateway, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(gateway.access_log()).unwrap_or_default();
    wait_until("the access log has its lines", || read().lines().count() >= count);
    let lines: Vec<String> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn verdict(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(&format!("gateway_requests_total{{verdict=\"{name}\"}}"))
}

fn refused(gateway: &Gateway, name: &str, status: u16) -> f64 {
    gateway.metric(&format!("gateway_requests_total{{verdict=\"{name}\",status=\"{status}\"}}"))
}

#[test]
fn every_request_is_counted_under_what_became_of_it() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), SETTINGS);
    let ann = gateway.login("ann").token;
    let browser = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

    for _ in 0..3 {
        gateway.get_as(&ann, "/");
    }
    gateway.get("/public/a", "");
    gateway.get("/", "");
    gateway.get("/", browser);
    gateway.get_as(&ann, "/admin");
    gateway.get_as("never-given-never-given-never-given-never-g", "/");
    gateway.get("/%00", "");
    gateway.get("/", "Host: \r\n");
    gateway.get_as(&ann, "/_sessions/current");
    let mut torn = gateway.connect();
    torn.send("no http\r\n\r\n");
    torn.read_to_end();
    torn.close();

    wait_until("it is over", || gateway.metric("gateway_unparsable_requests_total") == 1.0);
    assert_eq!(verdict(&gateway, "forwarded"), 3.0);
    assert_eq!(verdict(&gateway, "anonymous"), 1.0);
    assert_eq!(verdict(&gateway, "redirected"), 1.0);
    assert_eq!(verdict(&gateway, "answered"), 2.0);
    assert_eq!(refused(&gateway, "missing_token", 401), 1.0);
    assert_eq!(refused(&gateway, "role_required", 403), 1.0);
    assert_eq!(refused(&gateway, "unknown_token", 401), 1.0);
    assert_eq!(refused(&gateway, "invalid_request", 400), 2.0);
    assert_eq!(gateway.metric("gateway_request_duration_seconds_count"), 12.0);
    assert_eq!(gateway.metric("gateway_request_duration_seconds_bucket{le=\"+Inf\"}"), 12.0);
    assert!(gateway.metric("gateway_request_duration_seconds_sum") > 0.0);
    // The session was made here, so it is in the cache from the start.
    let lookups = |result: &str| gateway.metric(&format!("gateway_session_lookups_total{{result=\"{result}\"}}"));
    assert_eq!(lookups("hit") + lookups("miss"), 6.0);
    assert!(lookups("hit") >= 4.0 && lookups("miss") >= 1.0);
    assert_eq!(gateway.metric("gateway_upstream_connections_total"), 1.0);
    assert_eq!(gateway.metric("gateway_upstream_reuses_total"), 3.0);
    assert_eq!(gateway.metric("gateway_connections_total"), 13.0);
    assert_eq!(gateway.metric("gateway_sessions_created_total"), 1.0);
    assert_eq!(gateway.metric("gateway_store_up"), 1.0);
    assert_eq!(gateway.metric("gateway_panics_total"), 0.0);
    wait_until("all have gone", || gateway.metric("gateway_connections_open") == 0.0);
    assert_eq!(lines(&gateway, 12).len(), 12, "one line a request");
}

#[test]
fn failures_of_the_application_and_of_clients_are_counted() {
    let peer = Peer::listen();
    let settings = SETTINGS.replace("url = \"{upstream}\"", "url = \"{upstream}\"\nresponse_timeout = \"200ms\"");
    let gateway = Gateway::start(&peer.url(), &settings);
    let get = "GET /public HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let mut client = gateway.connect();
    client.send(get);
    let mut app = peer.accept();
    app.read_head().unwrap();
    assert_eq!(client.read("GET").status, 504);
    client.send(get);
    peer.accept().close();
    assert_eq!(client.read("GET").status, 502);
    client.send(get);
    let mut app = peer.accept();
    app.read_head().unwrap();
    client.close();

    wait_until("it is noticed", || verdict(&gateway, "abandoned") == 1.0);
    assert_eq!(refused(&gateway, "upstream_timeout", 504), 1.0);
    assert_eq!(refused(&gateway, "upstream_unreachable", 502), 1.0);
}

#[test]
fn a_request_that_finds_its_kept_connection_closed_opens_another() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), SETTINGS);
    for round in 1..=5 {
        assert_eq!(gateway.get("/public", "").status, 200);
        upstream.close_connections();
        assert_eq!(gateway.metric("gateway_upstream_connections_total"), f64::from(round));
    }
    // A retry is a race of microseconds that the look at the connection mostly wins.
    assert!(gateway.metric("gateway_upstream_retries_total") <= gateway.metric("gateway_upstream_reuses_total"));
}

#[test]
fn the_metrics_page_is_what_its_format_says() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), SETTINGS);
    gateway.get("/public", "");
    let page = gateway.ops_get("/metrics");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let (mut typed, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for line in page.text().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(typed.insert(name), "{line} stands twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series), "{line} stands twice");
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(typed.contains(name) || typed.contains(family), "{line} has no type before it");
        }
    }
    assert!(page.text().ends_with('\n'));
}

#[test]
fn what_is_for_the_operator_is_not_for_clients_and_the_other_way_round() {
    let upstream = Upstream::start(|received| Reaction::Send(response("200 OK", "", received.target())));
    let gateway = Gateway::start(&upstream.url(), SETTINGS);
    let token = gateway.login("ann").token;
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(gateway.ops_get(path).status, 200, "{path}");
        assert_eq!(gateway.get(path, "").status, 401, "{path} is a path of the application like any other");
        assert_eq!(gateway.get_as(&token, path).text(), path);
    }
    for path in ["/", "/_sessions", "/_sessions/current", "/public", "/metrics/x"] {
        assert_eq!(gateway.ops_get(path).status, 404, "{path}");
    }
    let mut ops = support::client::Connection::open(gateway.ops);
    ops.send("POST /metrics HTTP/1.1\r\nHost: ops\r\nContent-Length: 0\r\n\r\n");
    let answer = ops.read("POST");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    ops.send("HEAD /livez HTTP/1.1\r\nHost: ops\r\n\r\n");
    assert_eq!(ops.read("HEAD").status, 200);
}

/// One word of a text line.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

#[test]
fn a_text_line_says_who_asked_for_what_and_how_it_ended() {
    let upstream = Upstream::start(|received| match received.target() {
        "/chunks" => {
            Reaction::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec())
        }
        _ => Reaction::Send(response("200 OK", "", "hello")),
    });
    let gateway = Gateway::start(&upstream.url(), SETTINGS);
    let ann = gateway.login("ann");
    gateway.get_as(&ann.token, "/a/b?c=d");
    gateway.get_as(&ann.token, "/chunks");
    gateway.request("HEAD", "/private", "", b"");
    gateway.get("/%00", "");

    let lines = lines(&gateway, 5);
    let line = &lines[1];
    assert!(line.as_bytes()[..24].ends_with(b"Z"), "{line}");
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("host", "app.test"),
        ("target", "/a/b"),
        ("status", "200"),
        ("bytes", "5"),
        ("user", "ann"),
        ("session", &ann.id),
        ("verdict", "forwarded"),
    ] {
        assert_eq!(word(line, key), Some(value), "{line}");
    }
    assert!(word(line, "ms").unwrap().parse::<f64>().unwrap() >= word(line, "upstream_ms").unwrap().parse().unwrap());
    assert_eq!((word(&lines[2], "bytes"), word(&lines[2], "target")), (Some("3"), Some("/chunks")));
    assert_eq!((word(&lines[3], "status"), word(&lines[3], "verdict")), (Some("401"), Some("missing_token")));
    assert_eq!((word(&lines[3], "user"), word(&lines[3], "upstream_ms")), (None, None));
    assert_eq!((word(&lines[4], "status"), word(&lines[4], "verdict")), (Some("400"), Some("invalid_request")));
    assert!(lines.iter().all(|line| word(line, "aborted").is_none()), "all of them reached their end: {lines:#?}");
}

#[test]
fn a_json_line_says_the_same() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("[log]\nformat = \"json\"\n{SETTINGS}"));
    let jörg = gateway.login("jörg \"x\"");
    gateway.get_as(&jörg.token, "/a?b=c");
    gateway.get("/", "");
    let lines: Vec<Value> = lines(&gateway, 3).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = &lines[1];
    assert_eq!((&line["method"], &line["target"], &line["status"]), (&"GET".into(), &"/a".into(), &200.into()));
    assert_eq!((&line["user"], &line["session"]), (&"jörg \"x\"".into(), &jörg.id.into()));
    assert_eq!(
        (&line["verdict"], &line["bytes"], &line["client"]),
        (&"forwarded".into(), &5.into(), &"127.0.0.1".into())
    );
    assert!(line["ms"].is_number() && line["upstream_ms"].is_number() && line["time"].is_string());
    assert_eq!(lines[2].get("user"), None);
    assert_eq!(lines[2]["verdict"], "missing_token");
}

#[test]
fn no_log_line_and_no_metric_holds_a_token_whatever_the_client_does_with_it() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), SETTINGS);
    let token = gateway.login("ann").token;
    gateway.get_as(&token, "/");
    gateway.get(&format!("/?access_token={token}"), "");
    gateway.get(&format!("/public?token={token}"), "");
    gateway.get("/", &format!("Cookie: __Host-session={token}; __Host-session={token}x\r\n"));
    gateway.get("/", &format!("Authorization: Basic {token}\r\nX-Token: {token}\r\nReferer: http://a/{token}\r\n"));
    gateway.get("/", &format!("{}{}", bearer(&token), bearer(&token)));
    let lines = lines(&gateway, 7);
    for line in &lines {
        assert!(!line.contains(&token) && !line.contains(SERVICE_KEY), "{line}");
    }
    assert!(!gateway.ops_get("/metrics").text().contains(&token));
}

#[test]
fn the_query_is_logged_when_it_is_asked_for() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("[log]\nquery = true\n{SETTINGS}"));
    gateway.get("/public/./a?b=c&d", "");
    assert_eq!(word(&lines(&gateway, 1)[0], "target"), Some("/public/a?b=c&d"));
}

#[test]
fn behind_a_trusted_proxy_the_log_names_the_client() {
    let upstream = Upstream::hello();
    let settings = SETTINGS.replace("workers = 1", "workers = 1\ntrusted_proxies = [\"127.0.0.1\"]");
    let gateway = Gateway::start(&upstream.url(), &settings);
    gateway.get("/public", "X-Forwarded-For: 192.0.2.9\r\n");
    assert_eq!(word(&lines(&gateway, 1)[0], "client"), Some("192.0.2.9"));
}

#[test]
fn nobody_can_forge_a_line() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), SETTINGS);
    gateway.get("/public/%22%20status=200%20user=root", &format!("Host: app.test\r\nUser-Agent: {AGENT}\r\n"));
    gateway.get("/public/\u{fc}\"status=200", "");
    for line in lines(&gateway, 2) {
        assert_eq!(word(&line, "user"), None, "{line}");
        assert_eq!(line.matches(" status=").count(), 1, "{line}");
    }
}

#[test]
fn a_connection_is_counted_while_it_is_open() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), SETTINGS);
    let connections: Vec<_> = (0..5).map(|_| gateway.connect()).collect();
    wait_until("all are open", || gateway.metric("gateway_connections_open") == 5.0);
    for connection in connections {
        connection.close();
    }
    wait_until("all are closed", || gateway.metric("gateway_connections_open") == 0.0);
    assert_eq!(gateway.metric("gateway_connections_total"), 5.0);
}
