//! The audit log as administrators read it.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Issued};
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::{ADMIN, call, invalid, login, ok, put, refused, start};

fn events(gateway: &Gateway, admin: &Issued, query: &str) -> Vec<Value> {
    ok(call(gateway, admin, "GET", &format!("/events?{query}")))["events"].as_array().unwrap().clone()
}

#[test]
fn who_did_what_to_whom_when_from_where_and_why_is_told() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    let auditor = login(&gateway, "aud", "auditor");
    let ann = gateway.login("ann");
    assert_eq!(call(&gateway, &staff, "DELETE", &format!("/sessions/{}", ann.id)).status, 200);
    put(&gateway, &staff, "ann", &json!({ "max_sessions": 1 }));
    let all = events(&gateway, &auditor, "");
    let kinds: Vec<_> = all.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["user_changed", "session_ended", "session_created", "session_created", "session_created"]);
    let ended = &all[1];
    assert_eq!((&ended["user"], &ended["session"]), (&json!("ann"), &json!(ann.id)));
    assert_eq!((&ended["actor"], &ended["ip"]), (&json!("admin:sam"), &json!("127.0.0.1")));
    assert_eq!(
        (&ended["user_agent"], &ended["detail"]),
        (&json!("acme-test/1.0"), &json!({"reason": "ended_by_admin"}))
    );
    assert!(ended["at"].as_str().unwrap().ends_with('Z') && ended["id"].is_i64());

    let at = ended["at"].as_str().unwrap();
    for (query, expected) in [
        ("user=ann".to_owned(), vec!["user_changed", "session_ended", "session_created"]),
        (format!("session={}", ann.id), vec!["session_ended", "session_created"]),
        ("kind=session_ended".to_owned(), vec!["session_ended"]),
        ("actor=admin:sam".to_owned(), vec!["user_changed", "session_ended"]),
        ("ip=127.0.0.0/8".to_owned(), vec!["user_changed", "session_ended"]),
        (format!("since={at}&kind=session_ended"), vec!["session_ended"]),
        (format!("until={at}&kind=session_ended"), vec![]),
    ] {
        let found = events(&gateway, &auditor, &query);
        let kinds: Vec<_> = found.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, expected, "{query}");
    }
    for (query, field) in [
        ("users=ann", "users"),
        ("session=7", "session"),
        ("since=now", "since"),
        ("ip=x", "ip"),
        ("limit=501", "limit"),
    ] {
        invalid(&call(&gateway, &auditor, "GET", &format!("/events?{query}")), field);
    }
}

#[test]
fn pages_show_every_line_once_while_others_are_written() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    for _ in 0..9 {
        gateway.login("ann");
    }
    let (mut seen, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let page = ok(call(&gateway, &root, "GET", &format!("/events?{query}")));
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=3&cursor={cursor}");
        gateway.login("late");
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((seen.len(), once.len()), (10, 10));
    assert!(seen.is_sorted_by(|a, b| a > b));
}

#[test]
fn a_search_that_takes_too_long_is_only_the_administrators_trouble() {
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let settings = format!("{ADMIN}[store]\ntimeout = \"500ms\"\n[cache]\nttl = \"10m\"\n");
    let gateway = Gateway::start_on(&database.url(), &upstream.url(), &settings);
    let (root, ann) = (gateway.login("root"), gateway.login("ann"));
    for session in [&root, &ann] {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    }
    let finds = gateway.store_finds();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = runtime.block_on(database.connect());
    runtime.block_on(other.batch_execute("BEGIN; LOCK TABLE events")).unwrap();
    let slow = call(&gateway, &root, "GET", "/events");
    refused(&slow, 503, "store_unavailable");
    assert!(slow.json()["detail"].as_str().unwrap().contains("store.timeout"), "{slow:?}");
    assert_eq!(gateway.metric("gateway_store_up"), 1.0);
    assert_eq!(gateway.get_as(&ann.token, "/").status, 200);
    assert_eq!(gateway.store_finds(), finds, "nothing was forgotten");
    runtime.block_on(other.batch_execute("ROLLBACK")).unwrap();
    ok(call(&gateway, &root, "GET", "/events"));
}
