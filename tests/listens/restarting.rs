//! A restart under load, with the socket held open as systemd does.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::support::client::Connection;
use crate::support::gateway::SERVICE_KEY;
use crate::support::program::{Activated, Program};
use crate::support::upstream::Upstream;
use crate::support::wait_until;

/// What clients have met.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    stop: AtomicBool,
}

/// Sends requests until it is told to stop, and takes nothing but 200 for an answer. With `keeps`, a connection is used until
/// the gateway says that it is the last time.
fn load(address: SocketAddr, token: &str, keeps: bool, tally: &Tally) {
    let last = if keeps { "" } else { "Connection: close\r\n" };
    let request = format!(
        "GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\nAuthorization: Bearer {token}\r\n{last}\r\n"
    );
    while !tally.stop.load(Ordering::Relaxed) {
        let mut client = Connection::open(address);
        loop {
            client.send(&request);
            let answer = client.try_read("GET").expect("a request without an answer");
            assert_eq!(answer.status, 200, "{answer:?}");
            tally.answered.fetch_add(1, Ordering::Relaxed);
            let over = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            if over || tally.stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

/// A session that outlives the restarts.
fn session(address: SocketAddr) -> String {
    let body = "{\"user\":\"alice\"}";
    let mut client = Connection::open(address);
    client.send(format!(
        "POST /_sessions HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {SERVICE_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = client.read("POST");
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_restart_under_load_fails_no_request() {
    let upstream = Upstream::hello();
    let directory = TempDir::new().unwrap();
    let toml = format!(
        "[server]\nlisten = [\"fd:http\"]\nops_listen = \"127.0.0.1:0\"\nworkers = 2\n[[upstream]]\nurl = \"{}\"\n\
         [[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n",
        upstream.url()
    );
    std::fs::write(directory.path().join("gateway.toml"), toml).unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let start = || {
        let activated = Activated { first: held.try_clone().unwrap().into(), second: None, names: "http" };
        Program::launch(&mut activated.command(directory.path()))
    };
    let mut program = Some(start());
    let token = session(address);

    let tally = Tally::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|number| {
                scope.spawn({
                    let (tally, token) = (&tally, &token);
                    move || load(address, token, number % 2 == 0, tally)
                })
            })
            .collect();
        for _ in 0..4 {
            let before = tally.answered.load(Ordering::Relaxed);
            wait_until("requests are answered", || {
                tally.answered.load(Ordering::Relaxed) > before + 200
                    || clients.iter().any(|client| client.is_finished())
            });
            // One after the other, as a service manager does it: what comes in between waits in the kernel.
            let (status, log) = program.take().unwrap().stop();
            assert!(status.success(), "{log}");
            program = Some(start());
        }
        tally.stop.store(true, Ordering::Relaxed);
    });
    assert!(program.unwrap().stop().0.success());
}
