//! Stopping: what is in flight finishes, nothing new begins, and the end comes in time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::client::Connection;
use support::gateway::{Gateway, open_with_one_worker as open};
use support::peer::Peer;
use support::upstream::{Upstream, response};
use support::wait_until;
use tempfile::TempDir;

const GET: &str = "GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// Begins to stop the gateway, and returns when it no longer takes connections.
fn stopping(gateway: Gateway) -> JoinHandle<(TempDir, Duration)> {
    let address = gateway.address;
    let stopping = std::thread::spawn(move || {
        let began = Instant::now();
        let directory = gateway.stop();
        (directory, began.elapsed())
    });
    wait_until("new connections are refused", || TcpStream::connect(address).is_err());
    stopping
}

#[test]
fn a_request_in_flight_gets_its_whole_response_and_the_word_that_it_was_the_last() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &open("drain = \"20s\""));
    let mut client = gateway.connect();
    client.send(GET);
    let mut app = peer.accept();
    app.read_head().unwrap();
    let mut streaming = gateway.connect();
    streaming.send(GET);
    let mut streaming_app = peer.accept();
    streaming_app.read_head().unwrap();
    streaming_app.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
    streaming.read_head().unwrap();

    let stopping = stopping(gateway);

    app.send(response("200 OK", "", "the whole answer"));
    let answer = client.read("GET");
    assert_eq!(answer.text(), "the whole answer");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
    streaming_app.send("other");
    assert_eq!(streaming.take(10), b"firstother");
    assert!(streaming.is_closed());
    let (directory, took) = stopping.join().unwrap();
    assert!(took < Duration::from_secs(15), "{took:?}: it does not wait when there is nothing to wait for");
    let log = std::fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert_eq!(log.matches("status=200").count(), 2, "{log}");
    assert!(!log.contains("aborted"), "{log}");
}

#[test]
fn idle_connections_are_closed_at_once() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("drain = \"20s\""));
    let mut fresh = gateway.connect();
    let mut used = gateway.connect();
    used.send(GET);
    assert_eq!(used.read("GET").status, 200);
    wait_until("both are served", || gateway.metric("gateway_connections_open") == 2.0);

    let (_, took) = stopping(gateway).join().unwrap();

    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(fresh.is_closed() && used.is_closed());
}

#[test]
fn what_does_not_finish_within_the_drain_time_is_ended_and_logged() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &open("drain = \"300ms\""));
    let mut waiting = gateway.connect();
    waiting.send(GET);
    let mut app = peer.accept();
    app.read_head().unwrap();
    let mut half = gateway.connect();
    half.send("GET / HTTP/1.1\r\nHo");
    wait_until("both are served", || gateway.metric("gateway_connections_open") == 2.0);

    let (directory, took) = stopping(gateway).join().unwrap();

    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    assert!(waiting.is_closed() && half.is_closed() && app.is_closed());
    let log = std::fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("target=/slow status=499") && log.contains("verdict=abandoned aborted=true"), "{log}");
}

#[test]
fn a_gateway_with_all_its_connections_in_use_stops_as_well() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("drain = \"20s\"\nmax_connections = 2"));
    let mut clients = [gateway.connect(), gateway.connect()];
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.read("GET").status, 200);
    }
    let (_, took) = stopping(gateway).join().unwrap();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(clients.iter_mut().all(Connection::is_closed));
}

#[test]
fn a_draining_gateway_says_that_it_is_not_ready_but_alive() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &open("drain = \"20s\""));
    let ops = gateway.ops;
    let mut client = gateway.connect();
    client.send(GET);
    let mut app = peer.accept();
    app.read_head().unwrap();
    let stopping = stopping(gateway);

    let status = |path: &str| {
        let mut connection = Connection::open(ops);
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n"));
        connection.read("GET").status
    };
    assert_eq!((status("/readyz"), status("/livez"), status("/metrics")), (503, 200, 200));
    app.send(response("200 OK", "", ""));
    client.read("GET");
    stopping.join().unwrap();
    assert!(TcpStream::connect(ops).is_err());
}

/// The program itself, as an init system runs it.
struct Program {
    child: Child,
    address: SocketAddr,
    notify: UnixDatagram,
    stdout: JoinHandle<String>,
    _directory: TempDir,
}

impl Program {
    fn start(upstream: &str, drain: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("notify");
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let config = directory.path().join("gateway.toml");
        let server = format!("listen = [\"127.0.0.1:0\"]\nops_listen = \"\"\ndrain = \"{drain}\"");
        let store = format!("[store]\nurl = \"sqlite:{}\"\n", directory.path().join("s.db").display());
        std::fs::write(&config, open(&server).replace("{upstream}", upstream) + &store).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_session-gateway"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", &socket)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            text
        });
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .find_map(|line| line.unwrap().split_once("listening address=")?.1.parse().ok())
            .expect("the program says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, notify, stdout, _directory: directory }
    }

    /// The next message to the init system.
    fn told(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.notify.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end; gives its status and what it wrote to standard output.
    fn wait(mut self) -> (ExitStatus, String) {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), self.stdout.join().unwrap())
    }
}

#[test]
fn the_program_finishes_what_is_in_flight_when_it_is_told_to_stop_and_tells_its_init_system() {
    for signal in ["TERM", "INT"] {
        let peer = Peer::listen();
        let program = Program::start(&peer.url(), "20s");
        assert!(program.told().contains("READY=1"));
        let mut client = Connection::open(program.address);
        client.send(GET);
        let mut app = peer.accept();
        app.read_head().unwrap();

        program.signal(signal);

        assert!(program.told().contains("STOPPING=1"));
        wait_until("new connections are refused", || TcpStream::connect(program.address).is_err());
        app.send(response("200 OK", "", "whole"));
        let answer = client.read("GET");
        assert_eq!((answer.text(), answer.header("connection")), ("whole", Some("close")));
        let (status, log) = program.wait();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(log.matches("target=/slow status=200").count(), 1, "its last lines are written: {log}");
    }
}

#[test]
fn a_signal_right_after_the_program_is_ready_is_not_its_death() {
    let peer = Peer::listen();
    for _ in 0..5 {
        let program = Program::start(&peer.url(), "5s");
        assert!(program.told().contains("READY=1"));
        program.signal("TERM");
        assert_eq!(program.wait().0.code(), Some(0));
    }
}

#[test]
fn the_program_ends_in_time_when_a_request_does_not() {
    let peer = Peer::listen();
    let program = Program::start(&peer.url(), "300ms");
    let mut client = Connection::open(program.address);
    client.send(GET);
    let mut app = peer.accept();
    app.read_head().unwrap();
    program.signal("TERM");
    let (status, log) = program.wait();
    assert_eq!(status.code(), Some(0));
    assert!(client.is_closed() && app.is_closed());
    assert!(log.contains("verdict=abandoned aborted=true"), "{log}");
}
