//! What the owner of a session that is over is told.

use serde_json::json;

use crate::problem;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::upstream::{Reaction, Upstream, response};

const APP: &str = "[[upstream]]\nurl = \"{upstream}\"\n\
    [[upstream.login]]\npath = \"/login\"\nuser = { form = \"username\" }\n\
    [[upstream.password_changed]]\npath = \"/password\"\n";

fn app() -> Upstream {
    Upstream::start(|_| Reaction::Send(response("302 Found", "Location: /\r\n", "")))
}

/// A session that has been used, so that the gateway has it in its cache.
fn hot(gateway: &Gateway, user: &str) -> Issued {
    let session = gateway.login(user);
    assert_eq!(gateway.get_as(&session.token, "/").status, 302);
    session
}

#[test]
fn an_ended_session_is_refused_at_once_with_the_reason_even_when_it_was_cached() {
    let upstream = app();
    let gateway = Gateway::start(&upstream.url(), APP);
    let told = |session: &Issued, code: &str, reason: &str| {
        let before = upstream.received().len();
        let body = problem(&gateway.get_as(&session.token, "/"), 401, code);
        assert_eq!(body["reason"], reason);
        assert_eq!(upstream.received().len(), before, "nothing reached the application");
    };

    let own = hot(&gateway, "a");
    assert_eq!(gateway.delete_as(&own.token, "/_sessions/current").status, 204);
    told(&own, "session_revoked", "logged_out");

    let (here, other) = (hot(&gateway, "b"), hot(&gateway, "b"));
    assert_eq!(gateway.delete_as(&here.token, "/_sessions?others=true").status, 200);
    told(&other, "session_revoked", "logged_out_elsewhere");

    let picked = hot(&gateway, "b");
    assert_eq!(gateway.delete_as(&here.token, &format!("/_sessions/{}", picked.id)).status, 200);
    told(&picked, "session_revoked", "revoked");

    let oldest = hot(&gateway, "c");
    gateway.login_with(json!({ "user": "c", "max_sessions": 1 }));
    told(&oldest, "session_evicted", "evicted");

    let earlier = hot(&gateway, "d");
    let form = format!("{}Content-Type: application/x-www-form-urlencoded\r\n", bearer(&earlier.token));
    assert_eq!(gateway.request("POST", "/login", &form, b"username=d").status, 302);
    told(&earlier, "session_revoked", "replaced");

    let (changing, left_behind) = (hot(&gateway, "e"), hot(&gateway, "e"));
    assert_eq!(gateway.request("POST", "/password", &bearer(&changing.token), b"").status, 302);
    told(&left_behind, "session_revoked", "password_changed");
    assert_eq!(gateway.get_as(&changing.token, "/").status, 302);
}

#[test]
fn what_others_did_to_a_session_is_told_too() {
    let upstream = app();
    let gateway = Gateway::start(&upstream.url(), APP);
    let database = Database::of(&gateway);
    for reason in ["ended_by_admin", "user_disabled", "token_reused"] {
        let session = gateway.login("ann");
        let ended = format!("state = 'ended', state_reason = '{reason}', ended_at = created_at, ended_by = 'x'");
        database.change(&session, &ended);
        let body = problem(&gateway.get_as(&session.token, "/"), 401, "session_revoked");
        assert_eq!(body["reason"], reason);
    }
    let session = gateway.login("ann");
    database.change(&session, "state = 'ended', state_reason = 'unused', ended_at = created_at, ended_by = 'policy'");
    assert_eq!(problem(&gateway.get_as(&session.token, "/"), 401, "session_idle")["reason"], "unused");
    for reason in ["suspended_by_admin", "user_agent_changed"] {
        let session = gateway.login("ann");
        database.change(&session, &format!("state = 'suspended', state_reason = '{reason}'"));
        let body = problem(&gateway.get_as(&session.token, "/"), 401, "session_suspended");
        assert_eq!(body["reason"], reason);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn an_expired_session_is_told_since_when() {
    let upstream = app();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login("ann");
    Database::of(&gateway).change(&session, "expires_at = 1700000000000");
    let body = problem(&gateway.get_as(&session.token, "/"), 401, "session_expired");
    assert!(body["detail"].as_str().unwrap().contains("2023-11-14T22:13:20.000Z"), "{body}");
}

#[test]
fn a_session_expires_while_it_is_in_use() {
    let upstream = app();
    let gateway = Gateway::start(&upstream.url(), "");
    let session = gateway.login_with(json!({ "user": "ann", "lifetime": "1s" }));
    assert_eq!(gateway.get_as(&session.token, "/").status, 302);
    let finds = gateway.store_finds();
    crate::support::wait_until("the session expires", || gateway.get_as(&session.token, "/").status == 401);
    problem(&gateway.get_as(&session.token, "/"), 401, "session_expired");
    assert!(gateway.store_finds() - finds <= 1.0, "an expiry is seen in the cache");
}

#[test]
fn a_session_that_is_used_does_not_become_idle_and_one_that_is_not_does() {
    let upstream = app();
    let gateway = Gateway::start(&upstream.url(), "[session]\nidle_timeout = \"1h\"\n");
    let database = Database::of(&gateway);
    let (used, unused) = (gateway.login("ann"), gateway.login("ann"));
    for session in [&used, &unused] {
        database.change(session, "last_seen_at = last_seen_at - 3590000");
    }
    assert_eq!(gateway.get_as(&used.token, "/").status, 302);
    let seen = || database.column(&used.id, "last_seen_at > created_at - 1000");
    crate::support::wait_until("the use is written down", || seen().as_deref() == Some("1"));
    for session in [&used, &unused] {
        database.change(session, "last_seen_at = last_seen_at - 20000");
    }
    assert_eq!(gateway.get_as(&used.token, "/").status, 302);
    problem(&gateway.get_as(&unused.token, "/"), 401, "session_idle");
}
