//! The way of the bytes.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::Duration;

use crate::support::gateway::{Gateway, bearer};
use crate::support::peer::Peer;
use crate::support::websocket::{Open, open, read_close};
use crate::support::{noise, now, wait_until};
use crate::{log_with, while_nothing_happens};

fn opened(toml: &str) -> (Gateway, Peer, Open) {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), toml);
    let token = bearer(&gateway.login("ann").token);
    let opened = open(&gateway, &peer, &token);
    (gateway, peer, opened)
}

fn upstream(lines: &str) -> String {
    format!("[[upstream]]\nurl = \"{{upstream}}\"\n{lines}\n")
}

#[test]
fn both_directions_flow_at_once_byte_for_byte() {
    const SIZE: usize = 8 * 1024 * 1024;

    let (gateway, _peer, Open { mut client, mut app, .. }) = opened("");
    let (up, down) = (noise(SIZE, 1), noise(SIZE, 2));
    std::thread::scope(|scope| {
        for (stream, bytes) in [(client.stream(), &up), (app.stream(), &down)] {
            let mut stream = stream.try_clone().unwrap();
            scope.spawn(move || bytes.chunks(9973).for_each(|piece| stream.write_all(piece).unwrap()));
        }
        scope.spawn(|| assert!(app.take(SIZE) == up));
        scope.spawn(|| assert!(client.take(SIZE) == down));
    });
    gateway.until_metric("gateway_tunnel_bytes_total{to=\"app\"}", SIZE as f64);
    gateway.until_metric("gateway_tunnel_bytes_total{to=\"client\"}", SIZE as f64);
}

#[test]
fn what_one_side_has_left_to_say_is_passed_on_after_the_other_has_ended() {
    let (gateway, _peer, Open { mut client, mut app, .. }) = opened("");
    client.send("last words");
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(app.read_to_end(), b"last words");
    app.send(noise(1_000_000, 3));
    assert!(client.take(1_000_000) == noise(1_000_000, 3));
    app.stream().shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
    let line = log_with(&gateway, "status=101");
    assert!(line.contains("bytes=1000000 bytes_in=10 ") && !line.contains("aborted"), "{line}");

    let token = bearer(&gateway.login("ann").token);
    let Open { mut client, mut app, .. } = open(&gateway, &_peer, &token);
    app.stream().shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
    client.send("still heard");
    assert_eq!(app.take(11), b"still heard");
    client.close();
    assert!(app.is_closed());
}

#[test]
fn a_connection_that_breaks_ends_the_other() {
    let (gateway, _peer, Open { client, mut app, .. }) = opened("");
    socket2::SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(app.is_closed());
    let line = log_with(&gateway, "status=101");
    assert!(line.contains("aborted=true") && !line.contains("cut="), "{line}");
}

#[test]
fn a_client_that_does_not_read_holds_up_the_application_and_not_memory() {
    const MOST: usize = 24 * 1024 * 1024;

    let (gateway, _peer, Open { mut client, mut app, .. }) = opened("[server]\nidle_timeout = \"300ms\"\n");
    app.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let piece = noise(64 * 1024, 4);
    let mut sent = 0;
    while sent < MOST && app.try_send(&piece) {
        sent += piece.len();
    }
    // What went is in the buffers of the kernel, of three sockets.
    assert!(sent < MOST, "{sent}");
    gateway.until_metric("gateway_tunnels_open", 1.0);
    let taken = client.take(sent);
    assert!(taken.chunks(piece.len()).all(|chunk| chunk == piece));
}

#[test]
fn one_that_is_silent_for_too_long_is_closed_and_one_that_is_not_goes_on() {
    let (gateway, _peer, Open { mut client, mut app, .. }) = opened(&upstream("tunnel_idle_timeout = \"1s\""));
    let (began, mut last) = (now(), now());
    let mut turn = 0;
    wait_until("it has lived for three times the limit", || {
        last = now();
        turn += 1;
        if turn % 2 == 0 {
            app.send("x");
            client.take(1);
        } else {
            client.send("x");
            app.take(1);
        }
        began.elapsed() > Duration::from_secs(3)
    });
    // Bytes that are no frames: there is no place for another one.
    assert!(client.is_closed() && app.is_closed());
    let took = last.elapsed();
    assert!(took > Duration::from_millis(950) && took < Duration::from_secs(3), "{took:?}");
    let line = log_with(&gateway, "status=101");
    assert!(line.contains("aborted=true cut=tunnel_idle"), "{line}");
    gateway.until_metric("gateway_streams_cut_total{kind=\"tunnel\",reason=\"tunnel_idle\"}", 1.0);

    let (_gateway, _peer, Open { mut client, app: _app, .. }) = opened(&upstream("tunnel_idle_timeout = \"200ms\""));
    assert_eq!(read_close(&mut client), (1001, "tunnel_idle".to_owned()));
    assert!(client.is_closed());
}

#[test]
fn it_is_under_none_of_the_limits_of_a_connection_that_serves_requests() {
    let (gateway, _peer, mut opened) = opened(&format!(
        "[server]\nheader_timeout = \"100ms\"\nidle_timeout = \"100ms\"\n{}",
        upstream("response_timeout = \"100ms\"\nkeep_alive = \"100ms\"\ntunnel_idle_timeout = \"0\"")
    ));
    while_nothing_happens(Duration::from_millis(1200));
    opened.works();
    while_nothing_happens(Duration::from_millis(600));
    opened.works();
    assert_eq!(gateway.metric("gateway_connections_timed_out_total"), 0.0);
}

#[test]
fn it_holds_its_clients_place_and_is_counted_while_it_lasts() {
    let (gateway, peer, mut opened) = opened("[server]\nworkers = 1\nmax_connections = 2\n");
    // The client has its answer a moment earlier.
    wait_until("it is counted", || gateway.metric("gateway_tunnels_open") == 1.0);
    gateway.until_metric("gateway_connections_open", 1.0);
    let mut other = gateway.connect();
    other.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(other.read("GET").status, 401);
    let mut third = gateway.connect();
    third.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    while_nothing_happens(Duration::from_millis(300));
    gateway.until_metric("gateway_connections_open", 2.0);
    opened.works();
    opened.client.close();
    assert!(opened.app.is_closed());
    drop(opened.app);
    assert_eq!(third.read("GET").status, 401);
    wait_until("it is counted out", || gateway.metric("gateway_tunnels_open") == 0.0);
    gateway.until_metric("gateway_tunnels_total", 1.0);
    drop(peer);
}
