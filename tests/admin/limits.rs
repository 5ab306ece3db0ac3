//! How many sessions a user may have, and whose word counts.

use serde_json::json;

use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued};
use crate::support::wait_until;
use crate::{ADMIN, lives, login, ok, put, refused, start, told};

#[test]
fn the_call_counts_before_the_user_before_the_role_before_the_default() {
    let (_upstream, gateway) = start("[policy.max_sessions]\ndefault = 1\n[policy.max_sessions.by_role]\nwriter = 2\n");
    let root = gateway.login("root");
    let evicted = |body| gateway.login_with(body).answer["evicted"].as_array().unwrap().len();
    // The default.
    assert_eq!(evicted(json!({ "user": "ann" })), 0);
    assert_eq!(evicted(json!({ "user": "ann" })), 1);
    // The role.
    assert_eq!(evicted(json!({ "user": "ann", "roles": ["writer"] })), 0);
    // The user, whatever the role.
    ok(put(&gateway, &root, "ann", &json!({ "max_sessions": 3 })));
    assert_eq!(evicted(json!({ "user": "ann", "roles": ["writer"] })), 0);
    assert_eq!(evicted(json!({ "user": "ann" })), 1);
    // The call, whatever the user.
    assert_eq!(evicted(json!({ "user": "ann", "max_sessions": 5 })), 0);
    assert_eq!(evicted(json!({ "user": "ann", "max_sessions": 0 })), 0);
    // 0 is unlimited for a user too.
    ok(put(&gateway, &root, "ann", &json!({ "max_sessions": 0 })));
    assert_eq!(evicted(json!({ "user": "ann" })), 0);
}

#[test]
fn a_lowered_limit_takes_effect_at_the_next_creation() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    let sessions: Vec<_> = (0..4).map(|_| gateway.login("ann")).collect();
    assert_eq!(ok(put(&gateway, &root, "ann", &json!({ "max_sessions": 2 })))["ended"], 0);
    assert!(sessions.iter().all(|session| lives(&gateway, session)), "not yet");
    let next = gateway.login("ann");
    let alive: Vec<_> = sessions.iter().map(|session| lives(&gateway, session)).collect();
    assert_eq!(alive, [false, false, false, true]);
    assert_eq!(told(&gateway, &sessions[0]), ("session_evicted".to_owned(), "evicted".to_owned()));
    assert!(lives(&gateway, &next));
}

/// Stops the gateway and starts another one on its sessions with these settings.
fn restart(gateway: Gateway, upstream: &str, toml: &str) -> Gateway {
    let directory = gateway.stop();
    let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
    Gateway::start_in(directory, upstream, &store, &format!("{ADMIN}{toml}"))
}

fn alive(gateway: &Gateway, sessions: &[Issued]) -> Vec<bool> {
    sessions.iter().map(|session| lives(gateway, session)).collect()
}

#[test]
fn a_lowered_limit_is_enforced_at_start_where_the_settings_say_so() {
    let (upstream, gateway) = start("");
    let ann: Vec<_> = (0..3).map(|_| gateway.login("ann")).collect();
    let bob: Vec<_> = (0..3).map(|_| login(&gateway, "bob", "writer")).collect();
    let cid: Vec<_> = (0..3).map(|_| gateway.login("cid")).collect();
    let root = gateway.login("root");
    ok(put(&gateway, &root, "cid", &json!({ "max_sessions": 0 })));

    let limits = "[policy.max_sessions.by_role]\nwriter = 2\n";
    let lowered = format!("[policy.max_sessions]\ndefault = 1\n{limits}");
    let gateway = restart(gateway, &upstream.url(), &lowered);
    assert!(alive(&gateway, &ann).into_iter().all(|alive| alive), "without it, at the next creation");

    let enforced = format!("[policy.max_sessions]\ndefault = 1\nenforce_on_reload = true\n{limits}");
    let gateway = restart(gateway, &upstream.url(), &enforced);
    let events = || Database::of(&gateway).events("session_evicted");
    wait_until("the limits are enforced", || events().len() == 3);
    assert_eq!(alive(&gateway, &ann), [false, false, true]);
    assert_eq!(alive(&gateway, &bob), [false, true, true]);
    assert_eq!(alive(&gateway, &cid), [true, true, true], "unlimited by their own row");
    assert_eq!(told(&gateway, &ann[0]), ("session_evicted".to_owned(), "evicted".to_owned()));
    let event = &events()[0];
    assert_eq!((event.actor.as_str(), event.detail.as_str()), ("policy", "{\"reason\":\"evicted\"}"));
    wait_until("the metric tells", || gateway.metric("gateway_sessions_ended_total{reason=\"evicted\"}") == 3.0);
}

#[test]
fn a_user_who_was_disabled_logs_in_nowhere() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    ok(put(&gateway, &root, "ann", &json!({ "enabled": false })));
    refused(&gateway.issue(&json!({ "user": "ann", "max_sessions": 0 })), 403, "user_disabled");
}
