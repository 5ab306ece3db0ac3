//! Users, and one session in an administrator's hand.

use session_gateway::session::{Actor, EndReason, SessionId, State, SuspendReason};
use session_gateway::store::{
    By, Creation, Guard, OnExceed, Reactivated, Suspended, Touch, User, UserChange, UserSettings, Which,
};

use crate::fixture::{Fixture, at, by, guard, ids, ip, max, new, new_with_role, sorted, user};

const BY_ADMIN: SuspendReason = SuspendReason::SuspendedByAdmin;

async fn set(fixture: &Fixture, id: &str, settings: UserSettings, second: u64) -> (bool, Vec<SessionId>) {
    match fixture.store.set_user(&user(id), settings, &Guard::none(), &by(at(second))).await.unwrap() {
        UserChange::Done { changed, ended } => (changed, ids(&ended)),
        UserChange::Protected => panic!("protected"),
    }
}

async fn settings(fixture: &Fixture, id: &str) -> UserSettings {
    fixture.store.user(&user(id), at(0), None).await.unwrap().unwrap().settings
}

both! {
    async fn a_user_is_known_with_its_settings_and_live_sessions(fixture) {
        assert_eq!(fixture.store.user(&user("ann"), at(9), None).await.unwrap(), None);
        let mut expired = new("ann", at(1));
        expired.expires_at = Some(at(5));
        fixture.create(expired).await;
        fixture.session("ann", at(2)).await;
        let known = fixture.store.user(&user("ann"), at(9), None).await.unwrap().unwrap();
        assert_eq!(known, User { id: user("ann"), settings: UserSettings::default(), live_sessions: 1 });
        let known = fixture.store.user(&user("ann"), at(9), Some(at(3))).await.unwrap().unwrap();
        assert_eq!(known.live_sessions, 0, "idle");
    }

    async fn settings_replace_those_before_and_are_logged_with_both(fixture) {
        let first = UserSettings { max_sessions: Some(3), audit_keep: Some(10), ..UserSettings::default() };
        assert_eq!(set(&fixture, "new one", first, 1).await, (true, vec![]));
        assert_eq!(settings(&fixture, "new one").await, first);
        assert_eq!(set(&fixture, "new one", first, 2).await, (false, vec![]), "nothing new");
        let second = UserSettings { audit_keep: Some(u32::MAX), ..UserSettings::default() };
        assert_eq!(set(&fixture, "new one", second, 3).await, (true, vec![]));
        let kept = UserSettings { audit_keep: Some(i32::MAX as u32), ..UserSettings::default() };
        assert_eq!(settings(&fixture, "new one").await, kept);
        let events = fixture.events("user_changed").await;
        assert_eq!(events.len(), 2);
        let empty = r#"{"enabled":true,"max_sessions":null,"audit_keep":null,"not_before":null}"#;
        let full = r#"{"enabled":true,"max_sessions":3,"audit_keep":10,"not_before":null}"#;
        assert_eq!(events[0], format!(r#"new one admin:root {{"old":{empty},"new":{full}}}"#));
    }

    async fn disabling_ends_every_session_at_once_and_for_good(fixture) {
        let active = fixture.session("ann", at(1)).await;
        let suspended = fixture.session("ann", at(2)).await;
        fixture.store.suspend(suspended, BY_ADMIN, &Actor::Operator, None, at(3)).await.unwrap();
        let foreign = fixture.session("bob", at(2)).await;
        let disabled = UserSettings { enabled: false, ..UserSettings::default() };
        assert_eq!(set(&fixture, "ann", disabled, 5).await, (true, sorted(vec![active, suspended])));
        for id in [active, suspended] {
            assert_eq!(fixture.state(id).await, State::Ended(EndReason::UserDisabled));
        }
        assert_eq!(fixture.state(foreign).await, State::Active);
        assert!(matches!(fixture.store.create(new("ann", at(6))).await.unwrap(), Creation::UserDisabled));
        set(&fixture, "ann", UserSettings::default(), 7).await;
        assert_eq!(fixture.state(active).await, State::Ended(EndReason::UserDisabled));
        fixture.session("ann", at(8)).await;
        let told = fixture.events("session_ended").await;
        assert_eq!(told, [r#"ann admin:root {"reason":"user_disabled"}"#; 2]);
    }

    async fn nobody_logs_in_between_being_disabled_and_losing_the_sessions(fixture) {
        let disabled = UserSettings { enabled: false, ..UserSettings::default() };
        for round in 0..10 {
            let name = format!("user {round}");
            let store = fixture.another();
            let (logins, change) = tokio::join!(
                async {
                    let creations = (0..5).map(|_| fixture.store.create(new(&name, at(1))));
                    futures_util::future::join_all(creations).await
                },
                async { store.set_user(&user(&name), disabled, &Guard::none(), &by(at(2))).await }
            );
            change.unwrap();
            assert!(logins.into_iter().all(|login| login.is_ok()));
            assert!(fixture.live(&name, at(3)).await.is_empty());
        }
    }

    async fn a_moment_cuts_off_every_older_session_for_good(fixture) {
        let old = fixture.session("ann", at(9)).await;
        let young = fixture.session("ann", at(10)).await;
        let cut = UserSettings { not_before: Some(at(10)), ..UserSettings::default() };
        assert_eq!(set(&fixture, "ann", cut, 20).await, (true, vec![old]));
        assert_eq!(fixture.state(old).await, State::Ended(EndReason::EndedByAdmin));
        set(&fixture, "ann", UserSettings::default(), 21).await;
        assert_eq!(fixture.state(old).await, State::Ended(EndReason::EndedByAdmin));
        assert_eq!(fixture.live("ann", at(22)).await, [young]);
    }

    async fn a_moment_that_cut_sessions_off_by_itself_leaves_them_dead_when_it_goes(fixture) {
        let old = fixture.session("ann", at(9)).await;
        let cut = fixture.literal(at(10));
        fixture.execute(&format!("UPDATE users SET not_before = {cut}")).await.unwrap();
        assert_eq!(set(&fixture, "ann", UserSettings::default(), 20).await, (true, vec![old]));
        assert_eq!(fixture.state(old).await, State::Ended(EndReason::EndedByAdmin));
    }

    async fn a_session_from_a_slow_clock_is_not_born_before_the_cut(fixture) {
        let cut = UserSettings { not_before: Some(at(100)), ..UserSettings::default() };
        set(&fixture, "ann", cut, 100).await;
        let id = fixture.session("ann", at(40)).await;
        let record = fixture.get(id).await;
        assert_eq!((record.created_at, record.last_seen_at, record.state), (at(100), at(100), State::Active));
    }

    async fn the_users_own_limit_counts_before_the_policys(fixture) {
        set(&fixture, "ann", UserSettings { max_sessions: Some(1), ..UserSettings::default() }, 0).await;
        let mut limited = new("ann", at(1));
        limited.limit = max(3, OnExceed::EvictOldest);
        let first = fixture.create(limited.clone()).await.0;
        let mut second = new("ann", at(2));
        second.limit = limited.limit;
        assert_eq!(ids(&fixture.create(second).await.1), [first]);
        set(&fixture, "ann", UserSettings { max_sessions: Some(0), ..UserSettings::default() }, 3).await;
        for second in 4..9 {
            let mut more = new("ann", at(second));
            more.limit = max(3, OnExceed::EvictOldest);
            assert!(fixture.create(more).await.1.is_empty());
        }
    }

    async fn a_guarded_user_is_left_as_it_is(fixture) {
        let id = fixture.create(new_with_role("sue", "owner", at(1))).await.0;
        let disabled = UserSettings { enabled: false, ..UserSettings::default() };
        for name in ["sue", "chief"] {
            let refused = fixture.store.set_user(&user(name), disabled, &guard(), &by(at(2))).await.unwrap();
            assert!(matches!(refused, UserChange::Protected));
        }
        assert_eq!(settings(&fixture, "sue").await, UserSettings::default());
        assert_eq!(fixture.store.user(&user("chief"), at(2), None).await.unwrap(), None, "no row was made");
        let suspend = async |guard: Guard| { fixture.store.suspend_guarded(id, &guard, BY_ADMIN, &by(at(3))).await.unwrap() };
        assert_eq!(suspend(guard()).await, Suspended::Protected);
        assert_eq!(fixture.state(id).await, State::Active);
        assert!(matches!(suspend(Guard::none()).await, Suspended::Done(_)));
        // Suspended, it is not live, and protects nobody any more.
        assert_eq!(suspend(guard()).await, Suspended::Already);
    }

    async fn a_suspension_says_what_it_found(fixture) {
        let id = fixture.session("ann", at(1)).await;
        let suspend = async |id| { fixture.store.suspend_guarded(id, &guard(), BY_ADMIN, &by(at(3))).await.unwrap() };
        let Suspended::Done(ended) = suspend(id).await else { panic!() };
        assert_eq!((ended.id, ended.reason), (id, None));
        assert_eq!(fixture.state(id).await, State::Suspended(BY_ADMIN));
        assert_eq!(fixture.events("session_suspended").await, [r#"ann admin:root {"reason":"suspended_by_admin"}"#]);
        assert!(fixture.rows("events").await[1].contains("198.51.100.9"));
        fixture.end(Which::One(id), EndReason::Revoked, None).await;
        assert_eq!(suspend(id).await, Suspended::Over);
        assert_eq!(suspend(SessionId::generate().unwrap()).await, Suspended::NotFound);
    }

    async fn a_reactivated_session_is_active_again_under_the_users_limit(fixture) {
        let id = fixture.session("ann", at(1)).await;
        let unlimited = max(0, OnExceed::EvictOldest);
        let reactivate = async |limit| { fixture.store.reactivate(id, limit, &guard(), &by(at(5))).await.unwrap() };
        assert_eq!(reactivate(unlimited).await, Reactivated::NotSuspended);
        fixture.store.suspend(id, BY_ADMIN, &Actor::Operator, None, at(2)).await.unwrap();
        let other = fixture.session("ann", at(3)).await;
        let refused = reactivate(max(1, OnExceed::EvictOldest)).await;
        assert!(matches!(refused, Reactivated::OverLimit { limit } if limit.get() == 1), "{refused:?}");
        assert_eq!(fixture.state(id).await, State::Suspended(BY_ADMIN));
        let Reactivated::Done { active: ended, .. } = reactivate(max(2, OnExceed::EvictOldest)).await else { panic!() };
        assert_eq!((ended.id, ended.reason), (id, None));
        assert_eq!(fixture.live("ann", at(5)).await, [other, id]);
        assert_eq!(fixture.events("session_reactivated").await, ["ann admin:root {}"]);

        let late = fixture.store.suspend(id, BY_ADMIN, &Actor::Policy, None, at(4)).await.unwrap();
        assert!(late.is_none(), "whoever reactivated it knew of what had happened before");
        fixture.store.suspend(id, BY_ADMIN, &Actor::Operator, None, at(6)).await.unwrap().unwrap();
        assert_eq!(fixture.store.reactivate(id, unlimited, &guard(), &by(at(1001))).await.unwrap(), Reactivated::Expired);
        fixture.end(Which::One(id), EndReason::Revoked, None).await;
        assert_eq!(reactivate(unlimited).await, Reactivated::Over);
        let unknown = SessionId::generate().unwrap();
        assert_eq!(fixture.store.reactivate(unknown, unlimited, &guard(), &by(at(5))).await.unwrap(), Reactivated::NotFound);
    }

    async fn a_reactivated_session_takes_the_place_of_one_that_was_not_used_for_good(fixture) {
        let id = fixture.session("ann", at(1)).await;
        let idle = fixture.session("ann", at(2)).await;
        fixture.store.suspend(id, BY_ADMIN, &Actor::Operator, None, at(2)).await.unwrap();
        let seen = Touch { id, at: at(8), ip: ip("192.0.2.1") };
        fixture.execute(&format!("UPDATE sessions SET last_seen_at = {} WHERE state = 'suspended'", fixture.literal(seen.at))).await.unwrap();
        let by = By { idle_since: Some(at(5)), ..by(at(9)) };
        let Reactivated::Done { active, unused } =
            fixture.store.reactivate(id, max(1, OnExceed::EvictOldest), &guard(), &by).await.unwrap() else { panic!() };
        assert_eq!((active.id, ids(&unused)), (id, vec![idle]));
        fixture.store.touch(&[Touch { id: idle, ..seen }]).await.unwrap();
        assert_eq!(fixture.state(idle).await, State::Ended(EndReason::Unused));
        assert_eq!(fixture.live("ann", at(9)).await, [id]);
    }

    async fn reactivations_and_logins_at_once_stay_within_the_limit(fixture) {
        for round in 0..5 {
            let name = format!("user {round}");
            let mut suspended = Vec::new();
            for _ in 0..5 {
                let id = fixture.session(&name, at(1)).await;
                fixture.store.suspend(id, BY_ADMIN, &Actor::Operator, None, at(2)).await.unwrap();
                suspended.push(id);
            }
            let limit = max(2, OnExceed::RejectNew);
            let store = fixture.another();
            let (by, guard) = (by(at(3)), guard());
            let (reactivated, created) = tokio::join!(
                futures_util::future::join_all(suspended.iter().map(|id| store.reactivate(*id, limit, &guard, &by))),
                futures_util::future::join_all((0..5).map(|_| {
                    let mut login = new(&name, at(3));
                    login.limit = limit;
                    fixture.store.create(login)
                }))
            );
            let reactivated = reactivated.into_iter().filter(|done| matches!(done.as_ref().unwrap(), Reactivated::Done { .. }));
            let created = created.into_iter().filter(|done| matches!(done.as_ref().unwrap(), Creation::Created { .. }));
            assert_eq!(reactivated.count() + created.count(), 2);
            assert_eq!(fixture.live(&name, at(4)).await.len(), 2);
        }
    }

    async fn users_with_several_live_sessions_are_found_a_thousand_users_at_a_time(fixture) {
        fixture.create(new_with_role("ann", "a", at(1))).await;
        fixture.create(new_with_role("ann", "b", at(2))).await;
        fixture.session("ann", at(3)).await;
        fixture.session("bob", at(1)).await;
        let mut expired = new("bob", at(1));
        expired.expires_at = Some(at(2));
        fixture.create(expired).await;
        for _ in 0..2 {
            fixture.session("zoe", at(1)).await;
        }
        let numbers = match fixture.store.kind() {
            "sqlite" => "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n)",
            _ => "generate_series(1, 1000)",
        };
        let sql = format!("INSERT INTO users (id) SELECT 'user ' || n FROM (SELECT * FROM {numbers} AS m) AS k (n)");
        let sql = if fixture.store.kind() == "sqlite" { sql.replace("'user ' || n FROM (SELECT * FROM", "'user ' || i FROM (SELECT * FROM").replace(" AS k (n)", "") } else { sql };
        fixture.execute(&sql).await.unwrap();
        let first = fixture.store.crowds(None, at(9), None).await.unwrap();
        let [crowd] = &first.users[..] else { panic!("{first:?}") };
        assert_eq!((crowd.user.as_str(), crowd.roles.len()), ("ann", 2));
        let rest = fixture.store.crowds(first.next.as_ref(), at(9), None).await.unwrap();
        assert_eq!(rest.users.iter().map(|crowd| crowd.user.as_str()).collect::<Vec<_>>(), ["zoe"]);
        assert_eq!(rest.next, None);
        assert!(fixture.store.crowds(None, at(9), Some(at(5))).await.unwrap().users.is_empty(), "idle");
    }

    async fn the_excess_of_a_user_goes_and_the_best_stay(fixture) {
        let mut all = Vec::new();
        for second in 0..5 {
            all.push(fixture.session("ann", at(second)).await);
        }
        fixture.store.suspend(all[4], BY_ADMIN, &Actor::Operator, None, at(6)).await.unwrap();
        let used = session_gateway::store::Touch { id: all[0], at: at(7), ip: crate::fixture::ip("::1") };
        fixture.store.touch(&[used]).await.unwrap();
        let evict = async |limit| ids(&fixture.store.evict_excess(&user("ann"), limit, at(9)).await.unwrap());
        assert!(evict(max(0, OnExceed::EvictOldest)).await.is_empty(), "unlimited");
        assert!(evict(max(4, OnExceed::EvictOldest)).await.is_empty(), "a suspended one holds no place");
        assert_eq!(evict(max(3, OnExceed::EvictLeastRecent)).await, [all[1]]);
        assert_eq!(evict(max(2, OnExceed::RejectNew)).await, [all[0]]);
        set(&fixture, "ann", UserSettings { max_sessions: Some(1), ..UserSettings::default() }, 9).await;
        assert_eq!(evict(max(2, OnExceed::EvictOldest)).await, [all[2]], "the user's own limit");
        assert_eq!(fixture.live("ann", at(9)).await, [all[3]]);
        assert_eq!(fixture.state(all[0]).await, State::Ended(EndReason::Evicted));
        assert_eq!(fixture.events("session_evicted").await, [r#"ann policy {"reason":"evicted"}"#; 3]);
        assert!(fixture.store.evict_excess(&user("nobody"), max(1, OnExceed::EvictOldest), at(9)).await.unwrap().is_empty());
    }
}
