//! What happened during an outage, and what follows from it when the store is back.

use crate::support::client::Response;
use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::wait_until;
use crate::{Behind, assert_unavailable};

/// The session under its new token.
fn rotated(gateway: &Gateway, session: &Issued) -> String {
    let response = gateway.request("POST", "/_sessions/rotate", &bearer(&session.token), b"");
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["token"].as_str().unwrap().to_owned()
}

/// A request with the session's token from another browser.
fn steal(gateway: &Gateway, session: &Issued) -> Response {
    gateway.get("/", &format!("{}User-Agent: thief/1.0\r\n", bearer(&session.token)))
}

#[test]
fn a_session_ended_during_the_outage_is_refused_as_soon_as_the_store_is_back() {
    let behind = Behind::start("[cache]\nttl = \"60s\"\nserve_while_store_down = \"60s\"");
    let gateway = &behind.gateway;
    let (ended, kept) = (gateway.login("ann"), gateway.login("ann"));
    for session in [&ended, &kept] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
    behind.cut();
    behind.end_in_database(&ended);
    assert_eq!(gateway.get_as(&ended.token, "/").status, 200, "nobody can know yet");

    behind.mend();

    assert_eq!(gateway.get_as(&ended.token, "/").code(), "session_revoked");
    assert_eq!(gateway.get_as(&kept.token, "/").status, 200);
}

#[test]
fn a_session_stolen_during_the_outage_is_refused_at_once_and_suspended_when_the_store_is_back() {
    let behind = Behind::start("[cache]\nttl = \"60s\"\nserve_while_store_down = \"60s\"");
    let gateway = &behind.gateway;
    let (stolen, kept) = (gateway.login("ann"), gateway.login("ann"));
    for session in [&stolen, &kept] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
    behind.cut();
    assert_eq!(steal(gateway, &stolen).code(), "session_suspended");

    assert_unavailable(&gateway.get_as(&stolen.token, "/"));
    assert_eq!(gateway.get_as(&kept.token, "/").status, 200, "nobody else is concerned");

    behind.mend();

    // Nobody asks for it: it is written down all the same, for the other gateways.
    let (sql, suspended) = (
        format!("SELECT state || ' ' || state_reason FROM sessions WHERE id = '{}'", stolen.id),
        "suspended user_agent_changed",
    );
    wait_until("the suspension is written down", || behind.database.run(&sql)[0].as_deref() == Some(suspended));
    assert_eq!(gateway.get_as(&stolen.token, "/").code(), "session_suspended");
    assert_eq!(gateway.get_as(&kept.token, "/").status, 200);
    let sql = format!(
        "SELECT user_agent || ' ' || host(ip) FROM events WHERE kind = 'session_suspended' AND session_id = '{}'",
        stolen.id
    );
    assert_eq!(behind.database.run(&sql)[0].as_deref(), Some("thief/1.0 127.0.0.1"));
}

#[test]
fn a_session_stolen_during_the_outage_never_comes_through_when_it_is_over() {
    for _ in 0..3 {
        let behind = Behind::start("[cache]\nttl = \"60s\"\nserve_while_store_down = \"60s\"");
        let gateway = &behind.gateway;
        let stolen = gateway.login("ann");
        assert_eq!(gateway.get_as(&stolen.token, "/").status, 200);
        behind.cut();
        assert_eq!(steal(gateway, &stolen).code(), "session_suspended");
        behind.link.mend();
        // The first request after the outage is there before the task that writes such suspensions down.
        wait_until("the session is refused for what happened to it", || {
            let answer = gateway.get_as(&stolen.token, "/");
            assert_ne!(answer.status, 200);
            answer.code() == "session_suspended"
        });
    }
}

#[test]
fn a_session_whose_old_token_comes_again_during_the_outage_ends_when_the_store_is_back() {
    let behind =
        Behind::start("[session]\nrotate_grace = \"300ms\"\n[cache]\nttl = \"60s\"\nserve_while_store_down = \"60s\"");
    let gateway = &behind.gateway;
    let session = gateway.login("ann");
    let new = rotated(gateway, &session);
    // From here on this process knows what the old token stands for.
    for token in [&session.token, &new] {
        assert_eq!(gateway.get_as(token, "/").status, 200);
    }
    behind.cut();
    wait_until("its grace is over", || gateway.get_as(&session.token, "/").status != 200);
    assert_unavailable(&gateway.get_as(&new, "/"));
    behind.mend();
    wait_until("it has ended", || gateway.get_as(&new, "/").code() == "session_revoked");
    let sql = format!("SELECT ended_by || ' ' || state_reason FROM sessions WHERE id = '{}'", session.id);
    assert_eq!(behind.database.run(&sql)[0].as_deref(), Some("policy token_reused"));
}

#[test]
fn limits_that_were_corrected_during_the_outage_are_not_enforced_after_it() {
    let behind = Behind::start("");
    let gateway = &behind.gateway;
    let sessions = [gateway.login("ann"), gateway.login("ann")];
    for _ in 0..5 {
        gateway.login("bob");
    }
    behind.cut();
    for limit in [1, 4] {
        let toml = format!("[policy.max_sessions]\ndefault = {limit}\nenforce_on_reload = true\n");
        gateway.adopt(&behind.upstream.url(), &toml);
    }
    behind.mend();
    let live = "SELECT 1 FROM sessions WHERE state = 'active' AND user_id = 'bob'";
    wait_until("the limits are enforced", || behind.database.run(live).len() < 5);
    for _ in 0..20 {
        for session in &sessions {
            assert_eq!(gateway.get_as(&session.token, "/").status, 200);
        }
    }
    assert_eq!(behind.database.run(live).len(), 4);
}
