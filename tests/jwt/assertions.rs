//! The signed assertion that an application gets beside the identity headers.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};
use session_gateway::jwt::Algorithm;

use crate::support::gateway::{Gateway, Issued, bearer};
use crate::support::issuer::Issuer;
use crate::support::upstream::Upstream;
use crate::{code, now};

fn start(more: &str) -> (Upstream, Gateway) {
    start_with(Algorithm::EdDsa, more)
}

fn start_with(algorithm: Algorithm, more: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let key = Issuer::new(algorithm, None).private;
    let gateway = Gateway::start(&upstream.url(), &format!("[signing]\nkey = {key:?}\n{more}"));
    (upstream, gateway)
}

const ON: &str = "[identity.assertion]\nenabled = true\n";

fn login(gateway: &Gateway) -> Issued {
    gateway.login_with(json!({
        "user": "Zoë", "roles": ["staff", "ops"], "name": "Zoë \"Z\" Å", "email": "zoe@example.org",
        "user_agent": "acme-test/1.0", "ip": "127.0.0.1",
    }))
}

/// The assertion of the last request, as the application got it.
fn received(upstream: &Upstream) -> String {
    let received = upstream.last();
    let assertions = received.headers("x-auth-assertion");
    assert_eq!(assertions.len(), 1, "{}", received.head);
    assertions[0].to_owned()
}

/// What an application reads that verifies with the published keys.
fn verified(gateway: &Gateway, assertion: &str, audience: &str) -> Value {
    let set: JwkSet = serde_json::from_slice(&gateway.get("/_sessions/.well-known/jwks.json", "").body).unwrap();
    let header = jsonwebtoken::decode_header(assertion).unwrap();
    let mut rules = Validation::new(header.alg);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let key = DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
    jsonwebtoken::decode::<Value>(assertion, &key, &rules).unwrap().claims
}

#[test]
fn the_application_reads_who_is_calling() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let (upstream, gateway) = start_with(algorithm, ON);
        let session = login(&gateway);
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
        let claims = verified(&gateway, &received(&upstream), "app");
        let keys: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["iss", "aud", "sub", "sid", "roles", "name", "email", "iat", "exp", "jti", "token_type"]);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("session-gateway"), &json!("Zoë")));
        assert_eq!((&claims["sid"], &claims["roles"]), (&json!(session.id), &json!(["staff", "ops"])));
        assert_eq!((&claims["name"], &claims["email"]), (&json!("Zoë \"Z\" Å"), &json!("zoe@example.org")));
        let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert_eq!(exp - iat, 60);
        assert!((now() - 5..=now()).contains(&iat));
    }
}

#[test]
fn a_user_without_more_than_an_id_is_asserted_without_more() {
    let (upstream, gateway) = start(ON);
    assert_eq!(gateway.get_as(&gateway.login("ann").token, "/").status, 200);
    let claims = verified(&gateway, &received(&upstream), "app");
    assert_eq!(claims["roles"], json!([]));
    assert!(claims.get("name").is_none() && claims.get("email").is_none());
}

#[test]
fn by_default_nothing_is_sent_and_a_client_s_own_is_removed() {
    for (more, expected) in [("", 0), (ON, 1)] {
        let (upstream, gateway) = start(more);
        let forged = "X-Auth-Assertion: forged\r\nX_Auth_Assertion: forged\r\nx.auth.assertion: forged\r\n";
        let session = login(&gateway);
        assert_eq!(gateway.get("/", &format!("{}{forged}", bearer(&session.token))).status, 200);
        let received = upstream.last();
        assert_eq!(received.headers("x-auth-assertion").len(), expected);
        assert!(!received.head.contains("forged"), "{}", received.head);
        assert_eq!(gateway.metric("gateway_assertions_signed_total"), expected as f64);
    }
}

#[test]
fn nobody_is_asserted_where_nobody_is_known() {
    let (upstream, gateway) = start(&format!(
        "{ON}[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.route]]\npath = \"/open/\"\nauth = \"off\"\n\
         [[upstream.route]]\npath = \"/maybe/\"\nauth = \"optional\"\n"
    ));
    let session = login(&gateway);
    assert_eq!(gateway.get_as(&session.token, "/open/").status, 200);
    assert_eq!(upstream.last().header("x-auth-assertion"), None);
    assert_eq!(gateway.get("/maybe/", "X-Auth-Assertion: forged\r\n").status, 200);
    assert_eq!(upstream.last().header("x-auth-assertion"), None);
    assert_eq!(gateway.get_as(&session.token, "/maybe/").status, 200);
    received(&upstream);
}

#[test]
fn one_that_is_bound_to_nothing_is_signed_once_for_a_session_and_an_application() {
    let (a, b) = (Upstream::hello(), Upstream::hello());
    let key = Issuer::new(Algorithm::EdDsa, None).private;
    let gateway = Gateway::start(
        "",
        &format!(
            "[signing]\nkey = {key:?}\n{ON}[[upstream]]\nname = \"a\"\nurl = \"{}\"\nhosts = [\"a.test\"]\n\
             [[upstream]]\nname = \"b\"\nurl = \"{}\"\nassertion_audience = \"shop\"\n",
            a.url(),
            b.url()
        ),
    );
    let (one, two) = (login(&gateway), login(&gateway));
    let at = |host: &str, session: &Issued| {
        let headers = format!("Host: {host}\r\n{}", bearer(&session.token));
        assert_eq!(gateway.get("/", &headers).status, 200);
        received(if host == "a.test" { &a } else { &b })
    };
    let first = at("a.test", &one);
    for _ in 0..10 {
        assert_eq!(at("a.test", &one), first);
    }
    let (of_two, for_b) = (at("a.test", &two), at("b.test", &one));
    assert_eq!(gateway.metric("gateway_assertions_signed_total"), 3.0);
    assert_eq!(verified(&gateway, &first, "a")["sid"], one.id.as_str());
    assert_eq!(verified(&gateway, &of_two, "a")["sid"], two.id.as_str());
    assert_eq!(verified(&gateway, &for_b, "shop")["sid"], one.id.as_str());
}

#[test]
fn one_is_made_anew_in_the_second_half_of_its_life() {
    let (upstream, gateway) = start("[identity.assertion]\nenabled = true\nlifetime = \"2s\"\n");
    let session = login(&gateway);
    let mut seen = Vec::new();
    crate::support::wait_until("two were signed", || {
        assert_eq!(gateway.get_as(&session.token, "/").status, 200);
        let assertion = received(&upstream);
        // Never one that has expired: this verifies the time too.
        verified(&gateway, &assertion, "app");
        if !seen.contains(&assertion) {
            seen.push(assertion);
        }
        seen.len() == 2
    });
}

#[test]
fn one_that_is_bound_names_its_request_and_no_other() {
    let (upstream, gateway) = start("[identity.assertion]\nenabled = true\nbind = [\"method\", \"path\"]\n");
    let session = login(&gateway);
    let call = |method: &str, target: &str| {
        assert_eq!(gateway.request(method, target, &bearer(&session.token), b"").status, 200);
        verified(&gateway, &received(&upstream), "app")
    };
    let first = call("GET", "/a/../b%41?x=1");
    assert_eq!((&first["htm"], &first["htp"]), (&json!("GET"), &json!(upstream.last().target().split('?').next())));
    let second = call("POST", "/pay");
    assert_eq!((&second["htm"], &second["htp"]), (&json!("POST"), &json!("/pay")));
    assert_ne!(first["jti"], second["jti"]);
    call("GET", "/pay");
    assert_eq!(gateway.metric("gateway_assertions_signed_total"), 3.0);
}

#[test]
fn an_assertion_is_no_way_in() {
    let (upstream, gateway) = start(&format!("[jwt]\nsession_claim = \"sid\"\nissuer = \"session-gateway\"\n{ON}"));
    let session = login(&gateway);
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
    let assertion = received(&upstream);
    assert_eq!(code(&gateway.get_as(&assertion, "/")), (401, "invalid_token".to_owned()));
}

#[test]
fn it_stands_under_the_prefix_of_the_identity_headers() {
    let (upstream, gateway) = start("[identity]\nprefix = \"Gate-\"\n[identity.assertion]\nenabled = true\n");
    let session = login(&gateway);
    assert_eq!(gateway.get("/", &format!("{}gate_assertion: x\r\n", bearer(&session.token))).status, 200);
    assert_eq!(upstream.last().headers("gate-assertion").len(), 1);
    assert!(!upstream.last().head.contains("gate_assertion"));
}

#[test]
fn a_session_of_signed_tokens_is_asserted_too() {
    let (upstream, gateway) = start(ON);
    let answer = gateway.issue(&json!({ "user": "ann", "format": "jwt" })).json();
    assert_eq!(gateway.get_as(answer["access_token"].as_str().unwrap(), "/").status, 200);
    assert_eq!(verified(&gateway, &received(&upstream), "app")["sid"], answer["id"]);
}

#[test]
fn an_answer_of_forward_auth_has_it_for_the_request_that_it_is_about() {
    let (_upstream, gateway) = start(
        "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[identity.assertion]\nenabled = true\nbind = [\"method\", \"path\"]\n",
    );
    let session = gateway.login("ann");
    let asked = "X-Original-Method: POST\r\nX-Original-URI: /pay?x=1\r\nX-Forwarded-Host: app.test\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n";
    let answer = gateway.get("/_sessions/auth", &format!("{}{asked}", bearer(&session.token)));
    assert_eq!(answer.status, 200, "{answer:?}");
    let claims = verified(&gateway, answer.header("x-auth-assertion").unwrap(), "app");
    assert_eq!((&claims["sub"], &claims["htm"], &claims["htp"]), (&json!("ann"), &json!("POST"), &json!("/pay")));
}
