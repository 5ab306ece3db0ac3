//! `fd:NAME`: the test plays the service manager.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use crate::support::client::Connection;
use crate::support::program::{self, Activated, Program};
use crate::support::upstream::Upstream;
use crate::{LAST, open};

/// A directory with settings that listen on `listen`.
fn settings(upstream: &Upstream, server: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    let toml = open(server).replace("{upstream}", &upstream.url());
    std::fs::write(directory.path().join("gateway.toml"), toml).unwrap();
    directory
}

#[test]
fn sockets_are_taken_over_by_their_names() {
    let upstream = Upstream::hello();
    let directory = settings(&upstream, "workers = 3\nlisten = [\"fd:http\"]\nops_listen = \"fd:ops\"");
    let (http, ops) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = (http.local_addr().unwrap(), ops.local_addr().unwrap());
    let activated = Activated { first: http.try_clone().unwrap().into(), second: Some(ops.into()), names: "http:ops" };
    let program = Program::launch(&mut activated.command(directory.path()));
    assert_eq!((program.address, program.ops), addresses);
    for _ in 0..50 {
        let mut client = Connection::open(program.address);
        client.send(LAST);
        assert_eq!(client.read("GET").status, 200);
    }
    let (status, log) = program.stop();
    assert!(status.success(), "{log}");
    assert!(std::net::TcpStream::connect(addresses.0).is_ok(), "it stays open when the gateway is gone");
}

#[test]
fn a_socket_file_of_the_service_manager_stays_when_the_gateway_ends() {
    let upstream = Upstream::hello();
    let directory = settings(&upstream, "listen = [\"fd:http\", \"127.0.0.1:0\"]");
    let path = directory.path().join("http");
    let listener = UnixListener::bind(&path).unwrap();
    let activated = Activated { first: listener.into(), second: None, names: "http" };
    let mut command = activated.command(directory.path());
    command.env("GATEWAY_SERVER__OPS_LISTEN", "127.0.0.1:0");
    let program = Program::launch(&mut command);
    assert!(program.log().contains(&format!("listening address=unix:{}", path.display())), "{}", program.log());
    assert!(program.stop().0.success());
    assert!(path.exists());
}

#[test]
fn a_name_that_was_not_passed_and_a_socket_that_does_not_listen_are_errors() {
    let upstream = Upstream::hello();
    let directory = settings(&upstream, "listen = [\"fd:http\"]\nops_listen = \"\"");
    let ran = program::run(&mut program::command(directory.path()));
    assert_eq!(ran.status, 78);
    assert!(
        ran.stderr.contains("server.listen: cannot listen on fd:http: the service manager passed no sockets"),
        "{}",
        ran.stderr
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong = Activated { first: listener.try_clone().unwrap().into(), second: None, names: "web" };
    let ran = program::run(&mut wrong.command(directory.path()));
    assert_eq!(ran.status, 78);
    assert!(ran.stderr.contains("no socket of this name, but web"), "{}", ran.stderr);

    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let single = Activated { first: connected.into(), second: None, names: "http" };
    let ran = program::run(&mut single.command(directory.path()));
    assert_eq!(ran.status, 78);
    assert!(ran.stderr.contains("must not have Accept=yes"), "{}", ran.stderr);
}
