//! Looking for sessions of all users, and ending what was found.

use std::collections::HashSet;

use session_gateway::clock::Timestamp;
use session_gateway::session::{Actor, EndReason, Phase, SessionId, State, SuspendReason};
use session_gateway::store::{Count, Filter, Guard, Position, Touch, Which};

use crate::fixture::{Fixture, at, by, guard, ids, ip, new, new_with_role, role, sorted, user};

fn of(user: &str) -> Filter {
    Filter { user: Some(self::user(user)), ..Filter::default() }
}

fn from(network: &str) -> Filter {
    Filter { network: Some(network.parse().unwrap()), ..Filter::default() }
}

fn like(text: &str) -> Filter {
    Filter { user_agent: Some(text.to_owned()), ..Filter::default() }
}

fn phase(phase: Phase) -> Filter {
    Filter { phase: Some(phase), ..Filter::default() }
}

async fn with_agent(fixture: &Fixture, agent: &str, now: Timestamp) -> SessionId {
    let mut session = new("ann", now);
    session.user_agent = Some(agent.to_owned());
    fixture.create(session).await.0
}

both! {
    async fn a_search_finds_sessions_of_all_users_in_every_state_newest_first(fixture) {
        let ended = fixture.session("ann", at(1)).await;
        let suspended = fixture.session("bob", at(2)).await;
        let mut expired = new("ann", at(3));
        expired.expires_at = Some(at(10));
        let expired = fixture.create(expired).await.0;
        let active = fixture.session("cid", at(4)).await;
        fixture.end(Which::One(ended), EndReason::Revoked, None).await;
        fixture.store.suspend(suspended, SuspendReason::SuspendedByAdmin, &Actor::Operator, None, at(5)).await.unwrap();
        let all = [active, expired, suspended, ended];
        assert_eq!(fixture.found(&Filter::default(), at(10)).await, all);
        for (wanted, id) in [Phase::Active, Phase::Expired, Phase::Suspended, Phase::Ended].into_iter().zip(all) {
            assert_eq!(fixture.found(&phase(wanted), at(10)).await, [id], "{wanted:?}");
            assert_eq!(fixture.get(id).await.phase(at(10), None), wanted);
        }
        assert_eq!(fixture.found(&phase(Phase::Expired), at(9)).await, []);
        assert_eq!(fixture.found(&of("ann"), at(10)).await, [expired, ended]);
        assert_eq!(fixture.found(&Filter { phase: Some(Phase::Ended), ..of("ann") }, at(10)).await, [ended]);
        let one = Filter { id: Some(suspended), ..Filter::default() };
        assert_eq!(fixture.found(&one, at(10)).await, [suspended]);
    }

    async fn idle_sessions_count_as_expired_and_cut_off_ones_as_ended(fixture) {
        let old = fixture.session("ann", at(0)).await;
        let young = fixture.session("bob", at(50)).await;
        let search = async |wanted| {
            let found = fixture.store.search(&phase(wanted), None, 9, at(60), Some(at(30))).await.unwrap();
            found.iter().map(|record| record.id).collect::<Vec<_>>()
        };
        assert_eq!(search(Phase::Expired).await, [old]);
        assert_eq!(search(Phase::Active).await, [young]);
        let cut = fixture.literal(at(55));
        fixture.execute(&format!("UPDATE users SET not_before = {cut} WHERE id = 'bob'")).await.unwrap();
        assert_eq!(search(Phase::Ended).await, [young]);
        assert!(search(Phase::Active).await.is_empty());
    }

    async fn an_address_or_a_network_finds_where_sessions_were_used_and_bound(fixture) {
        let mut six = new("ann", at(1));
        six.ip = Some(ip("2001:db8:0:7::1"));
        let six = fixture.create(six).await.0;
        let mut unbound = new("ann", at(2));
        unbound.ip = None;
        let unbound = fixture.create(unbound).await.0;
        let moved = fixture.session("ann", at(3)).await;
        fixture.store.touch(&[Touch { id: moved, at: at(9), ip: ip("198.51.100.200") }]).await.unwrap();
        for (network, expected) in [
            ("192.0.2.1/32", vec![moved]),
            ("192.0.2.2/32", vec![]),
            ("198.51.100.200/32", vec![moved]),
            ("198.51.100.128/25", vec![moved]),
            ("198.51.100.0/25", vec![]),
            ("192.0.2.77/24", vec![moved]),
            ("0.0.0.0/0", vec![moved]),
            ("2001:db8:0:7::/64", vec![six]),
            ("2001:db8:0:7::1/128", vec![six]),
            ("2001:db8:0:8::/64", vec![]),
            ("::/0", vec![six]),
        ] {
            assert_eq!(fixture.found(&from(network), at(10)).await, expected, "{network}");
        }
        assert_eq!(fixture.found(&Filter::default(), at(10)).await, [moved, unbound, six]);
    }

    async fn a_piece_of_a_user_agent_is_found_in_either_case_and_stands_for_itself(fixture) {
        let percent = with_agent(&fixture, "Agent 100%_sure\\", at(1)).await;
        let plain = with_agent(&fixture, "Agent 100 percent", at(2)).await;
        for (text, expected) in [
            ("AGENT 100", vec![plain, percent]),
            ("100%", vec![percent]),
            ("%_s", vec![percent]),
            ("e\\", vec![percent]),
            ("_", vec![percent]),
            ("nothing' OR 'a'='a", vec![]),
        ] {
            assert_eq!(fixture.found(&like(text), at(3)).await, expected, "{text}");
        }
    }

    async fn roles_and_times_narrow_a_search(fixture) {
        let staff = fixture.create(new_with_role("ann", "staff", at(10))).await.0;
        let other = fixture.create(new_with_role("bob", "staff2", at(20))).await.0;
        let with_role = Filter { role: Some(role("staff")), ..Filter::default() };
        assert_eq!(fixture.found(&with_role, at(30)).await, [staff]);
        let before = Filter { created_before: Some(at(20)), ..Filter::default() };
        assert_eq!(fixture.found(&before, at(30)).await, [staff]);
        let after = Filter { created_after: Some(at(20)), ..Filter::default() };
        assert_eq!(fixture.found(&after, at(30)).await, [other]);
    }

    async fn pages_of_a_search_show_every_session_once_while_others_are_created(fixture) {
        let mut expected = HashSet::new();
        for number in 0..23 {
            expected.insert(fixture.session(["ann", "bob"][number % 2], at(number as u64 / 5)).await);
        }
        let (mut shown, mut after) = (Vec::new(), None);
        loop {
            let page = fixture.store.search(&Filter::default(), after, 4, at(9), None).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(Position { created_at: last.created_at, id: last.id });
            shown.extend(page.iter().map(|record| record.id));
            fixture.session("cid", at(6)).await;
        }
        assert_eq!(shown.len(), 23);
        assert_eq!(shown.into_iter().collect::<HashSet<_>>(), expected);
    }

    async fn a_bulk_end_ends_what_matches_and_spares_whom_the_guard_keeps(fixture) {
        let simple = fixture.session("ann", at(1)).await;
        let mut expired = new("ann", at(1));
        expired.expires_at = Some(at(2));
        let expired = fixture.create(expired).await.0;
        let gone = fixture.session("ann", at(1)).await;
        fixture.end(Which::One(gone), EndReason::Revoked, None).await;
        // A live session with the role protects all of the user's.
        let super_one = fixture.create(new_with_role("sue", "superuser", at(2))).await.0;
        let super_two = fixture.session("sue", at(3)).await;
        let chief = fixture.session("chief", at(3)).await;
        // An expired one protects nobody.
        let mut former = new_with_role("tom", "superuser", at(2));
        former.expires_at = Some(at(4));
        let former = fixture.create(former).await.0;

        let all = Filter::default();
        let expected = Count { matching: 3, skipped: 3 };
        assert_eq!(fixture.store.count(&all, &guard(), at(9), None).await.unwrap(), expected);
        let unguarded = async |filter| {
            fixture.store.count(&filter, &Guard::none(), at(9), None).await.unwrap().matching
        };
        assert_eq!(unguarded(Filter::default()).await, 6);
        assert_eq!(unguarded(phase(Phase::Active)).await, 4);
        assert_eq!(unguarded(phase(Phase::Expired)).await, 2);
        assert_eq!(unguarded(phase(Phase::Ended)).await, 0, "they have ended");
        assert_eq!(fixture.state(simple).await, State::Active, "counting changes nothing");
        let matched = fixture.store.end_matching(&all, &guard(), EndReason::EndedByAdmin, &by(at(9))).await.unwrap();
        assert_eq!(ids(&matched.ended), sorted(vec![simple, expired, former]));
        assert_eq!(matched.skipped, 3);
        assert!(matched.ended.iter().all(|ended| ended.reason == Some(EndReason::EndedByAdmin)));
        assert_eq!(fixture.state(gone).await, State::Ended(EndReason::Revoked));
        for spared in [super_one, super_two, chief] {
            assert_eq!(fixture.state(spared).await, State::Active);
        }
        let record = fixture.get(simple).await;
        assert_eq!((record.ended_at, record.ended_by.as_deref()), (Some(at(9)), Some("admin:root")));
        let events = fixture.events("session_ended").await;
        assert_eq!(events.iter().filter(|event| event.contains("admin:root")).count(), 3);
        assert!(fixture.rows("events").await.join("\n").contains("198.51.100.9"), "from where is told");

        let matched = fixture.store.end_matching(&all, &Guard::none(), EndReason::EndedByAdmin, &by(at(9))).await.unwrap();
        assert_eq!(ids(&matched.ended), sorted(vec![super_one, super_two, chief]));
        assert_eq!(matched.skipped, 0);
    }

    async fn a_bulk_end_goes_through_in_batches(fixture) {
        let guarded = fixture.create(new_with_role("sue", "owner", at(0))).await.0;
        // Quicker than so many calls: one row, many times over.
        let (uuid, hash) = match fixture.store.kind() {
            "sqlite" => ("randomblob(16)", "randomblob(32)"),
            _ => ("gen_random_uuid()", "sha256(convert_to(gen_random_uuid()::text, 'UTF8'))"),
        };
        let numbers = match fixture.store.kind() {
            "sqlite" => "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) SELECT i FROM n)",
            _ => "generate_series(1, 2500)",
        };
        fixture.session("ann", at(1)).await;
        fixture.execute(&format!(
            "INSERT INTO sessions (id, token_hash, user_id, roles, created_at, expires_at, last_seen_at) \
             SELECT {uuid}, {hash}, user_id, roles, created_at, expires_at, last_seen_at \
             FROM sessions CROSS JOIN {numbers} AS many WHERE user_id = 'ann'"
        )).await.unwrap();
        let (filter, guard) = (Filter::default(), guard());
        let first = fixture.store.end_batch(&filter, &guard, EndReason::EndedByAdmin, &by(at(9)), None).await.unwrap();
        assert_eq!((first.ended.len(), first.skipped), (1000, 0));
        assert!(first.next.is_some());
        let rest = fixture.store.end_matching(&filter, &guard, EndReason::EndedByAdmin, &by(at(9))).await.unwrap();
        assert_eq!((rest.ended.len(), rest.skipped), (1501, 1));
        assert_eq!(fixture.state(guarded).await, State::Active);
        assert_eq!(fixture.found(&phase(Phase::Active), at(9)).await, [guarded]);
    }

    async fn fifty_mixed_calls_at_once_all_come_back(fixture) {
        let mut sessions = Vec::new();
        for number in 0..20 {
            sessions.push(fixture.create(new_with_role(["ann", "bob"][number % 2], "staff", at(1))).await.0);
        }
        let stores = [fixture.store.clone(), fixture.another()];
        let tasks: Vec<_> = (0..50_usize).map(|number| {
            let store = stores[number % 2].clone();
            let id = sessions[number % 20];
            let limit = crate::fixture::max(0, session_gateway::store::OnExceed::EvictOldest);
            let settings = session_gateway::store::UserSettings { max_sessions: Some(4), ..Default::default() };
            tokio::spawn(async move {
                let (ann, by) = (user("ann"), by(at(2)));
                match number % 10 {
                    0 => drop(store.end_matching(&of("ann"), &guard(), EndReason::EndedByAdmin, &by).await?),
                    1 => drop(store.set_user(&ann, settings, &guard(), &by).await?),
                    2 => drop(store.suspend_guarded(id, &guard(), SuspendReason::SuspendedByAdmin, &by).await?),
                    3 => drop(store.reactivate(id, limit, &guard(), &by).await?),
                    4 => drop(store.create(new("ann", at(2))).await?),
                    5 => drop(store.end(Which::AllOf(&ann), session_gateway::store::Ending {
                        reason: EndReason::Revoked, current: None, actor: &Actor::Operator, now: at(2),
                    }).await?),
                    6 => store.touch(&[Touch { id, at: at(3), ip: ip("192.0.2.1") }]).await?,
                    7 => drop(store.search(&Filter::default(), None, 50, at(2), None).await?),
                    8 => {
                        let settings = session_gateway::store::UserSettings { not_before: Some(at(1)), ..Default::default() };
                        drop(store.set_user(&user("bob"), settings, &guard(), &by).await?);
                    }
                    _ => drop(store.count(&Filter::default(), &guard(), at(2), None).await?),
                }
                Ok::<_, session_gateway::store::StoreError>(())
            })
        }).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_looks_the_common_searches_up_in_an_index() {
    let fixture = Fixture::postgres().await;
    fixture.session("ann", at(0)).await;
    fixture
        .execute(
            "INSERT INTO users SELECT 'user ' || n FROM generate_series(1, 2000) n; \
             INSERT INTO sessions (id, token_hash, user_id, roles, created_at, last_seen_at, last_ip, bound_ip) \
             SELECT gen_random_uuid(), sha256(convert_to(n::text, 'UTF8')), 'user ' || (n % 2000 + 1), '{staff}', \
                 now() - n * interval '1 second', now(), '10.0.0.0'::inet + n, '10.0.0.0'::inet + n \
             FROM generate_series(1, 20000) n; ANALYZE",
        )
        .await
        .unwrap();
    let crate::fixture::Place::Postgres(database) = &fixture.place else { panic!() };
    let client = database.connect().await;
    let scans = async |what: &str| -> i64 {
        let (table, column) = if what == "sessions" {
            ("pg_stat_user_tables WHERE relname", "seq_scan")
        } else {
            ("pg_stat_user_indexes WHERE indexrelname", "idx_scan")
        };
        let sql = format!("SELECT {column} FROM {table} = '{what}' AND schemaname = 'session_gateway'");
        client.query_one(&sql, &[]).await.unwrap().get(0)
    };
    for (filter, index) in [
        (Filter::default(), "sessions_created"),
        (of("user 7"), "sessions_user"),
        (from("10.0.7.7/32"), "sessions_last_ip"),
        (from("10.0.7.0/28"), "sessions_bound_ip"),
    ] {
        let before = (scans("sessions").await, scans(index).await);
        let store = fixture.another();
        assert!(!store.search(&filter, None, 50, at(0), None).await.unwrap().is_empty());
        // A connection tells what it has done when it ends.
        drop(store);
        while scans(index).await == before.1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scans("sessions").await, before.0, "{filter:?} read the whole table");
    }
}
