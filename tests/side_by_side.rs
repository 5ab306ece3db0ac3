//! Where the packages that the gateway takes the place of did something else than they promised, it keeps the promise.
//!
//! Each test is one such case; what the packages did was seen in runs of them. `docs/coverage.md` has the whole list.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

use std::sync::Barrier;
use std::thread;

use serde_json::json;
use session_gateway::jwt::Algorithm;
use support::database::Database;
use support::gateway::{AGENT, Gateway, Issued, bearer};
use support::issuer::Issuer;
use support::postgres::fresh_database;
use support::upstream::{Reaction, Upstream};
use support::{now, wait_until};

/// How long one gateway may be behind another one.
const BOUND: std::time::Duration = std::time::Duration::from_secs(1);

fn start(toml: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), toml);
    (upstream, gateway)
}

/// Two gateways on one PostgreSQL, both listening.
fn two(toml: &str) -> (Upstream, Gateway, Gateway) {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let [a, b] = [(), ()].map(|()| Gateway::start_on(&database.url(), &upstream.url(), toml));
    for gateway in [&a, &b] {
        wait_until("the gateway hears of the other one's changes", || gateway.metric("gateway_listen_up") == 1.0);
    }
    (upstream, a, b)
}

fn lives(gateway: &Gateway, session: &Issued) -> bool {
    let response = gateway.get_as(&session.token, "/");
    assert!(matches!(response.status, 200 | 401), "{response:?}");
    response.status == 200
}

fn refused(gateway: &Gateway, session: &Issued) -> (u16, String) {
    let response = gateway.get_as(&session.token, "/");
    (response.status, response.code())
}

fn listed(gateway: &Gateway, session: &Issued) -> Vec<String> {
    let answer = gateway.get_as(&session.token, "/_sessions").json();
    answer["sessions"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// nilva-session kept a session alive for ever by using it: 200.
#[test]
fn a_session_that_expires_while_it_is_cached_and_in_use_is_refused() {
    let (_upstream, gateway) = start("[cache]\nttl = \"10m\"\n");
    let session = gateway.login_with(json!({ "user": "ann", "lifetime": "300ms" }));
    assert!(lives(&gateway, &session));
    wait_until("it has expired", || !lives(&gateway, &session));
    assert_eq!(refused(&gateway, &session), (401, "session_expired".to_owned()));
}

/// nilva-session's caches were each process's own: 200 for as long as the session was used.
#[test]
fn a_session_revoked_on_one_gateway_is_refused_by_the_other_within_the_bound() {
    let (_upstream, a, b) = two("[cache]\nttl = \"10m\"\n");
    let session = a.login("ann");
    assert!(lives(&a, &session) && lives(&b, &session));
    assert_eq!(a.delete_as(&session.token, "/_sessions/current").status, 204);
    let began = now();
    while lives(&b, &session) {
        assert!(began.elapsed() < BOUND);
    }
}

/// nilva-session's lookup put what it had read back into the cache after the revocation: 200.
#[test]
fn a_session_revoked_while_it_is_looked_up_is_refused_from_then_on() {
    let (_upstream, gateway) = start("");
    for round in 0..50 {
        let session = gateway.login(&format!("user-{round}"));
        let by = gateway.login(&format!("user-{round}"));
        let (barrier, victim) = (Barrier::new(2), &session);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                lives(&gateway, victim);
            });
            barrier.wait();
            assert_eq!(gateway.delete_as(&by.token, &format!("/_sessions/{}", victim.id)).status, 200);
        });
        assert!(!lives(&gateway, &session), "round {round}");
    }
}

/// nilva-session wrote the whole row back when the address changed: active again.
#[test]
fn a_change_of_address_after_the_revocation_brings_nothing_back() {
    let (_upstream, gateway) =
        start("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[session]\ntouch_interval = \"100ms\"\n");
    let session = gateway.login("ann");
    let from = |address: &str| {
        let headers = format!("{}X-Forwarded-For: {address}\r\n", bearer(&session.token));
        gateway.get("/", &headers).status
    };
    assert_eq!(from("192.0.2.1"), 200);
    let began = now();
    while began.elapsed().as_millis() < 150 {
        assert_eq!(from("192.0.2.2"), 200);
    }
    assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
    assert_eq!(from("192.0.2.3"), 401);
    wait_until("the last uses are written down", || gateway.metric("gateway_touches_waiting") == 0.0);
    let database = Database::of(&gateway);
    assert_eq!(database.column(&session.id, "state").as_deref(), Some("ended"));
    assert_eq!(from("192.0.2.4"), 401);
}

/// nilva-session served a deleted row from its cache, and put it back into the table at the next change: 200.
#[test]
fn a_row_that_somebody_deletes_is_refused_within_the_ttl_and_does_not_come_back() {
    let (_upstream, gateway) = start("[cache]\nttl = \"200ms\"\nserve_while_store_down = \"0\"\n");
    let session = gateway.login("ann");
    assert!(lives(&gateway, &session));
    let database = Database::of(&gateway);
    database.execute("DELETE FROM sessions WHERE lower(hex(id)) = ?1", [session.id.replace('-', "")]);
    wait_until("it is refused", || !lives(&gateway, &session));
    assert_eq!(refused(&gateway, &session), (401, "unknown_token".to_owned()));
    assert_eq!(database.count("1 = 1"), 0);
}

/// nilva-session listed every active session of everybody.
#[test]
fn the_list_shows_nobody_elses_sessions() {
    let (_upstream, gateway) = start("");
    let (ann, bob) = (gateway.login("ann"), gateway.login("bob"));
    assert_eq!(listed(&gateway, &ann), [ann.id.as_str()]);
    assert_eq!(listed(&gateway, &bob), [bob.id.as_str()]);
}

/// nilva-session dropped one's own id from the list, found the list empty, and ended all.
#[test]
fn ending_ones_own_session_by_its_id_ends_that_one_alone() {
    let (_upstream, gateway) = start("");
    let (own, other) = (gateway.login("ann"), gateway.login("ann"));
    let response = gateway.delete_as(&own.token, &format!("/_sessions?id={}", own.id));
    assert_eq!((response.status, response.json()), (200, json!({ "ended": 1 })));
    assert!(!lives(&gateway, &own) && lives(&gateway, &other));
}

/// nilva-session answered 500.
#[test]
fn an_id_that_is_no_uuid_is_a_bad_request() {
    let (_upstream, gateway) = start("");
    let session = gateway.login("ann");
    for target in ["/_sessions?id=7", "/_sessions?id=a,b", "/_sessions/7"] {
        assert_eq!(gateway.delete_as(&session.token, target).status, 400, "{target}");
    }
    assert!(lives(&gateway, &session));
}

/// nilva-session's rotation set the session itself inactive and refused its new token, while a reuse of the old one did nothing.
#[test]
fn a_rotation_keeps_the_session_and_a_reuse_of_the_old_token_ends_it() {
    let (_upstream, gateway) = start("[session]\nrotate_grace = \"0\"\n");
    let old = gateway.login("ann");
    let answer = gateway.request("POST", "/_sessions/rotate", &bearer(&old.token), b"").json();
    let new = Issued { id: old.id.clone(), token: answer["token"].as_str().unwrap().to_owned(), answer };
    assert!(lives(&gateway, &new));
    assert_eq!(gateway.get_as(&old.token, "/").json()["reason"], "token_reused");
    assert!(!lives(&gateway, &new));
}

/// nilva-session never looked: 200.
#[test]
fn a_disabled_user_is_out_at_once_and_stays_out() {
    let (_upstream, gateway) = start("[admin]\nusers = [\"root\"]\n");
    let (session, root) = (gateway.login("ann"), gateway.login("root"));
    assert!(lives(&gateway, &session));
    let headers = format!("{}Content-Type: application/json\r\n", bearer(&root.token));
    let set = |body: &[u8]| gateway.request("PUT", "/_sessions/admin/users/ann", &headers, body).status;
    assert_eq!(set(b"{\"enabled\": false}"), 200);
    assert_eq!(gateway.get_as(&session.token, "/").json()["reason"], "user_disabled");
    assert_eq!(gateway.issue(&json!({ "user": "ann" })).code(), "user_disabled");
    assert_eq!(set(b"{\"enabled\": true}"), 200);
    assert!(!lives(&gateway, &session), "what ended does not come back");
    assert!(lives(&gateway, &gateway.login("ann")));
}

/// nilva-session gave new tokens to ended and to expired sessions.
#[test]
fn a_session_that_was_revoked_or_has_expired_is_not_refreshed() {
    let key = Issuer::new(Algorithm::EdDsa, None).private;
    let (_upstream, gateway) = start(&format!("[signing]\nkey = {key:?}\n"));
    let issue = |user: &str| gateway.issue(&json!({ "user": user, "format": "jwt" })).json();
    let refresh = |pair: &serde_json::Value| {
        let body = json!({ "refresh_token": pair["refresh_token"] }).to_string();
        gateway.request("POST", "/_sessions/refresh", "Content-Type: application/json\r\n", body.as_bytes())
    };
    let (revoked, expired) = (issue("ann"), issue("bob"));
    let access = revoked["access_token"].as_str().unwrap();
    assert_eq!(gateway.delete_as(access, "/_sessions/current").status, 204);
    assert_eq!((refresh(&revoked).status, refresh(&revoked).code()), (401, "session_revoked".to_owned()));
    let id = expired["id"].as_str().unwrap().replace('-', "");
    Database::of(&gateway).execute("UPDATE sessions SET expires_at = created_at WHERE lower(hex(id)) = ?1", [id]);
    assert_eq!((refresh(&expired).status, refresh(&expired).code()), (401, "session_expired".to_owned()));
}

/// One eviction under django-expire's log limit deleted everybody's rows but the few to be kept.
#[test]
fn the_history_that_is_kept_of_one_user_takes_nothing_from_the_others() {
    let (_upstream, gateway) = start("[audit]\nkeep_per_user = 1\nsweep_interval = \"100ms\"\n");
    let end = |user: &str| {
        let session = gateway.login(user);
        assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
    };
    let bob = gateway.login("bob");
    end("bob");
    for _ in 0..4 {
        end("ann");
    }
    let database = Database::of(&gateway);
    // What has just ended stays for some minutes, so that its browser can be told why.
    database.execute("UPDATE sessions SET created_at = created_at - 86400000", []);
    database.execute("UPDATE sessions SET ended_at = ended_at - 86400000 WHERE state = 'ended'", []);
    // A gateway looks at everybody when it starts, and after that at those of whom something has ended.
    let directory = gateway.stop();
    let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
    let settings = "[audit]\nkeep_per_user = 1\nsweep_interval = \"100ms\"\n";
    let gateway = Gateway::start_in(directory, &_upstream.url(), &store, settings);
    let database = Database::of(&gateway);
    wait_until("ann's are too many no more", || database.count("user_id = 'ann'") == 1);
    assert_eq!(database.count("user_id = 'bob'"), 2);
    assert!(lives(&gateway, &bob));
}

/// django-single-session left two, three or four of them.
#[test]
fn four_logins_at_once_at_a_limit_of_one_leave_exactly_one() {
    let (_upstream, a, b) = two("[policy.max_sessions]\ndefault = 1\n");
    for round in 0..5 {
        let (user, barrier) = (format!("user-{round}"), Barrier::new(4));
        let sessions: Vec<Issued> = thread::scope(|scope| {
            let threads: Vec<_> = [&a, &b, &a, &b]
                .into_iter()
                .map(|gateway| {
                    let (user, barrier) = (&user, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        gateway.login(user)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(sessions.iter().filter(|session| lives(&a, session)).count(), 1, "round {round}");
    }
}

/// django-single-session answered 500 and logged the person out.
#[test]
fn a_login_while_logged_in_as_the_same_user_is_a_new_session_in_place_of_the_old_one() {
    let upstream =
        Upstream::start(|_| Reaction::Send(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let gateway = Gateway::start(
        &upstream.url(),
        "[policy.max_sessions]\ndefault = 1\n[[upstream]]\nurl = \"{upstream}\"\n\
         [[upstream.login]]\npath = \"/login\"\nuser = { form = \"username\" }\n",
    );
    let log_in = |cookie: &str| {
        let headers = format!("Content-Type: application/x-www-form-urlencoded\r\n{cookie}");
        let response = gateway.request("POST", "/login", &headers, b"username=ann");
        assert_eq!(response.status, 302, "{response:?}");
        response.cookie("__Host-session").unwrap()
    };
    let first = log_in("");
    let second = log_in(&format!("Cookie: __Host-session={first}\r\n"));
    assert_ne!(first, second);
    let with = |token: &str| gateway.get("/_sessions/current", &format!("Cookie: __Host-session={token}\r\n")).status;
    assert_eq!((with(&first), with(&second)), (401, 200));
}

/// In django-expire's log a session that had been logged out stayed active and held its slot.
#[test]
fn a_session_that_was_logged_out_holds_no_slot() {
    let (_upstream, gateway) = start("[policy.max_sessions]\ndefault = 2\n");
    let (a, b) = (gateway.login("ann"), gateway.login("ann"));
    assert_eq!(gateway.delete_as(&b.token, "/_sessions/current").status, 204);
    let c = gateway.login("ann");
    assert_eq!(c.answer["evicted"], json!([]));
    assert!(lives(&gateway, &a) && lives(&gateway, &c));
}

/// django-expire dated every login with the start of the process that saw it, and evicted the newer one.
#[test]
fn with_two_gateways_the_oldest_session_gives_way_wherever_it_was_made() {
    let (_upstream, a, b) = two("[policy.max_sessions]\ndefault = 2\n");
    let oldest = b.login("ann");
    let newer = a.login("ann");
    let newest = b.login("ann");
    assert_eq!(newest.answer["evicted"], json!([oldest.id]));
    assert!(lives(&b, &newer) && lives(&b, &newest));
    let next = a.login("ann");
    assert_eq!(next.answer["evicted"], json!([newer.id]));
}

/// Inside the application's transaction nilva-session's suspension was rolled back with it.
#[test]
fn a_suspension_sticks_whatever_the_application_does() {
    let (_upstream, gateway) = start("");
    let session = gateway.login_with(json!({ "user": "ann", "user_agent": AGENT }));
    let stolen = format!("{}User-Agent: thief/1.0\r\n", bearer(&session.token));
    assert_eq!(gateway.get("/", &stolen).code(), "session_suspended");
    assert_eq!(refused(&gateway, &session), (401, "session_suspended".to_owned()));
    let events = Database::of(&gateway).events("session_suspended");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].user_agent.as_deref(), Some("thief/1.0"));
}
