//! N-41 and N-42: `GET PREFIX/active`.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued};
use crate::{ACTIVE, refused, request, start};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.0 Mobile/15E148 Safari/604.1";

fn rows(gateway: &Gateway, session: &Issued) -> Vec<Value> {
    let response = request(gateway, "GET", session, ACTIVE);
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")), "{response:?}");
    response.json().as_array().unwrap().clone()
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["session_id"].as_str().unwrap()).collect()
}

/// `2026-11-20T16:30:04.250000Z`
#[track_caller]
fn is_time(value: &Value) {
    let shape: String = value.as_str().unwrap().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
}

#[test]
fn a_row_has_the_fields_that_it_had_and_two_more() {
    let (_upstream, gateway) = start();
    let phone = gateway.login_with(json!({ "user": 7, "user_agent": IPHONE, "ip": "::ffff:192.0.2.7" }));
    let own = gateway.login_with(json!({ "user": "7", "lifetime": 0 }));
    let rows = rows(&gateway, &own);
    assert_eq!(ids(&rows), [&own.id, &phone.id]);
    let (own, phone) = (&rows[0], &rows[1]);
    let keys: Vec<_> = phone.as_object().unwrap().keys().map(String::as_str).collect();
    let before = ["session_id", "user_id", "user_agent_data", "last_online", "last_ip", "created_at"];
    assert_eq!(keys, [&before[..], &["expires_at", "current"]].concat());
    assert_eq!((&phone["user_id"], &own["user_id"]), (&json!(7), &json!(7)), "a number, as a key of Django's is");
    assert_eq!((&phone["current"], &own["current"]), (&json!(false), &json!(true)));
    assert_eq!((&phone["last_ip"], &own["last_ip"]), (&json!("192.0.2.7"), &json!("127.0.0.1")));
    assert_eq!(own["expires_at"], Value::Null);
    for time in [&phone["last_online"], &phone["created_at"], &phone["expires_at"], &own["last_online"]] {
        is_time(time);
    }
    let device = phone["user_agent_data"].as_object().unwrap();
    let keys: Vec<_> = device.keys().map(String::as_str).collect();
    assert_eq!(keys, ["os", "device_brand", "device_model", "device_family", "browser", "is_mobile", "is_tablet"]);
    for (key, value) in [
        ("device_brand", json!("Apple")),
        ("device_model", json!("iPhone")),
        ("device_family", json!("iPhone")),
        ("is_mobile", json!(true)),
        ("is_tablet", json!(false)),
    ] {
        assert_eq!(device[key], value, "{key}");
    }
}

#[test]
fn a_user_whose_id_is_no_number_stays_a_text() {
    let (_upstream, gateway) = start();
    for user in ["ann", "007", "+7", "8d0f4c9e-1111-4222-8333-444455556666", "99999999999999999999"] {
        let session = gateway.login(user);
        assert_eq!(rows(&gateway, &session)[0]["user_id"], user);
    }
}

#[test]
fn only_ones_own_live_sessions_are_listed_last_used_first() {
    let (_upstream, gateway) = start();
    let database = Database::of(&gateway);
    let own: Vec<Issued> = (0..4).map(|_| gateway.login("7")).collect();
    gateway.login("77");
    gateway.login("8");
    for (session, dead) in [
        (gateway.login("7"), "expires_at = created_at"),
        (gateway.login("7"), "state = 'suspended', state_reason = 'user_agent_changed'"),
        (gateway.login("7"), "state = 'ended', state_reason = 'revoked', ended_at = 1, ended_by = 'x'"),
    ] {
        database.change(&session, dead);
    }
    for (session, ago) in own.iter().zip([30, 10, 40, 20]) {
        database.change(session, &format!("last_seen_at = last_seen_at - {ago}000, created_at = created_at - 50000"));
    }
    let listed = rows(&gateway, &own[2]);
    assert_eq!(ids(&listed), [&own[2].id, &own[1].id, &own[3].id, &own[0].id]);
    assert!(listed[0]["last_online"].as_str() > listed[0]["created_at"].as_str(), "the caller's own is now");
    let current: Vec<_> = listed.iter().map(|row| row["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [true, false, false, false]);
}

#[test]
fn there_are_no_pages_and_unknown_parameters_say_nothing() {
    let (_upstream, gateway) = start();
    let session = (0..60).map(|_| gateway.login("7")).last().unwrap();
    let response = request(&gateway, "GET", &session, &format!("{ACTIVE}?format=json&page=2&_=1"));
    assert_eq!(response.json().as_array().unwrap().len(), 60);
}

#[test]
fn head_is_get_without_a_body_and_options_tells_the_methods() {
    let (_upstream, gateway) = start();
    let session = gateway.login("7");
    assert_eq!(rows(&gateway, &session).len(), 1);
    let head = request(&gateway, "HEAD", &session, ACTIVE);
    assert_eq!((head.status, head.body.len(), head.header("content-type")), (200, 0, Some("application/json")));
    let options = request(&gateway, "OPTIONS", &session, ACTIVE);
    assert_eq!((options.status, options.header("allow")), (200, Some("GET, DELETE, HEAD, OPTIONS")));
    assert_eq!(options.json()["name"], "List Destroy Active Sessions Api");
    refused(&gateway.request("OPTIONS", ACTIVE, "", b""), 401, "Authentication credentials were not provided.");
}

#[test]
fn other_methods_are_not_allowed() {
    let (_upstream, gateway) = start();
    let session = gateway.login("7");
    for method in ["POST", "PUT", "PATCH", "PROPFIND"] {
        let response = request(&gateway, method, &session, ACTIVE);
        refused(&response, 405, &format!("Method \"{method}\" not allowed."));
        assert_eq!(response.header("allow"), Some("GET, DELETE, HEAD, OPTIONS"));
        refused(&gateway.request(method, ACTIVE, "", b""), 401, "Authentication credentials were not provided.");
    }
}
