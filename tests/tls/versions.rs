//! Versions, resumed sessions, and what is spoken inside.

use std::process::{Command, Stdio};

use rustls::{HandshakeKind, ProtocolVersion};

use super::support::tls::{Client, ONLY_12, ONLY_13, agreed, is_installed};
use super::support::wait_until;
use super::{GET, Site};

#[test]
fn both_versions_are_spoken_and_the_newer_one_is_preferred() {
    let site = Site::start("");
    for (versions, version) in [
        (super::support::tls::BOTH, ProtocolVersion::TLSv1_3),
        (ONLY_13, ProtocolVersion::TLSv1_3),
        (ONLY_12, ProtocolVersion::TLSv1_2),
    ] {
        let mut connection =
            Client::new(&site.authority.pem, versions, None, &[]).connect(site.gateway.address, "app.test");
        assert_eq!(agreed(&connection).0, version);
        connection.send(GET);
        assert_eq!(connection.read("GET").text(), "hello");
    }
    wait_until("they are counted", || (site.handshakes("1.3", "full"), site.handshakes("1.2", "full")) == (2.0, 1.0));
}

#[test]
fn an_older_version_than_the_settings_allow_is_refused() {
    let site = Site::start("tls_min_version = \"1.3\"");
    let older = Client::new(&site.authority.pem, ONLY_12, None, &[]);
    assert!(older.try_connect(site.gateway.address, "app.test").is_err());
    wait_until("it is counted", || site.failures("incompatible") == 1.0);
    site.client().connect(site.gateway.address, "app.test");
}

#[test]
fn tls_1_1_is_refused() {
    if !is_installed("openssl") {
        return;
    }
    let site = Site::start("");
    let ask = |version: &str| {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &site.gateway.address.to_string(), "-servername", "app.test", version])
            .args(["-cipher", "DEFAULT@SECLEVEL=0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = ask("-tls1_1");
    assert!(!done && said.contains("alert"), "{said}");
    assert!(ask("-tls1_2").0 && ask("-tls1_3").0);
    wait_until("it is counted", || site.failures("incompatible") == 1.0);
}

#[test]
fn sessions_are_resumed_in_both_versions_whichever_worker_is_met() {
    let site = Site::start("workers = 4");
    for (versions, version) in [(ONLY_12, "1.2"), (ONLY_13, "1.3")] {
        let client = Client::new(&site.authority.pem, versions, None, &[]);
        for round in 0..12 {
            let mut connection = client.connect(site.gateway.address, "app.test");
            // Tickets of TLS 1.3 come with the first answer.
            connection.send(GET);
            assert_eq!(connection.read("GET").status, 200);
            let wanted = if round == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
            assert_eq!(agreed(&connection).1, wanted, "{version}, connection {round}");
        }
        wait_until("they are counted", || {
            (site.handshakes(version, "full"), site.handshakes(version, "resumed")) == (1.0, 11.0)
        });
    }
}

#[test]
fn a_client_learns_what_is_spoken_and_one_that_speaks_something_else_is_turned_away() {
    let site = Site::start("");
    let connect = |protocols: &[&str]| {
        Client::new(&site.authority.pem, ONLY_13, None, protocols).try_connect(site.gateway.address, "app.test")
    };
    let spoken = |protocols: &[&str]| {
        let connection = connect(protocols).unwrap();
        connection.session().unwrap().alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap())
    };
    assert_eq!(spoken(&["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(spoken(&["unknown", "http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(spoken(&["http/1.1", "h2"]).as_deref(), Some("h2"), "the gateway prefers it");
    assert_eq!(spoken(&[]), None);
    assert!(connect(&["unknown"]).is_err());
    wait_until("it is counted", || site.failures("incompatible") == 1.0);
}

#[test]
fn http_2_is_not_offered_where_it_is_switched_off() {
    let site = Site::start("http2 = false");
    let client = Client::new(&site.authority.pem, ONLY_13, None, &["h2", "http/1.1"]);
    let connection = client.connect(site.gateway.address, "app.test");
    assert_eq!(connection.session().unwrap().alpn_protocol(), Some(&b"http/1.1"[..]));
}
