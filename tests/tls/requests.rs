//! What requests that came through TLS are to the gateway and to the application.

use std::process::Command;

use serde_json::json;

use super::support::client::Connection;
use super::support::gateway::SERVICE_KEY;
use super::support::noise;
use super::support::tls::is_installed;
use super::support::upstream::{Reaction, Upstream, response};
use super::{GET, Site, settings};

fn ask(
    connection: &mut Connection,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> super::support::client::Response {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let agent = "User-Agent: acme-test/1.0\r\n";
    connection.send(format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n{agent}{headers}{length}\r\n{body}"));
    connection.read(method)
}

#[test]
fn the_application_is_told_of_https() {
    let site = Site::start("");
    let mut connection = site.client().connect(site.gateway.address, "app.test");
    // Nobody speaks for others here: what a client says itself is not believed.
    ask(&mut connection, "GET", "/open", "X-Forwarded-Proto: http\r\nForwarded: proto=http\r\n", "");
    let head = site.upstream.last().head;
    assert!(head.to_ascii_lowercase().contains("x-forwarded-proto: https\r\n"), "{head}");
    assert!(!head.contains("proto=http\r") && !head.contains("proto=http;"), "{head}");
}

#[test]
fn one_connection_serves_many_requests_and_large_bodies_both_ways() {
    let body = noise(3_000_000, 7);
    let answer = body.clone();
    let upstream = Upstream::start(move |_| {
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len()).into_bytes();
        bytes.extend(&answer);
        Reaction::Send(bytes)
    });
    let site = Site::start("");
    let table = site.authority.issue(&["app.test"]).table(site.files.path(), "again");
    let gateway = super::Gateway::start(&upstream.url(), &settings("", &table));
    let mut connection = site.client().connect(gateway.address, "app.test");
    for _ in 0..3 {
        connection.send(format!("PUT /open HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()));
        connection.send(&body);
        assert!(connection.read("PUT").body == body);
        assert!(upstream.last().body == body);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_browser_logs_in_with_a_secure_cookie_and_its_own_origin() {
    let upstream = Upstream::start(|received| {
        let text = if received.head.starts_with("POST /login") { "302 Found" } else { "200 OK" };
        Reaction::Send(response(text, "", ""))
    });
    let site = Site::start("");
    let table = site.authority.issue(&["app.test"]).table(site.files.path(), "again");
    let login = "[[upstream.login]]\npath = \"/login\"\nuser = { form = \"username\" }\n";
    let gateway = super::Gateway::start(&upstream.url(), &(settings("", &table) + login));
    let mut connection = site.client().connect(gateway.address, "app.test");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = ask(&mut connection, "POST", "/login", form, "username=ann");
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-session=") && set.contains("Secure"), "{set}");
    let cookie = format!("Cookie: __Host-session={}\r\n", answer.cookie("__Host-session").unwrap());
    assert_eq!(ask(&mut connection, "GET", "/page", &cookie, "").status, 200);

    let logout = |connection: &mut Connection, origin: &str| {
        ask(connection, "DELETE", "/_sessions/current", &format!("{cookie}Origin: {origin}\r\n"), "").status
    };
    assert_eq!(logout(&mut connection, "http://app.test"), 403, "another origin than https");
    assert_eq!(logout(&mut connection, "https://app.test"), 204);
}

#[test]
fn services_create_sessions_through_tls() {
    let site = Site::start("");
    let mut connection = site.client().connect(site.gateway.address, "app.test");
    let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
    let issued = ask(&mut connection, "POST", "/_sessions", &headers, &json!({ "user": "ann" }).to_string());
    assert_eq!(issued.status, 201, "{issued:?}");
    let token = issued.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(ask(&mut connection, "GET", "/", &format!("Authorization: Bearer {token}\r\n"), "").text(), "hello");
    assert_eq!(ask(&mut connection, "GET", "/", "", "").status, 401);
}

#[test]
fn curl_gets_through() {
    if !is_installed("curl") {
        return;
    }
    let site = Site::start("");
    let authority = site.files.path().join("authority.pem");
    std::fs::write(&authority, &site.authority.pem).unwrap();
    let port = site.gateway.address.port();
    for (tls, http, spoken) in
        [("--tlsv1.2", "--http1.1", "1.1"), ("--tlsv1.3", "--http2", "2"), ("--tlsv1.2", "--http2", "2")]
    {
        let output = Command::new("curl")
            .args(["-sS", tls, http, "-w", "%{http_version}", "--noproxy", "*", "--cacert"])
            .arg(&authority)
            .args(["--resolve", &format!("app.test:{port}:127.0.0.1"), &format!("https://app.test:{port}/open")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, format!("hello{spoken}"), "{tls} {http}: {}", String::from_utf8_lossy(&output.stderr));
        let head = site.upstream.last().head.to_ascii_lowercase();
        assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
    }
    assert_eq!(site.gateway.metric("gateway_http2_connections_total"), 2.0);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let upstream = Upstream::start(|_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + 20_000_000, b'x');
        Reaction::SendAndClose(bytes)
    });
    let site = Site::start("");
    let table = site.authority.issue(&["app.test"]).table(site.files.path(), "again");
    let gateway = super::Gateway::start(&upstream.url(), &settings("idle_timeout = \"500ms\"", &table));
    let mut connection = site.client().connect(gateway.address, "app.test");
    connection.send(GET);
    super::support::wait_until("it is cut off", || gateway.metric("gateway_connections_timed_out_total") == 1.0);
    assert_eq!(gateway.metric("gateway_connections_open"), 0.0);
}
