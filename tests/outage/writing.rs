//! How the last use of sessions comes into the store.

use crate::support::gateway::{Gateway, bearer};
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::support::wait_until;

#[test]
fn the_last_use_of_sessions_is_written_down_in_batches() {
    const SESSIONS: usize = 60;
    let toml = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[session]\ntouch_interval = \"4s\"";
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), toml);
    let sessions: Vec<_> = (0..SESSIONS).map(|at| gateway.login(&format!("user-{at}"))).collect();
    database.run("UPDATE sessions SET last_seen_at = now() - interval '1 hour'");
    let touches = || gateway.metric("gateway_store_call_duration_seconds_count{call=\"touch\"}");
    let before = touches();
    let forwarded = "X-Forwarded-For: 203.0.113.9\r\n";
    for session in &sessions {
        assert_eq!(gateway.get("/", &format!("{forwarded}{}", bearer(&session.token))).status, 200);
    }
    let fresh = "SELECT count(*) FROM sessions WHERE last_seen_at > now() - interval '1 minute' \
                 AND host(last_ip) = '203.0.113.9'";
    wait_until("all are written", || database.run(fresh) == [Some(SESSIONS.to_string())]);
    let writes = touches() - before;
    assert!(writes <= 10.0, "{writes} writes for {SESSIONS} sessions");
    assert_eq!(gateway.metric("gateway_touches_waiting"), 0.0);
}

#[test]
fn the_last_use_of_sessions_is_written_down_when_the_gateway_stops() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), "");
    let session = gateway.login("ann");
    database.run("UPDATE sessions SET last_seen_at = now() - interval '1 hour'");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    gateway.stop();
    let fresh = "SELECT count(*) FROM sessions WHERE last_seen_at > now() - interval '1 minute'";
    assert_eq!(database.run(fresh), [Some("1".to_owned())]);
}
