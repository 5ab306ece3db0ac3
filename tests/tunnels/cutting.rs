//! How a session's end ends its WebSockets.

use std::time::Duration;

use serde_json::json;
use session_gateway::jwt::Algorithm;

use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::issuer::Issuer;
use crate::support::peer::Peer;
use crate::support::websocket::{BINARY, CLOSE, CONTINUATION, Open, TEXT, frame, masked, open, read_close, read_frame};
use crate::support::{now, wait_until};
use crate::{BOUND, log_with, while_nothing_happens};

const ADMIN: &str = "[admin]\nusers = [\"root\"]\n";

/// A session, a WebSocket of it, and what another session of an administrator does.
fn cut_by(toml: &str, why: &str, change: impl FnOnce(&Gateway, &Issued, &str)) {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &format!("{ADMIN}{toml}"));
    let session = gateway.login("ann");
    let mut opened = open(&gateway, &peer, &bearer(&session.token));
    opened.works();
    let admin = gateway.login("root").token;
    change(&gateway, &session, &admin);
    let began = now();
    assert_eq!(read_close(&mut opened.client), (1008, why.to_owned()));
    let took = began.elapsed();
    assert!(took < BOUND, "{took:?}");
    assert!(opened.client.is_closed() && opened.app.is_closed());
    let line = log_with(&gateway, "status=101");
    assert!(
        line.contains(&format!("user=ann session={} verdict=forwarded aborted=true cut={why}", session.id)),
        "{line}"
    );
    assert!(line.contains("bytes=6 bytes_in=10 "), "{line}");
    gateway.until_metric(&format!("gateway_streams_cut_total{{kind=\"tunnel\",reason=\"{why}\"}}"), 1.0);
    wait_until("it is counted out", || gateway.metric("gateway_tunnels_open") == 0.0);
}

#[test]
fn a_logout_closes_it() {
    cut_by("", "session_revoked", |gateway, session, _| {
        assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
    });
}

#[test]
fn an_end_by_another_session_or_an_administrator_closes_it() {
    cut_by("", "session_revoked", |gateway, session, _| {
        let other = gateway.login("ann");
        assert_eq!(gateway.delete_as(&other.token, &format!("/_sessions/{}", session.id)).status, 200);
    });
    cut_by("", "session_revoked", |gateway, _, admin| {
        let headers = bearer(admin);
        assert_eq!(gateway.request("POST", "/_sessions/admin/users/ann/logout", &headers, b"").status, 200);
    });
}

#[test]
fn a_suspension_closes_it_and_a_new_one_opens_after_the_reactivation() {
    cut_by("", "session_suspended", |gateway, session, admin| {
        let target = format!("/_sessions/admin/sessions/{}/suspend", session.id);
        assert_eq!(gateway.request("POST", &target, &bearer(admin), b"").status, 200);
    });
    cut_by("", "session_suspended", |gateway, session, _| {
        let headers = format!("User-Agent: thief/1.0\r\n{}", bearer(&session.token));
        assert_eq!(gateway.get("/", &headers).code(), "session_suspended");
    });
}

#[test]
fn an_eviction_closes_it() {
    cut_by("[policy.max_sessions]\ndefault = 1\n", "session_evicted", |gateway, _, _| drop(gateway.login("ann")));
}

#[test]
fn a_user_who_is_disabled_loses_it() {
    cut_by("", "user_disabled", |gateway, _, admin| {
        let headers = format!("{}Content-Type: application/json\r\n", bearer(admin));
        let answer = gateway.request("PUT", "/_sessions/admin/users/ann", &headers, b"{\"enabled\": false}");
        assert_eq!(answer.status, 200, "{answer:?}");
    });
}

#[test]
fn it_ends_when_the_lifetime_of_its_session_does() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let began = now();
    let session = gateway.login_with(json!({ "user": "ann", "lifetime": "2s" }));
    let mut opened = open(&gateway, &peer, &bearer(&session.token));
    opened.works();
    assert_eq!(read_close(&mut opened.client), (1008, "session_expired".to_owned()));
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(2) + BOUND, "{took:?}");
}

#[test]
fn what_the_client_sends_is_use_and_what_the_application_sends_is_not() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "[session]\nidle_timeout = \"1s\"\n");
    let session = gateway.login("ann");
    let mut opened = open(&gateway, &peer, &bearer(&session.token));
    let began = now();
    wait_until("it has lived for three times the limit", || {
        opened.client.send(masked(TEXT, b"still here"));
        opened.app.take(16);
        began.elapsed() > Duration::from_secs(3)
    });
    let began = now();
    let mut answers = 0;
    let (code, reason) = loop {
        opened.app.try_send(frame(TEXT, b"news"));
        let (opcode, payload) = read_frame(&mut opened.client);
        if opcode == CLOSE {
            break (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap());
        }
        answers += 1;
        while_nothing_happens(Duration::from_millis(10));
    };
    let took = began.elapsed();
    assert_eq!((code, reason.as_str()), (1008, "session_idle"));
    assert!(answers > 10 && took > Duration::from_millis(500) && took < Duration::from_secs(1) + BOUND, "{took:?}");
}

#[test]
fn a_request_elsewhere_keeps_the_session_of_a_silent_one_in_use() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "[session]\nidle_timeout = \"1s\"\n");
    let session = gateway.login("ann");
    let mut opened = open(&gateway, &peer, &bearer(&session.token));
    let began = now();
    wait_until("it has lived for twice the limit", || {
        assert_eq!(gateway.get_as(&session.token, "/_sessions/current").status, 200);
        began.elapsed() > Duration::from_secs(2)
    });
    opened.works();
}

#[test]
fn the_frame_that_closes_stands_between_two_frames_or_is_left_out() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let cut = |sent: &[u8]| {
        let session = gateway.login("ann");
        let Open { mut client, mut app, .. } = open(&gateway, &peer, &bearer(&session.token));
        app.send(sent);
        assert_eq!(client.take(sent.len()), sent);
        gateway.delete_as(&session.token, "/_sessions/current");
        client.read_to_end()
    };
    let farewell = frame(CLOSE, &[&1008_u16.to_be_bytes()[..], b"session_revoked"].concat());
    // A message may go on after a control frame (RFC 6455 section 5.4).
    let unfinished = [&[TEXT, 3][..], b"one"].concat();
    assert_eq!(cut(&unfinished), farewell);
    assert_eq!(cut(&[unfinished, frame(CONTINUATION, &[0; 300])].concat()), farewell);
    assert_eq!(cut(&frame(BINARY, &[7; 70_000])), farewell);
    for within in [1, 2, 3, 9, 10, 11, 5_000] {
        assert_eq!(cut(&frame(BINARY, &[7; 70_000])[..within]), b"", "{within} bytes of a frame");
    }
    assert_eq!(cut(&frame(CLOSE, &1000_u16.to_be_bytes())), b"", "the application has closed it already");
}

#[test]
fn nothing_of_the_client_reaches_the_application_afterwards_and_a_client_that_goes_on_is_cut_off() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let session = gateway.login("ann");
    let Open { mut client, mut app, .. } = open(&gateway, &peer, &bearer(&session.token));
    gateway.delete_as(&session.token, "/_sessions/current");
    read_close(&mut client);
    assert!(app.is_closed());
    let began = now();
    wait_until("it is cut off", || !client.try_send([0; 1024]));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn all_of_a_session_are_closed_and_none_of_another() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let (ann, bob) = (gateway.login("ann"), gateway.login("bob"));
    let mut of_ann: Vec<_> = (0..20).map(|_| open(&gateway, &peer, &bearer(&ann.token))).collect();
    let mut of_bob: Vec<_> = (0..3).map(|_| open(&gateway, &peer, &bearer(&bob.token))).collect();
    gateway.delete_as(&ann.token, "/_sessions/current");
    let began = now();
    for opened in &mut of_ann {
        assert_eq!(read_close(&mut opened.client).0, 1008);
    }
    assert!(began.elapsed() < BOUND);
    of_bob.iter_mut().for_each(Open::works);
    wait_until("the others are counted out", || gateway.metric("gateway_tunnels_open") == 3.0);
}

#[test]
fn a_client_that_does_not_read_is_cut_as_well() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let session = gateway.login("ann");
    let Open { client, mut app, .. } = open(&gateway, &peer, &bearer(&session.token));
    app.stream().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    while app.try_send([0x5a; 64 * 1024]) {}
    gateway.delete_as(&session.token, "/_sessions/current");
    let began = now();
    assert!(!app.try_send("x") || app.is_closed());
    wait_until("its place is free", || gateway.metric("gateway_tunnels_open") == 0.0);
    assert!(began.elapsed() < Duration::from_secs(2));
    drop(client);
}

#[test]
fn a_rotation_keeps_it_and_its_old_token_is_not_used_again() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "[session]\nrotate_grace = \"200ms\"\n[cache]\nttl = \"200ms\"\n");
    let session = gateway.login("ann");
    let mut opened = open(&gateway, &peer, &bearer(&session.token));
    let answer = gateway.request("POST", "/_sessions/rotate", &bearer(&session.token), b"");
    let new = answer.json()["token"].as_str().unwrap().to_owned();
    while_nothing_happens(Duration::from_millis(1500));
    opened.works();
    assert_eq!(gateway.get_as(&new, "/_sessions/current").status, 200, "nobody has reused the old one");
    gateway.delete_as(&new, "/_sessions/current");
    assert_eq!(read_close(&mut opened.client), (1008, "session_revoked".to_owned()));
}

#[test]
fn where_the_settings_say_so_it_outlives_its_session() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "[session]\ncut_streams = false\n");
    let session = gateway.login("ann");
    let mut opened = open(&gateway, &peer, &bearer(&session.token));
    gateway.delete_as(&session.token, "/_sessions/current");
    while_nothing_happens(Duration::from_millis(1200));
    opened.works();
}

#[test]
fn an_open_one_costs_the_store_next_to_nothing() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "");
    let session = gateway.login("ann");
    let mut opened: Vec<_> = (0..5).map(|_| open(&gateway, &peer, &bearer(&session.token))).collect();
    let finds = gateway.store_finds();
    while_nothing_happens(Duration::from_millis(1200));
    assert_eq!(gateway.store_finds(), finds);
    opened.iter_mut().for_each(Open::works);
}

#[test]
fn a_gateway_that_stops_says_so_at_once() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), "[server]\ndrain = \"20s\"\n");
    let mut opened = open(&gateway, &peer, &bearer(&gateway.login("ann").token));
    opened.works();
    let began = now();
    let stopping = std::thread::spawn(move || gateway.stop());
    assert_eq!(read_close(&mut opened.client), (1001, "drain".to_owned()));
    assert!(opened.client.is_closed() && opened.app.is_closed());
    let directory = stopping.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let log = std::fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert!(log.contains("status=101") && log.contains("aborted=true cut=drain"), "{log}");
}

#[test]
fn one_that_was_opened_by_a_signed_token_ends_with_its_session() {
    let peer = Peer::listen();
    let key = Issuer::new(Algorithm::EdDsa, None).private;
    let gateway = Gateway::start(&peer.url(), &format!("[signing]\nkey = {key:?}\n"));
    let answer = gateway.issue(&json!({ "user": "ann", "format": "jwt" })).json();
    let access = answer["access_token"].as_str().unwrap().to_owned();
    let mut opened = open(&gateway, &peer, &bearer(&access));
    opened.works();
    gateway.delete_as(&access, "/_sessions/current");
    assert_eq!(read_close(&mut opened.client), (1008, "session_revoked".to_owned()));
}
