//! By which algorithm and under which key a token is good.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use session_gateway::jwt::{Algorithm, Family, Rejection, Verifier, VerifyingKey};

use super::{NOW, SESSION, at, good, key_of, refused, rules, with};
use crate::support::issuer::Issuer;

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
