//! N-37 to N-39 and N-49 to N-51: JSON Web Tokens, and the calls with refresh tokens.

use serde_json::{Value, json};
use session_gateway::jwt::Algorithm;

use crate::support::client::Response;
use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::issuer::Issuer;
use crate::support::upstream::Upstream;
use crate::{ON, request, start_with};

const PATHS: &str = "refresh_path = \"/api/token/refresh\"\nblacklist_path = \"/api/token/blacklist\"\n";

/// A gateway that signs, with these lines under `[compat]`.
fn start(compat: &str) -> (Upstream, Gateway) {
    let signer = Issuer::new(Algorithm::EdDsa, None);
    start_with(&format!("{ON}{PATHS}{compat}[signing]\nkey = {:?}\n", signer.private))
}

/// A session whose user holds an access token and a refresh token.
fn log_in(gateway: &Gateway) -> (String, String) {
    let response = gateway.issue(&json!({ "user": "7", "format": "jwt" }));
    assert_eq!(response.status, 201, "{response:?}");
    let answer = response.json();
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

fn call(gateway: &Gateway, which: &str, body: &Value) -> Response {
    let target = format!("/api/token/{which}");
    gateway.request("POST", &target, "Content-Type: application/json\r\n", body.to_string().as_bytes())
}

/// Asserts that a refresh token was refused as simplejwt does it.
#[track_caller]
fn not_valid(response: &Response, detail: &str) {
    let body = response.json();
    assert_eq!((response.status, &body["detail"], &body["code"]), (401, &json!(detail), &json!("token_not_valid")));
    assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"api\""));
    assert_eq!(response.header("content-type"), Some("application/json"));
}

fn passes(gateway: &Gateway, access: &str) -> bool {
    gateway.get("/", &bearer(access)).status == 200
}

#[test]
fn a_refresh_token_gets_access_tokens_as_often_as_it_comes() {
    let (_upstream, gateway) = start("");
    let (_, refresh) = log_in(&gateway);
    for _ in 0..3 {
        let response = call(&gateway, "refresh", &json!({ "refresh": refresh, "more": 1 }));
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")), "{response:?}");
        let body = response.json();
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["access"]);
        assert!(passes(&gateway, body["access"].as_str().unwrap()));
    }
}

#[test]
fn with_rotation_it_gets_a_new_one_and_the_old_one_ends_the_session() {
    let (_upstream, gateway) = start("rotate_refresh = true\n");
    let (_, first) = log_in(&gateway);
    let body = call(&gateway, "refresh", &json!({ "refresh": first })).json();
    let (access, second) = (body["access"].as_str().unwrap(), body["refresh"].as_str().unwrap());
    assert_ne!(first, second);
    assert!(passes(&gateway, access), "the session goes on");
    not_valid(&call(&gateway, "refresh", &json!({ "refresh": first })), "Token is blacklisted");
    not_valid(&call(&gateway, "refresh", &json!({ "refresh": second })), "Token is blacklisted");
    assert!(!passes(&gateway, access));
}

#[test]
fn a_refresh_token_that_is_given_back_ends_its_session_at_once() {
    let (_upstream, gateway) = start("");
    let (access, refresh) = log_in(&gateway);
    assert!(passes(&gateway, &access));
    let response = call(&gateway, "blacklist", &json!({ "refresh": refresh }));
    assert_eq!((response.status, response.json()), (200, json!({})));
    let response = gateway.get("/", &bearer(&access));
    assert_eq!((response.status, &response.json()["detail"]), (401, &json!("User is suspended.")));
    for which in ["refresh", "blacklist"] {
        not_valid(&call(&gateway, which, &json!({ "refresh": refresh })), "Token is blacklisted");
    }
}

#[test]
fn an_ended_session_gets_no_access_token() {
    let (_upstream, gateway) = start("");
    let (access, refresh) = log_in(&gateway);
    assert_eq!(gateway.request("DELETE", "/sessions/active", &bearer(&access), b"").status, 204);
    not_valid(&call(&gateway, "refresh", &json!({ "refresh": refresh })), "Token is blacklisted");
}

#[test]
fn what_is_no_refresh_token_is_refused_in_the_words_of_simplejwt() {
    let (_upstream, gateway) = start("");
    let (access, _) = log_in(&gateway);
    let opaque = gateway.login("7").token;
    for token in ["x.y.z", "short", "a b", &"q".repeat(50), &access, &opaque] {
        for which in ["refresh", "blacklist"] {
            not_valid(&call(&gateway, which, &json!({ "refresh": token })), "Token is invalid");
        }
    }
    for (body, sentence) in [
        (json!({}), "This field is required."),
        (json!({ "refresh": null }), "This field may not be null."),
        (json!({ "refresh": "" }), "This field may not be blank."),
        (json!({ "refresh": [1] }), "Not a valid string."),
    ] {
        let response = call(&gateway, "refresh", &body);
        assert_eq!((response.status, &response.json()["refresh"]), (400, &json!([sentence])), "{body}");
    }
    let response = gateway.request("POST", "/api/token/refresh", "Content-Type: text/plain\r\n", b"x");
    assert_eq!(
        (response.status, response.json()["detail"].as_str()),
        (415, Some("Unsupported media type \"text/plain\" in request."))
    );
    let response = gateway.get("/api/token/refresh", "");
    assert_eq!((response.status, response.header("allow")), (405, Some("POST, OPTIONS")));
    assert_eq!(response.json()["detail"], "Method \"GET\" not allowed.");
}

#[test]
fn a_signed_token_is_told_what_is_wrong_with_it() {
    let issuer = Issuer::new(Algorithm::Hs256, None);
    let keys = format!(
        "[[jwt.keys]]\nalgorithm = \"HS256\"\nsecret = {:?}\n[jwt]\nuser_claim = \"user_id\"\n",
        issuer.private
    );
    let (_upstream, gateway) = start_with(&format!("{ON}{keys}"));
    let session: Issued = gateway.login("7");
    let exp = 4_102_444_800_i64;
    let claims = |session: &str, user: &str| json!({ "token_type": "access", "exp": exp, "iat": 1, "jti": "x", "user_id": user, "session_id": session });
    let sign = |claims: &Value| issuer.token(claims);
    let get = |token: &str| gateway.get("/", &format!("Authorization: bearer {token}\r\n"));
    assert_eq!(get(&sign(&claims(&session.id, "7"))).status, 200);
    let told = |claims: Value| {
        let response = get(&sign(&claims));
        assert_eq!(response.status, 401, "{claims}");
        let body = response.json();
        let message = body["messages"][0]["message"].as_str().unwrap_or_default().to_owned();
        (body["detail"].as_str().unwrap().to_owned(), body["code"].as_str().unwrap().to_owned(), message)
    };
    let text = |detail: &str, code: &str, message: &str| (detail.to_owned(), code.to_owned(), message.to_owned());
    let mut expired = claims(&session.id, "7");
    expired["exp"] = json!(1000);
    let given = "Given token not valid for any token type";
    assert_eq!(told(expired), text(given, "token_not_valid", "Token is expired"));
    let mut refresh = claims(&session.id, "7");
    refresh["token_type"] = json!("refresh");
    assert_eq!(told(refresh), text(given, "token_not_valid", "Token is invalid"));
    let mut nothing = claims(&session.id, "7");
    nothing.as_object_mut().unwrap().remove("session_id");
    assert_eq!(told(nothing), text("Token contained no recognizable session identification", "token_not_valid", ""));
    assert_eq!(told(claims("7", "7")), text(given, "token_not_valid", "Token is invalid"), "no UUID");
    assert_eq!(told(claims(&session.id, "8")), text(given, "token_not_valid", "Token is invalid"), "another user's");
    let nobodys = "00000000-0000-4000-8000-000000000000";
    assert_eq!(told(claims(nobodys, "7")), text("Session not found.", "unknown_token", ""));
    assert_eq!(request(&gateway, "DELETE", &session, "/sessions/active").status, 204);
    assert_eq!(told(claims(&session.id, "7")), text("User is suspended.", "session_revoked", ""));
}
