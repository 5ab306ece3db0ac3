//! What administrators say about users.

use serde_json::json;

use crate::support::database::Database;
use crate::support::gateway::bearer;
use crate::{call, invalid, lives, login, ok, put, refused, start, told};

#[test]
fn a_user_is_shown_and_set_as_a_whole() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    refused(&call(&gateway, &staff, "GET", "/users/ann"), 404, "not_found");
    gateway.login("ann");
    let fresh = json!({
        "user": "ann", "enabled": true, "max_sessions": null, "audit_keep": null, "not_before": null, "live_sessions": 1,
    });
    assert_eq!(ok(call(&gateway, &staff, "GET", "/users/ann")), fresh);
    assert_eq!(ok(call(&gateway, &staff, "GET", "/users?user=ann")), fresh);
    let set = ok(put(&gateway, &staff, "ann", &json!({ "max_sessions": 2, "audit_keep": 0 })));
    assert_eq!((&set["max_sessions"], &set["audit_keep"], &set["ended"]), (&json!(2), &json!(0), &json!(0)));
    // What is not said is taken back.
    let set = ok(put(&gateway, &staff, "ann", &json!({ "audit_keep": 7, "max_sessions": null })));
    assert_eq!((&set["max_sessions"], &set["audit_keep"]), (&json!(null), &json!(7)));
    // Of a user who was never here, and of one whose id needs encoding.
    assert_eq!(ok(put(&gateway, &staff, "Zo%C3%AB%20A", &json!({})))["user"], "Zoë A");
    let headers = format!("{}Content-Type: application/json\r\n", bearer(&staff.token));
    let slash = gateway.request("PUT", "/_sessions/admin/users?user=a%2Fb", &headers, b"{\"max_sessions\":1}");
    assert_eq!(ok(slash)["user"], "a/b");
    assert_eq!(ok(call(&gateway, &staff, "GET", "/users?user=a%2Fb"))["max_sessions"], 1);

    let events = Database::of(&gateway).events("user_changed");
    assert_eq!(events.len(), 3, "what changed nothing is no event");
    assert_eq!((events[0].user.as_deref(), events[0].actor.as_str()), (Some("ann"), "admin:sam"));
    assert!(events[1].detail.contains("\"old\":{\"enabled\":true,\"max_sessions\":2"), "{}", events[1].detail);
}

#[test]
fn a_body_that_is_wrong_is_refused_with_its_field() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    for (body, field) in [
        (json!({ "enabled": "no" }), "enabled"),
        (json!({ "max_sessions": -1 }), "max_sessions"),
        (json!({ "max_sessions": 2_147_483_648_u32 }), "max_sessions"),
        (json!({ "audit_keep": "all" }), "audit_keep"),
        (json!({ "not_before": "yesterday" }), "not_before"),
        (json!({ "not_before": "2999-01-01T00:00:00Z" }), "not_before"),
        (json!({ "max_session": 1 }), "max_session"),
        (json!([1]), "body"),
    ] {
        invalid(&put(&gateway, &staff, "ann", &body), field);
    }
    let headers = format!("{}Content-Type: application/json\r\n", bearer(&staff.token));
    let raw = |headers: &str, body: &[u8]| gateway.request("PUT", "/_sessions/admin/users/ann", headers, body);
    invalid(&raw(&headers, b"{\"enabled\":true,\"enabled\":false}"), "body");
    refused(&raw(&bearer(&staff.token), b"{}"), 415, "unsupported_media_type");
    invalid(&call(&gateway, &staff, "GET", "/users/ann?user=bob"), "user");
    refused(&call(&gateway, &staff, "GET", "/users/ann"), 404, "not_found");
}

#[test]
fn a_disabled_user_loses_every_session_at_once_and_gets_no_new_one() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    let sessions = [gateway.login("ann"), gateway.login("ann")];
    assert!(sessions.iter().all(|session| lives(&gateway, session)), "both are cached now");
    assert_eq!(ok(put(&gateway, &staff, "ann", &json!({ "enabled": false })))["ended"], 2);
    for session in &sessions {
        assert_eq!(told(&gateway, session).1, "user_disabled");
    }
    refused(&gateway.issue(&json!({ "user": "ann" })), 403, "user_disabled");
    assert_eq!(ok(put(&gateway, &staff, "ann", &json!({ "enabled": true })))["ended"], 0);
    for session in &sessions {
        assert!(!lives(&gateway, session), "they do not come back");
    }
    assert!(lives(&gateway, &gateway.login("ann")));
}

#[test]
fn a_moment_ends_every_older_session() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    let old = gateway.login("ann");
    let database = Database::of(&gateway);
    // A day earlier, so that the moment between the two is known.
    database.change(&old, "created_at = created_at - 86400000");
    let young = gateway.login("ann");
    assert!(lives(&gateway, &old) && lives(&gateway, &young));
    let created = ok(call(&gateway, &staff, "GET", &format!("/sessions/{}", young.id)))["created_at"].clone();
    let set = ok(put(&gateway, &staff, "ann", &json!({ "not_before": created })));
    assert_eq!((&set["ended"], &set["not_before"], &set["live_sessions"]), (&json!(1), &created, &json!(1)));
    assert_eq!(told(&gateway, &old), ("session_revoked".to_owned(), "ended_by_admin".to_owned()));
    assert!(lives(&gateway, &young));
    assert_eq!(ok(put(&gateway, &staff, "ann", &json!({})))["ended"], 0);
    assert!(!lives(&gateway, &old), "dead is dead");
}
