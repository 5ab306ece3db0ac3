//! Who may do what, and whom it may be done to.

use serde_json::json;

use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::{call, lives, login, ok, put, refused, start};

/// Every call, with whether it changes something.
fn calls(id: &str) -> Vec<(&'static str, String, bool)> {
    vec![
        ("GET", "/sessions".to_owned(), false),
        ("GET", format!("/sessions/{id}"), false),
        ("GET", "/users/ann".to_owned(), false),
        ("GET", "/events".to_owned(), false),
        ("DELETE", "/sessions?user=nobody".to_owned(), true),
        ("DELETE", "/sessions?user=nobody&dry_run=true".to_owned(), true),
        ("DELETE", format!("/sessions/{id}"), true),
        ("POST", format!("/sessions/{id}/suspend"), true),
        ("POST", format!("/sessions/{id}/reactivate"), true),
        ("POST", "/users/ann/logout".to_owned(), true),
        ("PUT", "/users/ann".to_owned(), true),
    ]
}

#[test]
fn a_call_takes_its_permission_and_others_learn_nothing() {
    let (_upstream, gateway) = start("");
    let nobody = login(&gateway, "eve", "other");
    let auditor = login(&gateway, "aud", "auditor");
    let staff = login(&gateway, "sam", "staff");
    let target = gateway.login("ann");
    for (method, path, changes) in calls(&target.id) {
        let status = |session| call(&gateway, session, method, &path).status;
        assert_eq!(status(&nobody), 403, "{method} {path}");
        assert_eq!(status(&auditor) == 403, changes, "{method} {path}");
        assert_ne!(status(&staff), 403, "{method} {path}");
        assert_eq!(gateway.request(method, &format!("/_sessions/admin{path}"), "", b"").status, 401);
    }
    for path in ["", "/nothing", "/sessions/7"] {
        refused(&call(&gateway, &nobody, "GET", path), 403, "role_required");
    }
    refused(&call(&gateway, &auditor, "GET", "/nothing"), 404, "not_found");
    refused(&call(&gateway, &staff, "PATCH", "/sessions"), 405, "method_not_allowed");
    assert_eq!(call(&gateway, &auditor, "HEAD", "/sessions").status, 200);
}

#[test]
fn without_settings_there_are_no_administrators() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    for (user, role) in [("root", "superuser"), ("admin", "admin")] {
        refused(&call(&gateway, &login(&gateway, user, role), "GET", "/sessions"), 403, "role_required");
    }
}

#[test]
fn a_user_named_in_the_settings_has_every_permission() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    let chief = login(&gateway, "sue", "superuser");
    assert_eq!(ok(call(&gateway, &root, "DELETE", &format!("/sessions/{}", chief.id)))["ended"], 1);
    assert!(!lives(&gateway, &chief));
}

#[test]
fn a_permission_comes_with_the_roles_of_the_session_and_not_with_its_user() {
    let (_upstream, gateway) = start("");
    let (chief, plain) = (login(&gateway, "sue", "superuser"), gateway.login("sue"));
    let target = gateway.login("ann");
    let path = format!("/sessions/{}", target.id);
    refused(&call(&gateway, &plain, "DELETE", &path), 403, "role_required");
    assert!(lives(&gateway, &target));
    assert_eq!(ok(call(&gateway, &chief, "DELETE", &path))["ended"], 1);
    assert!(!lives(&gateway, &target));
}

#[test]
fn a_refusal_is_written_down_once_a_minute_for_a_session() {
    let (_upstream, gateway) = start("");
    let eve = login(&gateway, "eve", "other");
    for _ in 0..20 {
        refused(&call(&gateway, &eve, "POST", "/users/root/logout"), 403, "role_required");
    }
    let events = Database::of(&gateway).events("admin_refused");
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.actor.as_str(), event.ip.as_deref()), ("admin:eve", Some("127.0.0.1")));
    let detail: serde_json::Value = serde_json::from_str(&event.detail).unwrap();
    assert_eq!(detail["needs"], "logout");
    assert_eq!(detail["path"], "/_sessions/admin/users/root/logout");
}

#[test]
fn who_has_logout_alone_cannot_touch_protected_users() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    // Protected by name, by a role of this session, and by a role of another one of the same user.
    let root = gateway.login("root");
    let chief = login(&gateway, "sue", "superuser");
    let second = gateway.login("sue");
    for session in [&root, &chief, &second] {
        let path = format!("/sessions/{}", session.id);
        refused(&call(&gateway, &staff, "DELETE", &path), 403, "protected_user");
        refused(&call(&gateway, &staff, "POST", &format!("{path}/suspend")), 403, "protected_user");
        assert!(lives(&gateway, session));
    }
    // Nor bring back what somebody had reason to suspend, be it the user's only session.
    let boss = login(&gateway, "bea", "superuser");
    for session in [&second, &boss] {
        let path = format!("/sessions/{}", session.id);
        ok(call(&gateway, &chief, "POST", &format!("{path}/suspend")));
        refused(&call(&gateway, &staff, "POST", &format!("{path}/reactivate")), 403, "protected_user");
        assert!(!lives(&gateway, session));
        ok(call(&gateway, &chief, "POST", &format!("{path}/reactivate")));
    }
    for user in ["root", "sue"] {
        refused(&call(&gateway, &staff, "POST", &format!("/users/{user}/logout")), 403, "protected_user");
        refused(&put(&gateway, &staff, user, &json!({ "enabled": false })), 403, "protected_user");
    }
    assert!(lives(&gateway, &root) && lives(&gateway, &chief) && lives(&gateway, &second));
    let events = Database::of(&gateway).events("admin_refused");
    assert_eq!(events.len(), 1, "once a minute");
    assert_eq!((events[0].user.as_deref(), events[0].actor.as_str()), (Some("root"), "admin:sam"));
    assert!(events[0].detail.contains("protected_user"), "{events:?}");

    // Whoever has logout_all may, themselves included.
    assert_eq!(ok(call(&gateway, &chief, "POST", "/users/root/logout"))["ended"], 1);
    assert_eq!(ok(call(&gateway, &chief, "POST", "/users/sue/logout"))["ended"], 2);
    assert!(!lives(&gateway, &root) && !lives(&gateway, &chief) && !lives(&gateway, &second));
}

#[test]
fn a_bulk_end_spares_protected_users_and_counts_them() {
    let (_upstream, gateway) = start("");
    let staff = login(&gateway, "sam", "staff");
    let chief = login(&gateway, "sue", "superuser");
    let root = gateway.login("root");
    let ann = gateway.login("ann");
    let answer = ok(call(&gateway, &staff, "DELETE", "/sessions?all=true&dry_run=true"));
    assert_eq!(answer, json!({ "dry_run": true, "ended": 2, "skipped": 2 }));
    assert!(lives(&gateway, &ann) && lives(&gateway, &staff));
    assert!(Database::of(&gateway).events("admin_refused").is_empty(), "nothing was tried");
    let answer = ok(call(&gateway, &staff, "DELETE", "/sessions?all=true"));
    assert_eq!(answer, json!({ "ended": 2, "skipped": 2 }));
    assert!(lives(&gateway, &chief) && lives(&gateway, &root));
    assert!(!lives(&gateway, &ann) && !lives(&gateway, &staff), "the caller's own too");
    let events = Database::of(&gateway).events("admin_refused");
    assert!(events.len() == 1 && events[0].detail.contains("\"skipped\":2"), "{events:?}");
}

#[test]
fn a_call_with_the_cookie_must_come_from_a_page_of_this_site() {
    let (_upstream, gateway) = start("");
    let root = gateway.login("root");
    let ann = gateway.login("ann");
    let cookie = format!("Cookie: __Host-session={}\r\n", root.token);
    let end = |headers: &str| gateway.request("DELETE", &format!("/_sessions/admin/sessions/{}", ann.id), headers, b"");
    refused(&end(&cookie), 403, "csrf");
    refused(&end(&format!("{cookie}Sec-Fetch-Site: same-site\r\n")), 403, "csrf");
    refused(&gateway.request("PUT", "/_sessions/admin/users/ann", &cookie, b"{}"), 403, "csrf");
    assert!(lives(&gateway, &ann));
    assert_eq!(end(&format!("{cookie}Sec-Fetch-Site: same-origin\r\n")).status, 200);
    assert!(!lives(&gateway, &ann));
    assert_eq!(gateway.get("/_sessions/admin/sessions", &cookie).status, 200, "looking is safe");
}
