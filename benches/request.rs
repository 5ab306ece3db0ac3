//! The whole line: a client's request, through the gateway, to an application on this machine and back.
//!
//! One connection and one request at a time, so this is the time a request takes and not what the gateway can do;
//! `benches/compare` measures that, beside others.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may fail")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use criterion::{Criterion, criterion_group, criterion_main};
use session_gateway::app::App;
use session_gateway::config::{Config, Overrides, Sources};
use session_gateway::edge::listen::Address;

const KEY: &str = "service-key-for-benches";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// An application that answers every read with the same response.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut bytes = [0; 16 * 1024];
                while matches!(stream.read(&mut bytes), Ok(1..)) {
                    stream.write_all(ANSWER).unwrap();
                }
            });
        }
    });
    address
}

fn gateway(upstream: SocketAddr, directory: &tempfile::TempDir) -> App {
    let file = directory.path().join("gateway.toml");
    let toml = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nops_listen = \"127.0.0.1:0\"\nworkers = 1\n\
         [[upstream]]\nurl = \"http://{upstream}\"\n[[upstream.route]]\npath = \"/open/\"\nauth = \"off\"\n\
         [store]\nurl = \"sqlite:{}\"\n[log]\naccess = \"{}\"\n[[service]]\nname = \"bench\"\nkey = \"{KEY}\"\n",
        directory.path().join("sessions.db").display(),
        directory.path().join("access.log").display(),
    );
    std::fs::write(&file, toml).unwrap();
    let sources = Sources { file: Some(file), environment: Vec::new(), overrides: Overrides::default() };
    App::start(Config::load(&sources).unwrap()).unwrap()
}

/// Sends a request and reads as much as one read brings: responses here are smaller than a packet.
fn exchange(stream: &mut TcpStream, request: &[u8], bytes: &mut [u8]) -> usize {
    stream.write_all(request).unwrap();
    stream.read(bytes).unwrap()
}

fn benches(c: &mut Criterion) {
    let directory = tempfile::TempDir::new().unwrap();
    let upstream = upstream();
    let app = gateway(upstream, &directory);
    let mut bytes = vec![0; 16 * 1024];
    let body = r#"{"user":"ann","user_agent":"bench/1.0"}"#;
    let issue = format!(
        "POST /_sessions HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(app.addresses().first().and_then(Address::tcp).unwrap()).unwrap();
    stream.set_nodelay(true).unwrap();
    let token = loop {
        let length = exchange(&mut stream, issue.as_bytes(), &mut bytes);
        let answer = String::from_utf8_lossy(bytes.get(..length).unwrap()).into_owned();
        // 503 until the store is up.
        if let Some((_, rest)) = answer.split_once("\"token\":\"") {
            break rest.split('"').next().unwrap().to_owned();
        }
    };
    let get = |target: &str, authorization: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: b\r\nUser-Agent: bench/1.0\r\n{authorization}\r\n").into_bytes()
    };

    let mut direct = TcpStream::connect(upstream).unwrap();
    direct.set_nodelay(true).unwrap();
    let request = get("/", "");
    c.bench_function("application alone", |b| b.iter(|| exchange(&mut direct, &request, &mut bytes)));
    let request = get("/open/x", "");
    c.bench_function("forwarded without a session", |b| b.iter(|| exchange(&mut stream, &request, &mut bytes)));
    let request = get("/", &format!("Authorization: Bearer {token}\r\n"));
    c.bench_function("forwarded with a session", |b| b.iter(|| exchange(&mut stream, &request, &mut bytes)));
    let request = get("/", "");
    c.bench_function("refused", |b| b.iter(|| exchange(&mut stream, &request, &mut bytes)));
    app.stop();
}

criterion_group!(request_benches, benches);
criterion_main!(request_benches);
