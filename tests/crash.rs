//! The program killed in the middle of its work: what it had answered is what is there when it runs again.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use support::gateway::SERVICE_KEY;
use support::postgres::fresh_database;
use support::program::{Program, command};
use support::upstream::Upstream;
use support::wait_until;
use tempfile::TempDir;

const ROUNDS: usize = 5;
const CLIENTS: usize = 6;
/// How many answers each round waits for before the kill.
const ANSWERS: usize = 250;

/// What is known about a session, by the answers that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its creation was answered 201, and nobody asked for its end.
    Alive,
    /// Its end was answered 2xx.
    Ended,
    /// Its end was asked for, and no answer came.
    Unknown,
}

#[test]
fn with_sqlite_no_answer_is_taken_back_by_a_kill() {
    let directory = TempDir::new().unwrap();
    survive(directory.path(), "sqlite:sessions.db");
}

#[test]
fn with_postgres_no_answer_is_taken_back_by_a_kill() {
    let directory = TempDir::new().unwrap();
    survive(directory.path(), &fresh_database().url());
}

fn survive(directory: &Path, store: &str) {
    let upstream = Upstream::hello();
    let toml =
        format!("[[upstream]]\nurl = \"{}\"\n[[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n", upstream.url());
    std::fs::write(directory.join("gateway.toml"), toml).unwrap();
    let start = || {
        let mut command: Command = command(directory);
        Program::start_ready(command.args(["serve", "--store", store]).env("GATEWAY_LOG__ACCESS", "off"))
    };
    let sessions: Arc<Mutex<Vec<(String, Fate)>>> = Arc::default();
    let mut program = start();
    for _ in 0..ROUNDS {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = program.address;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (stop, answers, sessions) = (stop.clone(), answers.clone(), sessions.clone());
                thread::spawn(move || work(address, client, &stop, &answers, &sessions))
            })
            .collect();
        wait_until("enough was answered", || answers.load(Ordering::SeqCst) >= ANSWERS);
        program.kill();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().unwrap();
        }
        program = start();
        verify(program.address, &sessions.lock().unwrap());
    }
    let sessions = sessions.lock().unwrap();
    let count = |fate| sessions.iter().filter(|(_, known)| *known == fate).count();
    let (alive, ended, unknown) = (count(Fate::Alive), count(Fate::Ended), count(Fate::Unknown));
    println!("{store}: {ROUNDS} kills; {alive} sessions alive, {ended} ended, {unknown} ends without an answer");
    assert!(alive > 100 && ended > 100, "the load was too small to show anything: {alive} and {ended}");
}

/// Creates sessions and ends every other one, until the connection breaks.
fn work(
    address: SocketAddr,
    client: usize,
    stop: &AtomicBool,
    answers: &AtomicUsize,
    sessions: &Mutex<Vec<(String, Fate)>>,
) {
    let Some(mut connection) = connect(address) else { return };
    let create = format!("{{\"user\":\"user-{client}\"}}");
    let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Some((status, body)) = exchange(&mut connection, "POST", "/_sessions", &headers, &create) else { return };
        assert_eq!(status, 201, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        let token = answer["token"].as_str().unwrap().to_owned();
        answers.fetch_add(1, Ordering::SeqCst);
        let place = {
            let mut sessions = sessions.lock().unwrap();
            sessions.push((token.clone(), Fate::Alive));
            sessions.len() - 1
        };
        if turn % 2 == 0 {
            sessions.lock().unwrap()[place].1 = Fate::Unknown;
            let headers = format!("Authorization: Bearer {token}\r\n");
            let ended = exchange(&mut connection, "DELETE", "/_sessions/current", &headers, "");
            let Some((status, body)) = ended else { return };
            assert_eq!(status, 204, "{body}");
            sessions.lock().unwrap()[place].1 = Fate::Ended;
            answers.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn verify(address: SocketAddr, sessions: &[(String, Fate)]) {
    let mut connection = connect(address).expect("the program runs again");
    for (token, fate) in sessions {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let (status, body) = exchange(&mut connection, "GET", "/", &headers, "").expect("an answer");
        match fate {
            Fate::Alive => assert_eq!(status, 200, "a session that was given out is gone: {body}"),
            Fate::Ended => assert_eq!(status, 401, "a session that was ended is back: {body}"),
            Fate::Unknown => assert!(status == 200 || status == 401, "{status} {body}"),
        }
    }
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Some(stream)
}

/// One request and its answer; `None` when the connection broke before the answer was whole.
fn exchange(stream: &mut TcpStream, method: &str, target: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: crash/1\r\n{headers}{length}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut received = Vec::new();
    let mut bytes = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&received);
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if rest.len() >= length.unwrap_or(0) {
                return Some((head[9..12].parse().unwrap(), rest.to_owned()));
            }
        }
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return None,
            Ok(count) => received.extend_from_slice(&bytes[..count]),
        }
    }
}

/// SQLite marks a file as in use with a lock that the system gives up, for the whole process, when any descriptor of the file
/// is closed. Without it an older SQLite in another process, such as the shell of the distribution, takes itself for the
/// last user when it closes, and deletes the log that the gateway goes on writing to.
#[cfg(target_os = "linux")]
#[test]
fn the_sqlite_file_is_marked_as_in_use_while_the_gateway_runs() {
    use std::os::unix::fs::MetadataExt as _;

    /// Where SQLite's shared lock lies (its documentation calls it the shared range).
    const SHARED: &str = "1073741826";

    let directory = TempDir::new().unwrap();
    std::fs::write(
        directory.path().join("gateway.toml"),
        format!("[[upstream]]\nurl = \"http://127.0.0.1:9\"\n[[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n"),
    )
    .unwrap();
    let mut command = command(directory.path());
    command.args(["serve", "--store", "sqlite:sessions.db"]).env("GATEWAY_LOG__ACCESS", "off");
    // The first run makes the file, for which it takes locks of another kind.
    Program::start_ready(&mut command).stop();
    let program = Program::start_ready(&mut command);
    // Writing and reading have connections of their own.
    let mut connection = connect(program.address).unwrap();
    let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
    let (status, answer) = exchange(&mut connection, "POST", "/_sessions", &headers, "{\"user\":\"ann\"}").unwrap();
    assert_eq!(status, 201);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let headers = format!("Authorization: Bearer {}\r\n", answer["token"].as_str().unwrap());
    assert_eq!(exchange(&mut connection, "GET", "/_sessions", &headers, "").unwrap().0, 200);

    let inode = format!(":{}", std::fs::metadata(directory.path().join("sessions.db")).unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let is_shared = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.iter().any(|word| word.ends_with(&inode)) && words.contains(&SHARED)
    };
    assert!(locks.lines().any(is_shared), "no lock on {inode} in\n{locks}");
}
