//! Whose clock decides: the database's.

use std::time::Duration;

use serde_json::json;

use super::{Fleet, LONG, cache, login, refusal};
use crate::support::gateway::Gateway;
use crate::support::postgres::Database;
use crate::support::{now, wait_until};

fn shift(database: &Database, by: &str) {
    database.run(&format!(
        "CREATE OR REPLACE FUNCTION session_gateway.database_time() RETURNS timestamptz LANGUAGE sql VOLATILE \
         AS 'SELECT clock_timestamp() + interval ''{by}'''"
    ));
}

fn offset(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_clock_offset_seconds")
}

/// The clocks are compared every ten seconds.
fn until_offset(gateway: &Gateway, seconds: f64) {
    let began = now();
    while (offset(gateway) - seconds).abs() > 1.0 {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", offset(gateway));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_session_expires_by_the_database_s_clock_on_every_gateway() {
    let fleet = Fleet::start(2, LONG);
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    assert!(offset(here).abs() < 1.0, "{}", offset(here));
    let half_an_hour = json!({ "user": "ann", "lifetime": "30m", "user_agent": "acme-test/1.0", "ip": "127.0.0.1" });
    let old = here.login_with(half_an_hour.clone());
    cache(here, &old);
    cache(there, &old);
    let long = login(here, "ann");

    shift(&fleet.database, "1 hour");
    for gateway in &fleet.gateways {
        until_offset(gateway, 3600.0);
        assert_eq!(refusal(gateway, &old), "session_expired");
        cache(gateway, &long);
    }
    let new = here.login_with(half_an_hour);
    for gateway in &fleet.gateways {
        cache(gateway, &new);
    }
    let within = "SELECT created_at > clock_timestamp() + interval '55 minutes' FROM sessions WHERE id = ";
    assert_eq!(fleet.run(&format!("{within}'{}'", new.id)), [Some("t".to_owned())]);
    let events = "SELECT at > clock_timestamp() + interval '55 minutes' FROM events WHERE session_id = ";
    assert_eq!(fleet.run(&format!("{events}'{}'", new.id)), [Some("t".to_owned())]);

    // The access log tells the time of this machine.
    wait_until("the lines are written", || {
        std::fs::read_to_string(here.access_log()).is_ok_and(|log| log.contains(&new.id))
    });
    let log = std::fs::read_to_string(here.access_log()).unwrap();
    let line = log.lines().find(|line| line.contains(&new.id)).unwrap();
    let now = session_gateway::clock::wall();
    let minutes: Vec<String> =
        [0, 1].map(|ago| now.minus(Duration::from_secs(60 * ago)).to_string()[..16].to_owned()).into();
    assert!(minutes.iter().any(|minute| line.starts_with(minute)), "{line}");
}

#[test]
fn gateways_of_one_process_go_by_the_clocks_of_their_own_databases() {
    let (ahead, plain) = (Fleet::start(1, LONG), Fleet::start(1, LONG));
    shift(&ahead.database, "-2 days");
    let gateway = Gateway::start_on(&ahead.database.url(), &ahead.upstream.url(), LONG);
    assert!((offset(&gateway) + 172_800.0).abs() < 1.0);
    assert!(offset(&plain.gateways[0]).abs() < 1.0);
    for (gateway, days) in [(&gateway, 2), (&plain.gateways[0], 0)] {
        let session = login(gateway, "ann");
        cache(gateway, &session);
        let created = session.answer["expires_at"].as_str().unwrap().to_owned();
        let expected = session_gateway::clock::wall().plus(Duration::from_secs(86_400 * (14 - days))).to_string();
        assert_eq!(created[..10], expected[..10]);
    }
}

#[test]
fn an_idle_time_is_measured_by_the_database_s_clock() {
    let fleet = Fleet::start(1, &format!("{LONG}[session]\nidle_timeout = \"30m\"\n"));
    let gateway = &fleet.gateways[0];
    let session = login(gateway, "ann");
    cache(gateway, &session);
    shift(&fleet.database, "1 hour");
    until_offset(gateway, 3600.0);
    assert_eq!(refusal(gateway, &session), "session_idle");
}
