//! A change whose answer got lost: nobody knows whether it was made, and nothing is served as if it had not been.

use super::{Fleet, LONG, cache, login, refusal, until_hearing};
use crate::support::gateway::Gateway;
use crate::support::link::Way;
use crate::support::wait_until;

const SHORT: &str =
    "[cache]\nttl = \"10m\"\nserve_while_store_down = \"10m\"\n[store]\ntimeout = \"500ms\"\npool_size = 1\n";

/// Ends a session in the way that is to be held up later: the statement is then prepared on the pool's one connection, and
/// goes in one piece.
fn rehearse(gateway: &Gateway, target: &str) {
    let session = login(gateway, "somebody");
    assert!(gateway.delete_as(&session.token, target).status < 300);
}

#[test]
fn a_revocation_whose_answer_got_lost_is_not_served_from_memory() {
    let fleet = Fleet::start(1, LONG);
    let (link, there) = fleet.behind_link(SHORT);
    for target in ["/_sessions/current", "/_sessions?all=true"] {
        let session = login(&there, "ann");
        rehearse(&there, target);
        cache(&there, &session);
        link.refuse();
        link.hold(Way::Answers);
        let answer = there.delete_as(&session.token, target);
        assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "not a false 204");
        // It was made: the other gateway says so.
        wait_until("it is ended", || refusal(&fleet.gateways[0], &session) == "session_revoked");
        assert_eq!(refusal(&there, &session), "store_unavailable", "who asked for an end is not let in again");
        link.mend();
        link.release();
        until_hearing(&there);
        assert_eq!(refusal(&there, &session), "session_revoked");
    }
}

#[test]
fn a_revocation_that_comes_to_the_server_after_it_was_given_up_is_heard_of() {
    let fleet = Fleet::start(1, LONG);
    let (link, there) = fleet.behind_link(SHORT);
    let session = login(&there, "ann");
    rehearse(&there, "/_sessions/current");
    cache(&there, &session);
    link.hold(Way::Questions);
    assert_eq!(there.delete_as(&session.token, "/_sessions/current").status, 503);
    // By other connections the store is up again before the question has arrived.
    until_hearing(&there);
    cache(&there, &session);
    link.release();
    wait_until("its own late change is heard of", || refusal(&there, &session) == "session_revoked");
}

#[test]
fn a_session_evicted_by_a_login_whose_answer_got_lost_is_not_served_from_memory() {
    let limit = "[policy.max_sessions]\ndefault = 1\n";
    let fleet = Fleet::start(1, LONG);
    let (link, there) = fleet.behind_link(&format!("{SHORT}{limit}"));
    let (old, other) = (login(&there, "ann"), login(&there, "bob"));
    cache(&there, &old);
    cache(&there, &other);
    link.refuse();
    link.hold(Way::Answers);
    assert_eq!(there.issue(&serde_json::json!({ "user": "ann" })).status, 503);
    assert_eq!(refusal(&there, &old), "store_unavailable");
    cache(&there, &other); // It concerns nobody else.
    link.mend();
    link.release();
    until_hearing(&there);
    cache(&there, &other);
}

#[test]
fn an_administrator_s_change_whose_answer_got_lost_is_not_served_from_memory() {
    let admin = "[admin]\nusers = [\"root\"]\n";
    let fleet = Fleet::start(1, &format!("{LONG}{admin}"));
    let (link, there) = fleet.behind_link(&format!("{SHORT}{admin}"));
    let root = login(&there, "root");
    let (ended, other) = (login(&there, "ann"), login(&there, "bob"));
    for session in [&root, &ended, &other] {
        cache(&there, session);
    }
    link.refuse();
    link.hold(Way::Answers);
    let answer = there.delete_as(&root.token, "/_sessions/admin/sessions?user=ann");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(refusal(&there, &ended), "store_unavailable");
    cache(&there, &other);
    link.mend();
    link.release();
    until_hearing(&there);
    cache(&there, &other);
}
