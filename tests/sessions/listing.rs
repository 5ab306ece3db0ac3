//! `GET /_sessions` and `GET /_sessions/current`: what people see of their sessions.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::upstream::Upstream;
use crate::support::wait_until;
use crate::{invalid, listed};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.0 Mobile/15E148 Safari/604.1";

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    (upstream, gateway)
}

/// `2026-11-20T16:30:04.250Z`
#[track_caller]
fn is_time(value: &Value) {
    let text = value.as_str().unwrap();
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
}

#[test]
fn people_see_their_own_live_sessions_newest_first_and_never_anybody_elses() {
    let (_upstream, gateway) = start();
    let database = Database::of(&gateway);
    let ann: Vec<Issued> = (0..3).map(|_| gateway.login("ann")).collect();
    gateway.login("ben");
    gateway.login("ANN");
    gateway.login("ann2");
    for (session, dead) in [
        (gateway.login("ann"), "expires_at = created_at"),
        (gateway.login("ann"), "state = 'suspended', state_reason = 'user_agent_changed'"),
        (gateway.login("ann"), "state = 'ended', state_reason = 'revoked', ended_at = 1, ended_by = 'x'"),
    ] {
        database.change(&session, dead);
    }
    // Distinct times of creation, whatever the clock's grain.
    for (at, session) in ann.iter().enumerate() {
        database.change(session, &format!("created_at = created_at - {}", 1000 * (10 - at)));
    }
    let newest_first: Vec<_> = ann.iter().rev().map(|session| session.id.clone()).collect();
    assert_eq!(listed(&gateway, &ann[0]), newest_first);
    assert_eq!(listed(&gateway, &ann[2]), newest_first);
}

#[test]
fn a_session_that_is_idle_is_not_listed() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[session]\nidle_timeout = \"1h\"\n");
    let [idle, used] = [gateway.login("ann"), gateway.login("ann")];
    Database::of(&gateway).change(&idle, "last_seen_at = last_seen_at - 3600001");
    assert_eq!(listed(&gateway, &used), [used.id.as_str()]);
}

#[test]
fn a_row_has_the_fields_of_the_contract() {
    let (_upstream, gateway) = start();
    let phone = gateway.login_with(json!({ "user": "ann", "user_agent": IPHONE, "ip": "::ffff:192.0.2.7" }));
    let never = gateway.login_with(json!({ "user": "ann", "lifetime": 0 }));
    let answer = gateway.get_as(&never.token, "/_sessions").json();
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["sessions", "next_cursor"]);
    assert_eq!(answer["next_cursor"], Value::Null);
    let rows = answer["sessions"].as_array().unwrap();
    let row = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap();

    let (phone, never) = (row(&phone.id), row(&never.id));
    let keys: Vec<_> = phone.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "current", "created_at", "last_seen_at", "expires_at", "last_ip", "user_agent", "device"]);
    assert_eq!((&phone["current"], &never["current"]), (&json!(false), &json!(true)));
    assert_eq!(phone["user_agent"], IPHONE);
    assert_eq!(phone["last_ip"], "192.0.2.7");
    assert_eq!(never["user_agent"], "acme-test/1.0", "bound by this very request");
    assert_eq!(never["expires_at"], Value::Null);
    for time in [&phone["created_at"], &phone["last_seen_at"], &phone["expires_at"], &never["created_at"]] {
        is_time(time);
    }
    let device = phone["device"].as_object().unwrap();
    let keys: Vec<_> = device.keys().map(String::as_str).collect();
    assert_eq!(keys, ["os", "browser", "brand", "model", "family", "is_mobile", "is_tablet"]);
    assert_eq!(
        (&device["brand"], &device["model"], &device["family"]),
        (&json!("Apple"), &json!("iPhone"), &json!("iPhone"))
    );
    assert_eq!((&device["is_mobile"], &device["is_tablet"]), (&json!(true), &json!(false)));
}

#[test]
fn a_session_whose_creator_said_no_address_has_none_until_a_use_is_written_down() {
    let (_upstream, gateway) = start();
    let [session, other] = [gateway.login("ann"), gateway.login("ann")];
    let last_ip = || {
        let list = gateway.get_as(&other.token, "/_sessions").json();
        list["sessions"].as_array().unwrap().iter().find(|row| row["id"] == session.id).unwrap()["last_ip"].clone()
    };
    assert_eq!(last_ip(), Value::Null);
    let database = Database::of(&gateway);
    assert_eq!(database.column(&session.id, "last_ip"), None);
    // Long ago, so that the use is worth writing down.
    database.change(&session, "last_seen_at = last_seen_at - 60000");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    wait_until("the address is recorded", || last_ip() == "127.0.0.1");
}

#[test]
fn the_callers_own_last_use_is_now() {
    let (_upstream, gateway) = start();
    let session = gateway.login("ann");
    Database::of(&gateway).change(&session, "last_seen_at = last_seen_at - 3600000, created_at = created_at - 3600000");
    let created = gateway.get_as(&session.token, "/_sessions/current").json();
    assert!(created["last_seen_at"].as_str() > created["created_at"].as_str(), "{created}");
    let row = gateway.get_as(&session.token, "/_sessions").json()["sessions"][0].clone();
    assert_eq!(row["last_seen_at"], created["last_seen_at"]);
}

#[test]
fn current_is_one_flat_object_with_user_and_roles() {
    let (_upstream, gateway) = start();
    let session =
        gateway.login_with(json!({ "user": "Zoë", "roles": ["staff"], "name": "Zoë Å", "email": "z@example.org" }));
    let current = gateway.get_as(&session.token, "/_sessions/current").json();
    for (key, value) in [
        ("id", json!(session.id)),
        ("current", json!(true)),
        ("user", json!("Zoë")),
        ("roles", json!(["staff"])),
        ("name", json!("Zoë Å")),
        ("email", json!("z@example.org")),
        ("claims", Value::Null),
    ] {
        assert_eq!(current[key], value, "{key}");
    }
    let by_cookie = gateway.get("/_sessions/current", &format!("Cookie: __Host-session={}\r\n", session.token));
    assert_eq!(by_cookie.json()["id"], current["id"], "reading needs no proof of origin");
}

#[test]
fn paging_shows_every_row_exactly_once_while_others_are_created() {
    let (_upstream, gateway) = start();
    let before: HashSet<String> = (0..23).map(|_| gateway.login("ann").id).collect();
    let reader = gateway.login("ann");
    let mut seen = Vec::new();
    let mut target = "/_sessions?limit=5".to_owned();
    let mut pages = 0;
    loop {
        let page = gateway.get_as(&reader.token, &target).json();
        let rows = page["sessions"].as_array().unwrap();
        assert!(rows.len() <= 5);
        seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        pages += 1;
        gateway.login("ann");
        gateway.login("ben");
        match page["next_cursor"].as_str() {
            Some(cursor) => target = format!("/_sessions?limit=5&cursor={cursor}"),
            None => break,
        }
    }
    let unique: HashSet<String> = seen.iter().cloned().collect();
    assert_eq!(seen.len(), unique.len(), "no row twice");
    assert!(before.is_subset(&unique) && unique.contains(&reader.id), "no row lost");
    assert_eq!((pages, unique.len()), (5, 24));
}

#[test]
fn a_page_that_ends_with_the_last_row_has_no_cursor() {
    let (_upstream, gateway) = start();
    let session = (0..4).map(|_| gateway.login("ann")).last().unwrap();
    let page = |query: &str| gateway.get_as(&session.token, &format!("/_sessions{query}")).json();
    for (limit, cursor) in [(3, true), (4, false), (5, false), (500, false)] {
        assert_eq!(page(&format!("?limit={limit}"))["next_cursor"].is_string(), cursor, "{limit}");
    }
}

#[test]
fn a_page_has_fifty_rows_unless_it_is_said() {
    let (_upstream, gateway) = start();
    let session = (0..51).map(|_| gateway.login("ann")).last().unwrap();
    let page = gateway.get_as(&session.token, "/_sessions").json();
    assert_eq!(page["sessions"].as_array().unwrap().len(), 50);
    assert!(page["next_cursor"].is_string());
}

#[test]
fn a_cursor_of_another_user_is_refused() {
    let (_upstream, gateway) = start();
    let ann = (0..3).map(|_| gateway.login("ann")).last().unwrap();
    let ben = gateway.login("ben");
    let cursor = gateway.get_as(&ann.token, "/_sessions?limit=1").json()["next_cursor"].as_str().unwrap().to_owned();
    invalid(&gateway.get_as(&ben.token, &format!("/_sessions?cursor={cursor}")), "cursor");
}

#[test]
fn bad_parameters_are_refused_with_their_names() {
    let (_upstream, gateway) = start();
    let session = gateway.login("ann");
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "cursor"),
        ("cursor='%20OR%201=1--", "cursor"),
        ("user=ben", "user"),
        ("all=true", "all"),
        ("Limit=1", "Limit"),
        ("cursor=%ff", "cursor"),
    ] {
        invalid(&gateway.get_as(&session.token, &format!("/_sessions?{query}")), field);
    }
    invalid(&gateway.get_as(&session.token, "/_sessions/current?limit=1"), "limit");
}

#[test]
fn head_is_get_without_a_body() {
    let (_upstream, gateway) = start();
    let session = gateway.login("ann");
    for target in ["/_sessions/current", "/_sessions"] {
        // The first request binds the session and sets its last use.
        let get = gateway.get_as(&session.token, target);
        let head = gateway.request("HEAD", target, &bearer(&session.token), b"");
        assert_eq!(head.status, 200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), get.header("content-length"));
        assert_eq!(head.header("content-type"), Some("application/json"));
    }
}
