//! Applications over TLS: whom the gateway believes, and what it shows of itself.

use std::io::Write as _;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use crate::front::{Front, server};
use crate::open;
use crate::pki::Authority;
use crate::support::gateway::{Gateway, SERVICE_KEY};
use crate::support::program::{self, Program, command};
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::{noise, wait_until};

/// The settings of an application at this port, known by this authority.
fn settings(directory: &TempDir, authority: &Authority, port: u16, more: &str) -> String {
    let ca = authority.write(directory.path());
    open(&format!("url = \"https://localhost:{port}\"\nca_file = {ca:?}\n{more}"))
}

#[test]
fn an_application_over_tls_is_reached_and_its_connections_are_kept() {
    let body = noise(300_000, 5);
    let answer = body.clone();
    let upstream = Upstream::start(move |received| match received.target() {
        "/large" => {
            let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len()).into_bytes();
            bytes.extend_from_slice(&answer);
            Reaction::Send(bytes)
        }
        _ => Reaction::Send(response("200 OK", "", "small")),
    });
    let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
    let front = Front::tls(upstream.address, server(&authority.issue("localhost"), None));
    let gateway = Gateway::start("", &settings(&directory, &authority, front.port(), ""));
    for _ in 0..3 {
        assert_eq!(gateway.get("/", "").text(), "small");
        assert!(gateway.get("/large", "").body == body);
        assert_eq!(gateway.request("PUT", "/", "", &body).status, 200);
        assert!(upstream.last().body == body);
    }
    assert_eq!(front.shaken.load(Ordering::SeqCst), 1, "one connection served all of it");
    gateway.until_metric("gateway_upstream_reuses_total", 8.0);
}

#[test]
fn a_new_connection_goes_on_with_an_earlier_session_of_tls() {
    let upstream = Upstream::start(|_| Reaction::SendAndClose(response("200 OK", "Connection: close\r\n", "x")));
    let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
    let front = Front::tls(upstream.address, server(&authority.issue("localhost"), None));
    let gateway = Gateway::start("", &settings(&directory, &authority, front.port(), ""));
    for _ in 0..5 {
        assert_eq!(gateway.get("/", "").status, 200);
    }
    assert_eq!(front.shaken.load(Ordering::SeqCst), 5);
    assert_eq!(front.resumed.load(Ordering::SeqCst), 4);
}

#[test]
fn a_connection_that_was_closed_while_it_rested_is_replaced_without_an_error() {
    let upstream = Upstream::hello();
    let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
    let front = Front::tls(upstream.address, server(&authority.issue("localhost"), None));
    let gateway = Gateway::start("", &settings(&directory, &authority, front.port(), ""));
    for round in 1..=10 {
        assert_eq!(gateway.get("/", "").status, 200, "{round}");
        upstream.close_connections();
        wait_until("the sweep finds it closed, or the next request does", || {
            gateway.request("POST", "/", "", b"body").status == 200
        });
    }
}

#[test]
fn bytes_that_follow_a_response_are_never_taken_for_the_answer_to_the_next_request() {
    let upstream = Upstream::start(|received| match received.target() {
        "/poison" => Reaction::Custom(Box::new(|stream| {
            let mut both = response("200 OK", "", "first");
            both.extend(response("200 OK", "", "poison"));
            stream.write_all(&both).unwrap();
        })),
        _ => Reaction::Send(response("200 OK", "", "mine")),
    });
    let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
    let front = Front::tls(upstream.address, server(&authority.issue("localhost"), None));
    let gateway = Gateway::start("", &settings(&directory, &authority, front.port(), ""));
    for _ in 0..5 {
        assert_eq!(gateway.get("/poison", "").text(), "first");
        assert_eq!(gateway.get("/", "").text(), "mine");
    }
}

#[test]
fn a_certificate_that_is_not_good_is_a_502_and_the_log_says_why() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let upstream = Upstream::hello();
    for (pair, why) in [
        (authority.issue("other.test"), "its certificate is for another name"),
        (authority.issue_expired("localhost"), "its certificate has expired"),
        (foreign.issue("localhost"), "is of an authority that is not trusted"),
    ] {
        let directory = TempDir::new().unwrap();
        let front = Front::tls(upstream.address, server(&pair, None));
        let toml = settings(&directory, &authority, front.port(), "");
        let service = format!("[[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n");
        std::fs::write(directory.path().join("gateway.toml"), toml + &service).unwrap();
        let program = Program::start_ready(&mut command(directory.path()));
        let mut client = crate::support::client::Connection::open(program.address);
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let answer = client.read("GET");
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"), "{why}");
        assert!(!answer.text().contains("certificate"), "{}", answer.text());
        wait_until(&format!("the log tells that {why}: {}", program.log()), || program.log().contains(why));
    }
    assert!(upstream.received().is_empty(), "nothing of a request went there");
}

#[test]
fn the_name_that_the_certificate_must_be_for_can_be_told() {
    let upstream = Upstream::hello();
    let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
    let front = Front::tls(upstream.address, server(&authority.issue("inner.test"), None));
    let toml = settings(&directory, &authority, front.port(), "tls_name = \"inner.test\"");
    assert_eq!(Gateway::start("", &toml).get("/", "").status, 200);
}

#[test]
fn an_application_that_asks_for_a_certificate_gets_the_one_of_the_settings() {
    let upstream = Upstream::hello();
    let (directory, authority, clients) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
    let front = Front::tls(upstream.address, server(&authority.issue("localhost"), Some(&clients)));

    let without = Gateway::start("", &settings(&directory, &authority, front.port(), ""));
    let answer = without.get("/", "");
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"));
    assert!(upstream.received().is_empty());

    let (cert, key) = clients.issue("gateway").write(directory.path());
    let more = format!("client_cert = {cert:?}\nclient_key = {key:?}");
    let with = Gateway::start("", &settings(&directory, &authority, front.port(), &more));
    for _ in 0..2 {
        assert_eq!(with.get("/", "").status, 200);
    }
}

#[test]
fn an_application_that_does_not_speak_tls_is_a_502() {
    let upstream = Upstream::hello();
    let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
    let toml = settings(&directory, &authority, upstream.address.port(), "connect_timeout = \"500ms\"");
    assert_eq!(Gateway::start("", &toml).get("/", "").code(), "upstream_unreachable");
}

#[test]
fn check_finds_certificates_that_cannot_be_used() {
    let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
    let (cert, _) = authority.issue("a").write(directory.path());
    let key = directory.path().join("other.key");
    std::fs::write(&key, authority.issue("b").key).unwrap();
    std::fs::write(directory.path().join("empty.pem"), "").unwrap();
    for (lines, expected) in [
        ("ca_file = \"nowhere.pem\"", "upstream[0].ca_file: nowhere.pem cannot be read"),
        ("ca_file = \"empty.pem\"", "upstream[0].ca_file: empty.pem has no certificate"),
        (&format!("client_cert = {cert:?}"), "upstream[0].client_key: is missing"),
        (&format!("client_key = {key:?}"), "upstream[0].client_cert: is missing"),
        (&format!("client_cert = {cert:?}\nclient_key = {key:?}"), "upstream[0].client_key: does not go with"),
        (&format!("client_cert = {cert:?}\nclient_key = {cert:?}"), "client.pem cannot be read as a private key"),
        ("tls_name = \"a..b\"", "upstream[0].tls_name: \"a..b\" is no name"),
    ] {
        let toml = format!("[[upstream]]\nurl = \"https://localhost\"\n{lines}\n");
        std::fs::write(directory.path().join("gateway.toml"), toml).unwrap();
        let ran = program::run(command(directory.path()).arg("check"));
        assert!(ran.status == 78 && ran.stderr.contains(expected), "{lines}: {ran:?}");
    }
    let toml = "[[upstream]]\nurl = \"http://localhost\"\nca_file = \"ca.pem\"\n";
    std::fs::write(directory.path().join("gateway.toml"), toml).unwrap();
    let ran = program::run(command(directory.path()).arg("check"));
    assert!(ran.stderr.contains("upstream[0].ca_file: needs an address that begins with https://"), "{ran:?}");
}
