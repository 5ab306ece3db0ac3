//! When a gateway is not told: what then holds, and what it does when it is told again.

use std::time::Duration;

use super::{Fleet, LONG, cache, login, refusal, told, until_deaf, until_hearing};
use crate::support::postgres::{Cluster, Database};
use crate::support::{now, wait_until};

const LISTENERS: &str = "FROM pg_stat_activity WHERE application_name LIKE '%listen' AND datname = current_database()";

fn kill_listeners(database: &Database) -> usize {
    database.run(&format!("SELECT pg_terminate_backend(pid) {LISTENERS}")).len()
}

#[test]
fn what_was_revoked_while_a_gateway_heard_nothing_is_refused_when_it_hears_again() {
    let fleet = Fleet::start(1, LONG);
    let (link, there) = fleet.behind_link(LONG);
    let here = &fleet.gateways[0];
    let (ended, kept) = (login(here, "ann"), login(here, "ann"));
    cache(&there, &ended);
    cache(&there, &kept);

    link.refuse();
    assert_eq!(kill_listeners(&fleet.database), 2);
    until_deaf(&there);
    assert_eq!(here.delete_as(&ended.token, "/_sessions/current").status, 204);
    cache(&there, &ended); // Until its time is over: nobody has told, and the store is not asked.

    link.mend();
    until_hearing(&there);
    assert_eq!(refusal(&there, &ended), "session_revoked");
    cache(&there, &kept);
    until_hearing(here);
    told(&there, || drop(here.delete_as(&kept.token, "/_sessions/current")));
    assert_eq!(refusal(&there, &kept), "session_revoked");
}

#[test]
fn a_listening_connection_that_is_cut_again_and_again_comes_back_every_time() {
    let fleet = Fleet::start(2, LONG);
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    for _ in 0..5 {
        let session = login(here, "ann");
        cache(there, &session);
        assert!(kill_listeners(&fleet.database) > 0);
        assert_eq!(here.delete_as(&session.token, "/_sessions/current").status, 204);
        wait_until("refused", || refusal(there, &session) == "session_revoked");
        until_hearing(there);
        until_hearing(here);
    }
}

#[test]
fn a_listening_connection_that_only_looks_alive_is_noticed() {
    let cluster = Cluster::start(&[]);
    let toml = format!("{LONG}[store]\ntimeout = \"500ms\"\n");
    let fleet = Fleet::on(cluster.fresh_database(), 1, &toml);
    let gateway = &fleet.gateways[0];
    let pid = fleet.database.run(&format!("SELECT pid {LISTENERS}"))[0].clone().unwrap();
    let signal = |name: &str| {
        assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    };
    signal("STOP");
    until_deaf(gateway);
    signal("CONT");
    until_hearing(gateway);
}

#[test]
fn without_notifications_a_change_made_elsewhere_holds_after_the_ttl() {
    let toml = "[cache]\nttl = \"1s\"\n[store]\nnotify = \"off\"\n";
    let fleet = Fleet::start(0, toml);
    let start = || crate::support::gateway::Gateway::start_on(&fleet.database.url(), &fleet.upstream.url(), toml);
    let (here, there) = (start(), start());
    assert_eq!(super::readiness(&there), (200, "ok\n".to_owned()), "it is as it shall be");
    let session = login(&here, "ann");
    cache(&here, &session);
    cache(&there, &session);
    assert_eq!(here.delete_as(&session.token, "/_sessions/current").status, 204);
    let ended = now();
    assert_eq!(refusal(&here, &session), "session_revoked", "here at once");
    wait_until("refused there", || refusal(&there, &session) == "session_revoked");
    assert!(ended.elapsed() < Duration::from_millis(1_300), "{:?}", ended.elapsed());
    assert_eq!(fleet.database.run(&format!("SELECT pid {LISTENERS}")).len(), 0);
}

#[test]
fn after_a_restart_of_postgresql_everything_is_as_before() {
    let cluster = Cluster::start(&[]);
    let fleet = Fleet::on(cluster.fresh_database(), 2, LONG);
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let (ended, kept) = (login(here, "ann"), login(here, "ann"));
    cache(there, &ended);
    cache(there, &kept);
    cluster.stop();
    for gateway in &fleet.gateways {
        wait_until("it knows that the store is away", || gateway.ops_get("/readyz").status == 503);
    }
    cluster.restart();
    for gateway in &fleet.gateways {
        until_hearing(gateway);
    }
    told(there, || assert_eq!(here.delete_as(&ended.token, "/_sessions/current").status, 204));
    assert_eq!(refusal(there, &ended), "session_revoked");
    cache(there, &kept);
}
