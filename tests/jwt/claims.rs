//! Which tokens are good, claim by claim. Nothing but bytes, keys and a time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use session_gateway::clock::Timestamp;
use session_gateway::jwt::{Algorithm, Family, Rejection, Rules, Verified, Verifier, VerifyingKey, is_shaped};

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
fn a_token_of_every_algorithm_is_good_under_its_key_and_under_no_other() {
    let rsa = Issuer::new(Algorithm::Rs256, None);
    let issuers: Vec<Issuer> = Algorithm::ALL
        .into_iter()
        .map(|algorithm| match algorithm.family() {
            Family::Rsa => rsa.by(algorithm),
            Family::Secret => {
                let mut issuer = Issuer::new(algorithm, None);
                issuer.public.push_str(&"x".repeat(16));
                issuer.private.push_str(&"x".repeat(16));
                issuer
            }
            Family::P256 | Family::P384 | Family::Ed25519 => Issuer::new(algorithm, None),
        })
        .collect();
    for signer in &issuers {
        let token = signer.token(&good());
        for other in &issuers {
            let verifier = Verifier { keys: vec![key_of(other)], rules: rules() };
            let result = verifier.verify(token.as_bytes(), at(NOW));
            let (signer, other) = (signer.algorithm, other.algorithm);
            assert_eq!(result.is_ok(), signer == other, "{signer:?} {other:?}: {result:?}");
        }
        let all = Verifier { keys: issuers.iter().map(key_of).collect(), rules: rules() };
        let verified = all.verify(token.as_bytes(), at(NOW)).unwrap();
        assert_eq!(verified.session.to_string(), SESSION);
        assert_eq!(verified.user.unwrap().as_str(), "ann");
        assert_eq!(verified.expires_at, at(NOW + 60));
    }
}

#[test]
fn a_public_key_is_no_secret_whatever_the_token_says() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let issuer = Issuer::new(algorithm, Some("k"));
        let verifier = Verifier { keys: vec![key_of(&issuer)], rules: rules() };
        for secret in [issuer.public.clone(), issuer.public.trim_end().to_owned()] {
            let forger = Issuer {
                algorithm: Algorithm::Hs256,
                private: secret.clone(),
                public: secret,
                kid: issuer.kid.clone(),
            };
            refused(verifier.verify(forger.token(&good()).as_bytes(), at(NOW)), "algorithm");
        }
        assert!(VerifyingKey::from_pem(Algorithm::Hs256, issuer.public.as_bytes(), None).is_err());
    }
}

#[test]
fn an_unsigned_token_is_refused_in_every_spelling() {
    let issuer = Issuer::new(Algorithm::Hs256, None);
    let verifier = Verifier { keys: vec![key_of(&issuer)], rules: rules() };
    let payload = URL_SAFE_NO_PAD.encode(good().to_string());
    for name in ["none", "None", "NONE", "nOnE", "", "HS256 ", "hs256", "HS1", "RS1"] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": name }).to_string());
        refused(verifier.verify(format!("{header}.{payload}.").as_bytes(), at(NOW)), "algorithm");
        refused(verifier.verify(issuer.sign(&format!("{header}.{payload}")).as_bytes(), at(NOW)), "algorithm");
    }
    for header in [json!({}), json!({ "alg": null }), json!({ "alg": 1 }), json!({ "alg": ["HS256"] })] {
        refused(verifier.verify(issuer.raw(&header.to_string(), &good().to_string()).as_bytes(), at(NOW)), "algorithm");
    }
    let header = URL_SAFE_NO_PAD.encode(issuer.header());
    refused(verifier.verify(format!("{header}.{payload}.").as_bytes(), at(NOW)), "signature");
}

#[test]
fn a_changed_token_is_refused_wherever_it_was_changed() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let verifier = Verifier { keys: vec![key_of(&issuer)], rules: rules() };
    let token = issuer.token(&good());
    assert!(verifier.verify(token.as_bytes(), at(NOW)).is_ok());
    for position in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        assert!(verifier.verify(&changed, at(NOW)).is_err(), "byte {position}");
        assert!(verifier.verify(&token.as_bytes()[..position], at(NOW)).is_err(), "cut at {position}");
    }
    for position in [0, 10, token.len()] {
        for byte in ["=", "\n", " ", ".", "\0", "é", "+"] {
            let mut changed = token.clone();
            changed.insert_str(position, byte);
            assert!(verifier.verify(changed.as_bytes(), at(NOW)).is_err(), "{byte:?} at {position}");
        }
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
fn a_header_of_another_type_or_with_extensions_is_refused() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let verifier = Verifier { keys: vec![key_of(&issuer)], rules: rules() };
    let judged = |header: &str| verifier.verify(issuer.raw(header, &good().to_string()).as_bytes(), at(NOW));
    for fine in ["\"JWT\"", "\"jwt\"", "\"at+jwt\"", "\"application/at+jwt\""] {
        assert!(judged(&format!(r#"{{"alg":"EdDSA","typ":{fine}}}"#)).is_ok(), "{fine}");
    }
    for other in ["\"logout+jwt\"", "\"dpop+jwt\"", "\"id_token+jwt\"", "null", "1", "\"\""] {
        refused(judged(&format!(r#"{{"alg":"EdDSA","typ":{other}}}"#)), "typ");
    }
    for crit in ["[]", "[\"exp\"]", "[\"b64\"]", "null", "\"x\""] {
        refused(judged(&format!(r#"{{"alg":"EdDSA","crit":{crit},"b64":false}}"#)), "critical");
    }
    refused(judged(r#"{"alg":"EdDSA","kid":7}"#), "kid");
    // Keys that a token brings along are nobody's.
    let forger = Issuer::new(Algorithm::EdDsa, None);
    let header =
        json!({ "alg": "EdDSA", "jwk": forger.jwk(), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/" });
    refused(verifier.verify(forger.raw(&header.to_string(), &good().to_string()).as_bytes(), at(NOW)), "signature");
}

#[test]
fn a_key_that_stands_twice_has_no_reading() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let verifier = Verifier { keys: vec![key_of(&issuer)], rules: rules() };
    let judged = |header: &str, payload: &str| verifier.verify(issuer.raw(header, payload).as_bytes(), at(NOW));
    let body = good().to_string();
    refused(judged(r#"{"alg":"EdDSA","alg":"EdDSA"}"#, &body), "header");
    refused(judged(r#"{"alg":"none","alg":"EdDSA"}"#, &body), "header");
    let twice = format!(r#"{{"sub":"root",{}"#, &body[1..]);
    refused(judged(r#"{"alg":"EdDSA"}"#, &twice), "payload");
    let inside = format!(r#"{{"x":{{"a":1,"a":2}},{}"#, &body[1..]);
    refused(judged(r#"{"alg":"EdDSA"}"#, &inside), "payload");
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let verifier = Verifier { keys: vec![key_of(&issuer)], rules: rules() };
    let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
    for payload in ["", "null", "[]", "1", "\"x\"", "{", "{}x", "\u{feff}{}", &deep] {
        refused(verifier.verify(issuer.raw(&issuer.header(), payload).as_bytes(), at(NOW)), "payload");
    }
    for header in ["", "null", "[]", "\"EdDSA\"", "{"] {
        refused(verifier.verify(issuer.raw(header, &good().to_string()).as_bytes(), at(NOW)), "header");
    }
    let bytes = issuer.sign(&format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(issuer.header()),
        URL_SAFE_NO_PAD.encode(b"{\"a\":\"\xff\"}")
    ));
    refused(verifier.verify(bytes.as_bytes(), at(NOW)), "payload");
    let padded = issuer.sign(&format!("{}.{}", URL_SAFE.encode(issuer.header()), URL_SAFE.encode(good().to_string())));
    assert!(verifier.verify(padded.as_bytes(), at(NOW)).is_err());
}

#[test]
fn what_is_no_token_is_refused_and_nothing_panics() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let verifier = Verifier { keys: vec![key_of(&issuer)], rules: rules() };
    let huge = issuer.token(&with("x", json!("x".repeat(8 * 1024))));
    for token in ["", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", ".a.", "\u{0}.\u{0}.\u{0}", "é.é.é", &huge] {
        assert!(matches!(verifier.verify(token.as_bytes(), at(NOW)), Err(Rejection::Invalid(_))), "{token}");
    }
    for seed in 0..2000 {
        let mut noise = crate::support::noise(64, seed);
        noise[(seed % 64) as usize] = b'.';
        noise[(seed * 7 % 64) as usize] = b'.';
        assert!(verifier.verify(&noise, at(NOW)).is_err());
    }
    assert!(is_shaped(b"a.b.c") && is_shaped(b".."));
    assert!(!is_shaped(b"a.b") && !is_shaped(b"a.b.c.d") && !is_shaped(b""));
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

#[test]
fn the_name_of_a_key_chooses_that_key_alone() {
    let (a, b) = (Issuer::new(Algorithm::EdDsa, Some("a")), Issuer::new(Algorithm::EdDsa, Some("b")));
    let verifier = Verifier { keys: vec![key_of(&a), key_of(&b)], rules: rules() };
    let under = |issuer: &Issuer, kid: Option<&str>| {
        let issuer = Issuer { kid: kid.map(str::to_owned), ..issuer.clone() };
        verifier.verify(issuer.token(&good()).as_bytes(), at(NOW))
    };
    assert!(under(&a, Some("a")).is_ok() && under(&b, Some("b")).is_ok());
    refused(under(&a, Some("b")), "signature");
    assert_eq!(under(&a, Some("c")), Err(Rejection::UnknownKey));
    assert_eq!(under(&a, Some("")), Err(Rejection::UnknownKey));
    assert!(under(&a, None).is_ok() && under(&b, None).is_ok(), "without a name every key is tried");
    refused(under(&Issuer::new(Algorithm::EdDsa, None), None), "signature");
}

#[test]
fn a_key_without_a_name_is_for_every_name_that_no_other_key_has() {
    let (named, nameless) = (Issuer::new(Algorithm::EdDsa, Some("a")), Issuer::new(Algorithm::EdDsa, None));
    let verifier = Verifier { keys: vec![key_of(&named), key_of(&nameless)], rules: rules() };
    let under = |kid: &str| {
        let issuer = Issuer { kid: Some(kid.to_owned()), ..nameless.clone() };
        verifier.verify(issuer.token(&good()).as_bytes(), at(NOW))
    };
    assert!(under("b").is_ok());
    refused(under("a"), "signature");
}

#[test]
fn only_so_many_keys_are_tried_for_one_token() {
    let mut keys: Vec<VerifyingKey> = (0..16).map(|_| key_of(&Issuer::new(Algorithm::EdDsa, None))).collect();
    let last = Issuer::new(Algorithm::EdDsa, None);
    keys.push(key_of(&last));
    let verifier = Verifier { keys, rules: rules() };
    refused(verifier.verify(last.token(&good()).as_bytes(), at(NOW)), "signature");
}

#[test]
fn a_key_of_our_own_opens_with_an_access_token_alone() {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let verifier = Verifier { keys: vec![key_of(&issuer).of_ours()], rules: rules() };
    let judged = |claims: &Value| verifier.verify(issuer.token(claims).as_bytes(), at(NOW));
    refused(judged(&good()), "token_type");
    refused(judged(&with("token_type", json!("assertion"))), "token_type");
    assert!(judged(&with("token_type", json!("access"))).is_ok());
}
