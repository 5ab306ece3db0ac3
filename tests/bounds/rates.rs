//! `[limits]`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::Response;
use crate::support::gateway::{Gateway, SERVICE_KEY, bearer};
use crate::support::upstream::Upstream;

/// Clients are named by X-Forwarded-For; what was found to be unknown stays known to be for the length of a test.
fn limited(limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let toml = format!(
        "[server]\nworkers = 2\ntrusted_proxies = [\"127.0.0.1\"]\n[cache]\nnegative_ttl = \"1h\"\n[limits]\n{limits}\n\
         [[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.route]]\npath = \"/open/\"\nauth = \"optional\"\n"
    );
    let gateway = Gateway::start(&upstream.url(), &toml);
    (upstream, gateway)
}

fn from(client: &str) -> String {
    format!("X-Forwarded-For: {client}\r\n")
}

/// A token that could be one.
fn guess(number: u32) -> String {
    bearer(&format!("{number:0>6}{}", "A".repeat(37)))
}

fn told(response: &Response) -> (u16, String) {
    (response.status, response.code())
}

fn unknown() -> (u16, String) {
    (401, "unknown_token".to_owned())
}

fn too_often() -> (u16, String) {
    (429, "rate_limited".to_owned())
}

#[test]
fn a_client_that_guesses_tokens_has_to_wait_and_the_store_is_not_asked() {
    let (upstream, gateway) = limited("unknown_tokens_per_client = \"5/1h\"");
    let good = gateway.login("ann").token;
    let known = format!("{}{}", bearer(&good), from("192.0.2.1"));
    assert_eq!(gateway.get("/", &known).status, 200);
    for number in 0..5 {
        assert_eq!(told(&gateway.get("/", &format!("{}{}", guess(number), from("192.0.2.1")))), unknown());
    }
    let asked = gateway.store_finds();
    for client in ["192.0.2.1", "::ffff:192.0.2.1"] {
        for path in ["/", "/open/", "/_sessions/current"] {
            let response = gateway.get(path, &format!("{}{}", guess(99), from(client)));
            assert_eq!(told(&response), too_often(), "{path} from {client}");
            let wait: u32 = response.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=721).contains(&wait), "{wait}");
            assert_eq!(response.header("www-authenticate"), None);
        }
    }
    // What cannot be a token is no way around it.
    assert_eq!(told(&gateway.get("/", &format!("{}{}", bearer("x"), from("192.0.2.1")))), too_often());
    assert_eq!(gateway.store_finds(), asked, "nobody was asked");

    // People at the same address whose sessions are known go on, and so does everybody elsewhere.
    assert_eq!(gateway.get("/", &known).status, 200);
    assert_eq!(
        told(&gateway.get("/", &format!("{}{}", guess(0), from("192.0.2.1")))),
        unknown(),
        "known to be unknown"
    );
    assert_eq!(told(&gateway.get("/", &format!("{}{}", guess(99), from("192.0.2.2")))), unknown());
    assert_eq!(gateway.get("/", &from("192.0.2.1")).code(), "missing_token");
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn a_network_of_ipv6_is_one_client_and_a_proxys_own_address_is_none() {
    let (_upstream, gateway) = limited("unknown_tokens_per_client = \"3/1h\"");
    for number in 0..3 {
        let client = from(&format!("2001:db8:0:7::{number}"));
        assert_eq!(told(&gateway.get("/", &format!("{}{client}", guess(number)))), unknown());
    }
    assert_eq!(told(&gateway.get("/", &format!("{}{}", guess(9), from("2001:db8:0:7:9::9")))), too_often());
    assert_eq!(told(&gateway.get("/", &format!("{}{}", guess(9), from("2001:db8:0:8::1")))), unknown());
    for number in 10..20 {
        assert_eq!(told(&gateway.get("/", &guess(number))), unknown());
    }
}

#[test]
fn good_sessions_that_memory_does_not_know_count_nothing() {
    let (_upstream, gateway) = limited("unknown_tokens_per_client = \"2/1h\"");
    for user in 0..10 {
        let token = gateway.login(&format!("user{user}")).token;
        assert_eq!(gateway.get("/", &format!("{}{}", bearer(&token), from("192.0.2.1"))).status, 200);
    }
}

#[test]
fn zero_is_no_limit() {
    let (_upstream, gateway) = limited("unknown_tokens_per_client = \"0\"\nwrong_service_keys_per_client = \"0\"");
    for number in 0..400 {
        assert_eq!(told(&gateway.get("/", &format!("{}{}", guess(number), from("192.0.2.1")))), unknown());
    }
}

#[test]
fn a_client_that_guesses_service_keys_has_to_wait_and_learns_nothing_meanwhile() {
    let (_upstream, gateway) = limited("wrong_service_keys_per_client = \"3/1h\"");
    let issue = |key: &str, client: &str| {
        let headers = format!("{}{}Content-Type: application/json\r\n", bearer(key), from(client));
        gateway.request("POST", "/_sessions", &headers, json!({ "user": "ann" }).to_string().as_bytes())
    };
    for number in 0..3 {
        assert_eq!(issue(&format!("wrong-key-{number}"), "192.0.2.1").code(), "invalid_service_key");
    }
    assert_eq!(told(&issue("wrong-key-9", "192.0.2.1")), too_often());
    assert_eq!(told(&issue(SERVICE_KEY, "192.0.2.1")), too_often(), "a right one is not told apart");
    assert_eq!(issue(SERVICE_KEY, "192.0.2.2").status, 201);
    assert_eq!(gateway.issue(&json!({ "user": "ann" })).status, 201, "by the trusted proxy itself");
}

#[test]
fn a_session_gets_so_many_new_tokens_and_no_more() {
    let (_upstream, gateway) = limited("rotations_per_session = \"2/1h\"");
    let mut token = gateway.login("ann").token;
    for _ in 0..2 {
        let response = gateway.request("POST", "/_sessions/rotate", &bearer(&token), b"");
        assert_eq!(response.status, 200);
        token = response.json()["token"].as_str().unwrap().to_owned();
    }
    let response = gateway.request("POST", "/_sessions/rotate", &bearer(&token), b"");
    assert_eq!(told(&response), too_often());
    assert!(response.header("retry-after").is_some());
    assert_eq!(gateway.get_as(&token, "/").status, 200, "the session goes on");
    let other = gateway.login("bob").token;
    assert_eq!(gateway.request("POST", "/_sessions/rotate", &bearer(&other), b"").status, 200);
}

/// With clients that come by themselves.
fn direct(limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let toml = format!("[server]\nworkers = 1\n[limits]\n{limits}\n[[upstream]]\nurl = \"{{upstream}}\"\n");
    let gateway = Gateway::start(&upstream.url(), &toml);
    (upstream, gateway)
}

fn get(credential: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{credential}\r\n")
}

#[test]
fn whoever_guesses_too_often_is_not_listened_to_for_a_second_and_nobody_else_waits() {
    let (_upstream, gateway) = direct("unknown_tokens_per_client = \"1/1h\"");
    let good = bearer(&gateway.login("ann").token);
    assert_eq!(gateway.get("/", &good).status, 200);
    let mut guesser = gateway.connect();
    guesser.send(get(&guess(0)));
    assert_eq!(told(&guesser.read("GET")), unknown());
    guesser.send(get(&guess(1)));
    assert_eq!(told(&guesser.read("GET")), too_often());

    let began = Instant::now();
    guesser.send(get(&guess(2)));
    // Of the same address, on another connection.
    assert_eq!(gateway.get("/", &good).status, 200);
    assert!(began.elapsed() < Duration::from_millis(900), "others are served meanwhile");
    assert_eq!(told(&guesser.read("GET")), too_often());
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn a_gateway_that_stops_does_not_wait_for_one_that_is_not_listened_to() {
    let (_upstream, gateway) = direct("unknown_tokens_per_client = \"1/1h\"");
    let mut guesser = gateway.connect();
    for number in 0..2 {
        guesser.send(get(&guess(number)));
        guesser.read("GET");
    }
    let metrics = gateway.metric("gateway_connections_timed_out_total");
    assert_eq!(metrics, 0.0);
    drop(gateway);
    assert!(guesser.is_closed());
}
