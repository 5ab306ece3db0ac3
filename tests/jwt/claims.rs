//! Which tokens are good, claim by claim. Nothing but bytes, keys and a time.

#[path = "claims/form.rs"]
mod form;
#[path = "claims/signers.rs"]
mod signers;

use std::time::Duration;

use serde_json::{Value, json};
use session_gateway::clock::Timestamp;
use session_gateway::jwt::{Algorithm, Family, Rejection, Rules, Verified, Verifier, VerifyingKey};

use crate::support::issuer::Issuer;

const NOW: i64 = 1_763_656_204;
const SESSION: &str = "0c8a5ef1-6f0b-4a51-9b1d-3c5f6a7b8c9d";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn rules() -> Rules {
    Rules {
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::ZERO,
        session_claim: "session_id".to_owned(),
        user_claim: Some("sub".to_owned()),
    }
}

fn key_of(issuer: &Issuer) -> VerifyingKey {
    let kid = issuer.kid.as_deref().map(Box::from);
    match issuer.algorithm.family() {
        Family::Secret => VerifyingKey::from_secret(issuer.algorithm, issuer.public.as_bytes(), kid),
        Family::Rsa | Family::P256 | Family::P384 | Family::Ed25519 => {
            VerifyingKey::from_pem(issuer.algorithm, issuer.public.as_bytes(), kid)
        }
    }
    .unwrap()
}

fn good() -> Value {
    json!({ "session_id": SESSION, "sub": "ann", "exp": NOW + 60 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// What a verifier with the issuer's key says of its token at `NOW`.
fn judged(rules: Rules, claims: &Value) -> Result<Verified, Rejection> {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    Verifier { keys: vec![key_of(&issuer)], rules }.verify(issuer.token(claims).as_bytes(), at(NOW))
}

#[track_caller]
fn refused(result: Result<Verified, Rejection>, about: &str) {
    match result {
        Err(Rejection::Invalid(sentence)) => assert!(sentence.contains(about), "{sentence} says nothing of {about}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_must_expire_and_is_good_until_the_moment_it_does() {
    refused(judged(rules(), &without("exp")), "exp");
    for bad in [json!(null), json!("1763656264"), json!([NOW + 60]), json!(true), json!({})] {
        refused(judged(rules(), &with("exp", bad)), "exp");
    }
    for (exp, good) in [
        (json!(NOW + 1), true),
        (json!(NOW as f64 + 0.001), true),
        (json!(NOW), false),
        (json!(NOW - 1), false),
        (json!(NOW as f64 - 0.001), false),
        (json!(0), false),
        (json!(-1), false),
        (json!(i64::MIN), false),
        (json!(-1e300), false),
        (json!(i64::MAX), true),
        (json!(u64::MAX), true),
        (json!(1e300), true),
    ] {
        let result = judged(rules(), &with("exp", exp.clone()));
        match good {
            true => assert!(result.is_ok(), "{exp}: {result:?}"),
            false => assert_eq!(result, Err(Rejection::Expired), "{exp}"),
        }
    }
}

#[test]
fn a_token_from_the_future_is_refused() {
    for name in ["nbf", "iat"] {
        assert!(judged(rules(), &with(name, json!(NOW))).is_ok());
        assert!(judged(rules(), &with(name, json!(NOW - 3600))).is_ok());
        refused(judged(rules(), &with(name, json!(NOW + 1))), name);
        for bad in [json!("1"), json!(null), json!([])] {
            refused(judged(rules(), &with(name, bad)), name);
        }
    }
}

#[test]
fn leeway_is_for_every_time_and_no_longer() {
    let rules = || Rules { leeway: Duration::from_secs(30), ..rules() };
    assert_eq!(judged(rules(), &with("exp", json!(NOW - 29))).unwrap().expires_at, at(NOW + 1));
    assert_eq!(judged(rules(), &with("exp", json!(NOW - 30))), Err(Rejection::Expired));
    for name in ["nbf", "iat"] {
        assert!(judged(rules(), &with(name, json!(NOW + 30))).is_ok());
        refused(judged(rules(), &with(name, json!(NOW + 31))), name);
    }
}

#[test]
fn the_issuer_is_looked_at_when_one_is_configured() {
    assert!(judged(rules(), &with("iss", json!("anybody"))).is_ok());
    let rules = || Rules { issuers: vec!["https://id.test".to_owned(), "b".to_owned()], ..rules() };
    assert!(judged(rules(), &with("iss", json!("https://id.test"))).is_ok());
    assert!(judged(rules(), &with("iss", json!("b"))).is_ok());
    refused(judged(rules(), &good()), "iss");
    for other in [json!("https://id.test/"), json!("HTTPS://id.test"), json!(["b"]), json!(null), json!(1)] {
        refused(judged(rules(), &with("iss", other)), "iss");
    }
}

#[test]
fn the_audience_is_looked_at_when_one_is_configured() {
    assert!(judged(rules(), &with("aud", json!("anybody"))).is_ok());
    let rules = || Rules { audiences: vec!["app".to_owned(), "b".to_owned()], ..rules() };
    for fine in [json!("app"), json!(["x", "app"]), json!(["b"])] {
        assert!(judged(rules(), &with("aud", fine)).is_ok());
    }
    refused(judged(rules(), &good()), "aud");
    for other in [json!("app2"), json!([]), json!(["x"]), json!(null), json!({ "app": 1 }), json!(["app", 1])] {
        refused(judged(rules(), &with("aud", other)), "aud");
    }
}

#[test]
fn a_token_that_is_not_for_access_is_refused() {
    for (name, kind) in [
        ("token_type", json!("refresh")),
        ("token_type", json!("sliding")),
        ("token_type", json!("")),
        ("token_type", json!(null)),
        ("token_type", json!(["access"])),
        ("typ", json!("Refresh")),
        ("typ", json!("Offline")),
        ("typ", json!("ID")),
        ("typ", json!(1)),
    ] {
        refused(judged(rules(), &with(name, kind)), "token_type");
    }
    for (name, kind) in [("token_type", "access"), ("token_type", "Access"), ("typ", "Bearer"), ("typ", "JWT")] {
        assert!(judged(rules(), &with(name, json!(kind))).is_ok(), "{name} {kind}");
    }
}

#[test]
fn the_session_must_be_named_by_its_id() {
    for missing in [without("session_id"), with("session_id", json!(null))] {
        assert_eq!(judged(rules(), &missing).unwrap_err(), Rejection::NoSession("session_id".to_owned()));
    }
    for bad in
        [json!(""), json!("7"), json!(7), json!([SESSION]), json!(SESSION.replace('-', "")), json!("x".repeat(36))]
    {
        refused(judged(rules(), &with("session_id", bad)), "it must be a UUID");
    }
    assert!(judged(rules(), &with("session_id", json!(SESSION.to_uppercase()))).is_ok());
    let rules = Rules { session_claim: "sid".to_owned(), ..rules() };
    assert!(judged(rules.clone(), &with("sid", json!(SESSION))).is_ok());
    assert_eq!(judged(rules, &good()).unwrap_err(), Rejection::NoSession("sid".to_owned()));
}

#[test]
fn the_user_may_be_a_text_or_a_whole_number_or_absent() {
    let user = |claims: &Value| judged(rules(), claims).map(|good| good.user.map(|user| user.as_str().to_owned()));
    assert_eq!(user(&with("sub", json!("42"))).unwrap().unwrap(), "42");
    assert_eq!(user(&with("sub", json!(42))).unwrap().unwrap(), "42");
    assert_eq!(user(&with("sub", json!(-1))).unwrap().unwrap(), "-1");
    assert_eq!(user(&without("sub")).unwrap(), None);
    for bad in
        [json!(1.5), json!(null), json!(true), json!(["ann"]), json!({}), json!(""), json!(" ann"), json!("a\nb")]
    {
        refused(judged(rules(), &with("sub", bad)), "\"sub\"");
    }
    let other = Rules { user_claim: Some("user_id".to_owned()), ..rules() };
    let verified = judged(other, &with("user_id", json!(7))).unwrap();
    assert_eq!(verified.user.unwrap().as_str(), "7");
    let none = Rules { user_claim: None, ..rules() };
    assert_eq!(judged(none, &with("sub", json!([]))).unwrap().user, None);
}
