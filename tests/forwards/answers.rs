//! The application's answer: understood however it comes, and what the client is told when there is none.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;
use crate::{OPEN, upstream_setting};

#[test]
fn an_application_that_is_not_there_is_502() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gateway = Gateway::start(&url, OPEN);
    let response = gateway.get("/", "");
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"));
    assert!(!response.text().contains("127.0.0.1"), "where the application lives is nobody's business");
}

#[test]
fn an_application_that_does_not_take_connections_is_502_after_connect_timeout() {
    use socket2::{Domain, Socket, Type};

    // A listener that accepts nothing, with its queue full.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let queued: Vec<_> = std::iter::from_fn(|| connect().ok()).take(64).collect();
    assert!(queued.len() < 64, "this kernel has no full queue");
    let gateway = Gateway::start(&format!("http://{address}"), &upstream_setting("connect_timeout = \"300ms\""));

    let began = Instant::now();
    let response = gateway.get("/", "");

    assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn an_application_that_does_not_answer_is_504_after_response_timeout() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &upstream_setting("response_timeout = \"400ms\""));
    let mut client = gateway.connect();
    for part in ["", "HTTP/1.1 200 OK\r\nX: y"] {
        let began = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let mut app = peer.accept();
        app.read_head().unwrap();
        app.send(part);
        let response = client.read("GET");
        assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"), "{part:?}");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(1_500), "{took:?}");
        assert!(app.is_closed(), "what comes too late must not become the next request's answer");
    }
}

#[test]
fn the_time_to_answer_begins_when_the_request_is_complete() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &upstream_setting("response_timeout = \"500ms\""));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\n");
    let mut app = peer.accept();
    app.read_head().unwrap();
    for byte in ["b", "o", "d", "y"] {
        std::thread::sleep(Duration::from_millis(300));
        client.send(byte);
        assert_eq!(app.take(1), byte.as_bytes());
    }
    app.send(response("200 OK", "", "slow client, quick application"));
    assert_eq!(client.read("POST").status, 200);
}

#[test]
fn an_answer_that_is_no_http_is_502() {
    for garbage in [
        "garbage\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Space : a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        "",
    ] {
        let upstream = Upstream::start(move |_| Reaction::SendAndClose(garbage.into()));
        let gateway = Gateway::start(&upstream.url(), OPEN);
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let response = client.read("GET");
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"), "{garbage:?}");
        assert_eq!(upstream.received().len(), 1);
    }
}

#[test]
fn a_response_s_head_has_a_bound() {
    let upstream = Upstream::start(|received| {
        let headers = match received.target() {
            "/wide" => format!("X-Wide: {}\r\n", "x".repeat(1 << 20)),
            "/many" => (0..5_000).map(|at| format!("X-{at}: y\r\n")).collect(),
            _ => format!("X-Wide: {}\r\n", "x".repeat(60 << 10)),
        };
        Reaction::Send(response("200 OK", &headers, "hello"))
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    for target in ["/wide", "/many"] {
        assert_eq!(gateway.get(target, "").code(), "upstream_unreachable", "{target}");
    }
    assert_eq!(gateway.get("/fine", "").text(), "hello");
}

#[test]
fn a_response_that_comes_byte_by_byte_is_understood() {
    let upstream = Upstream::start(|_| {
        Reaction::Custom(Box::new(|stream| {
            let whole = "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                         3;x=y\r\nabc\r\n00002\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n";
            for byte in whole.bytes() {
                let _ = stream.write_all(&[byte]);
            }
        }))
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    for _ in 0..3 {
        assert_eq!(gateway.get("/", "").text(), "abcde");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), OPEN);
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000\r\n\r\n");
    client.send([b'x'; 1000]);
    let mut app = peer.accept();
    app.read_head().unwrap();

    app.send(response("413 Content Too Large", "", "no"));

    let response = client.read("POST");
    assert_eq!((response.status, response.text()), (413, "no"));
    app.take(1000);
    assert!(app.is_closed(), "the rest of the upload is not sent there, so nothing else can be");
}

#[test]
fn an_application_that_dies_in_the_middle_of_a_body_leaves_the_client_with_a_torn_response() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), OPEN);
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut client = gateway.connect();
        client.send("GET /torn HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let mut app = peer.accept();
        app.read_head().unwrap();
        app.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nfirst\r\n"));
        client.read_head().unwrap();
        app.stream().shutdown(Shutdown::Both).unwrap();
        let got = client.read_to_end();
        assert!(got.len() < 100 && !got.ends_with(b"0\r\n\r\n"), "it must not look whole: {got:?}");
    }
    let log = gateway.access_log();
    let read = || std::fs::read_to_string(&log).unwrap();
    wait_until("both are in the access log", || read().matches("target=/torn").count() == 2);
    assert_eq!(read().matches("aborted=true").count(), 2, "{}", read());
}
