//! How long after a revocation on one gateway another one refuses the session, and what a revocation costs.
//!
//! Two processes of the program on one throw-away PostgreSQL, both under load from keep-alive connections. Each round makes a
//! session, uses it on B so that it is in B's memory, ends it on A, and from A's answer on asks B until it refuses.
//!
//! `cargo bench --bench lag` prints the tables of docs/scale.md; as a test it does a few rounds of each.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench may fail"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::client::{Connection, Response};
use support::gateway::SERVICE_KEY;
use support::postgres::{Cluster, Database};
use support::program::{Program, command};
use support::upstream::Upstream;
use support::{now, wait_until};
use tempfile::TempDir;

/// Connections that hammer the two gateways.
const LOAD: usize = 8;

/// How much to do.
struct Size {
    revocations: usize,
    under_trouble: usize,
    polled: usize,
    costed: usize,
}

fn main() {
    // `cargo bench` says so; `cargo test --benches` does not.
    let size = if std::env::args().any(|argument| argument == "--bench") {
        Size { revocations: 1_000, under_trouble: 1_000, polled: 50, costed: 3_000 }
    } else {
        Size { revocations: 20, under_trouble: 10, polled: 1, costed: 20 }
    };
    // As durable as it is in earnest.
    let cluster = Cluster::start(&["fsync=on", "synchronous_commit=on", "full_page_writes=on"]);
    println!("| case | revocations | p50 ms | p99 ms | max ms | requests/s beside |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let listen = "";
    row("LISTEN, no load", size.revocations, 0, &Pair::start(&cluster, listen), |_, _| ());
    let pair = Pair::start(&cluster, listen);
    row("LISTEN", size.revocations, LOAD, &pair, |_, _| ());
    row("LISTEN killed every 2 s", size.under_trouble, LOAD, &pair, |pair, at| {
        if at.elapsed() > Duration::from_secs(2) {
            *at = now();
            pair.database.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE application_name LIKE '%listen' AND datname = current_database()",
            );
        }
    });
    row("PostgreSQL restarted every 5 s", size.under_trouble, LOAD, &pair, |_, at| {
        if at.elapsed() > Duration::from_secs(5) {
            cluster.stop();
            cluster.restart();
            *at = now();
        }
    });
    drop(pair);
    let poll = "[store]\nnotify = \"poll\"\n";
    row("poll, every 1 s", size.polled, LOAD, &Pair::start(&cluster, poll), |_, _| ());

    println!("\n| case | ms per revocation | CPU us, gateways | CPU us, PostgreSQL |");
    println!("| --- | ---: | ---: | ---: |");
    for (name, toml) in [
        ("notify = \"off\"", "[store]\nnotify = \"off\"\n"),
        ("notify = \"listen\"", listen),
        ("notify = \"poll\"", poll),
    ] {
        cost(name, size.costed, &cluster, &Pair::start(&cluster, toml));
    }
}

/// Two gateways on one database.
struct Pair {
    a: Program,
    b: Program,
    database: Database,
    _directory: TempDir,
    _upstream: Upstream,
}

impl Pair {
    fn start(cluster: &Cluster, toml: &str) -> Self {
        let (upstream, directory, database) = (Upstream::hello(), TempDir::new().unwrap(), cluster.fresh_database());
        let text = format!(
            "[cache]\nttl = \"10m\"\n{toml}[[upstream]]\nurl = \"{}\"\n[[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n",
            upstream.url()
        );
        std::fs::write(directory.path().join("gateway.toml"), text).unwrap();
        let start = || {
            let mut command = command(directory.path());
            command.args(["serve", "--store", &database.url()]).env("GATEWAY_LOG__ACCESS", "off");
            let program = Program::start_ready(&mut command);
            wait_until("it hears", || program.ops_get("/readyz").text() == "ok\n");
            program
        };
        Self { a: start(), b: start(), database, _directory: directory, _upstream: upstream }
    }
}

/// A keep-alive connection.
struct Client(Connection);

impl Client {
    fn to(program: &Program) -> Self {
        Self(Connection::open(program.address))
    }

    fn call(&mut self, method: &str, target: &str, token: &str, body: &str) -> Response {
        self.0.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: lag/1\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        self.0.read(method)
    }

    /// A session, once the gateway can make one.
    fn login(&mut self, user: usize) -> String {
        let body = format!("{{\"user\":\"user-{user}\",\"user_agent\":\"lag/1\",\"ip\":\"127.0.0.1\"}}");
        loop {
            let answer = self.call("POST", "/_sessions", SERVICE_KEY, &body);
            if answer.status == 201 {
                return answer.json()["token"].as_str().unwrap().to_owned();
            }
            assert_eq!(answer.status, 503, "{answer:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn get(&mut self, token: &str) -> u16 {
        self.call("GET", "/", token, "").status
    }
}

/// Ends the load, also when what is measured fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Measures the lag of `count` revocations beside `load` connections, and prints a line. `trouble` is called before each.
fn row(name: &str, count: usize, load: usize, pair: &Pair, trouble: impl Fn(&Pair, &mut Instant) + Sync) {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = now();
    let mut lags = thread::scope(|scope| {
        let ending = Ending(&stop);
        for number in 0..load {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || {
                let mut client = Client::to(if number % 2 == 0 { &pair.a } else { &pair.b });
                let token = client.login(number);
                while !stop.load(Ordering::Relaxed) {
                    client.get(&token);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let worry = scope.spawn(|| {
            let mut at = now();
            while !stop.load(Ordering::Relaxed) {
                trouble(pair, &mut at);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let (mut a, mut b) = (Client::to(&pair.a), Client::to(&pair.b));
        let mut lags = Vec::with_capacity(count);
        while lags.len() < count {
            let token = a.login(1_000 + lags.len());
            while b.get(&token) != 200 {}
            if a.call("DELETE", "/_sessions/current", &token, "").status != 204 {
                continue; // It was told that nobody knows; that is not a revocation.
            }
            let ended = now();
            // What is answered while the store is away is no verdict; a pass is one that is wrong by now.
            let mut last = ended;
            loop {
                match b.get(&token) {
                    401 => break,
                    200 => last = now(),
                    _ => {}
                }
                assert!(ended.elapsed() < Duration::from_secs(60), "{name}: a revoked session is still served");
            }
            lags.push(last.duration_since(ended));
        }
        drop(ending);
        worry.join().unwrap();
        lags
    });
    let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    lags.sort_unstable();
    let at = |share: f64| lags[((lags.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!("| {name} | {count} | {:.2} | {:.2} | {:.2} | {rate:.0} |", at(0.5), at(0.99), at(1.0));
}

/// Ends sessions one after the other, with nothing else going on, and prints what one of them costs.
fn cost(name: &str, count: usize, cluster: &Cluster, pair: &Pair) {
    let mut client = Client::to(&pair.a);
    let tokens: Vec<String> = (0..count).map(|user| client.login(user)).collect();
    // The first ones prepare the statements.
    let (first, measured) = tokens.split_at(10.min(count / 2));
    for token in first {
        assert_eq!(client.call("DELETE", "/_sessions/current", token, "").status, 204);
    }
    let gateways = || cpu(&pair.a.pid().to_string()) + cpu(&pair.b.pid().to_string());
    let server = || cluster.processes().iter().map(|process| cpu(process)).sum::<f64>();
    let (ours, theirs, began) = (gateways(), server(), now());
    let number = measured.len() as f64;
    for token in measured {
        assert_eq!(client.call("DELETE", "/_sessions/current", token, "").status, 204);
    }
    let took = began.elapsed().as_secs_f64();
    let each = |seconds: f64| seconds * 1e6 / number;
    println!(
        "| {name} | {:.3} | {:.0} | {:.0} |",
        took * 1e3 / number,
        each(gateways() - ours),
        each(server() - theirs)
    );
}

/// User and system time of a process, in seconds.
fn cpu(process: &str) -> f64 {
    /// What the kernel counts in, whatever it does inside (USER_HZ).
    const TICKS: f64 = 100.0;

    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return 0.0 };
    // The name may contain anything; the fields after it do not.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS
}
