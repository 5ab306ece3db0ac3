//! Everything at once, for a long time: whether a verdict is ever wrong, and whether anything grows.
//!
//! The real program with two workers, PostgreSQL behind it, an application of HTTP/1.1 and one of HTTP/2, clients of both. Good, revoked, unknown and stolen tokens; uploads, downloads that are
//! broken off, heads that are never finished, WebSockets. Meanwhile the application and PostgreSQL are restarted, and the settings
//! put in place anew. What an outage makes of a request (502, 503, 504) is no verdict; these are:
//!
//! - a good session is not let through, or reaches the application as somebody else;
//! - a revoked one, an unknown one or a stolen one gets through.
//!
//! `cargo bench --bench soak -- MINUTES` (30 unless told) prints a line a minute; as a test it runs for some seconds.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench may fail"
)]

#[path = "soak/app.rs"]
mod app;
#[path = "soak/clients.rs"]
mod clients;
#[path = "soak/link.rs"]
mod link;
#[path = "soak/multiplexed.rs"]
mod multiplexed;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use app::App;
use clients::Tally;
use support::gateway::SERVICE_KEY;
use support::http2_app::Http2App;
use support::now;
use support::postgres::Cluster;
use support::program::{Program, command};
use tempfile::TempDir;

/// How often what goes wrong, and for how long all of it.
struct Plan {
    whole: Duration,
    line: Duration,
    reload: Duration,
    restart_app: Duration,
    restart_store: Duration,
}

fn plan() -> Plan {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        let (short, line) = (Duration::from_secs(1), Duration::from_secs(4));
        return Plan { whole: 2 * line, line, reload: short, restart_app: 2 * short, restart_store: 3 * short };
    }
    let minutes = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(30);
    Plan {
        whole: Duration::from_secs(60 * minutes),
        line: Duration::from_secs(60),
        reload: Duration::from_secs(7),
        restart_app: Duration::from_secs(29),
        restart_store: Duration::from_secs(67),
    }
}

/// All clients have one address here, so guesses are not bounded: good sessions that are not in memory would wait for them.
fn settings(app: &App, multiplexed: &Http2App, response_timeout: u64) -> String {
    format!(
        "[server]\nworkers = 2\n[cache]\nttl = \"10s\"\n[session]\ntouch_interval = \"1s\"\n[limits]\nunknown_tokens_per_client = \"0\"\n[[upstream]]\nurl = \"http://{}\"\n\
         response_timeout = \"{response_timeout}s\"\n[[upstream]]\nname = \"multiplexed\"\nhosts = [\"{}\"]\nurl = \"{}\"\nprotocol = \"http2\"\n\
         [[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n",
        app.address,
        multiplexed::HOST,
        multiplexed.url()
    )
}

fn main() {
    let plan = plan();
    let (cluster, app, directory) = (Cluster::start(&[]), App::start(), TempDir::new().unwrap());
    let multiplexed = multiplexed::app();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, settings(&app, &multiplexed, 10)).unwrap();
    let database = cluster.fresh_database();
    let mut start = command(directory.path());
    start.args(["serve", "--store", &database.url()]).env("GATEWAY_LOG__ACCESS", "./access.log");
    let program = Program::start_ready(&mut start);
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    let troubles = [const { AtomicU64::new(0) }; 3];

    println!(
        "| minute | requests | let through | refused as they should be | outage | **wrong** | reloads | app restarts | store restarts | RSS MiB | descriptors | threads |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let began = now();
    thread::scope(|scope| {
        let ending = Ending(&stop);
        clients::start(scope, &tally, &stop, program.address);
        scope.spawn(|| {
            let mut last = [began; 3];
            while !stop.load(Ordering::Relaxed) {
                let every = [plan.reload, plan.restart_app, plan.restart_store];
                for (number, every) in every.into_iter().enumerate() {
                    if last[number].elapsed() < every {
                        continue;
                    }
                    match number {
                        0 => {
                            let timeout = 10 + troubles[0].load(Ordering::Relaxed) % 2;
                            std::fs::write(&file, settings(&app, &multiplexed, timeout)).unwrap();
                            program.signal("HUP");
                        }
                        1 => {
                            app.restart();
                            multiplexed.leave();
                            multiplexed.forget();
                        }
                        _ => {
                            cluster.stop();
                            thread::sleep(every / 50);
                            cluster.restart();
                        }
                    }
                    troubles[number].fetch_add(1, Ordering::Relaxed);
                    last[number] = now();
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let mut lines = 0;
        while began.elapsed() < plan.whole {
            let line = now();
            while line.elapsed() < plan.line {
                assert!(tally.wrong().is_empty(), "after {:?}: {:?}", began.elapsed(), tally.wrong());
                thread::sleep(Duration::from_millis(100));
            }
            lines += 1;
            print(lines, &tally, &troubles, &program);
        }
        drop(ending);
    });
    // What the clients held is given back: what is left is the gateway's own.
    support::wait_until("the clients' connections are gone", || open_connections(&program) <= 1.0);
    let end = descriptors(program.pid());
    println!(
        "\nafter the last client: {} MiB, {end} descriptors, {} panics",
        resident(program.pid()),
        panics(&program)
    );
    assert!(tally.wrong().is_empty(), "{:?}", tally.wrong());
    assert_eq!(panics(&program), 0.0);
    // Listeners, wakers, the log, the connections to the store and those at rest to the application.
    assert!(end < 100, "{end} descriptors are left");
}

/// Ends everything, also when a verdict was wrong.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn print(minute: usize, tally: &Tally, troubles: &[AtomicU64; 3], program: &Program) {
    let [through, refused, outage] = tally.counts();
    let [reloads, apps, stores] = troubles.each_ref().map(|count| count.load(Ordering::Relaxed));
    let pid = program.pid();
    println!(
        "| {minute} | {} | {through} | {refused} | {outage} | {} | {reloads} | {apps} | {stores} | {} | {} | {} |",
        through + refused + outage,
        tally.wrong().len(),
        resident(pid),
        descriptors(pid),
        status(pid, "Threads:")
    );
}

fn open_connections(program: &Program) -> f64 {
    program.ops_get("/metrics").figure("gateway_connections_open")
}

fn panics(program: &Program) -> f64 {
    program.ops_get("/metrics").figure("gateway_panics_total")
}

/// Resident memory in MiB.
fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:") / 1024
}

fn status(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
