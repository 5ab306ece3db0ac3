//! Other settings for a gateway that runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;

use support::gateway::{Gateway, bearer};
use support::upstream::{Reaction, Upstream, response};
use support::wait_until;

/// An application whose paths below `/open/` are open.
fn with_open(path: &str) -> String {
    format!("[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.route]]\npath = \"{path}\"\nauth = \"off\"\n")
}

#[test]
fn the_next_request_on_the_same_connection_has_the_new_settings() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &with_open("/a"));
    let mut connection = gateway.connect();
    let mut ask = |path: &str| {
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        connection.read("GET").status
    };
    assert_eq!([ask("/a"), ask("/b")], [200, 401]);
    gateway.adopt(&upstream.url(), &with_open("/b"));
    assert_eq!([ask("/a"), ask("/b")], [401, 200]);
    assert_eq!(gateway.metric("gateway_reloads_total{result=\"ok\"}"), 1.0);
}

#[test]
fn a_request_that_has_begun_keeps_the_application_that_it_began_with() {
    let (release, released) = sync_channel::<()>(1);
    let released = Mutex::new(released);
    let old = Upstream::start(move |request| {
        if request.target() == "/slow" {
            released.lock().unwrap().recv().unwrap();
        }
        Reaction::Send(response("200 OK", "", "old"))
    });
    let new = Upstream::start(|_| Reaction::Send(response("200 OK", "", "new")));
    let gateway = Gateway::start(&old.url(), &with_open("/"));
    let mut slow = gateway.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_until("it is there", || old.received().len() == 1);
    gateway.adopt(&new.url(), &with_open("/"));
    assert_eq!(gateway.get("/", "").text(), "new");
    release.send(()).unwrap();
    assert_eq!(slow.read("GET").text(), "old");
    slow.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(slow.read("GET").text(), "new");
    assert_eq!(old.received().len(), 1, "nobody went there any more");
}

#[test]
fn sessions_outlive_a_reload_and_what_binds_them_changes_at_once() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login("ann");
    let other = format!("{}User-Agent: another/2.0\r\n", bearer(&session.token));
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    gateway.adopt(&upstream.url(), "[policy.user_agent]\non_change = \"reject\"\n");
    assert_eq!(gateway.get("/", &other).code(), "user_agent_changed", "and not suspended, as before");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    gateway.adopt(&upstream.url(), "[identity]\nuser = \"X-Auth-Who\"\n");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    assert_eq!(upstream.last().headers("x-auth-who"), ["ann"]);
    assert!(upstream.last().headers("x-auth-user").is_empty());
}

#[test]
fn a_lowered_limit_is_enforced_at_once_where_it_shall_be() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let first = gateway.login("ann");
    let second = gateway.login("ann");
    gateway.adopt(&upstream.url(), "[policy.max_sessions]\ndefault = 1\nenforce_on_reload = true\n");
    wait_until("the older one is evicted", || gateway.get_as(&first.token, "/").status == 401);
    assert_eq!(gateway.get_as(&first.token, "/").code(), "session_evicted");
    assert_eq!(gateway.get_as(&second.token, "/").status, 200);
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[server]\nworkers = 2\n");
    let session = gateway.login("ann");
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let request =
        format!("GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{}\r\n", bearer(&session.token));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (stop, done, request, address) = (stop.clone(), done.clone(), request.clone(), gateway.address);
            thread::spawn(move || {
                let mut connection = support::client::Connection::open(address);
                let mut wrong = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // Half of them connect anew for every request.
                    if number % 2 == 0 {
                        connection = support::client::Connection::open(address);
                    }
                    connection.send(&request);
                    match connection.try_read("GET") {
                        Some(answer) if answer.status == 200 => {}
                        other => wrong.push(format!("{other:?}")),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                wrong
            })
        })
        .collect();
    for round in 0..100 {
        let before = done.load(Ordering::Relaxed);
        gateway.adopt(
            &upstream.url(),
            ["[server]\nworkers = 2\n[session]\ntouch_interval = \"7s\"\n", "[server]\nworkers = 2\n"][round % 2],
        );
        wait_until("requests go on", || done.load(Ordering::Relaxed) > before + 4);
    }
    stop.store(true, Ordering::Relaxed);
    let wrong: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), done.load(Ordering::Relaxed));
    assert_eq!(gateway.metric("gateway_reloads_total{result=\"ok\"}"), 100.0);
}

#[test]
fn what_needs_a_restart_stays_as_it_is_and_is_named() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let (running, _) = gateway.settings(&upstream.url(), "").following(&gateway.settings(&upstream.url(), ""));
    let text = "[server]\nworkers = 7\nmax_connections = 5\n[cache]\nttl = \"7s\"\n[audit]\nkeep_for = \"9d\"\n\
                [policy.user_agent]\nmode = \"exact\"\n[session]\nidle_timeout = \"9h\"\n";
    let (taken, left) = gateway.settings(&upstream.url(), text).following(&running);
    assert_eq!(left, ["server.workers", "server.max_connections", "cache", "audit", "policy.user_agent.mode"]);
    assert_eq!((taken.server.workers, taken.server.max_connections), (running.server.workers, 10_000));
    assert_eq!(taken.rules.idle_timeout.map(|time| time.as_secs()), Some(9 * 3600), "the rest is taken");
    assert_eq!(format!("{:?}", taken.cache), format!("{:?}", running.cache));
}

#[test]
fn the_program_takes_other_settings_at_sighup_and_none_with_a_fault_in_them() {
    let upstream = Upstream::hello();
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("gateway.toml");
    let write = |more: &str| {
        let text = format!(
            "[server]\ndrain = \"5s\"\n[store]\nurl = \"sqlite:{}\"\n{}{more}",
            directory.path().join("sessions.db").display(),
            with_open("/a").replace("{upstream}", &upstream.url()),
        );
        std::fs::write(&file, text).unwrap();
    };
    write("");
    let mut command = support::program::command(directory.path());
    command.args(["serve", "--config"]).arg(&file);
    let program = support::program::Program::start_ready(&mut command);
    let hang_up = || program.signal("HUP");
    let status = |path: &str| {
        let mut connection = support::client::Connection::open(program.address);
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        connection.read("GET").status
    };
    assert_eq!([status("/a"), status("/b")], [200, 401]);
    write("[[upstream.route]]\npath = \"/b\"\nauth = \"off\"\n");
    hang_up();
    wait_until("the new route is open", || status("/b") == 200);
    write("[[upstream.route]]\npath = \"/b\"\nauth = \"of\"\n");
    hang_up();
    wait_until("the fault is named", || program.log().contains("upstream[0].route[1].auth"));
    assert_eq!([status("/a"), status("/b")], [200, 200]);
}
