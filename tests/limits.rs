//! What a client cannot do: take more bytes, time or connections than the settings give it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

use std::net::Shutdown;
use std::time::{Duration, Instant};

use support::client::Connection;
use support::gateway::{Gateway, open_with_one_worker as open};
use support::peer::Peer;
use support::upstream::{Reaction, Upstream, response};
use support::wait_until;

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// How long it takes until `connection` is closed, without another byte.
#[track_caller]
fn closed_after(connection: &mut Connection) -> Duration {
    let began = Instant::now();
    assert!(connection.is_closed(), "there was another byte");
    began.elapsed()
}

#[track_caller]
fn assert_about(took: Duration, limit_millis: u64) {
    let limit = Duration::from_millis(limit_millis);
    // A tick early: the test's clock starts after the gateway's. Generous at the end: the machine may be busy.
    assert!(took + Duration::from_millis(100) >= limit && took < limit + Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_head_beyond_max_header_bytes_is_431_and_the_end_of_the_connection() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("max_header_bytes = \"8 KiB\""));
    let head = |size: usize| {
        let rest = "GET /x HTTP/1.1\r\nHost: app.test\r\nX-Pad: \r\n\r\n".len();
        format!("GET /x HTTP/1.1\r\nHost: app.test\r\nX-Pad: {}\r\n\r\n", "p".repeat(size - rest))
    };
    let mut connection = gateway.connect();
    connection.send(head(8 * 1024 - 100));
    assert_eq!(connection.read("GET").status, 200);

    for size in [9 * 1024, 60 * 1024, 2 << 20] {
        let mut connection = gateway.connect();
        connection.try_send(head(size));
        assert_eq!(connection.read("GET").status, 431, "{size}");
        assert!(connection.is_closed(), "{size}");
    }
    // The same for a target, and for a head that never ends.
    let mut connection = gateway.connect();
    connection.try_send(format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", "p".repeat(20 * 1024)));
    assert!(matches!(connection.read("GET").status, 414 | 431));
    let mut connection = gateway.connect();
    connection.send("GET / HTTP/1.1\r\n");
    let lines =
        (0..10_000).take_while(|_| connection.try_send("X-Line: 0123456789012345678901234567890123456789\r\n")).count();
    assert!(lines < 10_000 || connection.try_read("GET").is_none_or(|response| response.status == 431));
    assert_eq!(upstream.received().len(), 1);
    wait_until("they are counted", || gateway.metric("gateway_unparsable_requests_total") == 5.0);
}

#[test]
fn too_many_header_fields_are_431() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let fields = |count: usize| (0..count).map(|at| format!("X-{at}: y\r\n")).collect::<String>();
    assert_eq!(gateway.get("/", &fields(90)).status, 200);
    let response = gateway.get("/", &fields(200));
    assert_eq!(response.status, 431);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_head_that_does_not_come_in_time_ends_the_connection() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("header_timeout = \"400ms\"\nidle_timeout = \"60s\""));
    // Nothing at all; a part of it; and a byte now and then.
    let mut silent = gateway.connect();
    let mut partial = gateway.connect();
    partial.send("GET / HTTP/1.1\r\nHost: ap");
    assert_about(closed_after(&mut silent), 400);
    closed_after(&mut partial);

    let mut slow = gateway.connect();
    let began = Instant::now();
    // A name that never ends.
    slow.send("GET / HTTP/1.1\r\n");
    while slow.try_send("a") && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "bytes one by one must not prolong the time");

    // The same for the second request of a connection.
    let mut second = gateway.connect();
    second.send(GET);
    assert_eq!(second.read("GET").status, 200);
    second.send("GET / HT");
    assert_about(closed_after(&mut second), 400);
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(gateway.metric("gateway_connections_timed_out_total"), 4.0);
    assert_eq!(gateway.metric("gateway_connections_open"), 0.0);
}

#[test]
fn a_connection_that_waits_for_its_next_request_too_long_is_closed() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"500ms\""));
    let mut connection = gateway.connect();
    for _ in 0..3 {
        connection.send(GET);
        assert_eq!(connection.read("GET").status, 200);
        std::thread::sleep(Duration::from_millis(300));
    }
    connection.send(GET);
    assert_eq!(connection.read("GET").status, 200);
    assert_about(closed_after(&mut connection), 500);
}

#[test]
fn a_client_that_wants_its_connection_closed_has_it_closed() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let mut connection = gateway.connect();
    connection.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n{GET}"));
    let response = connection.read("GET");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(connection.is_closed());
    assert_eq!(upstream.received().len(), 1, "what comes after the last request is none");
}

#[test]
fn a_request_that_takes_the_application_long_is_not_idle() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &open("idle_timeout = \"200ms\"\nheader_timeout = \"200ms\""));
    let mut client = gateway.connect();
    client.send(GET);
    let mut app = peer.accept();
    app.read_head().unwrap();
    std::thread::sleep(Duration::from_millis(1_000));
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
    client.read_head().unwrap();
    assert_eq!(client.take(1), b"a");
    std::thread::sleep(Duration::from_millis(1_000));
    app.send("b");
    assert_eq!(client.take(1), b"b");
}

#[test]
fn an_upload_that_stalls_is_408_and_the_application_is_let_go() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &open("idle_timeout = \"400ms\""));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nabc");
    let mut app = peer.accept();
    app.read_head().unwrap();
    assert_eq!(app.take(3), b"abc");

    let began = Instant::now();
    let response = client.read("POST");

    assert_eq!((response.status, response.code().as_str()), (408, "request_timeout"));
    assert_about(began.elapsed(), 400);
    assert!(app.is_closed() && client.is_closed());
}

#[test]
fn an_upload_that_stalls_while_it_is_answered_already_ends_the_connection() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &open("idle_timeout = \"400ms\""));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nabc");
    let mut app = peer.accept();
    app.read_head().unwrap();
    assert_eq!(app.take(3), b"abc");
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    client.read_head().unwrap();
    assert_eq!(client.take(3), b"abc");

    assert_about(closed_after(&mut client), 400);
    assert!(app.is_closed());
}

#[test]
fn a_call_of_our_own_whose_body_stalls_is_408() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"400ms\""));
    let mut client = gateway.connect();
    let key = support::gateway::SERVICE_KEY;
    client.send(format!(
        "POST /_sessions HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: 20\r\n\r\n{{\"user\""
    ));
    assert_eq!(client.read("POST").code(), "request_timeout");
    assert!(client.is_closed());
}

#[test]
fn a_slow_upload_that_goes_on_is_served() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"500ms\"\nheader_timeout = \"500ms\""));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 8\r\n\r\n");
    for byte in b"slow but" {
        std::thread::sleep(Duration::from_millis(250));
        client.send([*byte]);
    }
    assert_eq!(client.read("POST").status, 200);
    assert_eq!(upstream.last().body, b"slow but");
}

/// An application whose responses do not fit into the kernel's buffers.
fn big() -> Upstream {
    Upstream::start(|_| Reaction::Send(response("200 OK", "", &"x".repeat(64 << 20))))
}

#[test]
fn a_client_that_does_not_take_its_response_is_closed() {
    let upstream = big();
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"500ms\""));
    let mut client = gateway.connect();
    client.send(GET);
    client.read_head().unwrap();
    wait_until("it is given up", || gateway.metric("gateway_connections_timed_out_total") == 1.0);
    wait_until("it is closed", || gateway.metric("gateway_connections_open") == 0.0);
    assert!(client.read_to_end().len() < 64 << 20);
}

#[test]
fn a_client_that_takes_its_response_slowly_gets_all_of_it() {
    let upstream = big();
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"2s\""));
    let mut client = gateway.connect();
    client.send(GET);
    client.read_head().unwrap();
    let began = Instant::now();
    let mut left = 64 << 20;
    while left > 0 {
        // More than the kernel's buffers hold, so that the gateway sees each step.
        let step = left.min(8 << 20);
        client.take(step);
        left -= step;
        std::thread::sleep(Duration::from_millis(350));
    }
    assert!(began.elapsed() > Duration::from_secs(2), "the whole takes longer than any pause may");
}

#[test]
fn connections_beyond_max_connections_wait_and_are_served_when_one_closes() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("max_connections = 3"));
    let mut served: Vec<Connection> = (0..3).map(|_| gateway.connect()).collect();
    for connection in &mut served {
        connection.send(GET);
        assert_eq!(connection.read("GET").status, 200);
    }
    let mut waiting = gateway.connect();
    waiting.send(GET);
    waiting.stream().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(waiting.stream().peek(&mut [0]).is_err(), "it waits");
    assert_eq!(gateway.metric("gateway_connections_open"), 3.0);
    waiting.stream().set_read_timeout(Some(Duration::from_secs(10))).unwrap();

    served.pop().unwrap().close();

    assert_eq!(waiting.read("GET").status, 200);
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[server]\nworkers = 1\n");
    for _ in 0..20 {
        let mut client = gateway.connect();
        client.send("POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\n");
        // The refusal is on its way before the body is.
        client.stream().peek(&mut [0]).unwrap();
        for _ in 0..10 {
            assert!(client.try_send([b'x'; 10_000]), "the gateway cut the client off while it was told no");
        }
        assert_eq!(client.read("POST").status, 401);
        assert!(client.is_closed());
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn the_answer_to_a_body_that_cannot_be_read_on_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n");
    client.stream().peek(&mut [0]).unwrap();
    for _ in 0..10 {
        assert!(client.try_send([b'x'; 10_000]), "the gateway cut the client off while it was told no");
    }
    assert_eq!(client.read("POST").status, 400);
    assert!(client.is_closed());
}

#[test]
fn a_refused_client_that_goes_on_sending_for_ever_is_cut_off() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[server]\nworkers = 1\n");
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let began = Instant::now();
    while client.try_send(&chunk) {
        assert!(began.elapsed() < Duration::from_secs(8), "what nobody reads must not be taken for ever");
    }
    wait_until("it is closed", || gateway.metric("gateway_connections_open") == 0.0);
    // One that neither sends nor goes.
    let mut silent = gateway.connect();
    silent.send("POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\nx");
    assert_eq!(silent.read("POST").status, 401);
    assert!(silent.is_closed());
    wait_until("its connection is given up", || gateway.metric("gateway_connections_open") == 0.0);
    let _ = silent.stream().shutdown(Shutdown::Both);
}
