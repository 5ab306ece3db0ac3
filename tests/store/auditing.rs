//! Reading the audit log, and the shared keys.

use std::collections::HashSet;

use session_gateway::session::{Actor, EndReason};
use session_gateway::store::{Event, EventFilter, EventPosition, EventRow, UserSettings, Which};

use crate::fixture::{Fixture, at, by, ip, user};
use session_gateway::store::Guard;

async fn kinds(fixture: &Fixture, filter: EventFilter) -> Vec<String> {
    let rows = fixture.store.events(&filter, None, 100).await.unwrap();
    rows.into_iter().map(|row| row.kind).collect()
}

both! {
    async fn the_log_is_read_newest_first_and_whole(fixture) {
        let id = fixture.session("ann", at(0)).await;
        fixture.end(Which::One(id), EndReason::Revoked, None).await;
        let rows = fixture.store.events(&EventFilter::default(), None, 100).await.unwrap();
        let [ended, created] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&*ended.kind, ended.at, ended.session), ("session_ended", at(500), Some(id)));
        assert_eq!((ended.user.as_deref(), &*ended.actor), (Some("ann"), "service:login"));
        assert_eq!(ended.detail, serde_json::json!({ "reason": "revoked" }));
        assert_eq!((&*created.kind, created.at, created.ip), ("session_created", at(0), Some(ip("192.0.2.1"))));
        assert!(created.user_agent.as_ref().unwrap().contains("Firefox") && created.id < ended.id);
    }

    async fn each_filter_shows_the_lines_it_names(fixture) {
        let ann = fixture.session("ann", at(0)).await;
        fixture.session("bob", at(10)).await;
        let changed = UserSettings { max_sessions: Some(3), ..UserSettings::default() };
        fixture.store.set_user(&user("bob"), changed, &Guard::none(), &by(at(20))).await.unwrap();
        let all = EventFilter::default();
        assert_eq!(kinds(&fixture, all.clone()).await, ["user_changed", "session_created", "session_created"]);
        for (filter, expected) in [
            (EventFilter { user: Some(user("bob")), ..all.clone() }, &["user_changed", "session_created"][..]),
            (EventFilter { session: Some(ann), ..all.clone() }, &["session_created"]),
            (EventFilter { kind: Some("user_changed".to_owned()), ..all.clone() }, &["user_changed"]),
            (EventFilter { actor: Some("admin:root".to_owned()), ..all.clone() }, &["user_changed"]),
            (EventFilter { network: Some("198.51.100.9/32".parse().unwrap()), ..all.clone() }, &["user_changed"]),
            (EventFilter { network: Some("192.0.0.0/8".parse().unwrap()), ..all.clone() }, &["session_created", "session_created"]),
            (EventFilter { since: Some(at(10)), ..all.clone() }, &["user_changed", "session_created"]),
            (EventFilter { until: Some(at(10)), ..all.clone() }, &["session_created"]),
            (EventFilter { user: Some(user("bob")), kind: Some("session_ended".to_owned()), ..all.clone() }, &[]),
        ] {
            assert_eq!(kinds(&fixture, filter.clone()).await, expected, "{filter:?}");
        }
    }

    async fn pages_of_the_log_show_every_line_once_while_others_are_written(fixture) {
        for second in 0..23 {
            // Several share a moment, so that a page ends between equals.
            fixture.session("ann", at(second / 5)).await;
        }
        let (mut seen, mut after, mut pages) = (Vec::<i64>::new(), None, 0);
        loop {
            let page: Vec<EventRow> = fixture.store.events(&EventFilter::default(), after, 4).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(EventPosition { at: last.at, id: last.id });
            seen.extend(page.iter().map(|row| row.id));
            pages += 1;
            fixture.session("ann", at(9)).await;
        }
        assert_eq!((seen.len(), pages), (23, 6));
        assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 23);
    }

    async fn a_line_of_nobody_is_read_as_it_was_written(fixture) {
        let event = Event {
            kind: "admin_refused",
            at: at(1),
            session: None,
            user: None,
            actor: Actor::Operator,
            ip: None,
            user_agent: None,
            detail: serde_json::json!({ "path": "/a\u{0}b" }),
        };
        fixture.store.record(event).await.unwrap();
        let rows = fixture.store.events(&EventFilter::default(), None, 9).await.unwrap();
        assert_eq!((rows[0].session, &rows[0].user, rows[0].ip), (None, &None, None));
        assert_eq!(rows[0].detail["path"], "/a\u{0}b");
    }

    async fn gateways_of_one_database_get_the_same_keys(fixture) {
        let stores: Vec<_> = (0..8).map(|_| fixture.another()).collect();
        let tasks: Vec<_> =
            stores.into_iter().map(|store| tokio::spawn(async move { store.secret("cursor").await.unwrap() })).collect();
        let mut keys = HashSet::new();
        for task in tasks {
            keys.insert(task.await.unwrap());
        }
        assert_eq!(keys.len(), 1);
        assert!(!keys.contains(&[0; 32]));
        assert!(!keys.contains(&fixture.store.secret("other").await.unwrap()));
        assert_eq!(fixture.rows("secrets").await.len(), 2);
    }
}
