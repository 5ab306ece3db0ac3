//! Every kind of change, made on one gateway or beside all of them.

use std::time::Duration;

use super::{Fleet, LONG, cache, heard, login, refusal, told, two, until_hearing};
use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::wait_until;

/// Makes a session that both gateways have in memory, changes it, and looks at what the other gateway says then.
fn spreads(fleet: &Fleet, code: &str, change: impl Fn(&Gateway, &Issued)) {
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let session = login(here, "ann");
    cache(here, &session);
    cache(there, &session);
    let took = told(there, || change(here, &session));
    assert_eq!(refusal(there, &session), code);
    assert_eq!(refusal(here, &session), code);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_logout_is_known_everywhere_at_once() {
    spreads(&two(), "session_revoked", |here, session| {
        assert_eq!(here.delete_as(&session.token, "/_sessions/current").status, 204);
    });
}

#[test]
fn an_end_by_another_session_of_the_user_is_known_everywhere_at_once() {
    let fleet = two();
    for target in ["/_sessions?others=true", "/_sessions?id=ID", "/_sessions/ID"] {
        spreads(&fleet, "session_revoked", |here, session| {
            let other = login(here, "ann");
            let target = target.replace("ID", &session.id);
            let answer = here.delete_as(&other.token, &target);
            assert!(answer.status < 300, "{answer:?}");
            here.delete_as(&other.token, "/_sessions/current");
        });
    }
}

#[test]
fn an_eviction_is_known_everywhere_at_once() {
    let fleet = Fleet::start(2, &format!("{LONG}[policy.max_sessions]\ndefault = 1\n"));
    spreads(&fleet, "session_evicted", |here, _| {
        login(here, "ann");
    });
}

#[test]
fn a_suspension_is_known_everywhere_at_once() {
    spreads(&two(), "session_suspended", |here, session| {
        let headers = format!("User-Agent: other/1.0\r\n{}", bearer(&session.token));
        assert_eq!(here.get("/", &headers).code(), "session_suspended");
    });
}

#[test]
fn what_an_operator_changes_by_hand_is_known_everywhere_at_once() {
    let fleet = two();
    let by_hand = |code: &str, sql: &str| {
        spreads(&fleet, code, |here, session| {
            // Nobody's own change: here it has to be heard of as well, which may be a moment later.
            told(here, || drop(fleet.run(&sql.replace("ID", &session.id))));
        });
    };
    by_hand(
        "session_revoked",
        "UPDATE sessions SET state = 'ended', state_reason = 'revoked', ended_at = now(), ended_by = 'operator' WHERE id = 'ID'",
    );
    by_hand("session_expired", "UPDATE sessions SET expires_at = now() - interval '1 second' WHERE id = 'ID'");
    by_hand("unknown_token", "DELETE FROM sessions WHERE id = 'ID'");
    by_hand("session_revoked", "UPDATE users SET not_before = now() + interval '1 second' WHERE id = 'ann'");
    told(&fleet.gateways[1], || drop(fleet.run("UPDATE users SET not_before = NULL")));
    by_hand("user_disabled", "UPDATE users SET enabled = false WHERE id = 'ann'");
    told(&fleet.gateways[1], || drop(fleet.run("UPDATE users SET enabled = true")));
    by_hand("unknown_token", "TRUNCATE sessions CASCADE");
}

#[test]
fn a_role_that_was_taken_away_is_known_everywhere_at_once() {
    let fleet = two();
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let session = here.login_with(serde_json::json!({
        "user": "ann", "roles": ["staff"], "user_agent": "acme-test/1.0", "ip": "127.0.0.1"
    }));
    cache(there, &session);
    told(there, || drop(fleet.run("UPDATE sessions SET roles = '{}'")));
    cache(there, &session);
    let heads: Vec<_> = fleet.upstream.received().iter().map(|request| request.head.to_ascii_lowercase()).collect();
    assert!(heads[0].contains("x-auth-roles: staff") && !heads[1].contains("x-auth-roles: staff"), "{heads:?}");
}

#[test]
fn a_token_rotated_on_one_gateway_is_in_its_grace_on_the_other() {
    let fleet = Fleet::start(2, &format!("{LONG}[session]\nrotate_grace = \"2s\"\n"));
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let old = login(here, "ann");
    cache(there, &old);
    let mut new = old.clone();
    told(there, || {
        let answer = here.request("POST", "/_sessions/rotate", &bearer(&old.token), b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        new.token = answer.json()["token"].as_str().unwrap().to_owned();
    });
    for gateway in [here, there] {
        cache(gateway, &old);
        cache(gateway, &new);
    }
    wait_until("the grace is over", || refusal(there, &old) == "session_revoked");
    wait_until("the theft is known here too", || refusal(here, &new) == "session_revoked");
}

#[test]
fn a_gateway_is_not_told_of_what_it_did_itself() {
    let fleet = two();
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let (ended, kept) = (login(here, "ann"), login(here, "ann"));
    cache(here, &ended);
    cache(here, &kept);
    told(there, || drop(here.delete_as(&ended.token, "/_sessions/current")));
    let finds = here.store_finds();
    assert_eq!(heard(here), 0.0);
    cache(here, &kept);
    assert_eq!(here.store_finds(), finds);
}

#[test]
fn the_use_of_sessions_tells_nobody_anything() {
    let fleet = Fleet::start(2, &format!("{LONG}[session]\ntouch_interval = \"100ms\"\n"));
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let session = login(here, "ann");
    wait_until("its use is written down", || {
        cache(here, &session);
        fleet.run("SELECT 1 FROM sessions WHERE last_seen_at > created_at").len() == 1
    });
    told(there, || drop(here.delete_as(&session.token, "/_sessions/current")));
    assert_eq!(heard(there), 1.0, "of the end, and of nothing before");
}

#[test]
fn two_thousand_sessions_ended_at_once_go_in_a_few_notifications() {
    const COUNT: usize = 2_000;

    let fleet = Fleet::start(3, LONG);
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let first = login(here, "ann");
    fleet.run(&format!(
        "INSERT INTO sessions (id, token_hash, user_id, roles, created_at, last_seen_at, user_agent, bound_ip) \
         SELECT gen_random_uuid(), sha256(convert_to(lpad(n::text, 43, 'A'), 'UTF8')), 'ann', '{{}}', now(), now(), \
         'acme-test/1.0', '127.0.0.1' FROM generate_series(1, {COUNT}) n"
    ));
    let token = |number: usize| format!("{number:A>43}");
    let statuses = |connection: &mut crate::support::client::Connection| {
        (1..=COUNT)
            .map(|number| {
                let headers = format!("Host: app.test\r\nUser-Agent: acme-test/1.0\r\n{}\r\n", bearer(&token(number)));
                connection.send(format!("GET / HTTP/1.1\r\n{headers}"));
                connection.read("GET").status
            })
            .collect::<Vec<_>>()
    };
    let mut connection = there.connect();
    assert_eq!(statuses(&mut connection), [200; COUNT]);
    let finds = there.store_finds();

    let answer = here.delete_as(&first.token, "/_sessions?all=true");

    assert_eq!(answer.json()["ended"], COUNT + 1);
    let needed = (COUNT + 1).div_ceil(350) as f64;
    wait_until("all is heard", || heard(there) >= needed);
    assert_eq!((heard(there), there.store_finds()), (needed, finds));
    assert_eq!(statuses(&mut connection), [401; COUNT]);
    assert_eq!(heard(&fleet.gateways[2]), needed);
}

#[test]
fn a_notification_of_a_form_that_is_not_known_may_mean_anything() {
    let fleet = two();
    let (here, there) = (&fleet.gateways[0], &fleet.gateways[1]);
    let session = login(here, "ann");
    cache(there, &session);
    told(there, || drop(fleet.run("SELECT pg_notify('session_gateway', '2 something new')")));
    let finds = there.store_finds();
    cache(there, &session);
    assert_eq!(there.store_finds(), finds + 1.0);
    until_hearing(there);
}
