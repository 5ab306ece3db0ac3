//! Which certificate a client gets, and what is said of those that cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::support::authority::{Authority, DAY, Form, Leaf, der, now};
use super::support::program::{Ran, command, run};
use super::support::tls::{BOTH, Client, shown};
use super::{GET, Site, settings};
use tempfile::TempDir;

#[test]
fn the_certificate_is_chosen_by_name_exact_before_wildcard_and_the_first_is_for_the_rest() {
    let mut leaves: Vec<Leaf> = Vec::new();
    let site = Site::start_with("", |authority, files| {
        leaves = [&["first.test", "127.0.0.1"][..], &["*.wild.test"], &["exact.wild.test", "second.test"]]
            .into_iter()
            .map(|names| authority.issue(names))
            .collect();
        leaves.iter().enumerate().map(|(at, leaf)| leaf.table(files, &at.to_string())).collect()
    });
    let client = site.client();
    // An address is no name: no name is sent at all.
    for (name, expected) in [
        ("first.test", 0),
        ("127.0.0.1", 0),
        ("a.wild.test", 1),
        ("A.Wild.Test", 1),
        ("exact.wild.test", 2),
        ("second.test", 2),
    ] {
        let mut connection = client.connect(site.gateway.address, name);
        assert_eq!(shown(&connection), der(&leaves[expected].cert), "{name}");
        connection.send(GET);
        assert_eq!(connection.read("GET").status, 200);
    }
    for unknown in ["unknown.test", "wild.test", "b.a.wild.test"] {
        let Err(error) = client.try_connect(site.gateway.address, unknown) else { panic!("{unknown} is nobody's") };
        assert!(format!("{error:?}").contains("first.test"), "{unknown}: {error:?}");
    }
}

#[test]
fn keys_may_be_written_in_each_of_the_three_forms() {
    for form in [Form::Pkcs8, Form::Pkcs1, Form::Sec1] {
        let site = Site::start_with("", |authority, files| authority.issue_in(form, &["app.test"]).table(files, "app"));
        let mut connection = site.client().connect(site.gateway.address, "app.test");
        connection.send(GET);
        assert_eq!(connection.read("GET").text(), "hello", "{form:?}");
    }
}

#[test]
fn of_two_certificates_for_a_name_each_client_gets_the_one_that_it_understands() {
    let mut leaves = Vec::new();
    let site = Site::start_with("", |authority, files| {
        leaves = vec![authority.issue_in(Form::Sec1, &["app.test"]), authority.issue_in(Form::Pkcs1, &["app.test"])];
        leaves[0].table(files, "ec") + &leaves[1].table(files, "rsa")
    });
    let connection = Client::new(&site.authority.pem, BOTH, None, &[]).connect(site.gateway.address, "app.test");
    assert_eq!(shown(&connection), der(&leaves[0].cert));
    if super::support::tls::is_installed("openssl") {
        let output = std::process::Command::new("openssl")
            .args(["s_client", "-connect", &site.gateway.address.to_string(), "-servername", "app.test"])
            .args(["-tls1_2", "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256", "-showcerts"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let base64: String = leaves[1].cert.lines().filter(|line| !line.starts_with("--")).collect();
        assert!(said.replace('\n', "").contains(&base64), "{said}");
    }
}

/// What `check` says of these tables.
fn check(directory: &Path, tables: &str) -> Ran {
    let file = directory.join("gateway.toml");
    fs::write(&file, settings("", tables).replace("{upstream}", "http://127.0.0.1:9")).unwrap();
    run(command(directory).args(["check", "--config"]).arg(file))
}

#[test]
fn files_that_cannot_be_used_are_all_named_with_their_settings() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let authority = Authority::new("authority");
    let good = authority.issue(&["app.test"]);
    let missing = path.join("missing.pem");
    let tables = [
        format!("tls_client_auth = \"required\"\ntls_client_ca = {missing:?}\n"),
        good.table(path, "good"),
        // [1]: no certificate, [2]: no key, [3]: both swapped, [4]: somebody else's key, [5]: under a password, [6]: broken,
        // [7]: no certificate inside the PEM.
        format!("[[server.tls]]\ncert = {missing:?}\nkey = {:?}\n", path.join("good.key")),
        format!("[[server.tls]]\ncert = {:?}\nkey = {missing:?}\n", path.join("good.pem")),
        format!("[[server.tls]]\ncert = {:?}\nkey = {:?}\n", path.join("good.key"), path.join("good.pem")),
        Leaf { key: authority.issue(&["app.test"]).key, ..good.clone() }.table(path, "other"),
        Leaf { key: good.key.replace("PRIVATE", "ENCRYPTED PRIVATE"), ..good.clone() }.table(path, "password"),
        Leaf { cert: good.cert.replace('M', "\u{1}"), ..good.clone() }.table(path, "broken"),
        Leaf { cert: super::support::issuer::pem("CERTIFICATE", b"\x30\x03\x02\x01\x07"), ..good.clone() }
            .table(path, "x"),
    ];
    let ran = check(path, &tables.concat());
    assert_eq!(ran.status, 78, "{ran:?}");
    for (key, file, words) in [
        ("server.tls_client_ca", "missing.pem", "cannot be read: No such file"),
        ("server.tls[1].cert", "missing.pem", "cannot be read: No such file"),
        ("server.tls[2].key", "missing.pem", "cannot be read: No such file"),
        ("server.tls[3].cert", "good.key", "has no certificate in PEM form"),
        ("server.tls[4].key", "other.key", "is not the key of the certificate"),
        ("server.tls[5].key", "password.key", "under a password"),
        ("server.tls[6].cert", "broken.pem", "is broken PEM"),
        ("server.tls[7].cert", "x.pem", "cannot be understood"),
    ] {
        let line = ran.stderr.lines().find(|line| line.contains(&format!("{key}: "))).unwrap_or_default();
        assert!(line.contains(file) && line.contains(words), "{key}: {line:?} in\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("tls[0]"), "{}", ran.stderr);
    for line in good.key.lines().filter(|line| !line.starts_with("--")) {
        assert!(!ran.stderr.contains(line), "a key was told");
    }
    let started = run(command(path).args(["serve", "--config", "gateway.toml"]));
    assert_eq!(started.status, 78, "{started:?}");
    assert!(started.stderr.contains("server.tls[4].key: "), "{started:?}");
}

#[test]
fn what_is_not_as_it_should_be_is_a_warning() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let authority = Authority::new("authority");
    let said = |tables: &str| {
        let ran = check(path, tables);
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stderr
    };
    let good = authority.issue(&["app.test"]).table(path, "app");
    assert_eq!(said(&good), "");
    for mode in [0o640, 0o604] {
        fs::set_permissions(path.join("app.key"), fs::Permissions::from_mode(mode)).unwrap();
        assert!(said(&good).contains("warning: server.tls[0]: ") && said(&good).contains("can read the key"));
    }
    for (leaf, words) in [
        (authority.issue_until(&["app.test"], now() + 10 * DAY), "the certificate ends on 2"),
        (authority.issue_until(&["app.test"], now() - DAY), "the certificate ended on 2"),
        (authority.issue(&["127.0.0.1"]), "has no host name"),
    ] {
        let text = said(&leaf.table(path, "other"));
        assert!(text.contains(words), "{words} is not in {text:?}");
    }
    let leaf = authority.issue(&["app.test"]);
    let chain = Leaf { cert: leaf.cert.clone() + &Authority::new("a stranger").pem, ..leaf.clone() };
    assert!(said(&chain.table(path, "chain")).contains("do not follow one another"));
    let chain = Leaf { cert: leaf.cert.clone() + &authority.pem, ..leaf };
    assert_eq!(said(&chain.table(path, "chain")), "");
}
