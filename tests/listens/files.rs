//! `unix:PATH`.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use session_gateway::app::App;
use tempfile::TempDir;

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Reaction, Upstream, response};
use crate::{LAST, open};

/// One request over a socket file, and the whole answer.
fn ask(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_socket_file_is_served_by_all_workers_and_removed_at_the_end() {
    let upstream = Upstream::hello();
    let gateway =
        Gateway::start(&upstream.url(), &open("workers = 3\nlisten = [\"unix:{directory}/http\", \"127.0.0.1:0\"]"));
    let path = gateway.directory.path().join("http");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    for _ in 0..50 {
        assert!(ask(&path, LAST).starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(gateway.get("/", "").status, 200, "TCP beside it");

    // Held open on both sides, and drained like any other.
    let mut idle = UnixStream::connect(&path).unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 9]).unwrap();
    let directory = gateway.stop();
    assert!(!path.exists());
    idle.read_to_end(&mut Vec::new()).unwrap();
    drop(directory);
}

#[test]
fn the_permissions_are_those_of_the_settings() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(
        &upstream.url(),
        &open("unix_mode = \"0606\"\nlisten = [\"unix:{directory}/http\", \"127.0.0.1:0\"]"),
    );
    let path = gateway.directory.path().join("http");
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o606);
}

#[test]
fn what_a_peer_of_a_socket_file_says_counts_only_if_such_peers_are_trusted() {
    for (trusted, expected) in [("[]", "127.0.0.1"), ("[\"unix\"]", "203.0.113.7"), ("[\"127.0.0.1\"]", "127.0.0.1")] {
        let upstream = Upstream::hello();
        let server = format!("trusted_proxies = {trusted}\nlisten = [\"unix:{{directory}}/http\", \"127.0.0.1:0\"]");
        let gateway = Gateway::start(&upstream.url(), &open(&server));
        let path = gateway.directory.path().join("http");
        let request = "GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n";
        assert!(ask(&path, request).starts_with("HTTP/1.1 200 "));
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(expected), "{trusted}");
    }
}

#[test]
fn a_login_over_a_socket_file_makes_a_session_though_its_peer_has_no_address() {
    let upstream = Upstream::start(|_| Reaction::Send(response("302 Found", "Location: /home\r\n", "")));
    let toml = "[server]\nlisten = [\"unix:{directory}/http\", \"127.0.0.1:0\"]\n[policy.ip]\nmode = \"exact\"\n\
                [[upstream]]\nurl = \"{upstream}\"\n[[upstream.login]]\npath = \"/login\"\nuser = { form = \"username\" }\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    let path = gateway.directory.path().join("http");
    let answer = ask(
        &path,
        "POST /login HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\nusername=ann",
    );
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    let (_, cookie) = answer.split_once("__Host-session=").unwrap_or_else(|| panic!("{answer}"));
    let headers = format!("Cookie: __Host-session={}\r\n", cookie.split(';').next().unwrap());
    let current = format!(
        "GET /_sessions/current HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{headers}Connection: close\r\n\r\n"
    );
    let answer = ask(&path, &current);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"last_ip\":\"127.0.0.1\""), "{answer}");
    assert_eq!(gateway.get("/_sessions/current", &headers).status, 200, "that is where it is");
}

#[test]
fn a_stale_file_is_replaced_and_a_live_one_is_an_error_that_names_it() {
    let upstream = Upstream::hello();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http");
    drop(UnixListener::bind(&path).unwrap());
    let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
    let toml = open("listen = [\"unix:{directory}/http\"]");
    let gateway = Gateway::start_in(directory, &upstream.url(), &store, &toml);
    assert!(ask(&path, LAST).starts_with("HTTP/1.1 200 "));

    let settings = config(&gateway.directory, &upstream.url(), "sqlite:other.db", &toml).unwrap();
    let error = App::start(settings).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("server.listen: cannot listen on unix:{}: another program listens there", path.display())
    );
    assert!(ask(&path, LAST).starts_with("HTTP/1.1 200 "), "the first one goes on");
}

#[test]
fn the_operators_listener_may_be_a_socket_file_too() {
    let upstream = Upstream::hello();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ops");
    let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
    let mut settings = config(&directory, &upstream.url(), &store, &open("")).unwrap();
    settings.server.ops_listen = Some(session_gateway::config::Listen::Unix(path.clone()));
    let app = App::start(settings).unwrap();
    let answer = ask(&path, "GET /livez HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    app.stop();
    assert!(!path.exists());
}
