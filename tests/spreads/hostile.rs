//! The database's other users: who may connect, and who changes rows by hand.

use super::{cache, heard, login, refusal, told, two};
use crate::support::wait_until;

#[test]
fn what_a_hostile_search_path_offers_is_not_run_by_who_changes_a_row_by_hand() {
    let fleet = two();
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let (first, second) = (login(here, "ann"), login(here, "bob"));
    cache(there, &first);
    cache(there, &second);
    // What anybody could put into a schema that all may write to: a better match than the system's own.
    fleet.database.run(
        "CREATE TABLE public.trapped (by text);
         CREATE FUNCTION public.concat_ws(text, text, bigint, text, text) RETURNS text LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.trapped VALUES (''concat_ws''); RETURN ''''; END';
         CREATE FUNCTION public.times(numeric, integer) RETURNS numeric LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.trapped VALUES (''times''); RETURN 0; END';
         CREATE OPERATOR public.* (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.times);",
    );
    let by_hand = |sql: &str| {
        told(there, || {
            fleet.database.run(&format!("SET search_path = public; {sql}"));
        });
    };
    by_hand(&format!(
        "UPDATE session_gateway.sessions SET state = 'ended', state_reason = 'revoked', ended_at = now() WHERE id = '{}'",
        first.id
    ));
    by_hand("UPDATE session_gateway.users SET enabled = false WHERE id = 'bob'");
    assert_eq!(fleet.database.run("SELECT by FROM public.trapped"), []);
    assert_eq!(refusal(there, &first), "session_revoked");
    assert_eq!(refusal(there, &second), "user_disabled");
}

#[test]
fn no_notification_that_somebody_makes_up_does_more_than_have_the_store_asked_again() {
    let fleet = two();
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let session = login(here, "ann");
    cache(there, &session);
    let id = "A".repeat(22);
    let before = heard(there);
    let payloads = [
        String::new(),
        "*".to_owned(),
        "1 0 - *".to_owned(),
        format!("1 {} - {id}", i64::MIN),
        format!("1 {} - {id}", i64::MAX),
        format!("1 99999999999999999999999 - {id}"),
        format!("1 -1 - {}", id.repeat(362)),
        "1 0 - é".repeat(900),
        format!("2 0 - {id}"),
    ];
    for payload in &payloads {
        fleet.database.run(&format!("SELECT pg_notify('session_gateway', '{payload}')"));
    }
    wait_until("all were heard", || heard(there) >= before + payloads.len() as f64);
    cache(there, &session);
    assert_eq!(here.delete_as(&session.token, "/_sessions/current").status, 204);
    wait_until("the real ones are still heeded", || refusal(there, &session) == "session_revoked");
    let lag = there.metric("gateway_notification_lag_seconds_sum");
    assert!(lag < 60.0, "a made-up time is no lag: {lag}");
}
