//! A new token for a session, and what the old one is good for.

use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::upstream::Upstream;
use crate::{lives, own_page};

fn start(toml: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), toml);
    (upstream, gateway)
}

/// Rotates with the Authorization header: the same session under its new token.
fn rotated(gateway: &Gateway, session: &Issued) -> Issued {
    let response = gateway.request("POST", "/_sessions/rotate", &bearer(&session.token), b"");
    assert_eq!(response.status, 200, "{response:?}");
    let answer = response.json();
    assert_eq!(answer["id"], session.id.as_str());
    assert_eq!(answer["expires_at"], session.answer["expires_at"]);
    Issued { id: session.id.clone(), token: answer["token"].as_str().unwrap().to_owned(), answer }
}

#[test]
fn both_tokens_are_good_for_one_session_while_the_grace_lasts() {
    let (_upstream, gateway) = start("");
    let old = gateway.login("ann");
    assert!(lives(&gateway, &old));
    let new = rotated(&gateway, &old);
    assert_ne!(old.token, new.token);
    for _ in 0..3 {
        assert!(lives(&gateway, &old) && lives(&gateway, &new));
    }
    for token in [&old.token, &new.token] {
        let list = gateway.get_as(token, "/_sessions").json();
        assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(list["sessions"][0]["current"], true);
    }
}

#[test]
fn the_old_token_costs_no_query_either_while_it_is_good() {
    let (_upstream, gateway) = start("");
    let old = gateway.login("ann");
    rotated(&gateway, &old);
    assert!(lives(&gateway, &old));
    let before = gateway.store_finds();
    for _ in 0..100 {
        assert!(lives(&gateway, &old));
    }
    assert_eq!(gateway.store_finds(), before);
}

#[test]
fn an_old_token_does_not_rotate_again() {
    let (_upstream, gateway) = start("");
    let old = gateway.login("ann");
    let new = rotated(&gateway, &old);
    let again = gateway.request("POST", "/_sessions/rotate", &bearer(&old.token), b"");
    assert_eq!((again.status, again.code().as_str()), (409, "already_rotated"));
    assert!(lives(&gateway, &new));
}

#[test]
fn a_browser_gets_its_new_token_as_its_cookie_and_nowhere_else() {
    let (_upstream, gateway) = start("");
    let old = gateway.login("ann");
    let foreign = format!("Cookie: __Host-session={}\r\nSec-Fetch-Site: cross-site\r\n", old.token);
    assert_eq!(gateway.request("POST", "/_sessions/rotate", &foreign, b"").code(), "csrf");
    let response = gateway.request("POST", "/_sessions/rotate", &own_page(&old), b"");
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.json().get("token").is_none());
    let cookie = response.header("set-cookie").unwrap();
    assert!(cookie.contains("Path=/") && cookie.contains("HttpOnly") && cookie.contains("Secure"), "{cookie}");
    let token = response.cookie("__Host-session").unwrap();
    assert_ne!(token, old.token);
    assert_eq!(gateway.get("/", &format!("Cookie: __Host-session={token}\r\n")).status, 200);
}

#[test]
fn a_reuse_after_the_grace_ends_the_session_for_thief_and_owner() {
    let (_upstream, gateway) = start("[session]\nrotate_grace = \"0\"\n");
    let old = gateway.login("ann");
    assert!(lives(&gateway, &old));
    let new = rotated(&gateway, &old);
    assert!(lives(&gateway, &new));
    for token in [&old.token, &new.token, &old.token] {
        let refused = gateway.get_as(token, "/");
        assert_eq!((refused.status, refused.code().as_str()), (401, "session_revoked"));
        assert_eq!(refused.json()["reason"], "token_reused");
    }
    let events = Database::of(&gateway).events("token_reused");
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].user.as_deref(), events[0].ip.as_deref()), (Some("ann"), Some("127.0.0.1")));
    assert_eq!(events[0].user_agent.as_deref(), Some(crate::support::gateway::AGENT));
}

#[test]
fn a_reuse_is_noticed_however_many_rotations_later() {
    let (_upstream, gateway) = start("");
    let first = gateway.login("ann");
    let second = rotated(&gateway, &first);
    let third = rotated(&gateway, &second);
    let database = Database::of(&gateway);
    database.execute("UPDATE retired_tokens SET usable_until = 1", []);
    let refused = gateway.get_as(&first.token, "/");
    assert_eq!(refused.json()["reason"], "token_reused");
    assert!(!lives(&gateway, &third));
}

#[test]
fn a_revoked_session_is_refused_under_either_token_at_once() {
    let (_upstream, gateway) = start("");
    let old = gateway.login("ann");
    let new = rotated(&gateway, &old);
    assert!(lives(&gateway, &old) && lives(&gateway, &new));
    assert_eq!(gateway.delete_as(&new.token, "/_sessions/current").status, 204);
    assert!(!lives(&gateway, &old) && !lives(&gateway, &new));
}

#[test]
fn a_suspension_by_the_old_token_counts_for_the_new_one() {
    let (_upstream, gateway) = start("");
    let old = gateway.login_with(serde_json::json!({"user": "ann", "user_agent": "acme-test/1.0"}));
    let new = rotated(&gateway, &old);
    assert!(lives(&gateway, &old) && lives(&gateway, &new));
    let headers = format!("{}User-Agent: thief/1.0\r\n", bearer(&old.token));
    assert_eq!(gateway.get("/", &headers).code(), "session_suspended");
    assert_eq!(gateway.get_as(&new.token, "/").code(), "session_suspended");
}

#[test]
fn a_session_that_is_bound_at_first_use_may_be_used_first_by_its_old_token() {
    let (_upstream, gateway) = start("");
    let old = gateway.login("ann");
    let new = rotated(&gateway, &old);
    assert!(lives(&gateway, &old) && lives(&gateway, &new));
    let other = format!("{}User-Agent: other/1.0\r\n", bearer(&new.token));
    assert_eq!(gateway.get("/", &other).code(), "session_suspended");
}
