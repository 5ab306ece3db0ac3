//! How many sessions a user may have.

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued};
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::{listed, lives};

fn start(policy: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("[policy.max_sessions]\n{policy}\n"));
    (upstream, gateway)
}

fn evicted(session: &Issued) -> Vec<&str> {
    session.answer["evicted"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
}

#[test]
fn the_limit_of_the_call_goes_before_the_role_and_the_role_before_the_default() {
    let (_upstream, gateway) = start("default = 1\nby_role = { staff = 2, ops = 3, superuser = 0 }");
    let left = |user: &str, roles: Value, max: Value| {
        let body = json!({ "user": user, "roles": roles, "max_sessions": max });
        let last = (0..5).map(|_| gateway.login_with(body.clone())).last().unwrap();
        listed(&gateway, &last).len()
    };
    assert_eq!(left("a", json!([]), Value::Null), 1);
    assert_eq!(left("b", json!(["other"]), Value::Null), 1);
    assert_eq!(left("c", json!(["staff"]), Value::Null), 2);
    assert_eq!(left("d", json!(["staff", "ops"]), Value::Null), 3, "the most generous role");
    assert_eq!(left("e", json!(["staff", "superuser"]), Value::Null), 5, "unlimited is the most generous");
    assert_eq!(left("f", json!(["ops"]), json!(1)), 1, "the call may be stricter");
    assert_eq!(left("g", json!([]), json!(4)), 4, "or more generous");
    assert_eq!(left("h", json!([]), json!(0)), 5, "0 is unlimited");
}

#[test]
fn the_override_of_a_user_goes_before_the_role() {
    let (_upstream, gateway) = start("default = 1\nby_role = { staff = 2 }");
    gateway.login("ann");
    Database::of(&gateway).execute("UPDATE users SET max_sessions = 3 WHERE id = 'ann'", []);
    let last = (0..5).map(|_| gateway.login_with(json!({ "user": "ann", "roles": ["staff"] }))).last().unwrap();
    assert_eq!(listed(&gateway, &last).len(), 3);
    let last = gateway.login_with(json!({ "user": "ann", "max_sessions": 2 }));
    assert_eq!(listed(&gateway, &last).len(), 2);
}

#[test]
fn the_oldest_give_way_and_the_answer_names_them() {
    let (_upstream, gateway) = start("default = 2");
    let [a, b] = [gateway.login("ann"), gateway.login("ann")];
    let other = gateway.login("ben");
    assert!(lives(&gateway, &b) && lives(&gateway, &a), "both are hot, and a was used last");
    let c = gateway.login("ann");
    assert_eq!(evicted(&c), [a.id.as_str()]);
    assert_eq!(gateway.get_as(&a.token, "/").code(), "session_evicted");
    assert!(lives(&gateway, &b) && lives(&gateway, &c) && lives(&gateway, &other));

    let d = gateway.login_with(json!({ "user": "ann", "max_sessions": 1 }));
    assert_eq!(evicted(&d), [b.id.as_str(), c.id.as_str()], "a stricter limit evicts down to it");
    assert_eq!(Database::of(&gateway).events("session_evicted").len(), 3);
}

#[test]
fn the_least_recently_used_gives_way_when_the_policy_says_so() {
    let (_upstream, gateway) = start("default = 2\non_exceed = \"evict_least_recent\"");
    let [a, b] = [gateway.login("ann"), gateway.login("ann")];
    Database::of(&gateway).change(&b, "last_seen_at = last_seen_at - 5000");
    let c = gateway.login("ann");
    assert_eq!(evicted(&c), [b.id.as_str()]);
    assert!(lives(&gateway, &a) && !lives(&gateway, &b));
}

#[test]
fn a_new_session_is_refused_when_the_policy_says_so() {
    let (_upstream, gateway) = start("default = 1\non_exceed = \"reject_new\"");
    let first = gateway.login("ann");
    let response = gateway.issue(&json!({ "user": "ann" }));
    assert_eq!((response.status, response.code().as_str()), (409, "too_many_sessions"));
    assert!(lives(&gateway, &first));
    gateway.login("ben");
    assert_eq!(gateway.delete_as(&first.token, "/_sessions/current").status, 204);
    assert!(lives(&gateway, &gateway.login("ann")), "a session that has ended holds no slot");
}

#[test]
fn a_session_that_is_over_or_suspended_holds_no_slot() {
    let upstream = Upstream::hello();
    let toml = "[session]\nidle_timeout = \"1h\"\n[policy.max_sessions]\ndefault = 2\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    let database = Database::of(&gateway);
    for dead in [
        "expires_at = created_at",
        "last_seen_at = last_seen_at - 3600001",
        "state = 'suspended', state_reason = 'user_agent_changed'",
    ] {
        let user = dead.get(..10).unwrap();
        let [a, b] = [gateway.login(user), gateway.login(user)];
        database.change(&b, dead);
        let c = gateway.login(user);
        assert_eq!(evicted(&c), Vec::<&str>::new(), "{dead}");
        assert!(lives(&gateway, &a), "{dead}");
    }
}

/// Fifty sessions of one user, created at once under this limit.
fn fifty_at_once(gateway: &Gateway, limit: usize) {
    let barrier = Barrier::new(50);
    let sessions: Vec<Issued> = thread::scope(|scope| {
        let one = || {
            barrier.wait();
            gateway.login("ann")
        };
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let live: Vec<_> = sessions.iter().filter(|session| lives(gateway, session)).collect();
    assert_eq!(live.len(), limit);
    assert_eq!(listed(gateway, live[0]).len(), limit);
    let mut gone: Vec<_> = sessions.iter().flat_map(evicted).collect();
    gone.sort_unstable();
    gone.dedup();
    assert_eq!(gone.len(), 50 - limit, "each one was evicted once, and said to be");
}

#[test]
fn fifty_parallel_creations_leave_exactly_as_many_as_the_limit_says() {
    for limit in [1, 2] {
        let (_upstream, gateway) = start(&format!("default = {limit}"));
        fifty_at_once(&gateway, limit);
    }
}

#[test]
fn fifty_parallel_creations_leave_exactly_as_many_on_postgresql_too() {
    let upstream = Upstream::hello();
    for limit in [1, 2] {
        let toml = format!("[policy.max_sessions]\ndefault = {limit}\n");
        let gateway = Gateway::start_on(&fresh_database().url(), &upstream.url(), &toml);
        fifty_at_once(&gateway, limit);
    }
}

#[test]
fn fifty_parallel_creations_that_may_not_evict_create_one() {
    let (_upstream, gateway) = start("default = 1\non_exceed = \"reject_new\"");
    let statuses: Vec<u16> = thread::scope(|scope| {
        let one = || gateway.issue(&json!({ "user": "ann" })).status;
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
}
