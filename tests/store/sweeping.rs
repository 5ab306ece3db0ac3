//! Removing what has been over for long enough, and nothing else.

use std::time::Duration;

use session_gateway::clock::Timestamp;
use session_gateway::session::{Actor, EndReason, SessionId, State, SuspendReason};
use session_gateway::store::{
    Ending, Event, NewSession, Offender, OnExceed, Retention, Rotation, Stage, Sweep, Swept, Touch, Which,
};
use session_gateway::token::Token;

use crate::fixture::{Fixture, at, ip, max, new, new_with_token, sorted, user};

const DAY: Duration = Duration::from_secs(86_400);
/// Nothing by number, everything by age.
const MONTH: Retention =
    Retention { keep_for: Some(Duration::from_secs(30 * 86_400)), keep_per_user: None, idle_timeout: None };
/// Nothing by age, everything by number.
const TWO: Retention = Retention { keep_for: None, keep_per_user: Some(2), idle_timeout: None };

/// So many days after a beginning that lies well behind every clock: a database does not believe a time beyond its own.
fn day(number: u32) -> Timestamp {
    at(0).minus(DAY * 1000).plus(DAY * number)
}

/// A session that never expires.
fn lasting(user: &str, now: Timestamp) -> NewSession {
    NewSession { expires_at: None, ..new(user, now) }
}

async fn end(fixture: &Fixture, id: SessionId, now: Timestamp) {
    let actor = Actor::Operator;
    let ending = Ending { reason: EndReason::Revoked, current: None, actor: &actor, now };
    assert_eq!(fixture.store.end(Which::One(id), ending).await.unwrap().len(), 1);
}

/// A session that has ended.
async fn ended(fixture: &Fixture, user: &str, created: Timestamp, over: Timestamp) -> SessionId {
    let id = fixture.create(lasting(user, created)).await.0;
    end(fixture, id, over).await;
    id
}

/// Every call of a sweep.
async fn calls(
    fixture: &Fixture,
    retention: Retention,
    now: Timestamp,
    since: Option<Timestamp>,
    batch: u32,
) -> Vec<Swept> {
    let mut calls = Vec::new();
    let mut next = Some(Stage::FIRST);
    while let Some(stage) = next {
        let swept = fixture.store.sweep(Sweep { retention, now, since, batch, stage }).await.unwrap();
        next = swept.next;
        calls.push(swept);
        assert!(calls.len() < 1000, "it does not come to an end");
    }
    calls
}

/// How many sessions and events a whole sweep removes.
async fn sweep(fixture: &Fixture, retention: Retention, now: Timestamp) -> (u64, u64) {
    let calls = calls(fixture, retention, now, None, 50).await;
    (calls.iter().map(|swept| swept.sessions).sum(), calls.iter().map(|swept| swept.events).sum())
}

async fn there(fixture: &Fixture, ids: &[SessionId]) -> Vec<bool> {
    let mut there = Vec::new();
    for id in ids {
        there.push(fixture.store.get(*id).await.unwrap().is_some());
    }
    there
}

both! {
    async fn an_ended_session_stays_for_a_while_and_then_goes_with_its_events_and_its_old_tokens(fixture) {
        let (new, token) = new_with_token("ann", day(0));
        let (id, digest) = (new.id, token.digest());
        fixture.create(NewSession { expires_at: None, ..new }).await;
        let next = Token::generate(32).unwrap().digest();
        let actor = Actor::Operator;
        let rotation = Rotation { id, from: digest, to: next, grace: DAY, actor, now: day(0) };
        fixture.store.rotate(rotation).await.unwrap();
        end(&fixture, id, day(1)).await;

        assert_eq!(sweep(&fixture, MONTH, day(31)).await, (0, 2), "what is a month old but the end, which is not");
        assert_eq!(fixture.state(id).await, State::Ended(EndReason::Revoked), "its reason can be told");
        assert_eq!(sweep(&fixture, MONTH, day(31).plus(DAY / 2)).await, (1, 1));
        for digest in [digest, next] {
            assert!(fixture.store.find(&digest).await.unwrap().is_none());
        }
        for table in ["sessions", "events", "retired_tokens"] {
            assert!(fixture.rows(table).await.is_empty(), "{table}");
        }
        assert_eq!(fixture.rows("users").await.len(), 1);
    }

    async fn an_expired_session_goes_as_long_after_its_expiry_whatever_its_state(fixture) {
        let expiring = || NewSession { expires_at: Some(day(10)), ..new("ann", day(0)) };
        let (active, suspended, lasting) = (expiring(), expiring(), lasting("ann", day(0)));
        let ids = [active.id, suspended.id, lasting.id];
        for new in [active, suspended, lasting] {
            fixture.create(new).await;
        }
        let reason = SuspendReason::UserAgentChanged;
        fixture.store.suspend(ids[1], reason, &Actor::Policy, None, day(1)).await.unwrap().unwrap();
        assert_eq!(sweep(&fixture, MONTH, day(40)).await, (0, 0));
        assert_eq!(sweep(&fixture, MONTH, day(41)).await, (2, 3));
        assert_eq!(there(&fixture, &ids).await, [false, false, true]);
    }

    async fn a_live_or_suspended_session_stays_with_its_events_however_old(fixture) {
        let live = fixture.create(lasting("ann", day(0))).await.0;
        let suspended = fixture.create(lasting("ann", day(0))).await.0;
        let reason = SuspendReason::UserAgentChanged;
        fixture.store.suspend(suspended, reason, &Actor::Policy, None, day(1)).await.unwrap().unwrap();
        let before = fixture.rows("events").await.len();
        let strict = Retention { keep_per_user: Some(0), ..MONTH };
        assert_eq!(sweep(&fixture, strict, day(900)).await, (0, 0));
        assert_eq!(there(&fixture, &[live, suspended]).await, [true, true]);
        assert_eq!(fixture.rows("events").await.len(), before);
        // Their end is the beginning of their end.
        end(&fixture, live, day(901)).await;
        assert_eq!(sweep(&fixture, MONTH, day(902)).await, (0, 1), "the creation is old now");
    }

    async fn a_session_unused_for_longer_than_it_may_goes_as_long_after_that(fixture) {
        let slides = |user| NewSession { slide: Some(DAY * 7), ..lasting(user, day(0)) };
        let (unused, used, plain) = (slides("ann"), slides("bob"), lasting("eve", day(0)));
        let ids = [unused.id, used.id, plain.id];
        for new in [unused, used, plain] {
            fixture.create(new).await;
        }
        fixture.store.touch(&[Touch { id: ids[1], at: day(5), ip: ip("192.0.2.1") }]).await.unwrap();
        assert_eq!(sweep(&fixture, MONTH, day(37)).await.0, 0);
        assert_eq!(sweep(&fixture, MONTH, day(38)).await.0, 1);
        assert_eq!(there(&fixture, &ids).await, [false, true, true]);
        // An idle timeout holds for all, and the shorter of the two counts.
        let idle = Retention { idle_timeout: Some(DAY * 2), ..MONTH };
        assert_eq!(sweep(&fixture, idle, day(36)).await.0, 1);
        assert_eq!(there(&fixture, &ids).await, [false, true, false]);
        assert_eq!(sweep(&fixture, idle, day(38)).await.0, 1);
    }

    async fn a_session_that_ended_by_a_word_about_its_user_goes_too(fixture) {
        let id = fixture.create(lasting("ann", day(0))).await.0;
        let other = fixture.create(lasting("bob", day(0))).await.0;
        let not_before = fixture.literal(day(10));
        fixture.execute(&format!("UPDATE users SET not_before = {not_before} WHERE id = 'ann'")).await.unwrap();
        assert_eq!(sweep(&fixture, MONTH, day(40)).await.0, 0);
        assert_eq!(sweep(&fixture, MONTH, day(41)).await.0, 1);
        assert_eq!(there(&fixture, &[id, other]).await, [false, true]);
    }

    async fn of_each_users_ended_sessions_the_newest_stay_and_nobody_elses_are_touched(fixture) {
        let mut ann = Vec::new();
        // The order of the ends counts, not that of the creations.
        for (created, over) in [(0, 9), (1, 6), (2, 8), (3, 7), (4, 5)] {
            ann.push(ended(&fixture, "ann", day(created), day(over)).await);
        }
        let live = fixture.create(lasting("ann", day(0))).await.0;
        let bob = [ended(&fixture, "bob", day(0), day(1)).await, ended(&fixture, "bob", day(0), day(2)).await];
        assert_eq!(sweep(&fixture, TWO, day(20)).await, (3, 6));
        assert_eq!(there(&fixture, &ann).await, [true, false, true, false, false]);
        assert_eq!(there(&fixture, &bob).await, [true, true]);
        assert_eq!(fixture.state(live).await, State::Active);
        assert_eq!(fixture.rows("events").await.len(), 2 * 4 + 1);
        assert_eq!(sweep(&fixture, TWO, day(20)).await, (0, 0));
    }

    async fn a_users_own_number_wins_over_that_of_the_settings(fixture) {
        let mut ids = Vec::new();
        for user in ["ann", "bob", "eve"] {
            for over in 1..=3 {
                ids.push(ended(&fixture, user, day(0), day(over)).await);
            }
        }
        fixture.execute("UPDATE users SET audit_keep = 0 WHERE id = 'ann'").await.unwrap();
        fixture.execute("UPDATE users SET audit_keep = 100 WHERE id = 'eve'").await.unwrap();
        let all = Retention { keep_per_user: None, ..TWO };
        assert_eq!(sweep(&fixture, all, day(20)).await.0, 3, "ann's");
        assert_eq!(sweep(&fixture, TWO, day(20)).await.0, 1, "the oldest of bob's");
        assert_eq!(there(&fixture, &ids).await, [false, false, false, false, true, true, true, true, true]);
    }

    async fn events_that_are_not_about_a_session_go_by_age_alone(fixture) {
        let id = ended(&fixture, "ann", day(0), day(1)).await;
        let about = |kind, session| Event {
            at: day(2),
            kind,
            session,
            user: Some(user("ann")),
            actor: Actor::Operator,
            ip: None,
            user_agent: None,
            detail: serde_json::json!({}),
        };
        let kept = [
            ("user_changed", None), ("admin_refused", Some(id)), ("token_reused", Some(id)), ("login_unmatched", None),
        ];
        for (kind, session) in kept {
            fixture.store.record(about(kind, session)).await.unwrap();
        }
        let none = Retention { keep_per_user: Some(0), ..MONTH };
        assert_eq!(sweep(&fixture, none, day(3)).await, (1, 2));
        assert_eq!(fixture.rows("events").await.len(), kept.len());
        assert_eq!(sweep(&fixture, none, day(32)).await, (0, 0));
        assert_eq!(sweep(&fixture, none, day(33)).await, (0, 4));
    }

    async fn what_has_just_ended_stays_for_some_minutes_whatever_the_settings_say(fixture) {
        let id = ended(&fixture, "ann", day(0), day(1)).await;
        let none = Retention { keep_for: Some(Duration::from_millis(100)), keep_per_user: Some(0), idle_timeout: None };
        let minutes = |minutes: u64| day(1).plus(Duration::from_secs(60 * minutes));
        assert_eq!(sweep(&fixture, Retention { keep_for: None, ..none }, minutes(10)).await, (0, 0));
        assert_eq!(sweep(&fixture, none, minutes(10)).await, (0, 1), "its creation is old");
        assert_eq!(there(&fixture, &[id]).await, [true]);
        assert_eq!(sweep(&fixture, none, minutes(11)).await, (1, 1));
    }

    async fn kept_for_ever_nothing_goes_by_age(fixture) {
        let id = ended(&fixture, "ann", day(0), day(1)).await;
        let ever = Retention { keep_for: None, ..MONTH };
        assert_eq!(sweep(&fixture, ever, day(999)).await, (0, 0));
        assert_eq!(there(&fixture, &[id]).await, [true]);
    }

    async fn a_call_removes_no_more_than_a_batch_and_all_of_them_everything(fixture) {
        for n in 0..13 {
            ended(&fixture, "ann", day(0), day(1)).await;
            fixture.create(NewSession { expires_at: Some(day(1)), ..new(&format!("user-{n}"), day(0)) }).await;
            let slides = NewSession { slide: Some(DAY), ..lasting("bob", day(0)) };
            fixture.create(slides).await;
        }
        let live = fixture.create(lasting("ann", day(0))).await.0;
        let calls = calls(&fixture, MONTH, day(40), None, 5).await;
        assert!(calls.iter().all(|swept| swept.sessions <= 5), "{calls:?}");
        assert_eq!(calls.iter().map(|swept| swept.sessions).sum::<u64>(), 39);
        assert_eq!(there(&fixture, &[live]).await, [true]);
        assert_eq!(fixture.rows("sessions").await.len(), 1);
        assert_eq!(fixture.rows("events").await.len(), 1);
    }

    async fn too_many_ended_at_the_same_moment_are_found_in_batches_too(fixture) {
        let mut users = Vec::new();
        for n in 0..4 {
            let name = format!("user-{n}");
            for _ in 0..6 {
                ended(&fixture, &name, day(0), day(1)).await;
            }
            users.push(name);
        }
        let calls = calls(&fixture, TWO, day(2), None, 3).await;
        assert!(calls.iter().all(|swept| swept.sessions <= 3), "{calls:?}");
        assert_eq!(calls.iter().map(|swept| swept.sessions).sum::<u64>(), 16);
        let rows = fixture.rows("sessions").await;
        assert!(users.iter().all(|user| rows.iter().filter(|row| row.contains(user.as_str())).count() == 2), "{rows:?}");
    }

    async fn what_belongs_to_a_session_in_great_number_goes_over_several_calls(fixture) {
        let (first, mut token) = new_with_token("ann", day(0));
        let id = first.id;
        fixture.create(NewSession { expires_at: None, ..first }).await;
        for _ in 0..35 {
            let next = Token::generate(32).unwrap();
            let (from, to) = (token.digest(), next.digest());
            let rotation = Rotation { id, from, to, grace: DAY, actor: Actor::Operator, now: day(0) };
            fixture.store.rotate(rotation).await.unwrap();
            token = next;
        }
        end(&fixture, id, day(1)).await;
        let calls = calls(&fixture, MONTH, day(40), None, 1).await;
        assert!(calls.iter().all(|swept| swept.tokens <= 10 && swept.events <= 10), "{calls:?}");
        assert_eq!(calls.iter().map(|swept| swept.tokens).sum::<u64>(), 35);
        assert_eq!(calls.iter().map(|swept| swept.events).sum::<u64>(), 37);
        assert!(fixture.rows("sessions").await.is_empty());
    }

    async fn with_a_time_only_what_ended_or_grew_old_since_then_is_looked_at(fixture) {
        for over in [1, 2, 3] {
            ended(&fixture, "ann", day(0), day(over)).await;
        }
        for over in [11, 12, 13] {
            ended(&fixture, "bob", day(0), day(over)).await;
        }
        let (now, since) = (day(20), Some(day(10)));
        let found = calls(&fixture, TWO, now, since, 50).await;
        assert_eq!(found.iter().map(|swept| swept.sessions).sum::<u64>(), 1);
        let rows = fixture.rows("sessions").await;
        assert_eq!(rows.iter().filter(|row| row.contains("ann")).count(), 3);
        ended(&fixture, "ann", day(0), day(14)).await;
        let found = calls(&fixture, TWO, now, since, 50).await;
        assert_eq!(found.iter().map(|swept| swept.sessions).sum::<u64>(), 2, "and then all of that user's");
    }

    async fn sweeps_and_everything_else_at_once_lose_nothing_that_is_live(fixture) {
        for n in 0..60 {
            ended(&fixture, &format!("user-{}", n % 6), day(0), day(1)).await;
        }
        let retention = Retention { keep_per_user: Some(1), ..MONTH };
        let sweeps = async {
            for _ in 0..4 {
                calls(&fixture, retention, day(40), None, 4).await;
            }
        };
        let uses = async {
            let mut live = Vec::new();
            for n in 0..60 {
                let limit = max(3, OnExceed::EvictOldest);
                let user = format!("user-{}", n % 6);
                let new = NewSession { limit, ..lasting(&user, day(39)) };
                live.push(fixture.create(new).await.0);
                fixture.store.touch(&[Touch { id: live[n], at: day(40), ip: ip("192.0.2.1") }]).await.unwrap();
                let offender = Offender { ip: ip("203.0.113.9"), user_agent: "thief/1.0" };
                fixture.store.end_reused(&Token::generate(32).unwrap().digest(), offender, day(40)).await.unwrap();
            }
        };
        tokio::join!(sweeps, uses);
        let mut live = Vec::new();
        for n in 0..6 {
            live.extend(fixture.live(&format!("user-{n}"), day(40)).await);
        }
        assert_eq!(live.len(), 18);
        calls(&fixture, retention, day(40), None, 4).await;
        let ended = fixture.rows("sessions").await.len() - live.len();
        assert_eq!(ended, 6, "one of each user");
        assert_eq!(sorted(live).len(), 18);
    }
}

mod of_several_gateways {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_one_sweeps_at_a_time() {
        let fixture = Fixture::postgres().await;
        ended(&fixture, "ann", day(0), day(1)).await;
        let crate::fixture::Place::Postgres(database) = &fixture.place else { panic!() };
        let other = database.connect().await;
        // The lock of a sweep under way.
        other.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(6797357451833483266)").await.unwrap();
        let sweep = Sweep { retention: MONTH, now: day(40), since: None, batch: 50, stage: Stage::FIRST };
        let swept = fixture.store.sweep(sweep).await.unwrap();
        assert_eq!(swept, Swept { busy: true, ..Swept::default() });
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(fixture.store.sweep(sweep).await.unwrap().sessions, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_whose_clock_is_ahead_does_not_remove_what_is_not_old() {
        let fixture = Fixture::postgres().await;
        let now = session_gateway::clock::wall();
        let id = fixture.create(NewSession { expires_at: Some(now.plus(DAY)), ..new("ann", now) }).await.0;
        let over = ended(&fixture, "ann", now, now).await;
        let ahead = now.plus(DAY * 365);
        assert_eq!(sweep(&fixture, MONTH, ahead).await, (0, 0));
        assert_eq!(there(&fixture, &[id, over]).await, [true, true]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_row_that_another_call_is_changing_is_passed_over_and_found_again() {
        let fixture = Fixture::postgres().await;
        let expiring = || NewSession { expires_at: Some(day(1)), ..new("ann", day(0)) };
        let ids = [fixture.create(expiring()).await.0, fixture.create(expiring()).await.0];
        let crate::fixture::Place::Postgres(database) = &fixture.place else { panic!() };
        let other = database.connect().await;
        let lock = format!("BEGIN; SELECT FROM sessions WHERE id = '{}' FOR UPDATE", ids[0]);
        other.batch_execute(&lock).await.unwrap();
        assert_eq!(sweep(&fixture, MONTH, day(40)).await.0, 1);
        assert_eq!(there(&fixture, &ids).await, [true, false]);
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(sweep(&fixture, MONTH, day(40)).await.0, 1);
    }
}
