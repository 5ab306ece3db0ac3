//! `session.sliding`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::support::{now, wait_until};
use crate::{between, current};

const HOUR: i64 = 3_600_000;

fn start(session: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("[session]\nsliding = true\n{session}\n"));
    (upstream, gateway)
}

#[test]
fn a_session_that_is_used_lives_on_and_one_that_is_not_expires() {
    let (_upstream, gateway) = start("lifetime = \"1h\"");
    let database = Database::of(&gateway);
    let (used, unused) = (gateway.login("ann"), gateway.login("ann"));
    for session in [&used, &unused] {
        database.change(session, "last_seen_at = last_seen_at - 3590000");
    }
    assert_eq!(gateway.get_as(&used.token, "/").status, 200);
    let seen = || database.column(&used.id, "last_seen_at > created_at - 1000");
    wait_until("the use is written down", || seen().as_deref() == Some("1"));
    for session in [&used, &unused] {
        database.change(session, "last_seen_at = last_seen_at - 20000");
    }
    assert_eq!(gateway.get_as(&used.token, "/").status, 200);
    let refused = gateway.get_as(&unused.token, "/");
    assert_eq!((refused.status, refused.code().as_str()), (401, "session_expired"));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    let last_seen = database.column(&unused.id, "last_seen_at").unwrap().parse::<i64>().unwrap();
    let end = jiff::Timestamp::from_millisecond(last_seen + HOUR).unwrap();
    assert_eq!(detail, format!("The session expired at {end:.3}."));
    assert_eq!(database.column(&unused.id, "state").as_deref(), Some("active"), "it is over by the clock alone");
}

#[test]
fn a_use_is_seen_in_time_however_short_the_lifetime_of_one_session_is() {
    // The interval fits the lifetime of the settings, not that of this session.
    let (_upstream, gateway) = start("lifetime = \"1h\"\ntouch_interval = \"10m\"");
    let session = gateway.login_with(json!({ "user": "ann", "lifetime": "2s" }));
    let began = now();
    wait_until("it is older than its lifetime", || {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
        began.elapsed() > Duration::from_millis(2_500)
    });
    let used = current(&gateway, &session.token)["last_seen_at"].clone();
    let over = || {
        jiff::Timestamp::now().as_millisecond()
            - used.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
    };
    wait_until("it was not used for its lifetime", || over() > 2_000);
    assert_eq!(gateway.get_as(&session.token, "/").code(), "session_expired");
}

#[test]
fn no_use_carries_a_session_beyond_the_hard_maximum() {
    let (_upstream, gateway) = start("lifetime = \"1h\"\nmax_lifetime = \"2h\"");
    let database = Database::of(&gateway);
    let old = gateway.login("ann");
    assert_eq!(database.column(&old.id, "expires_at - created_at").as_deref(), Some("7200000"));
    database.change(&old, "created_at = created_at - 7200000, expires_at = expires_at - 7200000");
    assert_eq!(gateway.get_as(&old.token, "/").code(), "session_expired");

    let near = gateway.login("ann");
    database.change(&near, "expires_at = last_seen_at + 600000");
    let shown = current(&gateway, &near.token);
    assert_eq!(between(&shown["created_at"], &shown["expires_at"]), 600_000, "the sooner end is shown");
}

#[test]
fn what_is_shown_as_the_end_moves_with_the_use() {
    let (_upstream, gateway) = start("lifetime = \"1h\"\nmax_lifetime = \"30d\"");
    let session = gateway.login("ann");
    let shown = current(&gateway, &session.token);
    assert_eq!(shown["expires_at"], session.answer["expires_at"]);
    assert_eq!(between(&shown["last_seen_at"], &shown["expires_at"]), HOUR);

    let other = gateway.login("ann");
    Database::of(&gateway).change(&other, "last_seen_at = last_seen_at - 1800000");
    let list = gateway.get_as(&session.token, "/_sessions").json();
    let row = list["sessions"].as_array().unwrap().iter().find(|row| row["id"] == other.id.as_str()).unwrap();
    assert_eq!(between(&row["created_at"], &row["expires_at"]), HOUR / 2);
    let after = current(&gateway, &other.token);
    assert!(between(&after["created_at"], &after["expires_at"]) >= HOUR, "this very request used it: {after}");
}

#[test]
fn a_lifetime_of_a_call_slides_too_and_zero_never_ends() {
    let (_upstream, gateway) = start("lifetime = \"1h\"");
    let row = |body: Value| {
        let session = gateway.login_with(body);
        let column = |name| Database::of(&gateway).column(&session.id, name);
        (column("slide_ms"), column("expires_at"), session.answer["expires_at"].is_null())
    };
    let slides = |millis: &str| (Some(millis.to_owned()), None, false);
    assert_eq!(row(json!({ "user": "ann" })), slides("3600000"));
    assert_eq!(row(json!({ "user": "ann", "lifetime": "5m" })), slides("300000"));
    assert_eq!(row(json!({ "user": "ann", "lifetime": "1500ms" })), slides("2000"));
    assert_eq!(row(json!({ "user": "ann", "lifetime": 0 })), (None, None, true));
}

#[test]
fn a_session_that_went_unused_is_not_listed_and_holds_no_place() {
    let (_upstream, gateway) =
        start("lifetime = \"1h\"\n[policy.max_sessions]\ndefault = 2\non_exceed = \"reject_new\"");
    let [lapsed, used] = [gateway.login("ann"), gateway.login("ann")];
    assert_eq!(gateway.issue(&json!({ "user": "ann" })).code(), "too_many_sessions");
    Database::of(&gateway).change(&lapsed, "last_seen_at = last_seen_at - 3600001");
    let list = gateway.get_as(&used.token, "/_sessions").json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
    gateway.login("ann");
}

#[test]
fn a_session_that_another_gateway_keeps_alive_is_not_refused_here() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let toml = "[session]\nsliding = true\nlifetime = \"2s\"\ntouch_interval = \"500ms\"\n[cache]\nttl = \"60s\"";
    let toml = toml.replace("touch_interval", "remember_lifetime = \"2s\"\ntouch_interval");
    let start = || Gateway::start_on(&database.url(), &upstream.url(), &toml);
    let (here, there) = (start(), start());
    let session = here.login("ann");
    for gateway in [&here, &there] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
    let began = now();
    wait_until("it looks unused here", || {
        assert_eq!(there.get_as(&session.token, "/").status, 200);
        began.elapsed() > Duration::from_millis(2_500)
    });
    assert_eq!(here.get_as(&session.token, "/").status, 200, "the store knows better than the cache");
    wait_until("it is over", || {
        database.run("SELECT 1 FROM sessions WHERE last_seen_at < now() - interval '2200 milliseconds'").len() == 1
    });
    for gateway in [&here, &there] {
        assert_eq!(gateway.get_as(&session.token, "/").code(), "session_expired");
    }
}

#[test]
fn without_sliding_a_use_changes_nothing() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[session]\nlifetime = \"1h\"\n");
    let session = gateway.login("ann");
    let database = Database::of(&gateway);
    assert_eq!(database.column(&session.id, "slide_ms"), None);
    database.change(&session, "last_seen_at = last_seen_at - 3600001");
    assert_eq!(current(&gateway, &session.token)["expires_at"], session.answer["expires_at"]);
}
