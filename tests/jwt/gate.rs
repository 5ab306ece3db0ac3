//! Signed tokens as credentials: from the request to the session, on every request.

use serde_json::{Value, json};
use session_gateway::clock;
use session_gateway::jwt::{Algorithm, Family};

use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, Issued, SERVICE_KEY, bearer};
use crate::support::issuer::Issuer;
use crate::support::postgres::fresh_database;
use crate::support::upstream::Upstream;
use crate::support::wait_until;
use crate::{code, now};

/// A gateway that trusts this issuer, with more settings of `[jwt]` and after it.
fn start(issuer: &Issuer, more: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("[jwt]\nkeys = [{}]\n{more}", issuer.entry()));
    (upstream, gateway)
}

fn claims(session: &Issued) -> Value {
    json!({ "session_id": session.id, "sub": "ann", "exp": now() + 600, "iat": now(), "token_type": "access" })
}

/// A session that is bound to this client, so that using it costs no more than reading it.
fn login(gateway: &Gateway) -> Issued {
    gateway.login_with(json!({ "user": "ann", "user_agent": "acme-test/1.0", "ip": "127.0.0.1" }))
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.get_as(token, "/").status
}

/// Signatures that were checked, and sessions that the store was asked for.
fn work(gateway: &Gateway) -> (f64, f64) {
    (gateway.metric("gateway_jwt_checks_total"), gateway.store_finds())
}

#[test]
fn a_token_of_every_algorithm_opens_its_session() {
    for algorithm in
        [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Ps512, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa]
    {
        let issuer = Issuer::new(algorithm, None);
        let (upstream, gateway) = start(&issuer, "");
        let session = login(&gateway);
        assert_eq!(status(&gateway, &issuer.token(&claims(&session))), 200, "{algorithm:?}");
        let received = upstream.last();
        assert_eq!(received.header("x-auth-user"), Some("ann"));
        assert_eq!(received.header("x-auth-session"), Some(session.id.as_str()));
        assert_eq!(received.header("authorization"), None, "the app does not see the credential");
    }
}

#[test]
fn the_scheme_may_be_written_in_any_case_and_the_cookie_carries_a_token_too() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (_upstream, gateway) = start(&issuer, "");
    let token = issuer.token(&claims(&login(&gateway)));
    for scheme in ["Bearer", "bearer", "BEARER", "Token"] {
        assert_eq!(gateway.get("/", &format!("Authorization: {scheme} {token}\r\n")).status, 200, "{scheme}");
    }
    assert_eq!(gateway.get("/", &format!("Cookie: __Host-session={token}\r\n")).status, 200);
    assert_eq!(gateway.get("/", &format!("Cookie: access_token={token}\r\n")).status, 401);
    assert_eq!(gateway.get(&format!("/?access_token={token}"), "").status, 401);
}

#[test]
fn a_token_that_was_used_before_costs_no_signature_and_no_query() {
    let issuer = Issuer::new(Algorithm::Rs256, None);
    let (_upstream, gateway) = start(&issuer, "");
    let token = issuer.token(&claims(&login(&gateway)));
    assert_eq!(status(&gateway, &token), 200);
    let before = work(&gateway);
    for _ in 0..50 {
        assert_eq!(status(&gateway, &token), 200);
    }
    assert_eq!(work(&gateway), before);
    let hits = gateway.metric("gateway_session_lookups_total{result=\"hit\"}");
    assert!(hits >= 50.0, "{hits}");
}

#[test]
fn many_tokens_of_one_session_share_what_is_known_of_it() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (_upstream, gateway) = start(&issuer, "");
    let session = login(&gateway);
    let tokens: Vec<String> = (0..5)
        .map(|number| {
            let mut claims = claims(&session);
            claims["jti"] = json!(number);
            issuer.token(&claims)
        })
        .collect();
    assert_eq!(status(&gateway, &tokens[0]), 200);
    let (checks, finds) = work(&gateway);
    for token in &tokens {
        assert_eq!(status(&gateway, token), 200);
    }
    assert_eq!(work(&gateway), (checks + 4.0, finds));
}

#[test]
fn a_revocation_holds_on_the_next_request() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (_upstream, gateway) = start(&issuer, "");
    type End = fn(&Gateway, &Issued, &str);
    let by_opaque: End =
        |gateway, session, _| assert_eq!(gateway.delete_as(&session.token, "/_sessions/current").status, 204);
    let by_signed: End = |gateway, _, token| assert_eq!(gateway.delete_as(token, "/_sessions/current").status, 204);
    let all: End = |gateway, _, token| assert_eq!(gateway.delete_as(token, "/_sessions?all=true").status, 200);
    for end in [by_opaque, by_signed, all] {
        let session = login(&gateway);
        let (one, other) =
            (issuer.token(&claims(&session)), issuer.raw(&issuer.header(), &claims(&session).to_string()));
        assert_eq!((status(&gateway, &one), status(&gateway, &session.token)), (200, 200));
        end(&gateway, &session, &one);
        for token in [&one, &other, &session.token] {
            assert_eq!(code(&gateway.get_as(token, "/")), (401, "session_revoked".to_owned()));
        }
    }
}

#[test]
fn the_session_is_judged_like_any_other() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (_upstream, gateway) = start(&issuer, "[session]\nidle_timeout = \"1h\"\n");
    let database = Database::of(&gateway);
    for (change, expected) in [
        ("expires_at = created_at", "session_expired"),
        ("last_seen_at = last_seen_at - 3600001", "session_idle"),
        ("state = 'suspended', state_reason = 'suspended_by_admin'", "session_suspended"),
    ] {
        let session = login(&gateway);
        database.change(&session, change);
        let response = gateway.get_as(&issuer.token(&claims(&session)), "/");
        assert_eq!(code(&response), (401, expected.to_owned()));
    }
    let session = login(&gateway);
    let token = issuer.token(&claims(&session));
    assert_eq!(status(&gateway, &token), 200);
    let thief = gateway.get("/", &format!("{}User-Agent: thief/1\r\n", bearer(&token)));
    assert_eq!(code(&thief), (401, "session_suspended".to_owned()));
    assert_eq!(code(&gateway.get_as(&token, "/")), (401, "session_suspended".to_owned()), "for its owner too");
    let disabled = login(&gateway);
    database.execute("UPDATE users SET enabled = 0", []);
    let response = gateway.get_as(&issuer.token(&claims(&disabled)), "/");
    assert_eq!(code(&response), (401, "user_disabled".to_owned()));
}

#[test]
fn an_unbound_session_is_bound_by_the_first_token() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (_upstream, gateway) = start(&issuer, "");
    let session = gateway.login("ann");
    let token = issuer.token(&claims(&session));
    assert_eq!(status(&gateway, &token), 200);
    let other = gateway.get("/", &format!("{}User-Agent: other/1\r\n", bearer(&token)));
    assert_eq!(code(&other), (401, "session_suspended".to_owned()));
}

#[test]
fn a_token_for_no_session_or_for_another_user_is_refused() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (upstream, gateway) = start(&issuer, "");
    let session = login(&gateway);
    let with = |name: &str, value: Value| {
        let mut claims = claims(&session);
        claims[name] = value;
        gateway.get_as(&issuer.token(&claims), "/")
    };
    let nobody = "0c8a5ef1-6f0b-4a51-9b1d-3c5f6a7b8c9d";
    assert_eq!(code(&with("session_id", json!(nobody))), (401, "unknown_token".to_owned()));
    for bad in [json!("7"), json!(7), json!(null)] {
        let response = with("session_id", bad);
        assert_eq!(code(&response), (401, "invalid_token".to_owned()));
        assert!(response.json()["detail"].as_str().unwrap().contains("session_id"), "{response:?}");
    }
    for other in [json!("bob"), json!("Ann"), json!(7)] {
        assert_eq!(code(&with("sub", other)), (401, "invalid_token".to_owned()));
    }
    assert!(upstream.received().is_empty());
    let response = with("sub", json!("bob"));
    assert!(response.header("www-authenticate").unwrap().starts_with("Bearer error=\"invalid_token\""));
    let mut silent = claims(&session);
    silent.as_object_mut().unwrap().remove("sub");
    assert_eq!(status(&gateway, &issuer.token(&silent)), 200, "a token need not name the user");
}

#[test]
fn the_claims_of_the_settings_are_the_ones_that_count() {
    let issuer = Issuer::new(Algorithm::Hs256, None);
    let (_upstream, gateway) = start(
        &issuer,
        "issuer = \"https://id.test\"\naudience = \"app\"\nsession_claim = \"sid\"\nuser_claim = \"user_id\"\nleeway = \"1m\"\n",
    );
    let session = gateway.login_with(json!({ "user": 42 }));
    let good = json!({ "sid": session.id, "user_id": 42, "sub": "x", "iss": "https://id.test", "aud": ["app"], "exp": now() - 30 });
    assert_eq!(status(&gateway, &issuer.token(&good)), 200, "within the leeway");
    for (name, value, expected) in [
        ("iss", json!("https://evil.test"), "invalid_token"),
        ("aud", json!("other"), "invalid_token"),
        ("user_id", json!(43), "invalid_token"),
        ("exp", json!(now() - 61), "token_expired"),
        ("nbf", json!(now() + 120), "invalid_token"),
        ("iat", json!(now() + 120), "invalid_token"),
        ("token_type", json!("refresh"), "invalid_token"),
    ] {
        let mut claims = good.clone();
        claims[name] = value;
        assert_eq!(code(&gateway.get_as(&issuer.token(&claims), "/")), (401, expected.to_owned()), "{name}");
    }
}

#[test]
fn a_token_that_was_good_is_refused_from_the_moment_it_expires() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (_upstream, gateway) = start(&issuer, "");
    let mut claims = claims(&login(&gateway));
    claims["exp"] = json!(clock::wall().as_millis() as f64 / 1000.0 + 1.5);
    let token = issuer.token(&claims);
    assert_eq!(status(&gateway, &token), 200);
    wait_until("it expires", || status(&gateway, &token) != 200);
    assert_eq!(code(&gateway.get_as(&token, "/")), (401, "token_expired".to_owned()));
}

#[test]
fn a_forged_token_never_reaches_the_app_and_never_fails_the_gateway() {
    let issuer = Issuer::new(Algorithm::Rs256, Some("k"));
    let (upstream, gateway) = start(&issuer, "");
    let claims = claims(&login(&gateway));
    let forger = Issuer::new(Algorithm::Rs256, Some("k"));
    let confused = Issuer {
        algorithm: Algorithm::Hs256,
        private: issuer.public.clone(),
        public: issuer.public.clone(),
        kid: issuer.kid.clone(),
    };
    assert_eq!(confused.algorithm.family(), Family::Secret);
    let good = issuer.token(&claims);
    let (head, _) = good.rsplit_once('.').unwrap();
    let mut forged = vec![
        forger.token(&claims),
        confused.token(&claims),
        format!("{head}."),
        format!("{head}.AAAA"),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
        issuer.raw(r#"{"alg":"RS256","kid":"other"}"#, &claims.to_string()),
        issuer.raw(r#"{"alg":"RS256","crit":["x"]}"#, &claims.to_string()),
        issuer.raw(r#"{"alg":"RS256"}"#, "[]"),
        issuer.raw(r#"{"alg":"RS256"}"#, "{\"exp\":1e999}"),
    ];
    forged.push(issuer.raw(r#"{"alg":"RS256"}"#, &claims.to_string().replacen('{', "{\"sub\":\"root\",", 1)));
    for token in forged {
        let response = gateway.get_as(&token, "/");
        assert_eq!(code(&response), (401, "invalid_token".to_owned()), "{token}");
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(!detail.contains("ann") && !detail.contains(&token), "{detail}");
    }
    for (token, expected) in [
        ("a.b.c.d.e".to_owned(), "unknown_token"),
        ("a.b".to_owned(), "unknown_token"),
        (format!("{}.b.c", "a".repeat(9000)), "malformed_token"),
        ("a.b.ü".to_owned(), "malformed_token"),
    ] {
        assert_eq!(code(&gateway.get_as(&token, "/")), (401, expected.to_owned()), "{token}");
    }
    assert!(upstream.received().is_empty());
    assert_eq!(status(&gateway, &good), 200);
    assert_eq!(gateway.metric("gateway_panics_total"), 0.0);
}

#[test]
fn an_optional_route_takes_a_bad_token_for_none_and_an_open_one_looks_at_none() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (upstream, gateway) = start(
        &issuer,
        "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/maybe/\"\nauth = \"optional\"\n\
         [[upstream.route]]\npath = \"/open/\"\nauth = \"off\"\n",
    );
    let session = login(&gateway);
    let (good, bad) = (issuer.token(&claims(&session)), Issuer::new(Algorithm::EdDsa, None).token(&claims(&session)));
    for (path, token, user) in
        [("/maybe/", &good, Some("ann")), ("/maybe/", &bad, None), ("/open/", &good, None), ("/open/", &bad, None)]
    {
        assert_eq!(gateway.get_as(token, path).status, 200);
        assert_eq!(upstream.last().header("x-auth-user"), user, "{path}");
        assert_eq!(upstream.last().header("authorization"), None, "{path}");
    }
}

#[test]
fn without_keys_a_signed_token_is_unknown() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    let issuer = Issuer::new(Algorithm::Hs256, None);
    let token = issuer.token(&claims(&login(&gateway)));
    assert_eq!(code(&gateway.get_as(&token, "/")), (401, "unknown_token".to_owned()));
}

#[test]
fn a_bad_token_does_not_fall_back_to_the_cookie() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (_upstream, gateway) = start(&issuer, "");
    let session = login(&gateway);
    let headers = format!("{}Cookie: __Host-session={}\r\n", bearer("a.b.c"), session.token);
    assert_eq!(code(&gateway.get("/", &headers)), (401, "invalid_token".to_owned()));
}

#[test]
fn the_own_calls_work_with_a_signed_token() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (_upstream, gateway) = start(&issuer, "");
    let (one, other) = (login(&gateway), login(&gateway));
    let token = issuer.token(&claims(&one));
    let list = gateway.get_as(&token, "/_sessions").json();
    let current: Vec<_> = list["sessions"].as_array().unwrap().iter().filter(|row| row["current"] == true).collect();
    assert_eq!((current.len(), &current[0]["id"]), (1, &json!(one.id)));
    assert_eq!(gateway.get_as(&token, "/_sessions/current").json()["id"], one.id.as_str());
    assert_eq!(gateway.delete_as(&token, &format!("/_sessions/{}", other.id)).status, 200);
    assert_eq!(code(&gateway.get_as(&other.token, "/")), (401, "session_revoked".to_owned()));
    let rotated = gateway.request("POST", "/_sessions/rotate", &bearer(&token), b"");
    assert_eq!(code(&rotated), (409, "conflict".to_owned()));
    // A browser sends a cookie by itself, whatever is in it.
    let cross = gateway.request("DELETE", "/_sessions/current", &format!("Cookie: __Host-session={token}\r\n"), b"");
    assert_eq!(code(&cross), (403, "csrf".to_owned()));
    assert_eq!(status(&gateway, SERVICE_KEY), 401);
}

#[test]
fn a_signed_token_is_nowhere_on_disk() {
    let issuer = Issuer::new(Algorithm::Hs256, None);
    let (_upstream, gateway) = start(&issuer, "");
    let token = issuer.token(&claims(&login(&gateway)));
    assert_eq!(status(&gateway, &token), 200);
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let directory = gateway.stop();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        // The write-ahead log goes when the database is closed.
        let Ok(bytes) = std::fs::read(file.unwrap().path()) else { continue };
        assert!(!bytes.windows(signature.len()).any(|window| window == signature.as_bytes()));
    }
}

/// Both the answer to a request whose token is not known yet, and to one whose is.
#[test]
fn a_store_that_is_away_is_not_an_invalid_token() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let upstream = Upstream::hello();
    let toml = format!("[jwt]\nkeys = [{}]\n", issuer.entry());
    let directory = tempfile::TempDir::new().unwrap();
    let store = format!("sqlite:{}", directory.path().join("missing/sessions.db").display());
    let gateway = Gateway::start_unready(directory, &upstream.url(), &store, &toml);
    let claims = json!({ "session_id": "0c8a5ef1-6f0b-4a51-9b1d-3c5f6a7b8c9d", "exp": now() + 60 });
    let response: Response = gateway.get_as(&issuer.token(&claims), "/");
    assert_eq!(code(&response), (503, "store_unavailable".to_owned()));
}

#[test]
fn a_revocation_made_by_another_gateway_reaches_signed_tokens_too() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let (upstream, database) = (Upstream::hello(), fresh_database());
    let toml = format!("[cache]\nttl = \"1h\"\n[jwt]\nkeys = [{}]\n", issuer.entry());
    let [here, there] = [(); 2].map(|()| Gateway::start_on(&database.url(), &upstream.url(), &toml));
    wait_until("they hear each other", || {
        [&here, &there].iter().all(|gateway| gateway.metric("gateway_listen_up") == 1.0)
    });
    let session = login(&here);
    let token = issuer.token(&claims(&session));
    assert_eq!((status(&here, &token), status(&there, &token)), (200, 200));
    assert_eq!(there.delete_as(&token, "/_sessions/current").status, 204);
    wait_until("the other one has heard of it", || status(&here, &token) == 401);
    assert_eq!(code(&here.get_as(&token, "/")), (401, "session_revoked".to_owned()));
}
