//! Processes that are killed in the middle of their work.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Fleet, LONG, cache, login, refusal, until_hearing};
use crate::support::gateway::SERVICE_KEY;
use crate::support::postgres::{Cluster, fresh_database};
use crate::support::program::{Program, command};
use crate::support::upstream::Upstream;
use crate::support::wait_until;
use tempfile::TempDir;

/// Tokens that several threads gather.
type Tokens = Arc<Mutex<Vec<String>>>;

#[test]
fn a_gateway_killed_under_load_leaves_nothing_wrong_on_the_others() {
    let (upstream, directory, database) = (Upstream::hello(), TempDir::new().unwrap(), fresh_database());
    let toml = format!(
        "{LONG}[[upstream]]\nurl = \"{}\"\n[[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n",
        upstream.url()
    );
    std::fs::write(directory.path().join("gateway.toml"), toml).unwrap();
    let start = || {
        let mut command: Command = command(directory.path());
        Program::start_ready(command.args(["serve", "--store", &database.url()]).env("GATEWAY_LOG__ACCESS", "off"))
    };
    let there = start();
    wait_until("it hears", || there.ops_get("/readyz").text() == "ok\n");
    for _ in 0..3 {
        let mut here = start();
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        // Sessions whose end was answered, and those whose end nobody asked for.
        let (ended, alive) = (Tokens::default(), Tokens::default());
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (stop, answers, ended, alive) = (stop.clone(), answers.clone(), ended.clone(), alive.clone());
                let (here, there) = (here.address, there.address);
                thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let Some(token) = create(here, number) else { return };
                        assert_eq!(ask(there, "GET", "/", &token), Some(200), "in the other one's memory from now on");
                        if answers.fetch_add(1, Ordering::SeqCst) % 2 == 0 {
                            alive.lock().unwrap().push(token);
                        } else if ask(here, "DELETE", "/_sessions/current", &token) == Some(204) {
                            ended.lock().unwrap().push(token);
                        }
                    }
                })
            })
            .collect();
        wait_until("enough was done", || answers.load(Ordering::SeqCst) > 100);
        here.kill();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().unwrap();
        }
        let (ended, alive) = (ended.lock().unwrap(), alive.lock().unwrap());
        assert!(ended.len() > 20 && alive.len() > 20, "{} {}", ended.len(), alive.len());
        for token in ended.iter() {
            wait_until("what was answered as ended is refused", || ask(there.address, "GET", "/", token) == Some(401));
        }
        for token in alive.iter() {
            assert_eq!(ask(there.address, "GET", "/", token), Some(200));
        }
    }
}

#[test]
fn a_killed_postgresql_is_an_outage_and_nothing_worse() {
    // What was answered as done is written, at least to the operating system.
    let cluster = Cluster::start(&["synchronous_commit=on"]);
    let fleet = Fleet::on(cluster.fresh_database(), 2, LONG);
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let (ended, kept, uncached) = (login(here, "ann"), login(here, "ann"), login(here, "bob"));
    for gateway in [here, there] {
        cache(gateway, &ended);
        cache(gateway, &kept);
    }
    assert_eq!(here.delete_as(&ended.token, "/_sessions/current").status, 204);
    wait_until("it is known", || refusal(there, &ended) == "session_revoked");
    cluster.signal("KILL");
    for gateway in [here, there] {
        wait_until("it is known to be away", || refusal(gateway, &uncached) == "store_unavailable");
        cache(gateway, &kept);
        assert_eq!(gateway.delete_as(&kept.token, "/_sessions/current").status, 503);
    }
    cluster.stop();
    cluster.restart();
    for gateway in [here, there] {
        until_hearing(gateway);
        assert_eq!(refusal(gateway, &ended), "session_revoked");
        cache(gateway, &kept);
        cache(gateway, &uncached);
    }
}

fn create(address: SocketAddr, user: usize) -> Option<String> {
    let body = format!("{{\"user\":\"user-{user}\",\"user_agent\":\"kill/1\",\"ip\":\"127.0.0.1\"}}");
    let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
    let (status, body) = exchange(address, "POST", "/_sessions", &headers, &body)?;
    assert_eq!(status, 201, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    Some(answer["token"].as_str().unwrap().to_owned())
}

fn ask(address: SocketAddr, method: &str, target: &str, token: &str) -> Option<u16> {
    exchange(address, method, target, &format!("Authorization: Bearer {token}\r\n"), "").map(|(status, _)| status)
}

/// One request on a connection of its own; `None` when no whole answer came.
fn exchange(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: kill/1\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
}
