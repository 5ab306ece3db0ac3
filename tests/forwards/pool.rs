//! Connections to the application: kept, reused, replaced when stale, and never used twice for a request that may have
//! been served.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use crate::OPEN;
use crate::support::client::Connection;
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;

fn upstream_setting(line: &str) -> String {
    OPEN.replace("url = \"{upstream}\"", &format!("url = \"{{upstream}}\"\n{line}"))
}

#[test]
fn requests_one_after_another_share_one_connection_to_the_application() {
    let upstream = Upstream::start(|received| {
        Reaction::Send(match received.target() {
            "/chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".to_vec(),
            "/empty" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => response("200 OK", "", "ab"),
        })
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    for _ in 0..3 {
        for target in ["/length", "/chunks", "/empty"] {
            assert!(gateway.get(target, "").status < 300);
            assert_eq!(gateway.request("POST", target, "", b"body").status / 100, 2);
        }
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(gateway.metric("gateway_upstream_connections_total"), 1.0);
    assert_eq!(gateway.metric("gateway_upstream_reuses_total"), 17.0);
}

#[test]
fn requests_at_the_same_time_have_a_connection_each_and_no_more_than_max_idle_are_kept() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &upstream_setting("max_idle = 2"));
    let mut clients: Vec<Connection> = (0..4).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    }
    let mut apps: Vec<Connection> = clients.iter().map(|_| peer.accept()).collect();
    for app in &mut apps {
        app.read_head().unwrap();
        app.send(response("200 OK", "", "x"));
    }
    for client in &mut clients {
        assert_eq!(client.read("GET").text(), "x");
    }
    let mut open = 0;
    for app in &mut apps {
        app.stream().set_nonblocking(true).unwrap();
        let mut byte = [0];
        let mut closed = false;
        let began = Instant::now();
        while !closed && began.elapsed() < Duration::from_millis(500) {
            closed = app.stream().peek(&mut byte).is_ok_and(|length| length == 0);
        }
        open += usize::from(!closed);
    }
    assert_eq!(open, 2);
}

#[test]
fn a_connection_that_the_application_closed_while_idle_is_replaced_without_an_error() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut client = gateway.connect();
    for round in 1..=20 {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.read("GET").status, 200, "{round}");
        upstream.close_connections();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.read("POST").status, 200, "{round}");
        assert_eq!(upstream.last().body, b"body");
        upstream.close_connections();
        // The body comes only after the head was put on a connection.
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\n");
        client.send("late");
        assert_eq!(client.read("POST").status, 200, "{round}");
        assert_eq!(upstream.last().body, b"late");
    }
    assert_eq!(upstream.received().len(), 60, "no request was sent twice");
}

#[test]
fn an_application_that_announces_the_end_of_its_connection_is_believed() {
    let upstream = Upstream::start(|_| Reaction::Send(response("200 OK", "Connection: close\r\n", "x")));
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut client = gateway.connect();
    for expected in 1..=3 {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let response = client.read("GET");
        assert_eq!(response.header("connection"), None, "that is between the gateway and the application");
        assert_eq!(upstream.connections(), expected);
    }
}

#[test]
fn a_request_that_may_have_been_served_is_not_sent_again() {
    let upstream = Upstream::start(|received| match received.target() {
        "/die" => Reaction::Close,
        _ => Reaction::Send(response("200 OK", "", "x")),
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    for (method, body) in [("GET", &b""[..]), ("POST", b"body"), ("DELETE", b"")] {
        // Once on a new connection, once on a kept one.
        for _ in 0..2 {
            let before = upstream.received().len();
            let response = gateway.request(method, "/die", "", body);
            assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"), "{method}");
            assert_eq!(upstream.received().len() - before, 1, "{method} was sent more than once");
            assert_eq!(gateway.get("/", "").status, 200);
        }
    }
}

#[test]
fn an_application_that_closes_after_every_answer_sees_no_request_twice() {
    // It keeps the connection as far as its answer says, and closes it a moment later: the gateway finds out before it
    // sends the next request, or after. In the second case nobody knows whether that was served.
    let upstream = Upstream::start(|received| {
        let answer = response("200 OK", "", received.target());
        let pause = Duration::from_micros(received.target()[1..].parse::<u64>().unwrap() * 7 % 600);
        Reaction::Custom(Box::new(move |stream| {
            let _ = stream.write_all(&answer);
            let sent = Instant::now();
            while sent.elapsed() < pause {
                std::hint::spin_loop();
            }
            let _ = stream.shutdown(Shutdown::Both);
        }))
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut client = gateway.connect();
    let mut broken = 0;
    for at in 0..200 {
        let target = format!("/{at}");
        client.send(format!("POST {target} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nbody"));
        let response = client.read("POST");
        match response.status {
            200 => assert_eq!(response.text(), target),
            502 => broken += 1,
            other => panic!("{other}"),
        }
    }
    let mut seen: Vec<_> = upstream.received().iter().map(|received| received.target().to_owned()).collect();
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "a request was sent twice");
    assert!(all + broken >= 200);
}

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
fn bytes_beyond_a_response_never_become_the_next_one() {
    let upstream = Upstream::start(|received| {
        let mut bytes = response("200 OK", "", received.target());
        if received.target() == "/poison" {
            bytes.extend(response("200 OK", "", "poison"));
        }
        Reaction::Send(bytes)
    });
    let gateway = Gateway::start(&upstream.url(), OPEN);
    let mut client = gateway.connect();
    for target in ["/poison", "/a", "/poison", "/b"] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        assert_eq!(client.read("GET").text(), target);
    }
    assert_eq!(upstream.connections(), 3);
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

#[test]
fn a_client_that_goes_away_takes_its_connection_to_the_application_along() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), OPEN);
    let request = "GET /gone HTTP/1.1\r\nHost: app.test\r\n\r\n";
    // Before the answer, in the middle of its own body, in the middle of the response, and while the response pauses.
    let mut client = gateway.connect();
    client.send(request);
    let mut app = peer.accept();
    app.read_head().unwrap();
    client.close();
    assert!(app.is_closed(), "before the answer");

    let mut client = gateway.connect();
    client.send("POST /gone HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9\r\n\r\nabc");
    let mut app = peer.accept();
    app.read_head().unwrap();
    app.take(3);
    client.close();
    assert!(app.is_closed(), "in the middle of the upload");

    for length in [5, 50_000_000] {
        let mut client = gateway.connect();
        client.send(request);
        let mut app = peer.accept();
        app.read_head().unwrap();
        app.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nfirst");
        client.read_head().unwrap();
        client.close();
        let block = vec![0; 64 << 10];
        let mut sent = 5;
        while sent < length && app.try_send(&block) {
            sent += block.len();
        }
        assert!(app.is_closed(), "in the middle of the response");
    }
    wait_until("the gateway has no connection left", || gateway.metric("gateway_connections_open") == 0.0);
    let read = || std::fs::read_to_string(gateway.access_log()).unwrap();
    wait_until("each has its line", || read().matches("target=/gone").count() == 4);
    // The one whose upload broke off got an answer, if only for the log.
    assert_eq!(read().matches("aborted=true").count(), 3, "{}", read());
    assert_eq!(read().matches("status=400").count(), 1, "{}", read());
    assert_eq!(read().matches("verdict=abandoned").count(), 1, "{}", read());
}

#[test]
fn a_connection_that_rests_longer_than_keep_alive_is_closed() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &upstream_setting("keep_alive = \"400ms\""));
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let mut app = peer.accept();
    app.read_head().unwrap();
    app.send(response("200 OK", "", "x"));
    assert_eq!(client.read("GET").status, 200);
    let began = Instant::now();
    assert!(app.is_closed());
    let took = began.elapsed();
    assert!(took > Duration::from_millis(300) && took < Duration::from_secs(4), "{took:?}");
}
