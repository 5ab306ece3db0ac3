//! Event streams and downloads, and how they are cut.

use std::time::Duration;

use http_body_util::Full;

use crate::support::client::Connection;
use crate::support::gateway::{AGENT, Gateway, Issued, bearer};
use crate::support::http2;
use crate::support::peer::Peer;
use crate::support::{noise, now, wait_until};
use crate::{BOUND, log_with, while_nothing_happens};

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n";

/// A response whose head, and what the application sends with it, has arrived.
fn begun(gateway: &Gateway, peer: &Peer, headers: &str, head: &str) -> (Connection, Connection) {
    let mut client = gateway.connect();
    client.send(format!("GET /stream HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {AGENT}\r\n{headers}\r\n"));
    let mut app = peer.accept();
    app.read_head().unwrap();
    app.send(head);
    client.read_head().unwrap();
    (client, app)
}

fn start(toml: &str) -> (Gateway, Peer, Issued) {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), toml);
    let session = gateway.login("ann");
    (gateway, peer, session)
}

fn end(gateway: &Gateway, session: &Issued) {
    assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
}

#[test]
fn an_event_stream_is_cut_without_its_end() {
    let (gateway, peer, session) = start("");
    let (mut client, mut app) = begun(&gateway, &peer, &bearer(&session.token), EVENTS);
    assert_eq!(client.read_chunk(), b"data: ");
    end(&gateway, &session);
    let began = now();
    assert_eq!(client.read_to_end(), b"", "not even the last chunk, or nobody would know that something is missing");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert!(app.is_closed());
    let line = log_with(&gateway, "target=/stream");
    assert!(line.contains("status=200") && line.contains("aborted=true cut=session_revoked"), "{line}");
    gateway.until_metric("gateway_streams_cut_total{kind=\"response\",reason=\"session_revoked\"}", 1.0);
}

#[test]
fn one_that_never_falls_silent_is_cut_too() {
    let (gateway, peer, session) = start("");
    let (mut client, mut app) = begun(&gateway, &peer, &bearer(&session.token), EVENTS);
    let sending = std::thread::spawn(move || while app.try_send("6\r\ndata: \r\n") {});
    for _ in 0..1000 {
        client.read_chunk();
    }
    end(&gateway, &session);
    let began = now();
    client.read_to_end();
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    sending.join().unwrap();
}

#[test]
fn a_download_is_cut_short() {
    let (gateway, peer, session) = start("");
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let (mut client, mut app) = begun(&gateway, &peer, &bearer(&session.token), head);
    app.send([7; 400]);
    assert_eq!(client.take(400), [7; 400]);
    end(&gateway, &session);
    let began = now();
    assert_eq!(client.read_to_end(), b"");
    assert!(began.elapsed() < BOUND && app.is_closed());
    assert!(log_with(&gateway, "target=/stream").contains("bytes=400 user=ann"));
}

#[test]
fn a_client_that_does_not_take_its_download_is_cut_as_well() {
    let (gateway, peer, session) = start("");
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    let (client, mut app) = begun(&gateway, &peer, &bearer(&session.token), head);
    app.stream().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let piece = noise(256 * 1024, 1);
    while app.try_send(&piece) {}
    end(&gateway, &session);
    let began = now();
    wait_until("its place is free", || gateway.metric("gateway_connections_open") == 0.0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(log_with(&gateway, "target=/stream").contains("aborted=true cut=session_revoked"));
    drop(client);
}

#[test]
fn nobody_elses_is_touched_nor_is_an_anonymous_one() {
    let peer = Peer::listen();
    let gateway = Gateway::start(
        &peer.url(),
        "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"optional\"\n",
    );
    let (ann, bob) = (gateway.login("ann"), gateway.login("bob"));
    let mut others = [begun(&gateway, &peer, &bearer(&bob.token), EVENTS), begun(&gateway, &peer, "", EVENTS)];
    let (mut client, _app) = begun(&gateway, &peer, &bearer(&ann.token), EVENTS);
    client.read_chunk();
    end(&gateway, &ann);
    assert_eq!(client.read_to_end(), b"");
    for (client, app) in &mut others {
        client.read_chunk();
        app.send("3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(client.read_chunk(), b"abc");
        assert_eq!(client.read_chunk(), b"");
    }
}

#[test]
fn a_connection_serves_requests_after_a_stream_that_came_to_its_end() {
    let (gateway, peer, session) = start("");
    let (mut client, mut app) = begun(&gateway, &peer, &bearer(&session.token), EVENTS);
    client.read_chunk();
    while_nothing_happens(Duration::from_millis(700));
    app.send("0\r\n\r\n");
    assert_eq!(client.read_chunk(), b"");
    end(&gateway, &session);
    while_nothing_happens(Duration::from_millis(700));
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.read("GET").code(), "missing_token");
}

#[test]
fn what_ends_the_session_itself_still_gets_its_whole_answer() {
    let (gateway, peer, session) =
        start("[[upstream]]\nurl = \"{upstream}\"\n[[upstream.logout]]\npath = \"/logout\"\nmethod = \"GET\"\n");
    let mut client = gateway.connect();
    client.send(format!(
        "GET /logout HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {AGENT}\r\n{}\r\n",
        bearer(&session.token)
    ));
    let mut app = peer.accept();
    app.read_head().unwrap();
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
    client.read_head().unwrap();
    app.send("good");
    assert_eq!(client.take(4), b"good");
    while_nothing_happens(Duration::from_millis(1200));
    app.send("bye!");
    assert_eq!(client.take(4), b"bye!");
    assert_eq!(gateway.get_as(&session.token, "/").code(), "session_revoked");
}

#[test]
fn taking_a_download_is_use_of_the_session_and_events_are_not() {
    let (gateway, peer, session) = start("[session]\nidle_timeout = \"1s\"\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let (mut client, mut app) = begun(&gateway, &peer, &bearer(&session.token), head);
    let began = now();
    wait_until("it has gone on for twice the limit", || {
        app.send("x");
        client.take(1);
        began.elapsed() > Duration::from_secs(2)
    });
    drop((client, app));
    let other = gateway.login("bob");
    let (mut client, mut app) = begun(&gateway, &peer, &bearer(&other.token), EVENTS);
    let began = now();
    let sending = std::thread::spawn(move || {
        while app.try_send("6\r\ndata: \r\n") {
            while_nothing_happens(Duration::from_millis(20));
        }
    });
    client.read_to_end();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(1) + BOUND, "{took:?}");
    assert!(log_with(&gateway, "user=bob").contains("cut=session_idle"));
    sending.join().unwrap();
}

#[test]
fn where_the_settings_say_so_they_outlive_their_session() {
    let (gateway, peer, session) = start("[session]\ncut_streams = false\n");
    let (mut client, mut app) = begun(&gateway, &peer, &bearer(&session.token), EVENTS);
    client.read_chunk();
    end(&gateway, &session);
    while_nothing_happens(Duration::from_millis(1200));
    app.send("0\r\n\r\n");
    assert_eq!(client.read_chunk(), b"");
}

#[test]
fn a_gateway_that_stops_does_not_wait_for_the_end_of_events_and_does_for_that_of_a_download() {
    let (gateway, peer, session) = start("[server]\ndrain = \"20s\"\n");
    let headers = bearer(&session.token);
    let (mut events, _events_app) = begun(&gateway, &peer, &headers, EVENTS);
    events.read_chunk();
    let (mut download, mut app) =
        begun(&gateway, &peer, &headers, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
    let began = now();
    let stopping = std::thread::spawn(move || gateway.stop());
    assert_eq!(events.read_to_end(), b"");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    app.send("other");
    assert_eq!(download.take(10), b"firstother");
    let directory = stopping.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    let log = std::fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert_eq!((log.matches("cut=drain").count(), log.matches("aborted").count()), (1, 1), "{log}");
}

#[test]
fn of_many_on_one_connection_it_is_cut_alone() {
    let (gateway, peer, session) = start("");
    let other = gateway.login("bob");
    let client: http2::Connection = http2::Connection::open(gateway.address);
    let begin = |token: &str| {
        let request = client.request("GET", "/stream").header("authorization", format!("Bearer {token}"));
        let pending = client.begin(request.body(Full::default()).unwrap());
        let mut app = peer.accept();
        app.read_head().unwrap();
        app.send(EVENTS);
        (pending, app)
    };
    let ((of_ann, mut app_of_ann), (of_bob, mut app_of_bob)) = (begin(&session.token), begin(&other.token));
    end(&gateway, &session);
    let began = now();
    assert!(of_ann.wait().is_err(), "it has no end");
    assert!(began.elapsed() < BOUND && app_of_ann.is_closed());
    app_of_bob.send("3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(of_bob.wait().unwrap().body, b"data: abc");
    assert!(log_with(&gateway, "cut=session_revoked").contains("target=/stream"));
    // The place of the one that was cut serves others.
    let request = client.request("GET", "/again").header("authorization", format!("Bearer {}", other.token));
    let again = client.begin(request.body(Full::default()).unwrap());
    app_of_bob.read_head().unwrap();
    app_of_bob.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    while_nothing_happens(Duration::from_millis(400));
    app_of_bob.send("hello");
    assert_eq!(again.wait().unwrap().body, b"hello");
}
