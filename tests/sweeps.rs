//! Old sessions and events leave the store by themselves, and nobody notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

use std::time::Duration;

use support::database::Database;
use support::gateway::Gateway;
use support::postgres::{Cluster, fresh_database};
use support::upstream::Upstream;
use support::{now, wait_until};

const DAYS: i64 = 86_400_000;
/// The advisory lock of the gateway that sweeps.
const LOCK: i64 = 6_797_357_451_833_483_266;

fn removed(gateway: &Gateway, kind: &str) -> f64 {
    gateway.metric(&format!("gateway_swept_rows_total{{kind=\"{kind}\"}}"))
}

fn sweeps(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_sweep_duration_seconds_count")
}

fn wait_for_another_sweep(gateway: &Gateway) {
    let (before, began) = (sweeps(gateway), now());
    // The one under way may have begun too early.
    wait_until("it is swept", || sweeps(gateway) >= before + 2.0);
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn an_ended_session_is_told_its_reason_until_its_time_is_over_and_then_it_is_unknown() {
    let upstream = Upstream::hello();
    let settings =
        "[audit]\nsweep_interval = \"100ms\"\nkeep_for = \"2d\"\n[cache]\nttl = \"100ms\"\nnegative_ttl = \"0\"";
    let gateway = Gateway::start(&upstream.url(), settings);
    let (ended, expired, live) = (gateway.login("ann"), gateway.login("bob"), gateway.login("eve"));
    assert_eq!(gateway.delete_as(&ended.token, "/_sessions/current").status, 204);
    let rows = Database::of(&gateway);
    let ago = |days: i64| session_gateway::clock::wall().as_millis() - days * DAYS;
    rows.change(&expired, &format!("created_at = {}, expires_at = {}", ago(9), ago(1)));
    wait_for_another_sweep(&gateway);
    assert_eq!(gateway.get_as(&ended.token, "/").code(), "session_revoked");
    assert_eq!(gateway.get_as(&expired.token, "/").code(), "session_expired");
    assert_eq!(removed(&gateway, "session"), 0.0);

    rows.change(&ended, &format!("ended_at = {}", ago(3)));
    rows.change(&expired, &format!("expires_at = {}", ago(3)));
    wait_until("they are gone", || removed(&gateway, "session") == 2.0);
    for session in [&ended, &expired] {
        wait_until("it is unknown", || gateway.get_as(&session.token, "/").code() == "unknown_token");
    }
    assert_eq!(gateway.get_as(&live.token, "/").status, 200);
    assert_eq!(rows.count("TRUE"), 1);
    assert!(gateway.metric("gateway_store_call_duration_seconds_count{call=\"sweep\"}") > 0.0);
}

#[test]
fn of_each_users_ended_sessions_as_many_stay_as_the_settings_say() {
    let upstream = Upstream::hello();
    let settings = "[audit]\nsweep_interval = \"100ms\"\nkeep_per_user = 2\n[policy.max_sessions]\ndefault = 1";
    let gateway = Gateway::start(&upstream.url(), settings);
    for _ in 0..6 {
        gateway.login("ann");
    }
    let bob = [gateway.login("bob"), gateway.login("bob")];
    let rows = Database::of(&gateway);
    wait_for_another_sweep(&gateway);
    assert_eq!(rows.count("TRUE"), 8, "what has just ended can still be told of");
    // A quarter of an hour later.
    rows.execute("UPDATE sessions SET ended_at = ended_at - 900000 WHERE state = 'ended'", []);
    wait_until("three of ann's are gone", || rows.count("user_id = 'ann'") == 3);
    wait_for_another_sweep(&gateway);
    assert_eq!(rows.count("user_id = 'ann' AND state = 'ended'"), 2);
    assert_eq!(rows.count("user_id = 'bob'"), 2);
    assert_eq!(gateway.get_as(&bob[1].token, "/").status, 200);
    assert_eq!(removed(&gateway, "session"), 3.0);
    assert_eq!(removed(&gateway, "event"), 6.0, "each one's beginning and end");
}

#[test]
fn with_an_interval_of_zero_nothing_is_swept() {
    let upstream = Upstream::hello();
    let settings = "[audit]\nsweep_interval = \"0\"\nkeep_for = \"100ms\"\nkeep_per_user = 0\n[cache]\nttl = \"100ms\"";
    let gateway = Gateway::start(&upstream.url(), settings);
    let session = gateway.login("ann");
    assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
    let began = now();
    wait_until("some time has passed", || {
        assert_eq!(gateway.get_as(&session.token, "/").code(), "session_revoked");
        began.elapsed() > Duration::from_millis(600)
    });
    assert_eq!((sweeps(&gateway), removed(&gateway, "event")), (0.0, 0.0));
}

#[test]
fn two_gateways_on_one_database_remove_each_row_once_and_requests_go_on() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    // Rows that are old when the gateways start, more than a few batches of them.
    let first = Gateway::start_on(&database.url(), &upstream.url(), "[audit]\nsweep_interval = \"0\"");
    let live = first.login("ann");
    database.run(
        "INSERT INTO session_gateway.users (id) SELECT 'old-' || n FROM generate_series(1, 100) n; \
         INSERT INTO session_gateway.sessions (id, token_hash, user_id, roles, state, state_reason, created_at, \
             last_seen_at, ended_at) \
         SELECT gen_random_uuid(), sha256(int8send(n)), 'old-' || n % 100 + 1, '{}', 'ended', 'revoked', \
             now() - interval '200 d', now() - interval '200 d', now() - interval '199 d' \
         FROM generate_series(1, 3000) n; \
         INSERT INTO session_gateway.events (at, kind, session_id, user_id, actor) \
         SELECT created_at, 'session_created', id, user_id, 'operator' FROM session_gateway.sessions \
         WHERE state = 'ended'",
    );
    first.stop();
    let start = || Gateway::start_on(&database.url(), &upstream.url(), "[audit]\nsweep_interval = \"100ms\"");
    let gateways = [start(), start()];
    wait_until("all are gone", || {
        for gateway in &gateways {
            assert_eq!(gateway.get_as(&live.token, "/").status, 200);
        }
        gateways.iter().map(|gateway| removed(gateway, "event")).sum::<f64>() >= 3000.0
    });
    for gateway in &gateways {
        wait_until("it has come to its end", || sweeps(gateway) >= 1.0);
        assert_eq!(gateway.metric("gateway_store_errors_total"), 0.0);
    }
    assert_eq!(gateways.iter().map(|gateway| removed(gateway, "session")).sum::<f64>(), 3000.0);
    assert_eq!(gateways.iter().map(|gateway| removed(gateway, "event")).sum::<f64>(), 3000.0);
    let left = "SELECT count(*) FROM session_gateway.sessions";
    assert_eq!(database.run(left), [Some("1".to_owned())]);
}

#[test]
fn a_store_that_was_away_is_swept_when_it_is_back() {
    let upstream = Upstream::hello();
    let cluster = Cluster::start(&[]);
    let database = cluster.fresh_database();
    let settings = "[audit]\nsweep_interval = \"100ms\"\n[store]\nconnect_timeout = \"500ms\"";
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), settings);
    wait_for_another_sweep(&gateway);
    cluster.stop();
    wait_until("the store is missed", || gateway.metric("gateway_store_up") == 0.0);
    let at_rest = sweeps(&gateway);
    cluster.restart();
    wait_until("the store is back", || gateway.metric("gateway_store_up") == 1.0);
    wait_until("it is swept again", || sweeps(&gateway) > at_rest);
}

#[test]
fn a_gateway_stops_in_the_middle_of_a_sweep() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let settings = "[audit]\nsweep_interval = \"100ms\"\n[store]\ntimeout = \"60s\"";
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), settings);
    wait_for_another_sweep(&gateway);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = runtime.block_on(database.connect());
    runtime.block_on(other.batch_execute("BEGIN; LOCK TABLE sessions")).unwrap();
    wait_until("a batch waits for the table", || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        !database.run(sql).is_empty()
    });
    let began = now();
    gateway.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_sweep_under_way_spares_what_a_longer_idle_timeout_has_made_live() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let idle =
        |timeout| format!("[session]\nlifetime = \"0\"\nidle_timeout = \"{timeout}\"\n[audit]\nkeep_for = \"1d\"\n");
    let first = Gateway::start_on(&database.url(), &upstream.url(), &(idle("30d") + "sweep_interval = \"0\""));
    let (spared, unused) = (first.login("ann"), first.login("bob"));
    first.stop();
    database.run(
        "UPDATE sessions SET created_at = created_at - interval '90 d', \
             last_seen_at = now() - CASE user_id WHEN 'ann' THEN interval '9 d' ELSE interval '60 d' END",
    );
    // As if another gateway were sweeping: a batch that meets it is tried again.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = runtime.block_on(database.connect());
    runtime.block_on(other.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))).unwrap();
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), &(idle("2d") + "sweep_interval = \"100ms\""));
    wait_until("the sweep has begun", || {
        gateway.metric("gateway_store_call_duration_seconds_count{call=\"sweep\"}") >= 1.0
    });
    assert_eq!(gateway.get_as(&spared.token, "/").code(), "session_idle");

    gateway.adopt(&upstream.url(), &(idle("30d") + "sweep_interval = \"100ms\""));
    runtime.block_on(other.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})"))).unwrap();
    wait_until("it has come to its end", || sweeps(&gateway) >= 1.0);
    assert_eq!(gateway.get_as(&spared.token, "/").status, 200);
    assert_eq!(gateway.get_as(&unused.token, "/").code(), "unknown_token");
    assert_eq!(removed(&gateway, "session"), 1.0);
}

#[test]
fn a_database_whose_clock_runs_ahead_loses_nothing_that_is_young_by_the_gateways_clock() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let first = Gateway::start_on(&database.url(), &upstream.url(), "[audit]\nsweep_interval = \"0\"");
    let (ended, live) = (first.login("ann"), first.login("bob"));
    assert_eq!(first.delete_as(&ended.token, "/_sessions/current").status, 204);
    first.stop();
    database.run(
        "CREATE OR REPLACE FUNCTION session_gateway.database_time() RETURNS timestamptz LANGUAGE sql VOLATILE \
         AS 'SELECT clock_timestamp() + interval ''2 years'''",
    );
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), "[audit]\nsweep_interval = \"100ms\"");
    assert!(gateway.metric("gateway_clock_offset_seconds") > 6e7);
    wait_for_another_sweep(&gateway);
    assert_eq!((removed(&gateway, "session"), removed(&gateway, "event")), (0.0, 0.0));
    assert_eq!(gateway.get_as(&ended.token, "/").code(), "session_revoked");
    assert_eq!(gateway.get_as(&live.token, "/").code(), "session_expired");
}
