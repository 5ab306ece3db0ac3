//! Creating sessions: what is stored, what ends for it, and the limits.

use std::num::NonZeroU32;
use std::time::Duration;

use session_gateway::session::{Actor, EndReason, Role, SessionId, State, SuspendReason};
use session_gateway::store::{Creation, Limit, OnExceed, Touch, Which};
use session_gateway::user_agent::{ClientHints, Device};

use crate::fixture::{Fixture, UA, at, ids, ip, max, new, new_with_token, sorted, user};

both! {
    async fn a_session_is_found_by_the_digest_of_its_token_as_it_was_created(fixture) {
        let (mut new, token) = new_with_token("ann", at(0));
        new.principal.roles = vec![Role::parse("staff").unwrap(), Role::parse("team:ops").unwrap()];
        new.principal.name = Some("Ann Ångström".to_owned());
        new.principal.email = Some("ann@example.org".to_owned());
        new.principal.claims = serde_json::from_str(r#"{"z":1,"a":"\u0000","b":[1.5,null]}"#).ok();
        fixture.create(new.clone()).await;

        let found = fixture.store.find(&token.digest()).await.unwrap().unwrap().record;
        assert_eq!((found.id, found.digest, &found.principal), (new.id, new.digest, &new.principal));
        assert_eq!((found.state, found.created_at, found.last_seen_at), (State::Active, at(0), at(0)));
        assert_eq!((found.expires_at, found.user_agent.as_deref()), (Some(at(1000)), Some(UA)));
        assert_eq!((found.bound_ip, found.last_ip), (Some(ip("192.0.2.1")), Some(ip("192.0.2.1"))));
        assert_eq!((found.ended_at, found.ended_by, found.user_enabled), (None, None, true));
        assert_eq!(fixture.get(new.id).await.digest, new.digest);
        let claims = found.principal.claims.unwrap();
        assert_eq!(claims.keys().collect::<Vec<_>>(), ["z", "a", "b"], "the order of claims is kept");
    }

    async fn what_was_never_created_is_absent(fixture) {
        let (stranger, token) = new_with_token("ann", at(0));
        assert!(fixture.store.find(&token.digest()).await.unwrap().is_none());
        assert!(fixture.store.get(stranger.id).await.unwrap().is_none());
    }

    async fn a_session_without_expiry_never_expires_and_one_far_off_is_kept(fixture) {
        let mut never = new("ann", at(0));
        never.expires_at = None;
        let mut late = new("ann", at(0));
        late.expires_at = Some(at(0).plus(Duration::MAX));
        let (never, late) = (fixture.create(never).await.0, fixture.create(late).await.0);
        assert_eq!(fixture.get(never).await.expires_at, None);
        let centuries = at(0).plus(Duration::from_secs(400 * 365 * 86_400));
        assert!(fixture.get(late).await.expires_at.unwrap() > centuries);
        assert_eq!(fixture.live("ann", centuries).await.len(), 2);
    }

    async fn a_token_digest_or_an_id_is_never_used_twice(fixture) {
        let first = new("ann", at(0));
        fixture.create(first.clone()).await;
        fixture.end(Which::One(first.id), EndReason::Revoked, None).await;
        let mut same_token = new("bob", at(1));
        same_token.digest = first.digest;
        assert!(fixture.store.create(same_token).await.is_err());
        let mut same_id = new("bob", at(1));
        same_id.id = first.id;
        assert!(fixture.store.create(same_id).await.is_err());
        assert_eq!(fixture.state(first.id).await, State::Ended(EndReason::Revoked));
        assert_eq!(fixture.get(first.id).await.principal.user, user("ann"));
        assert!(fixture.live("bob", at(1)).await.is_empty());
    }

    async fn the_session_replaced_ends_whoever_it_belongs_to(fixture) {
        let old = fixture.session("bob", at(0)).await;
        let mut newer = new("ann", at(5));
        newer.replaces = Some(old);
        let (id, ended) = fixture.create(newer.clone()).await;
        assert_eq!(ids(&ended), [old]);
        assert_eq!(ended[0].reason, Some(EndReason::Replaced));
        let record = fixture.get(old).await;
        assert_eq!(ended[0].digest, record.digest);
        assert_eq!((record.state, record.ended_at), (State::Ended(EndReason::Replaced), Some(at(5))));
        assert_eq!(record.ended_by.as_deref(), Some("service:login"));
        assert_eq!(fixture.events("session_ended").await,
            [format!(r#"bob service:login {{"reason":"replaced","for":"{id}"}}"#)]);

        // A second browser that believes to replace it changes nothing about its end.
        let mut late = new("ann", at(9));
        late.replaces = Some(old);
        assert!(fixture.create(late).await.1.is_empty());
        assert_eq!(fixture.get(old).await.ended_at, Some(at(5)));
    }

    async fn the_session_replaced_holds_no_place(fixture) {
        let kept = fixture.session("ann", at(0)).await;
        let replaced = fixture.session("ann", at(1)).await;
        for on_exceed in [OnExceed::EvictOldest, OnExceed::EvictLeastRecent, OnExceed::RejectNew] {
            let current = *fixture.live("ann", at(2)).await.iter().find(|id| **id != kept).unwrap();
            let mut newer = new("ann", at(2));
            newer.replaces = Some(current);
            newer.limit = max(2, on_exceed);
            let (id, ended) = fixture.create(newer).await;
            assert_eq!(ids(&ended), [current], "{on_exceed:?}");
            assert_eq!(sorted(fixture.live("ann", at(2)).await), sorted(vec![kept, id]));
        }
        assert_eq!(fixture.state(replaced).await, State::Ended(EndReason::Replaced));
    }

    async fn at_the_limit_the_oldest_give_way(fixture) {
        let a = fixture.session("ann", at(1)).await;
        let b = fixture.session("ann", at(2)).await;
        let c = fixture.session("ann", at(3)).await;
        let other = fixture.session("bob", at(0)).await;
        touch(&fixture, a, 100).await;
        let mut newer = new("ann", at(4));
        newer.limit = max(2, OnExceed::EvictOldest);
        let (id, ended) = fixture.create(newer).await;
        assert_eq!(ids(&ended), sorted(vec![a, b]));
        assert!(ended.iter().all(|ended| ended.reason == Some(EndReason::Evicted)));
        assert_eq!(fixture.live("ann", at(4)).await, [id, c]);
        assert_eq!(fixture.state(other).await, State::Active);
        let record = fixture.get(b).await;
        assert_eq!((record.ended_at, record.ended_by.as_deref()), (Some(at(4)), Some("policy")));
        let mut events = fixture.events("session_evicted").await;
        events.dedup();
        assert_eq!(events, [format!(r#"ann policy {{"reason":"evicted","for":"{id}"}}"#)]);
    }

    async fn a_use_written_late_brings_nothing_back_beside_the_session_that_took_its_place(fixture) {
        for (round, on_exceed) in [OnExceed::EvictOldest, OnExceed::EvictLeastRecent, OnExceed::RejectNew].into_iter().enumerate() {
            let name = format!("user {round}");
            let idle = fixture.session(&name, at(0)).await;
            let mut sliding = new(&name, at(8));
            sliding.slide = Some(Duration::from_secs(10));
            let sliding = fixture.create(sliding).await.0;
            let mut newer = new(&name, at(20));
            newer.limit = Limit { idle_since: Some(at(5)), ..max(1, on_exceed) };
            let (id, ended) = fixture.create(newer).await;
            assert_eq!(ids(&ended), sorted(vec![idle, sliding]), "{on_exceed:?}");
            assert!(ended.iter().all(|ended| ended.reason == Some(EndReason::Unused)));
            for (late, second) in [(idle, 4), (sliding, 17)] {
                touch(&fixture, late, second).await;
                let record = fixture.get(late).await;
                assert_eq!((record.state, record.ended_by.as_deref()), (State::Ended(EndReason::Unused), Some("policy")));
            }
            assert_eq!(fixture.live(&name, at(20)).await, [id]);
            let event = format!(r#"{name} policy {{"reason":"unused","for":"{id}"}}"#);
            assert_eq!(fixture.events("session_ended").await[round * 2..], [event.clone(), event]);
        }
    }

    async fn what_was_not_used_for_long_stays_where_nothing_is_counted(fixture) {
        let idle = fixture.session("ann", at(0)).await;
        let mut refused = new("ann", at(20));
        fixture.session("ann", at(10)).await;
        refused.limit = Limit { idle_since: Some(at(5)), ..max(1, OnExceed::RejectNew) };
        assert!(matches!(fixture.store.create(refused).await.unwrap(), Creation::TooMany { .. }));
        let mut unlimited = new("ann", at(20));
        unlimited.limit.idle_since = Some(at(5));
        assert!(fixture.create(unlimited).await.1.is_empty());
        assert_eq!(fixture.state(idle).await, State::Active);
    }

    async fn at_the_limit_the_least_recently_used_give_way_if_so_told(fixture) {
        let a = fixture.session("ann", at(1)).await;
        let b = fixture.session("ann", at(2)).await;
        let c = fixture.session("ann", at(3)).await;
        touch(&fixture, a, 100).await;
        let mut newer = new("ann", at(101));
        newer.limit = max(2, OnExceed::EvictLeastRecent);
        let (id, ended) = fixture.create(newer).await;
        assert_eq!(ids(&ended), sorted(vec![b, c]));
        assert_eq!(fixture.live("ann", at(101)).await, [id, a]);
    }

    async fn sessions_of_the_same_moment_give_way_in_the_order_of_their_ids(fixture) {
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(fixture.session("ann", at(1)).await);
        }
        all.sort();
        let mut newer = new("ann", at(1));
        newer.limit = max(3, OnExceed::EvictOldest);
        assert_eq!(ids(&fixture.create(newer).await.1), all[..2]);
    }

    async fn reject_new_changes_nothing(fixture) {
        let a = fixture.session("ann", at(1)).await;
        let of_another = fixture.session("bob", at(1)).await;
        let before = (fixture.rows("sessions").await, fixture.rows("users").await, fixture.rows("events").await);
        let mut refused = new("ann", at(2));
        refused.limit = max(1, OnExceed::RejectNew);
        refused.replaces = Some(of_another);
        let outcome = fixture.store.create(refused.clone()).await.unwrap();
        assert!(matches!(outcome, Creation::TooMany { limit } if limit.get() == 1), "{outcome:?}");
        let after = (fixture.rows("sessions").await, fixture.rows("users").await, fixture.rows("events").await);
        assert_eq!(before, after);
        assert_eq!(fixture.state(of_another).await, State::Active);
        refused.replaces = Some(a);
        assert!(matches!(fixture.store.create(refused).await.unwrap(), Creation::Created { .. }));
    }

    async fn a_creation_that_fails_ends_nothing(fixture) {
        let a = new("ann", at(1));
        fixture.create(a.clone()).await;
        let mut failing = new("ann", at(2));
        failing.digest = a.digest;
        failing.limit = max(1, OnExceed::EvictOldest);
        assert!(fixture.store.create(failing).await.is_err());
        assert_eq!(fixture.live("ann", at(2)).await, [a.id]);
        assert!(fixture.events("session_evicted").await.is_empty());
        fixture.session("ann", at(3)).await;
    }

    async fn the_call_counts_before_the_user_and_the_user_before_the_policy(fixture) {
        let three = NonZeroU32::new(3);
        // What the call, the user's row and the policy say; how many are then left of 4 sessions and a new one.
        let cases = [
            (Some(three), "2", 1, 3),
            (Some(None), "2", 1, 5),
            (None, "2", 1, 2),
            (None, "0", 1, 5),
            (None, "NULL", 1, 1),
            (None, "NULL", 0, 5),
            (Some(three), "0", 0, 3),
        ];
        for (number, (by_call, by_user, by_policy, left)) in cases.into_iter().enumerate() {
            let name = format!("user{number}");
            for second in 0..4 {
                fixture.session(&name, at(second)).await;
            }
            let sql = format!("UPDATE users SET max_sessions = {by_user} WHERE id = '{name}'");
            fixture.execute(&sql).await.unwrap();
            let mut newer = new(&name, at(9));
            newer.limit = Limit { by_call, ..max(by_policy, OnExceed::EvictOldest) };
            fixture.create(newer).await;
            assert_eq!(fixture.live(&name, at(9)).await.len(), left, "{by_call:?} {by_user} {by_policy}");
        }
    }

    async fn a_disabled_user_gets_no_session_whatever_the_limit_says(fixture) {
        let old = fixture.session("ann", at(0)).await;
        fixture.execute("UPDATE users SET enabled = false, max_sessions = 1").await.unwrap();
        for on_exceed in [OnExceed::EvictOldest, OnExceed::RejectNew] {
            let mut refused = new("ann", at(1));
            refused.limit = Limit { by_call: Some(None), ..max(1, on_exceed) };
            refused.replaces = Some(old);
            assert!(matches!(fixture.store.create(refused).await.unwrap(), Creation::UserDisabled));
        }
        let record = fixture.get(old).await;
        assert_eq!((record.state, record.user_enabled), (State::Active, false));
        assert_eq!(fixture.rows("sessions").await.len(), 1);
        assert_eq!(fixture.events("session_created").await.len(), 1);
    }

    async fn only_live_sessions_hold_a_place(fixture) {
        let mut expired = new("ann", at(0));
        expired.expires_at = Some(at(10));
        let expired = fixture.create(expired).await.0;
        let idle = fixture.session("ann", at(1)).await;
        let mut lapsed = new("ann", at(5));
        lapsed.slide = Some(Duration::from_secs(5));
        let lapsed = fixture.create(lapsed).await.0;
        let mut used = new("ann", at(5));
        used.slide = Some(Duration::from_millis(5001));
        let used = fixture.create(used).await.0;
        let suspended = fixture.session("ann", at(6)).await;
        let ended = fixture.session("ann", at(7)).await;
        let live = fixture.session("ann", at(8)).await;
        let actor = Actor::Operator;
        fixture.store.suspend(suspended, SuspendReason::SuspendedByAdmin, &actor, None, at(9)).await.unwrap();
        fixture.end(Which::One(ended), EndReason::Revoked, None).await;
        for on_exceed in [OnExceed::RejectNew, OnExceed::EvictLeastRecent, OnExceed::EvictOldest] {
            let mut newer = new("ann", at(10));
            newer.limit = Limit { idle_since: Some(at(5)), ..max(3, on_exceed) };
            let (id, gave_way) = fixture.create(newer).await;
            assert!(gave_way.iter().all(|ended| ended.reason == Some(EndReason::Unused)), "{on_exceed:?}");
            fixture.end(Which::One(id), EndReason::Revoked, None).await;
        }
        for untouched in [expired, used, live] {
            assert_eq!(fixture.state(untouched).await, State::Active);
        }
        for unused in [idle, lapsed] {
            assert_eq!(fixture.state(unused).await, State::Ended(EndReason::Unused));
        }
    }

    async fn fifty_parallel_creations_leave_exactly_as_many_as_allowed(fixture) {
        for limit in [1, 2, 3] {
            for on_exceed in [OnExceed::EvictOldest, OnExceed::EvictLeastRecent, OnExceed::RejectNew] {
                let name = format!("ann{limit}{on_exceed:?}");
                let second = fixture.another();
                let tasks: Vec<_> = (0..50).map(|number| {
                    let mut new = new(&name, at(number / 10));
                    new.limit = max(limit, on_exceed);
                    let store = if number % 2 == 0 { fixture.store.clone() } else { second.clone() };
                    tokio::spawn(async move { store.create(new).await.unwrap() })
                }).collect();
                let (mut created, mut ended_for) = (0, 0);
                for task in tasks {
                    match task.await.unwrap() {
                        Creation::Created { ended } => {
                            created += 1;
                            ended_for += ended.len();
                        }
                        Creation::TooMany { .. } => assert_eq!(on_exceed, OnExceed::RejectNew),
                        Creation::UserDisabled => panic!(),
                    }
                }
                let live = fixture.live(&name, at(9)).await.len();
                assert_eq!(live, usize::try_from(limit).unwrap(), "{on_exceed:?}");
                assert_eq!(created - ended_for, live, "every eviction is reported once");
            }
        }
    }

    async fn creations_that_replace_each_others_sessions_do_not_wait_for_each_other_for_ever(fixture) {
        let mut mine = fixture.session("ann", at(0)).await;
        let mut yours = fixture.session("bob", at(0)).await;
        for second in 1..20 {
            let (mut ann, mut bob) = (new("ann", at(second)), new("bob", at(second)));
            ann.limit = max(1, OnExceed::EvictOldest);
            bob.limit = max(1, OnExceed::EvictOldest);
            (ann.replaces, bob.replaces) = (Some(yours), Some(mine));
            (mine, yours) = (ann.id, bob.id);
            let everything = user("ann");
            let (a, b, _) = tokio::join!(
                fixture.store.create(ann),
                fixture.store.create(bob),
                fixture.end(Which::AllBut(&everything, mine), EndReason::Revoked, None)
            );
            assert!(matches!((a.unwrap(), b.unwrap()), (Creation::Created { .. }, Creation::Created { .. })));
        }
    }

    async fn text_that_a_database_cannot_hold_is_stored_without_harm(fixture) {
        let (mut odd, token) = new_with_token("Zoë 🦀 'quoted' %", at(0));
        odd.user_agent = Some("a\0b \u{fffd} \u{1f980} \\x27'".to_owned());
        odd.principal.name = Some("nul\0".to_owned());
        odd.actor = Actor::Service("odd\0".to_owned());
        fixture.create(odd).await;
        let found = fixture.store.find(&token.digest()).await.unwrap().unwrap().record;
        assert_eq!(found.user_agent.as_deref(), Some("a\u{fffd}b \u{fffd} \u{1f980} \\x27'"));
        assert_eq!(found.principal.name.as_deref(), Some("nul\u{fffd}"));
        assert_eq!(found.principal.user, user("Zoë 🦀 'quoted' %"));
        let mut unbound = new("ann", at(0));
        (unbound.user_agent, unbound.ip) = (None, None);
        let id = fixture.create(unbound).await.0;
        fixture.store.bind(id, "c\0", &Device::of("c\0", &ClientHints::default()), ip("::1")).await.unwrap();
        assert_eq!(fixture.get(id).await.user_agent.as_deref(), Some("c\u{fffd}"));
    }

    async fn no_token_is_anywhere_in_the_tables_and_no_digest_in_the_log(fixture) {
        let mut secrets = Vec::new();
        let mut previous = None;
        for second in 0..5 {
            let (mut new, token) = new_with_token("ann", at(second));
            new.limit = max(2, OnExceed::EvictOldest);
            new.replaces = previous.filter(|_| second % 2 == 0);
            previous = Some(new.id);
            fixture.create(new).await;
            secrets.push(token);
        }
        fixture.end(Which::AllOf(&user("ann")), EndReason::Revoked, None).await;
        let mut rows = fixture.rows("sessions").await;
        rows.extend(fixture.rows("users").await);
        rows.extend(fixture.rows("schema_version").await);
        let events = fixture.rows("events").await.join("\n");
        let text = format!("{}\n{events}", rows.join("\n"));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for token in &secrets {
            let raw = token.reveal();
            assert!(!text.contains(raw) && !text.contains(&hex(raw.as_bytes())));
            let digest = token.digest();
            assert!(!events.contains(&hex(digest.as_bytes())));
        }
        assert_eq!(fixture.rows("sessions").await.len(), 5);
    }
}

async fn touch(fixture: &Fixture, id: SessionId, second: u64) {
    let touch = Touch { id, at: at(second), ip: ip("192.0.2.9") };
    fixture.store.touch(&[touch]).await.unwrap();
}
