//! What a connection costs that waits for its next request.

use std::fs;

use tempfile::TempDir;

use crate::support::client::Connection;
use crate::support::program::{self, Program};
use crate::support::upstream::Upstream;
use crate::support::wait_until;
use crate::{GET, open};

/// As many as the test's own descriptors allow: both processes need one for each.
const CONNECTIONS: usize = 10_000;
/// The most bytes that one may cost in a build without optimisation, where 26,000 were measured.
const MOST: usize = 40 * 1024;

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
}

/// How many descriptors this process may have.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX)
}

#[test]
fn ten_thousand_idle_connections_cost_little_each() {
    let upstream = Upstream::hello();
    let directory = TempDir::new().unwrap();
    let server = "workers = 2\nmax_connections = 20000\nmax_connections_per_client = 0\nidle_timeout = \"10m\"";
    let toml = open(server).replace("{upstream}", &upstream.url()) + "[log]\naccess = \"off\"\n";
    fs::write(directory.path().join("gateway.toml"), toml).unwrap();
    let program = Program::start_ready(&mut program::command(directory.path()));
    let open_connection = || {
        let mut connection = Connection::open(program.address);
        connection.send(GET);
        assert_eq!(connection.read("GET").status, 200);
        connection
    };
    let count = CONNECTIONS.min(descriptors().saturating_sub(500));
    // What the first ones cost is the program's own warming up.
    let mut held: Vec<Connection> = (0..100).map(|_| open_connection()).collect();
    let before = resident(program.pid());
    held.extend((0..count).map(|_| open_connection()));
    let page = program.ops_get("/metrics");
    assert!(page.text().contains(&format!("gateway_connections_open {}", count + 100)), "all are open");
    let each = resident(program.pid()).saturating_sub(before) / count;
    println!("{count} idle connections: {each} bytes of resident memory each");
    assert!(each <= MOST, "{each} bytes each");

    drop(held);
    wait_until("they are gone", || program.ops_get("/metrics").text().contains("gateway_connections_open 0"));
}
