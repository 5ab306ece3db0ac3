//! Connections to the application: kept, reused, replaced when stale, and never used twice for a request that may have
//! been served.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::client::Connection;
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;
use crate::{OPEN, upstream_setting};

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
fn a_response_that_could_be_read_in_two_ways_does_not_keep_its_connection() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    for framing in [
        "Transfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "Content-Length: 2\r\n\r\nab",
        "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    ] {
        let first = format!("HTTP/1.1 200 OK\r\n{framing}{smuggled}");
        let upstream = Upstream::start(move |received| match received.target() {
            "/first" => Reaction::Send(first.clone().into_bytes()),
            _ => Reaction::Send(response("200 OK", "", "second")),
        });
        let gateway = Gateway::start(&upstream.url(), OPEN);
        let mut one = gateway.connect();
        one.send("GET /first HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        let got = one.read_to_end();
        assert!(!String::from_utf8_lossy(&got).contains("smuggled"), "{framing:?}");
        assert_eq!(gateway.get("/second", "").text(), "second", "{framing:?}");
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
