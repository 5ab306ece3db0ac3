//! N-43 to N-46: `DELETE PREFIX/active`.

use serde_json::json;

use crate::support::gateway::{Gateway, Issued};
use crate::{ACTIVE, lives, refused, request, start};

/// Some sessions of one user and one of another, all of them in the cache.
fn hot(gateway: &Gateway, count: usize) -> (Vec<Issued>, Issued) {
    let own: Vec<_> = (0..count).map(|_| gateway.login("7")).collect();
    let other = gateway.login("8");
    assert!(own.iter().all(|session| lives(gateway, session)) && lives(gateway, &other));
    (own, other)
}

fn delete(gateway: &Gateway, session: &Issued, query: &str) {
    let response = request(gateway, "DELETE", session, &format!("{ACTIVE}{query}"));
    assert_eq!((response.status, response.body.len()), (204, 0), "{response:?}");
}

fn living(gateway: &Gateway, sessions: &[Issued]) -> Vec<bool> {
    sessions.iter().map(|session| lives(gateway, session)).collect()
}

#[test]
fn the_sessions_that_are_named_end_at_once_and_the_others_stay() {
    let (_upstream, gateway) = start();
    let (own, other) = hot(&gateway, 4);
    delete(&gateway, &own[0], &format!("?token_id={}&token_id={}", own[1].id, own[3].id));
    assert_eq!(living(&gateway, &own), [true, false, true, false]);
    assert!(lives(&gateway, &other));
}

#[test]
fn ones_own_id_ends_this_session_and_no_other() {
    let (_upstream, gateway) = start();
    let (own, _other) = hot(&gateway, 3);
    delete(&gateway, &own[0], &format!("?token_id={}", own[0].id));
    assert_eq!(living(&gateway, &own), [false, true, true]);
    delete(&gateway, &own[1], &format!("?token_id={}&token_id={}", own[1].id, own[2].id));
    assert_eq!(living(&gateway, &own), [false, false, false]);
}

#[test]
fn without_ids_all_of_them_end_and_only_the_current_one_stays_if_it_is_said() {
    let (_upstream, gateway) = start();
    let (own, other) = hot(&gateway, 3);
    delete(&gateway, &own[1], "?keep_current=true");
    assert_eq!(living(&gateway, &own), [false, true, false]);

    let (more, _) = hot(&gateway, 2);
    delete(&gateway, &own[1], "?format=json");
    assert_eq!(living(&gateway, &own), [false, false, false]);
    assert_eq!(living(&gateway, &more), [false, false]);
    assert!(lives(&gateway, &other));

    let (last, _) = hot(&gateway, 2);
    delete(&gateway, &last[0], "");
    assert_eq!(living(&gateway, &last), [false, false]);
}

#[test]
fn somebody_elses_session_or_none_is_no_error_and_nothing_changes() {
    let (_upstream, gateway) = start();
    let (own, other) = hot(&gateway, 2);
    delete(&gateway, &own[0], &format!("?token_id={}", other.id));
    delete(&gateway, &own[0], "?token_id=00000000-0000-4000-8000-000000000000");
    assert!(lives(&gateway, &other) && living(&gateway, &own) == [true, true]);
    delete(&gateway, &own[0], &format!("?token_id={}&token_id={}", other.id, own[1].id));
    assert!(lives(&gateway, &other) && living(&gateway, &own) == [true, false]);
}

#[test]
fn ids_that_are_none_are_refused_before_anything_ends() {
    let (_upstream, gateway) = start();
    let (own, _other) = hot(&gateway, 2);
    let (a, b) = (&own[0].id, &own[1].id);
    for query in [
        "token_id=7".to_owned(),
        "token_id=".to_owned(),
        format!("token_id={a},{b}"),
        format!("token_id={b}&token_id=nonsense"),
        format!("token_id={}", b.replace('-', "")),
    ] {
        let response = request(&gateway, "DELETE", &own[0], &format!("{ACTIVE}?{query}"));
        let sentence = "A value is no session id: it must be a UUID.";
        refused(&response, 400, sentence);
        let body = response.json();
        assert_eq!((&body["token_id"], &body["code"]), (&json!([sentence]), &json!("invalid_request")));
    }
    for (query, field) in [
        (format!("token_ids={b}"), "token_ids"),
        (format!("token_id[]={b}"), "token_id[]"),
        (format!("keep_current=true&token_id={b}"), "keep_current"),
        ("keep_current=yes".to_owned(), "keep_current"),
    ] {
        let response = request(&gateway, "DELETE", &own[0], &format!("{ACTIVE}?{query}"));
        assert_eq!((response.status, &response.json()["field"]), (400, &json!(field)), "{query}");
    }
    assert_eq!(living(&gateway, &own), [true, true], "a misspelt parameter must not end everything");
}

#[test]
fn a_browser_proves_that_it_calls_from_this_site_and_loses_its_cookie() {
    let (_upstream, gateway) = start();
    let (own, _other) = hot(&gateway, 2);
    let cookie = format!("Cookie: __Host-session={}\r\n", own[0].token);
    let response = gateway.request("DELETE", ACTIVE, &cookie, b"");
    refused(&response, 403, "A call with the session cookie must come from this site itself.");
    assert_eq!(response.json()["code"], "csrf");
    assert_eq!(living(&gateway, &own), [true, true]);

    let own_page = format!("{cookie}Sec-Fetch-Site: same-origin\r\n");
    let response = gateway.request("DELETE", &format!("{ACTIVE}?token_id={}", own[1].id), &own_page, b"");
    assert_eq!((response.status, response.header("set-cookie")), (204, None));
    let response = gateway.request("DELETE", ACTIVE, &own_page, b"");
    assert_eq!(response.status, 204);
    assert_eq!(response.cookie("__Host-session").as_deref(), Some(""));
}
