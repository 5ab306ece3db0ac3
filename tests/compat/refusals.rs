//! N-24 to N-29, N-37 and N-38: which credentials there are, and what is said of bad ones.

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::gateway::{Gateway, bearer};
use crate::{ACTIVE, ON, lives, refused, request, start, start_with, token};

const NOT_PROVIDED: &str = "Authentication credentials were not provided.";
const SUSPENDED: &str = "User session is suspended.";

/// The same sentence from the list of sessions and from a route of the application.
#[track_caller]
fn refused_everywhere(gateway: &Gateway, headers: &str, detail: &str) {
    for target in [ACTIVE, "/of/the/app"] {
        refused(&gateway.get(target, headers), 401, detail);
    }
}

#[test]
fn the_keyword_counts_in_every_case_and_fifty_letters_and_digits_are_a_key() {
    let (_upstream, gateway) = start();
    let session = gateway.login("7");
    for keyword in ["Token", "token", "TOKEN", "tOkEn", "Bearer", "bearer", "BEARER"] {
        let headers = format!("Authorization: {keyword} {}\r\n", session.token);
        assert_eq!(gateway.get("/", &headers).status, 200, "{keyword}");
    }
    // As its own keys are; this one was given to nobody, and is asked for.
    let before = gateway.store_finds();
    refused(&gateway.get("/", &token(&"a0z9".repeat(13)[..50])), 401, "Invalid token.");
    assert_eq!(gateway.store_finds() - before, 1.0);
}

#[test]
fn a_header_that_cannot_be_read_is_told_what_is_wrong_with_it() {
    let (upstream, gateway) = start();
    for (header, detail) in [
        ("Token", "Invalid token header. No credentials provided."),
        ("token ", "Invalid token header. No credentials provided."),
        ("Token a b", "Invalid token header. Token string should not contain spaces."),
        ("TOKEN a b c", "Invalid token header. Token string should not contain spaces."),
        ("Token a,b", "Invalid token."),
        ("Token short", "Invalid token."),
    ] {
        refused_everywhere(&gateway, &format!("Authorization: {header}\r\n"), detail);
    }
    let mut connection = gateway.connect();
    connection.send(b"GET /sessions/active HTTP/1.1\r\nHost: app.test\r\nAuthorization: Token \xff\xfe\r\n\r\n");
    let response = connection.read("GET");
    refused(&response, 401, "Invalid token header. Token string should not contain invalid characters.");
    assert!(upstream.received().is_empty());
}

#[test]
fn no_credential_or_one_of_another_scheme_was_not_provided() {
    let (_upstream, gateway) = start();
    for headers in ["", "Authorization: Basic YTpi\r\n", "Authorization: \r\n", "Authorization: Tokens abc\r\n"] {
        refused_everywhere(&gateway, headers, NOT_PROVIDED);
    }
    let response = gateway.get(ACTIVE, "");
    assert_eq!(response.json(), json!({ "detail": NOT_PROVIDED, "code": "missing_token" }));
}

#[test]
fn an_unknown_token_is_invalid_and_an_ended_one_suspended() {
    let (_upstream, gateway) = start();
    refused_everywhere(&gateway, &token(&"q".repeat(50)), "Invalid token.");
    let [ended, other] = [gateway.login("7"), gateway.login("7")];
    assert_eq!(request(&gateway, "DELETE", &other, &format!("{ACTIVE}?token_id={}", ended.id)).status, 204);
    refused_everywhere(&gateway, &token(&ended.token), SUSPENDED);
    let body = gateway.get("/", &token(&ended.token)).json();
    assert_eq!(body, json!({ "detail": SUSPENDED, "code": "session_revoked", "reason": "revoked" }));
}

#[test]
fn another_user_agent_suspends_for_good() {
    let (_upstream, gateway) = start_with(&format!("{ON}[policy.user_agent]\nmode = \"exact\"\n"));
    let session = gateway.login("7");
    assert!(lives(&gateway, &session));
    for agent in ["User-Agent: acme-test/1.1\r\n", "User-Agent: acme-test/1.0\r\n", "User-Agent: \r\n"] {
        refused_everywhere(&gateway, &format!("{agent}{}", token(&session.token)), SUSPENDED);
    }
}

#[test]
fn an_evicted_session_is_told_as_a_suspended_one_with_our_code_beside() {
    let (_upstream, gateway) = start_with(&format!("{ON}[policy.max_sessions]\ndefault = 1\n"));
    let session = gateway.login("7");
    gateway.login("7");
    let response = gateway.get("/", &token(&session.token));
    refused(&response, 401, SUSPENDED);
    assert_eq!(response.json()["code"], "session_evicted");
}

#[test]
fn an_expired_session_is_told_since_when() {
    let (_upstream, gateway) = start();
    let session = gateway.login("7");
    Database::of(&gateway).change(&session, "expires_at = 1763641966668");
    refused_everywhere(&gateway, &token(&session.token), "Token has expired at 2025-11-20 12:32:46.668000+00:00");
    assert_eq!(
        gateway.get("/", &bearer(&session.token)).json()["detail"],
        gateway.get("/", &token(&session.token)).json()["detail"]
    );
}

#[test]
fn the_user_of_a_disabled_account_is_inactive() {
    let (_upstream, gateway) = start();
    let session = gateway.login("7");
    Database::of(&gateway).execute("UPDATE users SET enabled = 0 WHERE id = '7'", []);
    refused_everywhere(&gateway, &token(&session.token), "User inactive or deleted.");
    let body = gateway.get("/", &bearer(&session.token)).json();
    assert_eq!((&body["detail"], &body["code"]), (&json!("User is inactive"), &json!("user_inactive")));
}

#[test]
fn a_bearer_is_told_in_the_words_of_simplejwt() {
    let (_upstream, gateway) = start();
    let not_valid = json!({
        "detail": "Given token not valid for any token type",
        "code": "token_not_valid",
        "messages": [{ "token_class": "AccessToken", "token_type": "access", "message": "Token is invalid" }],
    });
    for header in ["Bearer nonsense", "bearer nonsense", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl", "Bearer a,b"] {
        let response = gateway.get("/", &format!("Authorization: {header}\r\n"));
        assert_eq!((response.status, response.json()), (401, not_valid.clone()), "{header}");
        assert_eq!(
            response.header("www-authenticate"),
            Some("Token"),
            "the first class of the project, whatever was sent"
        );
    }
    let expected = json!({
        "detail": "Authorization header must contain two space-delimited values",
        "code": "bad_authorization_header",
    });
    for header in ["Bearer", "Bearer a b"] {
        assert_eq!(gateway.get("/", &format!("Authorization: {header}\r\n")).json(), expected, "{header}");
    }
    let session = gateway.login("7");
    assert_eq!(request(&gateway, "DELETE", &session, ACTIVE).status, 204);
    assert_eq!(gateway.get("/", &bearer(&session.token)).json()["detail"], "User is suspended.");
}

#[test]
fn a_project_whose_first_class_was_the_one_for_jwt_gets_its_challenge() {
    let (_upstream, gateway) = start_with(&format!("{ON}challenge = \"Bearer\"\n"));
    for headers in ["", "Authorization: Token x\r\n", "Authorization: Bearer x\r\n"] {
        let response = gateway.get(ACTIVE, headers);
        assert_eq!(
            (response.status, response.header("www-authenticate")),
            (401, Some("Bearer realm=\"api\"")),
            "{headers}"
        );
    }
}

#[test]
fn a_browser_is_led_to_the_login_all_the_same() {
    let (_upstream, gateway) =
        start_with(&format!("{ON}[[upstream]]\nurl = \"{{upstream}}\"\nlogin_url = \"/login\"\n"));
    let response = gateway.get("/of/the/app", "Accept: text/html\r\n");
    assert_eq!((response.status, response.header("location")), (302, Some("/login?next=/of/the/app")));
    refused(&gateway.get("/of/the/app", "Accept: application/json\r\n"), 401, NOT_PROVIDED);
    refused(&gateway.get(ACTIVE, "Accept: text/html\r\n"), 401, NOT_PROVIDED);
}

#[test]
fn other_refusals_have_a_detail_too() {
    let (_upstream, gateway) = start_with(&format!(
        "{ON}[[upstream]]\nurl = \"{{upstream}}\"\nhosts = [\"app.test\"]\n[[upstream.route]]\npath = \"/staff\"\nroles = [\"staff\"]\n"
    ));
    let session = gateway.login("7");
    refused(&request(&gateway, "GET", &session, "/staff"), 403, "You do not have permission to perform this action.");
    refused(&gateway.get("/", "Host: nobody.test\r\n"), 404, "Not found.");
    refused(&gateway.request("TRACE", "/", "", b""), 405, "Method \"TRACE\" not allowed.");
    let gone = Gateway::start("http://127.0.0.1:9", ON);
    let session = gone.login("7");
    let response = request(&gone, "GET", &session, "/");
    refused(&response, 502, "The application cannot be reached.");
    assert_eq!(response.json()["code"], "upstream_unreachable");
}

#[test]
fn the_calls_under_sessions_keep_their_own_words() {
    let (_upstream, gateway) = start();
    let response = gateway.get("/_sessions", &token("short"));
    assert_eq!((response.status, response.code().as_str()), (401, "unknown_token"));
    assert_eq!(response.json()["type"], "about:blank");
    let response = gateway.issue(&json!({}));
    assert_eq!((response.status, response.code().as_str()), (400, "invalid_request"));
}

#[test]
fn without_the_preset_nothing_of_it_is_there() {
    let (upstream, gateway) = start_with("");
    let session = gateway.login("7");
    assert_eq!(gateway.get(ACTIVE, &bearer(&session.token)).text(), "hello");
    assert_eq!(upstream.last().target(), ACTIVE);
    let response = gateway.get(ACTIVE, &token("a b"));
    assert_eq!((response.status, response.code().as_str()), (401, "malformed_token"));
    assert_ne!(response.json()["title"], Value::Null);
}
