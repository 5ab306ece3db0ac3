//! Certificates that change while the gateway runs.

use std::fs;

use super::support::authority::{Authority, DAY, Leaf, der, now, replace};
use super::support::program::{Program, command};
use super::support::tls::{Client, ONLY_12, ONLY_13, agreed, shown};
use super::support::wait_until;
use super::{GET, Site, settings};
use rustls::HandshakeKind;
use tempfile::TempDir;

/// The certificate that a new client gets.
fn now_shown(site: &Site) -> Vec<u8> {
    shown(&Client::trusting(&site.authority.pem).connect(site.gateway.address, "app.test"))
}

fn outdated(site: &Site) -> f64 {
    site.gateway.metric("gateway_tls_files_outdated")
}

#[test]
fn a_renewed_certificate_is_noticed_and_open_connections_go_on() {
    let site = Site::start("");
    let (client12, client13) =
        (Client::new(&site.authority.pem, ONLY_12, None, &[]), Client::new(&site.authority.pem, ONLY_13, None, &[]));
    let mut open = [&client12, &client13].map(|client| client.connect(site.gateway.address, "app.test"));
    for connection in &mut open {
        connection.send(GET);
        assert_eq!(connection.read("GET").status, 200);
    }
    let renewed = site.authority.issue_until(&["app.test"], now() + 400 * DAY);
    renewed.write(site.files.path(), "app");

    wait_until("the new certificate is shown", || now_shown(&site) == der(&renewed.cert));

    for connection in &mut open {
        connection.send(GET);
        assert_eq!(connection.read("GET").text(), "hello");
    }
    let until = site.gateway.metric("gateway_tls_certificate_expiry_seconds");
    assert!((until - (now() + 400 * DAY).as_secs_f64()).abs() < 60.0, "{until}");
    assert_eq!(outdated(&site), 0.0);
    // A session goes on too: its ticket does not hang on the certificate.
    for client in [client12, client13] {
        assert_eq!(agreed(&client.connect(site.gateway.address, "app.test")).1, HandshakeKind::Resumed);
    }
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_old_one_in_force_and_does_not_hold_up_the_others() {
    let (mut old, mut other) = (None, None);
    let site = Site::start_with("", |authority, files| {
        let leaves = (authority.issue(&["app.test"]), authority.issue(&["other.test"]));
        let tables = leaves.0.table(files, "app") + &leaves.1.table(files, "other");
        (old, other) = (Some(leaves.0), Some(leaves.1));
        tables
    });
    let (old, other) = (old.unwrap(), other.unwrap());
    let path = |name: &str| site.files.path().join(name);

    replace(&path("app.key"), &site.authority.issue(&["app.test"]).key);
    let renewed = site.authority.issue(&["other.test"]);
    renewed.write(site.files.path(), "other");
    site.gateway.reload();
    wait_until("one file is bad", || outdated(&site) == 1.0);
    assert_eq!(now_shown(&site), der(&old.cert));
    let shown_other = || shown(&site.client().connect(site.gateway.address, "other.test"));
    assert_eq!(shown_other(), der(&renewed.cert), "it had to wait for its neighbour");
    assert!(site.gateway.metric("gateway_tls_reloads_total{result=\"failed\"}") >= 1.0);

    fs::remove_file(path("other.pem")).unwrap();
    replace(&path("app.pem"), "no certificate at all");
    site.gateway.reload();
    wait_until("two files are bad", || outdated(&site) == 2.0);
    assert_eq!((now_shown(&site), shown_other()), (der(&old.cert), der(&renewed.cert)));

    old.write(site.files.path(), "app");
    other.write(site.files.path(), "other");
    wait_until("all is well again", || outdated(&site) == 0.0);
    assert_eq!(shown_other(), der(&other.cert));
}

#[test]
fn a_link_that_is_turned_is_noticed() {
    let authority = Authority::new("authority");
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let (first, second) = (authority.issue(&["app.test"]), authority.issue(&["app.test"]));
    for (name, leaf) in [("one", &first), ("two", &second)] {
        fs::create_dir(path.join(name)).unwrap();
        leaf.write(&path.join(name), "app");
    }
    // As Kubernetes hands secrets over: the files are links through a link to a directory.
    std::os::unix::fs::symlink("one", path.join("data")).unwrap();
    let upstream = super::Upstream::hello();
    let files = path.join("data");
    let table = format!("[[server.tls]]\ncert = {:?}\nkey = {:?}\n", files.join("app.pem"), files.join("app.key"));
    let gateway = super::Gateway::start(&upstream.url(), &settings("", &table));
    let shown = || shown(&Client::trusting(&authority.pem).connect(gateway.address, "app.test"));
    assert_eq!(shown(), der(&first.cert));
    std::os::unix::fs::symlink("two", path.join("new")).unwrap();
    fs::rename(path.join("new"), path.join("data")).unwrap();
    wait_until("the other certificate is shown", || shown() == der(&second.cert));
}

#[test]
fn the_program_reads_certificates_again_at_sighup_and_says_what_is_wrong_with_them() {
    let authority = Authority::new("authority");
    let directory = TempDir::new().unwrap();
    let near = authority.issue_until(&["app.test"], now() + 2 * DAY);
    let upstream = super::Upstream::hello();
    let text = settings("", &near.table(directory.path(), "app")).replace("{upstream}", &upstream.url());
    fs::write(directory.path().join("gateway.toml"), text).unwrap();
    let program = Program::start_ready(&mut command(directory.path()));
    let client = Client::trusting(&authority.pem);
    let mut open = client.connect(program.address, "app.test");
    assert!(program.log().contains("the certificate ends on"), "{}", program.log());

    replace(&directory.path().join("app.key"), &authority.issue(&["app.test"]).key);
    program.signal("HUP");
    wait_until("it says what is wrong", || program.log().contains("is not the key of the certificate"));
    let log = program.log();
    let line = log.lines().find(|line| line.contains("is not the key")).unwrap();
    assert!(line.contains("ERROR") && line.contains("server.tls[0].key") && line.contains("app.key"), "{line}");

    let renewed: Leaf = authority.issue(&["app.test"]);
    renewed.write(directory.path(), "app");
    program.signal("HUP");
    wait_until("the new one is shown", || shown(&client.connect(program.address, "app.test")) == der(&renewed.cert));
    open.send(GET);
    assert_eq!(open.read("GET").text(), "hello");
    let (status, log) = program.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("the certificate ends on").count(), 1, "told once: {log}");
}
