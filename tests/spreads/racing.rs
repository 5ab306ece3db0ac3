//! Changes that meet what another gateway is just doing.

use std::thread;

use serde_json::json;

use super::{Fleet, LONG, cache, heard, login, refusal};
use crate::support::link::Way;
use crate::support::wait_until;

/// Fifty logins of one user wait for each other, on a machine that may be busy.
const PATIENT: &str = "[cache]\nttl = \"10m\"\n[store]\ntimeout = \"30s\"\n";

#[test]
fn a_session_revoked_while_another_gateway_loads_it_does_not_stay_there() {
    let fleet = Fleet::start(1, LONG);
    let (link, there) = fleet.behind_link(&format!("{LONG}[store]\npool_size = 1\n"));
    let here = &fleet.gateways[0];
    // The statement is prepared by then, and a load is one question and one answer.
    cache(&there, &login(here, "ann"));
    for _ in 0..5 {
        let session = login(here, "ann");
        link.hold(Way::Answers);
        thread::scope(|scope| {
            let loading = scope.spawn(|| there.get_as(&session.token, "/").status);
            // The row was read as it was; it is on its way.
            wait_until("the answer is held up", || link.waiting() > 0);
            let before = heard(&there);
            assert_eq!(here.delete_as(&session.token, "/_sessions/current").status, 204);
            wait_until("the end is heard of", || heard(&there) > before);
            link.release();
            assert_eq!(loading.join().unwrap(), 200, "it began before");
        });
        assert_eq!(refusal(&there, &session), "session_revoked");
    }
}

#[test]
fn fifty_logins_at_once_on_two_gateways_leave_as_many_sessions_as_allowed() {
    for max in [1, 2, 3] {
        let fleet = Fleet::start(2, &format!("{PATIENT}[policy.max_sessions]\ndefault = {max}\n"));
        for round in 0..3 {
            let user = format!("user-{round}");
            let sessions: Vec<_> = thread::scope(|scope| {
                let logins: Vec<_> = (0..50)
                    .map(|number| {
                        let (gateway, user) = (&fleet.gateways[number % 2], &user);
                        scope.spawn(move || {
                            let session = gateway.login_with(json!({ "user": user }));
                            gateway.get_as(&session.token, "/");
                            session
                        })
                    })
                    .collect();
                logins.into_iter().map(|login| login.join().unwrap()).collect()
            });
            let live = |gateway| sessions.iter().filter(|session| refusal(gateway, session).is_empty()).count();
            for gateway in &fleet.gateways {
                wait_until("the last eviction is known", || live(gateway) == max);
            }
            let rows = format!("SELECT count(*) FROM sessions WHERE user_id = '{user}' AND state = 'active'");
            assert_eq!(fleet.run(&rows), [Some(max.to_string())]);
        }
    }
}

#[test]
fn whatever_order_the_first_use_and_the_end_come_in_the_end_stays() {
    let fleet = Fleet::start(2, PATIENT);
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    for _ in 0..200 {
        let session = here.login_with(json!({ "user": "ann" }));
        thread::scope(|scope| {
            scope.spawn(|| there.get_as(&session.token, "/"));
            scope.spawn(|| assert_eq!(here.delete_as(&session.token, "/_sessions/current").status, 204));
        });
        wait_until("it is refused there", || refusal(there, &session) == "session_revoked");
        assert_eq!(refusal(here, &session), "session_revoked");
    }
    let kept = login(here, "ann");
    cache(there, &kept);
}
