//! How many requests an application has at a time, and how long it may pause.

use std::time::Duration;

use crate::open;
use crate::support::client::Connection;
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::upstream::response;
use crate::support::{now, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

fn gateway(peer: &Peer, more: &str) -> Gateway {
    // Two workers: the limit is that of both together.
    Gateway::start(&peer.url(), &open(&format!("url = \"{{upstream}}\"\n{more}")).replace("workers = 1", "workers = 2"))
}

/// A client whose request is at the application, and the application's end of it.
fn asked(gateway: &Gateway, peer: &Peer) -> (Connection, Connection) {
    let mut client = gateway.connect();
    client.send(GET);
    let mut app = peer.accept();
    app.read_head().unwrap();
    (client, app)
}

#[test]
fn a_request_above_the_limit_waits_until_another_has_ended() {
    let peer = Peer::listen();
    let gateway = gateway(&peer, "max_connections = 1");
    let mut clients = [gateway.connect(), gateway.connect(), gateway.connect()];
    clients[0].send(GET);
    let mut app = peer.accept();
    app.read_head().unwrap();
    for client in &mut clients[1..] {
        client.send(GET);
    }
    let began = now();
    while began.elapsed() < Duration::from_millis(200) {
        assert!(peer.try_accept().is_none(), "only one at a time");
        std::hint::spin_loop();
    }
    app.send(response("200 OK", "Connection: close\r\n", "first"));
    assert_eq!(clients[0].read("GET").text(), "first");
    drop(app);
    // The others come one after the other, each on a connection of its own.
    for _ in 0..2 {
        let mut app = peer.accept();
        app.read_head().unwrap();
        assert!(peer.try_accept().is_none(), "only one at a time");
        app.send(response("200 OK", "Connection: close\r\n", "later"));
        drop(app);
    }
    for client in &mut clients[1..] {
        assert_eq!(client.read("GET").text(), "later");
    }
}

#[test]
fn who_finds_the_queue_full_is_told_to_come_back() {
    let peer = Peer::listen();
    let gateway = gateway(&peer, "max_connections = 1\nmax_pending = 0");
    let (mut client, mut app) = asked(&gateway, &peer);
    let answer = gateway.get("/", "");
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    app.send(response("200 OK", "", "x"));
    assert_eq!(client.read("GET").text(), "x");
}

#[test]
fn who_waits_for_longer_than_connect_timeout_is_told_to_come_back() {
    let peer = Peer::listen();
    let gateway = gateway(&peer, "max_connections = 1\nconnect_timeout = \"200ms\"");
    let (mut client, mut app) = asked(&gateway, &peer);
    let answer = gateway.get("/", "");
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
    app.send(response("200 OK", "", "x"));
    assert_eq!(client.read("GET").text(), "x");
}

#[test]
fn a_client_that_goes_away_gives_its_place_back() {
    let peer = Peer::listen();
    let gateway = gateway(&peer, "max_connections = 1\nmax_pending = 0");
    let (client, mut app) = asked(&gateway, &peer);
    assert_eq!(gateway.get("/", "").status, 503);
    client.close();
    assert!(app.is_closed(), "the gateway lets go of the request");
    let mut client = gateway.connect();
    let mut next = None;
    wait_until("there is room", || {
        client.send(GET);
        next = peer.try_accept();
        let deadline = now();
        while next.is_none() && deadline.elapsed() < Duration::from_millis(100) {
            next = peer.try_accept();
        }
        if next.is_none() {
            assert_eq!(client.read("GET").status, 503);
        }
        next.is_some()
    });
    let mut app = next.unwrap();
    app.read_head().unwrap();
    app.send(response("200 OK", "", "x"));
    assert_eq!(client.read("GET").text(), "x");
}

#[test]
fn a_body_that_pauses_for_longer_than_body_timeout_is_cut_off() {
    let peer = Peer::listen();
    let gateway = gateway(&peer, "body_timeout = \"300ms\"");
    let (mut client, mut app) = asked(&gateway, &peer);
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    assert!(client.read_head().unwrap().starts_with("HTTP/1.1 200"));
    // As long as something comes in time, the whole may take longer.
    for _ in 0..5 {
        let pause = now();
        while pause.elapsed() < Duration::from_millis(150) {
            std::hint::spin_loop();
        }
        app.send("12345");
        assert_eq!(client.take(5), b"12345");
    }
    let began = now();
    assert!(client.is_closed());
    assert!((200..3000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert!(app.is_closed());
}

#[test]
fn a_body_may_pause_for_ever_when_nothing_is_said_about_it() {
    let peer = Peer::listen();
    let gateway = gateway(&peer, "response_timeout = \"200ms\"");
    let (mut client, mut app) = asked(&gateway, &peer);
    app.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.read_head().unwrap();
    let began = now();
    while began.elapsed() < Duration::from_millis(700) {
        std::hint::spin_loop();
    }
    app.send("5\r\ndata:\r\n0\r\n\r\n");
    assert_eq!(client.read_chunk(), b"data:");
}
