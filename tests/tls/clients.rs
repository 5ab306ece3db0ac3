//! Certificates of clients.

use std::time::Duration;

use super::support::authority::{Authority, Leaf, now};
use super::support::tls::{BOTH, Client, ONLY_12, ONLY_13};
use super::support::wait_until;
use super::{GET, Site};

fn start(server: &str) -> (Site, Authority) {
    let clients = Authority::new("authority of clients");
    let site = Site::start_with("", |authority, files| {
        let path = files.join("clients.pem");
        super::support::authority::replace(&path, &clients.pem);
        let table = authority.issue(&["app.test"]).table(files, "app");
        format!("tls_client_ca = {path:?}\n{server}\n{table}")
    });
    (site, clients)
}

/// Whether a request gets through. In TLS 1.3 a client learns with the first answer only that it was turned away.
fn gets_in(client: &Client, site: &Site) -> bool {
    let Ok(mut connection) = client.try_connect(site.gateway.address, "app.test") else { return false };
    connection.try_send(GET)
        && std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| connection.try_read("GET")))
            .is_ok_and(|answer| answer.is_some_and(|answer| answer.status == 200))
}

#[test]
fn a_required_certificate_lets_in_those_of_the_authority_and_nobody_else() {
    let (site, clients) = start("tls_client_auth = \"required\"");
    for versions in [ONLY_12, ONLY_13] {
        let failed = site.failures("client_certificate");
        let with = |own: Option<&Leaf>| Client::new(&site.authority.pem, versions, own, &[]);
        assert!(gets_in(&with(Some(&clients.issue(&["ann.test"]))), &site));
        assert!(!gets_in(&with(None), &site));
        assert!(!gets_in(&with(Some(&site.authority.issue(&["eve.test"]))), &site));
        let over =
            clients.issue_until(&["old.test"], super::support::authority::now() - super::support::authority::DAY);
        assert!(!gets_in(&with(Some(&over)), &site));
        wait_until("three failures are counted", || site.failures("client_certificate") - failed == 3.0);
    }
}

#[test]
fn an_optional_certificate_lets_in_those_without_and_not_those_with_a_bad_one() {
    let (site, clients) = start("tls_client_auth = \"optional\"");
    let with = |own: Option<&Leaf>| Client::new(&site.authority.pem, BOTH, own, &[]);
    assert!(gets_in(&with(Some(&clients.issue(&["ann.test"]))), &site));
    assert!(gets_in(&with(None), &site));
    assert!(!gets_in(&with(Some(&site.authority.issue(&["eve.test"]))), &site));
}

#[test]
fn nothing_of_a_clients_certificate_reaches_the_application() {
    let (site, clients) = start("tls_client_auth = \"required\"");
    let ann = clients.issue(&["ann-of-the-certificate.test"]);
    assert!(gets_in(&Client::new(&site.authority.pem, BOTH, Some(&ann), &[]), &site));
    let head = site.upstream.last().head.to_ascii_lowercase();
    assert!(!head.contains("ann-of") && !head.contains("cert") && !head.contains("ssl"), "{head}");
}

#[test]
fn a_resumed_session_ends_with_the_authority_that_let_it_in() {
    for versions in [ONLY_12, ONLY_13] {
        let (site, clients) = start("tls_client_auth = \"required\"");
        let ann = Client::new(&site.authority.pem, versions, Some(&clients.issue(&["ann.test"])), &[]);
        assert!(gets_in(&ann, &site) && gets_in(&ann, &site));
        let version = if versions == ONLY_12 { "1.2" } else { "1.3" };
        assert_eq!(site.handshakes(version, "resumed"), 1.0, "{version}");

        let others = Authority::new("other authority of clients");
        super::support::authority::replace(&site.files.path().join("clients.pem"), &others.pem);
        site.gateway.reload();
        wait_until("the files are read", || site.gateway.metric("gateway_tls_reloads_total{result=\"ok\"}") == 1.0);

        assert!(!gets_in(&ann, &site), "{version}: a ticket outlived the authority");
        let bob = Client::new(&site.authority.pem, versions, Some(&others.issue(&["bob.test"])), &[]);
        assert!(gets_in(&bob, &site));
    }
}

#[test]
fn a_resumed_session_ends_with_the_certificate_of_its_client() {
    for versions in [ONLY_12, ONLY_13] {
        let (site, clients) = start("tls_client_auth = \"required\"");
        let end = now() + Duration::from_secs(3);
        let ann = Client::new(&site.authority.pem, versions, Some(&clients.issue_until(&["ann.test"], end)), &[]);
        let bob = Client::new(&site.authority.pem, versions, Some(&clients.issue(&["bob.test"])), &[]);
        assert!(gets_in(&ann, &site) && gets_in(&ann, &site) && gets_in(&bob, &site));
        let version = if versions == ONLY_12 { "1.2" } else { "1.3" };
        assert_eq!(site.handshakes(version, "resumed"), 1.0, "{version}");

        wait_until("the certificate has ended", || now() > end);

        // The second time without a ticket, unless the first attempt brought a new one.
        for count in [1.0, 2.0] {
            assert!(!gets_in(&ann, &site), "{version}: a ticket outlived its certificate");
            wait_until("that is counted", || site.failures("client_certificate") == count);
        }
        assert!(gets_in(&bob, &site));
        assert_eq!(site.handshakes(version, "resumed"), 2.0, "{version}: other tickets are good");
        assert_eq!(site.upstream.received().len(), 4);
    }
}
