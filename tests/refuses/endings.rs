//! What the owner of a session that is over is told.

use serde_json::json;
use session_gateway::session::{EndReason, SuspendReason};

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
fn the_reason_that_a_client_is_told_is_the_one_in_the_audit_log() {
    let upstream = app();
    let toml = format!("[admin]\nusers = [\"root\"]\n[session]\nidle_timeout = \"1h\"\nrotate_grace = \"0\"\n{APP}");
    let gateway = Gateway::start(&upstream.url(), &toml);
    let root = bearer(&gateway.login("root").token);
    let call = |method: &str, target: &str, headers: &str, body: &[u8]| {
        let response = gateway.request(method, target, headers, body);
        assert!(response.status < 400, "{response:?}");
        response
    };
    let admin = |method: &str, path: &str, more: &str, body: &[u8]| {
        call(method, &format!("/_sessions/admin/{path}"), &format!("{root}{more}"), body)
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    type Deed<'a> = &'a dyn Fn(&Issued, &Issued);
    // Each as it comes about, of a user's session and another one of theirs.
    let deeds: [(&str, Deed<'_>); 12] = [
        ("logged_out", &|one, _| drop(call("DELETE", "/_sessions/current", &bearer(&one.token), b""))),
        ("logged_out_elsewhere", &|_, other| {
            drop(call("DELETE", "/_sessions?others=true", &bearer(&other.token), b""))
        }),
        ("revoked", &|one, other| drop(call("DELETE", &format!("/_sessions/{}", one.id), &bearer(&other.token), b""))),
        ("evicted", &|_, _| drop(gateway.login_with(json!({ "user": "evicted", "max_sessions": 1 })))),
        ("replaced", &|one, _| {
            call("POST", "/login", &format!("{}{form}", bearer(&one.token)), b"username=replaced");
        }),
        ("password_changed", &|_, other| drop(call("POST", "/password", &bearer(&other.token), b""))),
        ("ended_by_admin", &|one, _| drop(admin("DELETE", &format!("sessions/{}", one.id), "", b""))),
        ("user_disabled", &|_, _| {
            admin("PUT", "users/user_disabled", "Content-Type: application/json\r\n", b"{\"enabled\": false}");
        }),
        ("token_reused", &|one, _| {
            call("POST", "/_sessions/rotate", &bearer(&one.token), b"");
            assert_eq!(gateway.get_as(&one.token, "/").status, 401);
        }),
        ("unused", &|one, _| {
            Database::of(&gateway).change(one, "last_seen_at = last_seen_at - 3600001");
            gateway.login_with(json!({ "user": "unused", "max_sessions": 9 }));
        }),
        ("user_agent_changed", &|one, _| {
            let thief = format!("{}User-Agent: thief/1.0\r\n", bearer(&one.token));
            assert_eq!(gateway.get("/", &thief).status, 401);
        }),
        ("suspended_by_admin", &|one, _| drop(admin("POST", &format!("sessions/{}/suspend", one.id), "", b""))),
    ];
    let names = EndReason::ALL.iter().map(|reason| reason.name());
    let names: Vec<_> = names.chain(SuspendReason::ALL.iter().map(|reason| reason.name())).collect();
    assert_eq!(deeds.map(|(reason, _)| reason), *names, "clients branch on these names");

    for (reason, happen) in deeds {
        let (one, other) = (hot(&gateway, reason), hot(&gateway, reason));
        happen(&one, &other);
        let told = gateway.get_as(&one.token, "/");
        assert_eq!((told.status, &told.json()["reason"]), (401, &json!(reason)));
        let events = admin("GET", &format!("events?session={}", one.id), "", b"").json();
        assert_eq!(events["events"][0]["detail"]["reason"], reason, "{events}");
    }
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
