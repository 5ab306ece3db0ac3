//! Ending, suspending and reactivating sessions of others.

use serde_json::json;

use crate::support::database::Database;
use crate::{call, invalid, lives, login, ok, refused, start, told};

#[test]
fn an_ended_session_is_refused_at_once_and_told_why() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    let (ann, other) = (gateway.login("ann"), gateway.login("ann"));
    assert!(lives(&gateway, &ann) && lives(&gateway, &other), "both are cached now");
    let path = format!("/sessions/{}", ann.id);
    assert_eq!(ok(call(&gateway, &staff, "DELETE", &path)), json!({ "ended": 1, "skipped": 0 }));
    assert_eq!(told(&gateway, &ann), ("session_revoked".to_owned(), "ended_by_admin".to_owned()));
    assert!(lives(&gateway, &other));
    assert_eq!(ok(call(&gateway, &staff, "DELETE", &path)), json!({ "ended": 0, "skipped": 0 }));
    let unknown = format!("/sessions/{}", uuid::Uuid::nil());
    refused(&call(&gateway, &staff, "DELETE", &unknown), 404, "not_found");

    let database = Database::of(&gateway);
    assert_eq!(database.column(&ann.id, "ended_by").as_deref(), Some("admin:sam"));
    let events = database.events("session_ended");
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.user.as_deref(), event.actor.as_str()), (Some("ann"), "admin:sam"));
    assert_eq!((event.ip.as_deref(), event.user_agent.as_deref()), (Some("127.0.0.1"), Some("acme-test/1.0")));
    assert_eq!(gateway.metric("gateway_sessions_ended_total{reason=\"ended_by_admin\"}"), 1.0);
}

#[test]
fn a_user_is_logged_out_everywhere() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    let sessions = [gateway.login("an/n"), gateway.login("an/n")];
    let foreign = gateway.login("bob");
    assert!(sessions.iter().all(|session| lives(&gateway, session)));
    invalid(&call(&gateway, &staff, "POST", "/users/logout"), "user");
    invalid(&call(&gateway, &staff, "POST", "/users/bob/logout?user=bob"), "user");
    assert_eq!(ok(call(&gateway, &staff, "POST", "/users/logout?user=an%2Fn")), json!({ "ended": 2, "skipped": 0 }));
    for session in &sessions {
        assert_eq!(told(&gateway, session), ("session_revoked".to_owned(), "ended_by_admin".to_owned()));
    }
    assert!(lives(&gateway, &foreign));
    assert_eq!(ok(call(&gateway, &staff, "POST", "/users/nobody/logout")), json!({ "ended": 0, "skipped": 0 }));
    assert_eq!(ok(call(&gateway, &staff, "POST", "/users/bob/logout"))["ended"], 1);
    assert!(!lives(&gateway, &foreign));
}

#[test]
fn an_administrator_may_end_their_own_session() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    assert_eq!(ok(call(&gateway, &staff, "DELETE", &format!("/sessions/{}", staff.id)))["ended"], 1);
    assert_eq!(told(&gateway, &staff), ("session_revoked".to_owned(), "ended_by_admin".to_owned()));
}

#[test]
fn a_bulk_end_needs_a_filter_or_all_and_can_be_tried_first() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    let near = gateway.login_with(json!({ "user": "ann", "ip": "192.0.2.7" }));
    let far = gateway.login_with(json!({ "user": "ann", "ip": "198.51.100.7" }));
    for (query, field) in [
        ("", "all"),
        ("?dry_run=true", "all"),
        ("?all=false", "all"),
        ("?all=true&user=ann", "all"),
        ("?usr=ann", "usr"),
        ("?user=ann&limit=3", "limit"),
        ("?user=ann&dry_run=maybe", "dry_run"),
        ("?ip=nowhere", "ip"),
    ] {
        invalid(&call(&gateway, &root, "DELETE", &format!("/sessions{query}")), field);
    }
    let tried = ok(call(&gateway, &root, "DELETE", "/sessions?ip=192.0.2.0/24&dry_run=true"));
    assert_eq!(tried, json!({ "dry_run": true, "ended": 1, "skipped": 0 }));
    let ended = ok(call(&gateway, &root, "DELETE", "/sessions?ip=192.0.2.0/24"));
    assert_eq!(ended, json!({ "ended": 1, "skipped": 0 }));
    assert!(!lives(&gateway, &near) && lives(&gateway, &far) && lives(&gateway, &root));
    assert_eq!(ok(call(&gateway, &root, "DELETE", "/sessions?state=ended"))["ended"], 0);
    assert_eq!(ok(call(&gateway, &root, "DELETE", "/sessions?all=true"))["ended"], 2);
    assert!(!lives(&gateway, &far) && !lives(&gateway, &root));
}

#[test]
fn a_suspended_session_is_refused_until_it_is_reactivated() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    let ann = gateway.login("ann");
    assert!(lives(&gateway, &ann));
    let path = |what: &str| format!("/sessions/{}/{what}", ann.id);
    refused(&call(&gateway, &staff, "POST", &path("reactivate")), 409, "conflict");
    let row = ok(call(&gateway, &staff, "POST", &path("suspend")));
    assert_eq!((&row["state"], &row["reason"]), (&json!("suspended"), &json!("suspended_by_admin")));
    assert_eq!(told(&gateway, &ann), ("session_suspended".to_owned(), "suspended_by_admin".to_owned()));
    refused(&call(&gateway, &staff, "POST", &path("suspend")), 409, "conflict");
    let row = ok(call(&gateway, &staff, "POST", &path("reactivate")));
    assert_eq!((&row["state"], &row["reason"]), (&json!("active"), &json!(null)));
    assert!(lives(&gateway, &ann));
    assert_eq!(call(&gateway, &staff, "DELETE", &format!("/sessions/{}", ann.id)).status, 200);
    for what in ["suspend", "reactivate"] {
        refused(&call(&gateway, &staff, "POST", &path(what)), 409, "conflict");
        refused(&call(&gateway, &staff, "POST", &format!("/sessions/{}/{what}", uuid::Uuid::nil())), 404, "not_found");
        invalid(&call(&gateway, &staff, "POST", &format!("{}?force=1", path(what))), "force");
    }
    let database = Database::of(&gateway);
    for kind in ["session_suspended", "session_reactivated"] {
        let events = database.events(kind);
        assert_eq!(
            (events.len(), events[0].actor.as_str(), events[0].ip.as_deref()),
            (1, "admin:sam", Some("127.0.0.1"))
        );
    }
}

#[test]
fn a_session_that_its_own_user_agent_suspended_comes_back_too() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    let ann = gateway.login_with(json!({ "user": "ann", "user_agent": "Other/1" }));
    assert_eq!(told(&gateway, &ann).1, "user_agent_changed");
    let row = ok(call(&gateway, &staff, "POST", &format!("/sessions/{}/reactivate", ann.id)));
    assert_eq!(row["state"], "active");
    let headers = format!("User-Agent: Other/2\r\n{}", crate::bearer(&ann.token));
    assert_eq!(gateway.get("/", &headers).status, 200);
}

#[test]
fn what_has_expired_or_has_no_place_is_not_reactivated() {
    let (_upstream, gateway) = start(
        "[policy.max_sessions]\ndefault = 1\non_exceed = \"reject_new\"\n[policy.max_sessions.by_role]\nstaff = 0\n",
    );
    let staff = login(&gateway, "sam", "staff");
    let first = gateway.login("ann");
    let suspend = format!("/sessions/{}/suspend", first.id);
    let reactivate = format!("/sessions/{}/reactivate", first.id);
    assert_eq!(call(&gateway, &staff, "POST", &suspend).status, 200);
    // A suspended session holds no place.
    let second = gateway.login("ann");
    refused(&call(&gateway, &staff, "POST", &reactivate), 409, "too_many_sessions");
    assert_eq!(gateway.delete_as(&second.token, "/_sessions/current").status, 204);
    assert_eq!(call(&gateway, &staff, "POST", &reactivate).status, 200);
    assert_eq!(call(&gateway, &staff, "POST", &suspend).status, 200);
    Database::of(&gateway).change(&first, "expires_at = created_at");
    refused(&call(&gateway, &staff, "POST", &reactivate), 409, "conflict");
    assert_eq!(ok(call(&gateway, &staff, "GET", &format!("/sessions/{}", first.id)))["state"], "expired");
}
