//! Sessions in use: binding, touching, listing, and the audit log.

use std::collections::HashSet;
use std::time::Duration;

use session_gateway::clock::Timestamp;
use session_gateway::session::{Actor, SessionId, State, SuspendReason};
use session_gateway::store::{Event, Name, OnExceed, Position, Rotated, Rotation, Touch};
use session_gateway::token::Token;
use session_gateway::user_agent::{ClientHints, Device};

use crate::fixture::{Fixture, Place, TIMEOUT, UA, at, ip, max, new, new_with_token, user};

both! {
    async fn an_unbound_session_is_bound_once(fixture) {
        let mut unbound = new("ann", at(0));
        (unbound.user_agent, unbound.ip) = (None, None);
        let id = fixture.create(unbound).await.0;
        let record = fixture.get(id).await;
        assert_eq!((record.user_agent, record.bound_ip, record.last_ip), (None, None, None));
        fixture.store.bind(id, "first", &Device::of("first", &ClientHints::default()), ip("192.0.2.7")).await.unwrap();
        fixture.store.bind(id, "second", &Device::of("second", &ClientHints::default()), ip("192.0.2.8")).await.unwrap();
        let record = fixture.get(id).await;
        assert_eq!((record.user_agent.as_deref(), record.bound_ip), (Some("first"), Some(ip("192.0.2.7"))));
    }

    async fn what_is_bound_already_stays_when_the_rest_is_bound(fixture) {
        let mut half = new("ann", at(0));
        half.ip = None;
        let id = fixture.create(half).await.0;
        fixture.store.bind(id, "other", &Device::of("other", &ClientHints::default()), ip("192.0.2.7")).await.unwrap();
        let record = fixture.get(id).await;
        assert_eq!((record.user_agent.as_deref(), record.bound_ip), (Some(UA), Some(ip("192.0.2.7"))));
        assert_eq!(record.state, State::Active);
    }

    async fn some_sessions_are_looked_up_at_once_in_the_order_of_their_names(fixture) {
        let (first, token) = new_with_token("ann", at(0));
        let ann = fixture.create(first).await.0;
        let (second, other) = new_with_token("bob", at(1));
        let bob = fixture.create(second).await.0;
        let next = Token::generate(32).unwrap().digest();
        let rotation =
            Rotation { id: bob, from: other.digest(), to: next, grace: TIMEOUT, actor: Actor::Operator, now: at(2) };
        assert_eq!(fixture.store.rotate(rotation).await.unwrap(), Rotated::Done);
        let stranger = Name::Token(Token::generate(32).unwrap().digest());
        let names = vec![
            Name::Token(next),
            stranger,
            Name::Token(token.digest()),
            Name::Token(other.digest()),
            Name::Id(bob),
            Name::Id(SessionId::generate().unwrap()),
            Name::Token(token.digest()),
            Name::Id(ann),
        ];
        let look_up = async |names: Vec<Name>| {
            let found = fixture.store.look_up(names).await.unwrap();
            found.into_iter().map(|record| record.map(|record| record.id)).collect::<Vec<_>>()
        };
        let found = look_up(names.clone()).await;
        assert_eq!(found, [Some(bob), None, Some(ann), None, Some(bob), None, Some(ann), Some(ann)]);
        assert_eq!(look_up(Vec::new()).await, []);
        let every = ["last_ip = 'nonsense'", "name = CAST(x'ff' AS TEXT)", r#"roles = '{"a b"}'"#];
        // The tables of PostgreSQL keep more out.
        let possible = if matches!(fixture.place, Place::Sqlite(_)) { &every[..] } else { &every[2..] };
        for broken in possible {
            for columns in ["last_ip = NULL, name = NULL", *broken] {
                fixture.execute(&format!("UPDATE sessions SET {columns} WHERE user_id = 'ann'")).await.unwrap();
            }
            let found = look_up(names.clone()).await;
            assert_eq!(found, [Some(bob), None, None, None, Some(bob), None, None, None], "a row that cannot be read is none");
            assert!(fixture.store.get(ann).await.is_err(), "who asks for it alone is told");
        }
    }

    async fn a_touch_moves_the_last_use_only_forward(fixture) {
        let a = fixture.session("ann", at(0)).await;
        let b = fixture.session("bob", at(0)).await;
        let stranger = SessionId::generate().unwrap();
        let touch = |id, second, address| Touch { id, at: at(second), ip: ip(address) };
        let batch = [
            touch(a, 30, "192.0.2.30"),
            touch(b, 5, "2001:db8::5"),
            touch(a, 60, "192.0.2.60"),
            touch(stranger, 9, "192.0.2.9"),
            touch(a, 45, "192.0.2.45"),
        ];
        fixture.store.touch(&batch).await.unwrap();
        let record = fixture.get(a).await;
        assert_eq!((record.last_seen_at, record.last_ip), (at(60), Some(ip("192.0.2.60"))));
        assert_eq!(fixture.get(b).await.last_ip, Some(ip("2001:db8::5")));
        fixture.store.touch(&[touch(a, 59, "192.0.2.59"), touch(b, 6, "192.0.2.6")]).await.unwrap();
        let record = fixture.get(a).await;
        assert_eq!((record.last_seen_at, record.last_ip), (at(60), Some(ip("192.0.2.60"))));
        assert_eq!(fixture.get(b).await.last_seen_at, at(6));
        assert_eq!(record.bound_ip, Some(ip("192.0.2.1")), "where it is bound to stays");
        fixture.store.touch(&[]).await.unwrap();
    }

    async fn touches_of_the_same_sessions_in_any_order_do_not_block_each_other(fixture) {
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(fixture.session("ann", at(0)).await);
        }
        let tasks: Vec<_> = (1..=20).map(|round| {
            let (store, mut ids) = (fixture.store.clone(), ids.clone());
            if round % 2 == 0 { ids.reverse(); } else { ids.sort(); }
            let touches: Vec<_> =
                ids.into_iter().map(|id| Touch { id, at: at(round), ip: ip("192.0.2.1") }).collect();
            tokio::spawn(async move { store.touch(&touches).await })
        }).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        for id in ids {
            assert_eq!(fixture.get(id).await.last_seen_at, at(20));
        }
    }

    async fn a_suspended_session_is_not_touched_or_bound(fixture) {
        let mut unbound = new("ann", at(0));
        unbound.ip = None;
        let id = fixture.create(unbound).await.0;
        let reason = SuspendReason::UserAgentChanged;
        fixture.store.suspend(id, reason, &Actor::Policy, None, at(1)).await.unwrap().unwrap();
        fixture.store.touch(&[Touch { id, at: at(2), ip: ip("::1") }]).await.unwrap();
        fixture.store.bind(id, "x", &Device::of("x", &ClientHints::default()), ip("::1")).await.unwrap();
        let record = fixture.get(id).await;
        assert_eq!((record.last_seen_at, record.bound_ip), (at(0), None));
        assert_eq!(record.state, State::Suspended(reason));
    }

    async fn the_list_shows_the_users_live_sessions_newest_first(fixture) {
        let mut expiring = new("ann", at(1));
        expiring.expires_at = Some(at(10));
        let expiring = fixture.create(expiring).await.0;
        let middle = fixture.session("ann", at(2)).await;
        let newest = fixture.session("ann", at(3)).await;
        fixture.session("bob", at(4)).await;
        assert_eq!(fixture.live("ann", at(9)).await, [newest, middle, expiring]);
        assert_eq!(fixture.live("ann", at(10)).await, [newest, middle]);
        fixture.store.touch(&[Touch { id: middle, at: at(8), ip: ip("::1") }]).await.unwrap();
        let busy = fixture.store.list_live(&user("ann"), None, 9, at(9), Some(at(8))).await.unwrap();
        assert_eq!(busy.iter().map(|record| record.id).collect::<Vec<_>>(), [middle]);
        let reason = SuspendReason::SuspendedByAdmin;
        fixture.store.suspend(middle, reason, &Actor::Operator, None, at(9)).await.unwrap();
        assert_eq!(fixture.live("ann", at(9)).await, [newest, expiring]);
        assert!(fixture.live("nobody", at(9)).await.is_empty());
    }

    async fn a_session_that_slides_is_live_until_it_goes_unused_for_so_long(fixture) {
        let mut sliding = new("ann", at(0));
        (sliding.slide, sliding.expires_at) = (Some(Duration::from_secs(10)), Some(at(25)));
        let id = fixture.create(sliding).await.0;
        assert_eq!(fixture.get(id).await.slide, Some(Duration::from_secs(10)));
        let before = |time: Timestamp| time.minus(Duration::from_millis(1));
        assert_eq!(fixture.live("ann", before(at(10))).await, [id]);
        assert!(fixture.live("ann", at(10)).await.is_empty());
        fixture.store.touch(&[Touch { id, at: at(9), ip: ip("::1") }]).await.unwrap();
        assert_eq!(fixture.live("ann", before(at(19))).await, [id]);
        assert!(fixture.live("ann", at(19)).await.is_empty());
        fixture.store.touch(&[Touch { id, at: at(18), ip: ip("::1") }]).await.unwrap();
        assert_eq!(fixture.live("ann", before(at(25))).await, [id]);
        assert!(fixture.live("ann", at(25)).await.is_empty(), "never beyond its hard end");
        assert_eq!(fixture.get(id).await.over_at(), Some(at(25)));
    }

    async fn the_longest_time_without_use_is_no_trouble(fixture) {
        for slide in [Duration::from_secs(u32::MAX.into()), Duration::from_millis(i64::MAX as u64), Duration::MAX] {
            let mut sliding = new("ann", at(0));
            (sliding.slide, sliding.expires_at) = (Some(slide), None);
            sliding.limit = max(2, OnExceed::EvictOldest);
            fixture.create(sliding).await;
        }
        assert_eq!(fixture.live("ann", at(1_000_000_000)).await.len(), 2);
    }

    async fn pages_show_every_session_once_while_others_are_created(fixture) {
        let mut expected = HashSet::new();
        for number in 0..23 {
            // Several share a moment, so that a page ends between equals.
            expected.insert(fixture.session("ann", at(number / 5)).await);
        }
        let (mut shown, mut after, mut sizes) = (Vec::new(), None, Vec::new());
        loop {
            let page = fixture.store.list_live(&user("ann"), after, 4, at(9), None).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(Position { created_at: last.created_at, id: last.id });
            sizes.push(page.len());
            shown.extend(page.iter().map(|record| record.id));
            fixture.session("ann", at(6)).await;
        }
        assert_eq!(sizes, [4, 4, 4, 4, 4, 3]);
        assert_eq!(shown.len(), 23);
        assert_eq!(shown.into_iter().collect::<HashSet<_>>(), expected);
    }

    async fn an_event_is_appended_as_given(fixture) {
        let session = SessionId::generate().unwrap();
        let event = Event {
            kind: "login_unmatched",
            at: at(3),
            session: Some(session),
            user: Some(user("ann")),
            actor: Actor::User(user("ann")),
            ip: Some(ip("2001:db8::3")),
            user_agent: Some("odd\0agent".to_owned()),
            detail: serde_json::json!({ "path": "/login\u{0}" }),
        };
        fixture.store.record(event).await.unwrap();
        let bare = Event {
            kind: "admin_refused",
            at: at(4),
            session: None,
            user: None,
            actor: Actor::Policy,
            ip: None,
            user_agent: None,
            detail: serde_json::json!({}),
        };
        fixture.store.record(bare).await.unwrap();
        let events = fixture.events("login_unmatched").await;
        assert_eq!(events, [r#"ann user:ann {"path":"/login\u0000"}"#]);
        let rows = fixture.rows("events").await;
        assert_eq!(rows.len(), 2);
        assert!(rows[0].contains("2001:db8::3") && rows[0].contains("odd\u{fffd}agent"), "{}", rows[0]);
    }

    async fn a_creation_is_logged_with_where_it_came_from(fixture) {
        fixture.session("ann", at(0)).await;
        assert_eq!(fixture.events("session_created").await, ["ann service:login {}"]);
        let rows = fixture.rows("events").await;
        assert!(rows[0].contains("192.0.2.1") && rows[0].contains("Firefox/130.0"), "{}", rows[0]);
    }
}
