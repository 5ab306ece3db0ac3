//! Sessions whose users hold an access token and a refresh token of ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use session_gateway::jwt::Algorithm;

use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, bearer};
use crate::support::issuer::Issuer;
use crate::support::upstream::Upstream;
use crate::{code, now};

const JSON: &str = "Content-Type: application/json\r\n";

fn start(more: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let key = Issuer::new(Algorithm::EdDsa, None).private;
    let gateway = Gateway::start(&upstream.url(), &format!("[signing]\nkey = {key:?}\n{more}"));
    (upstream, gateway)
}

struct Pair {
    id: String,
    access: String,
    refresh: String,
    answer: Value,
}

impl Pair {
    fn of(response: &Response) -> Self {
        let answer = response.json();
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Self { id: text("id"), access: text("access_token"), refresh: text("refresh_token"), answer }
    }
}

fn issued(gateway: &Gateway) -> Pair {
    let response = gateway.issue(&json!({ "user": "ann", "roles": ["staff"], "format": "jwt" }));
    assert_eq!(response.status, 201, "{response:?}");
    Pair::of(&response)
}

fn refresh(gateway: &Gateway, token: &str) -> Response {
    refresh_with(gateway, "", token)
}

fn refresh_with(gateway: &Gateway, headers: &str, token: &str) -> Response {
    let body = json!({ "refresh_token": token }).to_string();
    gateway.request("POST", "/_sessions/refresh", &format!("{headers}{JSON}"), body.as_bytes())
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn opens(gateway: &Gateway, token: &str) -> bool {
    gateway.get_as(token, "/").status == 200
}

#[test]
fn the_service_gets_both_tokens_and_the_access_token_opens_the_app() {
    let (upstream, gateway) = start("[jwt]\nissuer = \"https://gw.test\"\naudience = [\"app\", \"b\"]\n");
    let pair = issued(&gateway);
    let keys: Vec<_> = pair.answer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "access_token", "token_type", "expires_in", "refresh_token", "expires_at", "evicted"]);
    assert_eq!((&pair.answer["token_type"], &pair.answer["expires_in"]), (&json!("Bearer"), &json!(300)));
    let claims = claims(&pair.access);
    assert_eq!(claims["iss"], "https://gw.test");
    assert_eq!(claims["aud"], "app");
    assert_eq!((&claims["sub"], &claims["session_id"]), (&json!("ann"), &json!(pair.id)));
    assert_eq!(claims["token_type"], "access");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
    assert!(opens(&gateway, &pair.access));
    assert_eq!(upstream.last().header("x-auth-roles"), Some("staff"));
    let row = Database::of(&gateway).column(&pair.id, "format");
    assert_eq!(row.as_deref(), Some("jwt"));
}

#[test]
fn the_gateway_s_own_tokens_name_session_and_user_by_the_claims_of_the_settings() {
    let (upstream, gateway) = start("[jwt]\nsession_claim = \"sid\"\nuser_claim = \"user_id\"\n");
    let first = issued(&gateway);
    let renewed = Pair::of(&refresh(&gateway, &first.refresh));
    for pair in [&first, &renewed] {
        let claims = claims(&pair.access);
        assert_eq!((&claims["sid"], &claims["user_id"]), (&json!(first.id), &json!("ann")));
        assert_eq!(claims.get("session_id"), None, "{claims}");
        assert!(opens(&gateway, &pair.access), "what it writes is what it reads");
        assert_eq!(upstream.last().header("x-auth-session"), Some(first.id.as_str()));
    }
}

#[test]
fn an_access_token_never_outlives_its_session() {
    let (_upstream, gateway) = start("[jwt]\naccess_lifetime = \"10m\"\n");
    let response = gateway.issue(&json!({ "user": "ann", "lifetime": 90, "format": "jwt" }));
    let pair = Pair::of(&response);
    assert_eq!(pair.answer["expires_in"], 90);
    let forever = Pair::of(&gateway.issue(&json!({ "user": "ann", "lifetime": 0, "format": "jwt" })));
    assert_eq!((&forever.answer["expires_in"], &forever.answer["expires_at"]), (&json!(600), &Value::Null));
}

#[test]
fn without_a_signing_key_the_call_names_what_is_missing() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let response = gateway.issue(&json!({ "user": "ann", "format": "jwt" }));
    assert_eq!(code(&response), (400, "invalid_request".to_owned()));
    assert_eq!(response.json()["field"], "format");
    assert!(response.json()["detail"].as_str().unwrap().contains("signing.key"));
    assert_eq!(Database::of(&gateway).count("true"), 0, "nothing was created");
    assert_eq!(code(&refresh(&gateway, &"x".repeat(43))), (400, "invalid_request".to_owned()));
    assert_eq!(code(&gateway.get("/_sessions/.well-known/jwks.json", "")), (404, "not_found".to_owned()));
}

#[test]
fn a_refresh_gives_new_tokens_for_the_same_session() {
    let (_upstream, gateway) = start("");
    let first = issued(&gateway);
    let response = refresh(&gateway, &first.refresh);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let second = Pair::of(&response);
    assert_eq!(second.id, first.id);
    assert_eq!(second.answer["expires_at"], first.answer["expires_at"]);
    assert_ne!((&second.access, &second.refresh), (&first.access, &first.refresh));
    assert!(opens(&gateway, &second.access));
    assert!(opens(&gateway, &first.access), "until it expires");
    let third = Pair::of(&refresh(&gateway, &second.refresh));
    assert!(opens(&gateway, &third.access));
    assert_eq!(Database::of(&gateway).events("session_rotated").len(), 2);
}

#[test]
fn a_refresh_token_that_comes_again_ends_the_session() {
    let (_upstream, gateway) = start("");
    let first = issued(&gateway);
    let second = Pair::of(&refresh(&gateway, &first.refresh));
    let reused = refresh(&gateway, &first.refresh);
    assert_eq!(code(&reused), (401, "session_revoked".to_owned()));
    assert_eq!(reused.json()["reason"], "token_reused");
    for token in [&first.access, &second.access] {
        assert_eq!(code(&gateway.get_as(token, "/")), (401, "session_revoked".to_owned()));
    }
    assert_eq!(code(&refresh(&gateway, &second.refresh)), (401, "session_revoked".to_owned()));
    let events = Database::of(&gateway).events("token_reused");
    assert_eq!((events.len(), events[0].ip.as_deref()), (1, Some("127.0.0.1")));
}

#[test]
fn within_the_grace_nothing_is_lost() {
    let (_upstream, gateway) = start("[jwt]\nrefresh_grace = \"1m\"\n");
    let first = issued(&gateway);
    let second = Pair::of(&refresh(&gateway, &first.refresh));
    for _ in 0..3 {
        assert_eq!(code(&refresh(&gateway, &first.refresh)), (409, "already_rotated".to_owned()));
    }
    assert!(opens(&gateway, &second.access));
    assert_eq!(refresh(&gateway, &second.refresh).status, 200);
    // After it, the same token is a thief's.
    Database::of(&gateway).execute("UPDATE retired_tokens SET usable_until = 0", []);
    let restarted = {
        let directory = gateway.stop();
        let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
        let key = Issuer::new(Algorithm::EdDsa, None).private;
        Gateway::start_in(
            directory,
            "http://127.0.0.1:9",
            &store,
            &format!("[signing]\nkey = {key:?}\n[jwt]\nrefresh_grace = \"1m\"\n"),
        )
    };
    assert_eq!(code(&refresh(&restarted, &first.refresh)), (401, "session_revoked".to_owned()));
}

#[test]
fn of_many_refreshes_at_once_one_succeeds() {
    let (_upstream, gateway) = start("[jwt]\nrefresh_grace = \"1m\"\n");
    let pair = issued(&gateway);
    assert!(opens(&gateway, &pair.access));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| refresh(&gateway, &pair.refresh).status)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
    assert!(opens(&gateway, &pair.access));
}

#[test]
fn each_token_is_good_for_its_own_use_alone() {
    let (upstream, gateway) = start("");
    let pair = issued(&gateway);
    let opaque = gateway.login("ann");
    for target in ["/", "/_sessions", "/_sessions/current"] {
        assert_eq!(code(&gateway.get_as(&pair.refresh, target)), (401, "invalid_token".to_owned()), "{target}");
    }
    let cookie = format!("Cookie: __Host-session={}\r\n", pair.refresh);
    assert_eq!(code(&gateway.get("/", &cookie)), (401, "invalid_token".to_owned()));
    assert!(upstream.received().is_empty());
    assert_eq!(code(&refresh(&gateway, &pair.access)), (401, "invalid_token".to_owned()));
    assert_eq!(code(&refresh(&gateway, &opaque.token)), (401, "invalid_token".to_owned()));
    assert_eq!(code(&refresh(&gateway, &"x".repeat(43))), (401, "unknown_token".to_owned()));
    assert_eq!(code(&refresh(&gateway, "a b")), (401, "malformed_token".to_owned()));
    assert!(opens(&gateway, &pair.access) && opens(&gateway, &opaque.token), "nothing was lost by that");
    assert_eq!(refresh(&gateway, &pair.refresh).status, 200);
    // The refresh token in the header is no credential for its own refresh.
    let bare = gateway.request("POST", "/_sessions/refresh", &format!("{}{JSON}", bearer(&pair.refresh)), b"{}");
    assert_eq!(code(&bare), (400, "invalid_request".to_owned()));
}

#[test]
fn a_refresh_is_judged_by_the_policies_of_a_request() {
    let (_upstream, gateway) = start(
        "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[policy.ip]\nmode = \"exact\"\n[session]\nidle_timeout = \"1h\"\n",
    );
    let database = Database::of(&gateway);
    let expired = |change: &str| {
        let pair = issued(&gateway);
        database
            .execute(&format!("UPDATE sessions SET {change} WHERE lower(hex(id)) = ?1"), [pair.id.replace('-', "")]);
        code(&refresh(&gateway, &pair.refresh))
    };
    assert_eq!(expired("expires_at = created_at"), (401, "session_expired".to_owned()));
    assert_eq!(expired("last_seen_at = last_seen_at - 3600001"), (401, "session_idle".to_owned()));
    assert_eq!(
        expired("state = 'suspended', state_reason = 'suspended_by_admin'"),
        (401, "session_suspended".to_owned())
    );

    let pair = issued(&gateway);
    assert!(opens(&gateway, &pair.access));
    let elsewhere = refresh_with(&gateway, "X-Forwarded-For: 192.0.2.7\r\n", &pair.refresh);
    assert_eq!(code(&elsewhere), (401, "ip_changed".to_owned()));
    let pair = Pair::of(&refresh(&gateway, &pair.refresh));
    let thief = refresh_with(&gateway, "User-Agent: thief/1\r\n", &pair.refresh);
    assert_eq!(code(&thief), (401, "session_suspended".to_owned()));
    assert_eq!(code(&refresh(&gateway, &pair.refresh)), (401, "session_suspended".to_owned()));

    let pair = issued(&gateway);
    assert_eq!(gateway.delete_as(&pair.access, "/_sessions/current").status, 204);
    assert_eq!(code(&refresh(&gateway, &pair.refresh)), (401, "session_revoked".to_owned()));

    let pair = issued(&gateway);
    database.execute("UPDATE users SET enabled = 0", []);
    assert_eq!(code(&refresh(&gateway, &pair.refresh)), (401, "user_disabled".to_owned()));
}

#[test]
fn a_refresh_without_its_one_field_is_refused() {
    let (_upstream, gateway) = start("");
    let pair = issued(&gateway);
    let post = |headers: &str, body: &str| gateway.request("POST", "/_sessions/refresh", headers, body.as_bytes());
    let good = json!({ "refresh_token": pair.refresh }).to_string();
    assert_eq!(post("Content-Type: text/plain\r\n", &good).status, 415);
    for (body, field) in [
        ("{}", "refresh_token"),
        ("{\"refresh_token\":7}", "refresh_token"),
        ("{\"refresh_token\":null}", "refresh_token"),
        ("[]", "body"),
        ("x", "body"),
        ("", "body"),
        ("{\"refresh_token\":\"a\",\"refresh_token\":\"b\"}", "body"),
        ("{\"refresh_token\":\"a\",\"scope\":\"b\"}", "scope"),
    ] {
        let response = post(JSON, body);
        assert_eq!(code(&response), (400, "invalid_request".to_owned()), "{body}");
        assert_eq!(response.json()["field"], field, "{body}");
    }
    assert_eq!(post(JSON, &" ".repeat(17 * 1024)).status, 413);
    let get = gateway.get_as(&pair.access, "/_sessions/refresh");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert_eq!(gateway.get("/_sessions/refresh", "").status, 401);
    assert_eq!(refresh(&gateway, &pair.refresh).status, 200);
}

#[test]
fn guessing_refresh_tokens_is_bounded_by_client_and_a_trusted_proxys_own_address_is_none() {
    let limits = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\nunknown_tokens_per_client = \"3/1h\"\n";
    let (_upstream, gateway) = start(limits);
    let guess = |headers: &str, number: usize| code(&refresh_with(&gateway, headers, &format!("{number:0>43}")));
    let elsewhere = "X-Forwarded-For: 192.0.2.1\r\n";
    let unknown = (401, "unknown_token".to_owned());
    for number in 0..3 {
        assert_eq!(guess(elsewhere, number), unknown);
    }
    assert_eq!(guess(elsewhere, 9), (429, "rate_limited".to_owned()));
    for number in 10..20 {
        assert_eq!(guess("", number), unknown, "from the proxy itself");
    }
}

#[test]
fn only_the_digest_of_a_refresh_token_is_stored() {
    let (_upstream, gateway) = start("");
    let first = issued(&gateway);
    let second = Pair::of(&refresh(&gateway, &first.refresh));
    assert!(opens(&gateway, &second.access));
    let directory = gateway.stop();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let path = file.unwrap().path();
        // The write-ahead log goes when the database is closed.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for token in [&first.refresh, &second.refresh, &first.access, &second.access] {
            assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{}", path.display());
        }
    }
}

#[test]
fn the_key_set_is_public_and_verifies_access_tokens() {
    let (_upstream, gateway) = start("");
    let pair = issued(&gateway);
    let response = gateway.get("/_sessions/.well-known/jwks.json", "");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(response.header("cache-control"), Some("public, max-age=300"));
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&response.body).unwrap();
    let header = jsonwebtoken::decode_header(&pair.access).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
    let rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    assert_eq!(jsonwebtoken::decode::<Value>(&pair.access, &key, &rules).unwrap().claims["sub"], "ann");
    // There is one place, which no app can take.
    assert_eq!(gateway.get("/.well-known/jwks.json", "").status, 401, "that one is the app's");
    assert_eq!(gateway.request("HEAD", "/_sessions/.well-known/jwks.json", "", b"").status, 200);
    assert_eq!(gateway.request("POST", "/_sessions/.well-known/jwks.json", "", b"").status, 401);
    assert_eq!(gateway.get("/_sessions/.well-known/jwks.json?x=1", "").status, 400);
}

#[test]
fn a_signing_key_is_changed_without_a_gap() {
    let upstream = Upstream::hello();
    let directory = tempfile::TempDir::new().unwrap();
    let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
    let (old, new) = (Issuer::new(Algorithm::EdDsa, None), Issuer::new(Algorithm::Es256, None));
    let with = |toml: &str, directory| Gateway::start_in(directory, &upstream.url(), &store, toml);
    let gateway = with(&format!("[signing]\nkey = {:?}\n", old.private), directory);
    let pair = issued(&gateway);
    // First the new key is published, then it signs, then the old one goes.
    let gateway =
        with(&format!("[signing]\nkey = {:?}\nprevious_keys = [{:?}]\n", old.private, new.public), gateway.stop());
    let set = gateway.get("/_sessions/.well-known/jwks.json", "").json();
    assert_eq!(set["keys"].as_array().unwrap().len(), 2);
    let gateway =
        with(&format!("[signing]\nkey = {:?}\nprevious_keys = [{:?}]\n", new.private, old.private), gateway.stop());
    assert!(opens(&gateway, &pair.access), "a token of the old key is good until it expires");
    let renewed = Pair::of(&refresh(&gateway, &pair.refresh));
    assert!(opens(&gateway, &renewed.access));
    let gateway = with(&format!("[signing]\nkey = {:?}\n", new.private), gateway.stop());
    assert!(opens(&gateway, &renewed.access));
    assert_eq!(code(&gateway.get_as(&pair.access, "/")), (401, "invalid_token".to_owned()));
}

#[test]
fn our_key_is_no_stranger_s() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("[signing]\nkey = {:?}\n", issuer.private));
    let session = gateway.login("ann");
    let mut claims = json!({ "session_id": session.id, "sub": "ann", "exp": now() + 60 });
    assert_eq!(code(&gateway.get_as(&issuer.token(&claims), "/")), (401, "invalid_token".to_owned()));
    claims["token_type"] = json!("access");
    assert!(opens(&gateway, &issuer.token(&claims)));
}
