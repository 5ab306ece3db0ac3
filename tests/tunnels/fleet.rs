//! Several gateways on one PostgreSQL: what ends on one of them, or by hand, ends on all.

use std::time::Duration;

use serde_json::json;

use crate::support::gateway::{AGENT, Gateway, Issued, bearer};
use crate::support::link::Link;
use crate::support::peer::Peer;
use crate::support::postgres::{Database, fresh_database};
use crate::support::websocket::{Open, open, read_close};
use crate::support::{now, wait_until};
use crate::{BOUND, while_nothing_happens};

/// Whatever is noticed was not noticed because its time was over.
const LONG: &str = "[cache]\nttl = \"10m\"\n";

struct Fleet {
    database: Database,
    peer: Peer,
    here: Gateway,
    there: Gateway,
    /// What lies between the second one and the database.
    link: Link,
}

fn fleet(toml: &str) -> Fleet {
    let (database, peer) = (fresh_database(), Peer::listen());
    let link = Link::to(database.port);
    let here = Gateway::start_on(&database.url(), &peer.url(), toml);
    let there = Gateway::start_on(&database.url_at("127.0.0.1", link.address.port()), &peer.url(), toml);
    Fleet { database, peer, here, there, link }
}

fn login(gateway: &Gateway, user: &str) -> Issued {
    gateway.login_with(json!({ "user": user, "user_agent": AGENT, "ip": "127.0.0.1" }))
}

#[track_caller]
fn closes(opened: &mut Open, why: &str) {
    let began = now();
    assert_eq!(read_close(&mut opened.client).1, why);
    let took = began.elapsed();
    assert!(took < BOUND, "{took:?}");
    assert!(opened.app.is_closed());
}

#[test]
fn an_end_on_one_gateway_closes_the_tunnels_on_the_others() {
    let fleet = fleet(LONG);
    let session = login(&fleet.here, "ann");
    let mut opened = open(&fleet.there, &fleet.peer, &bearer(&session.token));
    opened.works();
    fleet.here.delete_as(&session.token, "/_sessions/current");
    closes(&mut opened, "session_revoked");
}

#[test]
fn what_an_operator_changes_by_hand_closes_them_too() {
    let fleet = fleet(LONG);
    for (why, sql) in [
        ("session_expired", "UPDATE sessions SET expires_at = now() - interval '1 second' WHERE id = 'ID'"),
        ("session_changed", "UPDATE sessions SET roles = '{staff}' WHERE id = 'ID'"),
        ("unknown_token", "DELETE FROM sessions WHERE id = 'ID'"),
        ("user_disabled", "UPDATE users SET enabled = false WHERE id = 'ann'"),
    ] {
        let session = login(&fleet.here, "ann");
        let mut opened = open(&fleet.there, &fleet.peer, &bearer(&session.token));
        opened.works();
        fleet.database.run(&format!("SET search_path = session_gateway; {}", sql.replace("ID", &session.id)));
        closes(&mut opened, why);
    }
}

#[test]
fn after_a_lost_connection_everything_is_asked_anew() {
    let fleet = fleet(LONG);
    let (ended, kept) = (login(&fleet.here, "ann"), login(&fleet.here, "bob"));
    let mut of_ended = open(&fleet.there, &fleet.peer, &bearer(&ended.token));
    let mut of_kept = open(&fleet.there, &fleet.peer, &bearer(&kept.token));
    fleet.link.cut();
    // It may be asked for a session in between, and then knows that the store is away.
    fleet.here.delete_as(&ended.token, "/_sessions/current");
    while_nothing_happens(Duration::from_millis(700));
    of_ended.works();
    fleet.link.mend();
    assert_eq!(read_close(&mut of_ended.client), (1008, "session_revoked".to_owned()));
    wait_until("it hears again", || fleet.there.ops_get("/readyz").text() == "ok\n");
    while_nothing_happens(Duration::from_millis(700));
    of_kept.works();
}

#[test]
fn while_the_store_is_away_they_go_on_for_as_long_as_the_settings_say() {
    let fleet = fleet("[cache]\nttl = \"300ms\"\nserve_while_store_down = \"3s\"\n");
    let session = login(&fleet.here, "ann");
    let mut opened = open(&fleet.there, &fleet.peer, &bearer(&session.token));
    fleet.link.cut();
    let began = now();
    while_nothing_happens(Duration::from_millis(1500));
    opened.works();
    assert_eq!(read_close(&mut opened.client), (1013, "store_unavailable".to_owned()));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(2500) && took < Duration::from_secs(3) + BOUND, "{took:?}");
}

#[test]
fn what_is_known_to_have_changed_does_not_go_on_while_the_store_is_away() {
    let fleet = fleet(LONG);
    let session = login(&fleet.there, "ann");
    let mut opened = open(&fleet.there, &fleet.peer, &bearer(&session.token));
    // The answer to the call comes, and at once after it nobody can be asked any more.
    fleet.there.delete_as(&session.token, "/_sessions/current");
    fleet.link.cut();
    let (code, why) = read_close(&mut opened.client);
    assert!(matches!((code, why.as_str()), (1008, "session_revoked") | (1013, "store_unavailable")), "{code} {why}");
}

#[test]
fn a_thousand_notices_and_an_emptied_cache_leave_what_is_good_open() {
    let fleet = fleet(LONG);
    let sessions: Vec<_> = (0..100).map(|number| login(&fleet.here, &format!("user{number}"))).collect();
    let mut opened: Vec<_> =
        sessions.iter().map(|session| open(&fleet.there, &fleet.peer, &bearer(&session.token))).collect();
    // Of a form that is not known: it may mean anything.
    fleet.database.run("SELECT pg_notify('session_gateway', '2 something new')");
    wait_until("it is heard", || fleet.there.metric("gateway_notifications_total") >= 1.0);
    while_nothing_happens(Duration::from_millis(700));
    opened.iter_mut().for_each(Open::works);
    assert_eq!(fleet.there.metric("gateway_tunnels_open"), 100.0);
}
