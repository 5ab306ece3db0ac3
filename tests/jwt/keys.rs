//! Keys: which are taken, and how published sets are read.

use aws_lc_rs::rsa::KeySize;
use serde_json::{Value, json};
use session_gateway::jwt::{Algorithm, VerifyingKey, jwks};

use crate::support::issuer::{Issuer, rsa};

const ALL: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

fn parsed(keys: Value, allowed: &[Algorithm]) -> Vec<(Algorithm, Option<String>)> {
    let set = json!({ "keys": keys }).to_string();
    let keys = jwks::parse(set.as_bytes(), allowed).unwrap_or_default();
    keys.into_iter().map(|key| (key.algorithm, key.kid.map(String::from))).collect()
}

#[test]
fn a_secret_is_as_long_as_its_hash() {
    for (algorithm, shortest) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        assert!(VerifyingKey::from_secret(algorithm, &vec![7; shortest], None).is_ok());
        let error = VerifyingKey::from_secret(algorithm, &vec![7; shortest - 1], None).unwrap_err();
        assert!(error.contains(&shortest.to_string()), "{error}");
    }
    assert!(VerifyingKey::from_secret(Algorithm::Rs256, &[7; 64], None).is_err());
}

#[test]
fn a_key_of_another_kind_than_its_algorithm_is_refused() {
    let kinds = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
    for made_for in kinds {
        let issuer = Issuer::new(made_for, None);
        for used_for in kinds {
            let result = VerifyingKey::from_pem(used_for, issuer.public.as_bytes(), None);
            assert_eq!(result.is_ok(), made_for == used_for, "{made_for:?} for {used_for:?}: {result:?}");
        }
        let private = VerifyingKey::from_pem(made_for, issuer.private.as_bytes(), None);
        assert!(private.unwrap_err().contains("BEGIN PUBLIC KEY"), "a private key has no place there");
    }
    for junk in ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert!(VerifyingKey::from_pem(Algorithm::Rs256, junk.as_bytes(), None).is_err());
    }
}

#[test]
fn a_weak_rsa_key_is_refused() {
    /// A key of 1024 bits, made for this test; nothing signs with it.
    const WEAK: &str = include_str!("rsa1024.pem");
    let error = VerifyingKey::from_pem(Algorithm::Rs256, WEAK.as_bytes(), None).unwrap_err();
    assert!(error.contains("2048"), "{error}");
    let (_, strong) = rsa(KeySize::Rsa3072);
    assert!(VerifyingKey::from_pem(Algorithm::Ps384, strong.as_bytes(), None).is_ok());
}

#[test]
fn every_kind_of_key_of_a_set_is_read_and_the_others_are_passed_over() {
    let issuers: Vec<Issuer> = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa]
        .into_iter()
        .map(|algorithm| Issuer::new(algorithm, Some(algorithm.name())))
        .collect();
    let mut keys: Vec<Value> = issuers.iter().map(Issuer::jwk).collect();
    keys.extend([
        json!({ "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U", "alg": "HS256", "kid": "oct" }),
        json!({ "kty": "PQC", "alg": "ML-DSA-44", "kid": "new" }),
        json!({ "kty": "OKP", "crv": "Ed448", "x": "AA", "kid": "448" }),
        json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
        json!({}),
        json!(null),
        json!("x"),
    ]);
    let everything = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Hs256];
    let found = parsed(keys.into(), &everything);
    let expected: Vec<_> = issuers.iter().map(|issuer| (issuer.algorithm, issuer.kid.clone())).collect();
    assert_eq!(found, expected, "a secret that is published is none");
}

#[test]
fn a_key_is_for_the_algorithm_that_it_names_if_that_one_is_allowed() {
    let issuer = Issuer::new(Algorithm::Rs256, Some("k"));
    let with_alg = |alg: Value| {
        let mut jwk = issuer.jwk();
        jwk["alg"] = alg;
        json!([jwk])
    };
    let rsa = [Algorithm::Rs256, Algorithm::Ps256];
    let algorithms =
        |keys: Value, allowed: &[Algorithm]| parsed(keys, allowed).into_iter().map(|(alg, _)| alg).collect::<Vec<_>>();
    assert_eq!(algorithms(with_alg(json!("PS256")), &rsa), [Algorithm::Ps256]);
    assert_eq!(algorithms(with_alg(json!("RS512")), &rsa), []);
    assert_eq!(algorithms(with_alg(json!("HS256")), &[Algorithm::Hs256, Algorithm::Rs256]), []);
    assert_eq!(algorithms(with_alg(json!(7)), &rsa), []);
    let mut silent = issuer.jwk();
    silent.as_object_mut().unwrap().remove("alg");
    assert_eq!(algorithms(json!([silent]), &rsa), rsa, "one that names none is for every allowed one of its kind");
    assert_eq!(algorithms(json!([silent]), &[Algorithm::Es256]), []);
}

#[test]
fn a_key_for_another_purpose_is_passed_over() {
    let issuer = Issuer::new(Algorithm::Es256, Some("k"));
    let with = |name: &str, value: Value| {
        let mut jwk = issuer.jwk();
        jwk[name] = value;
        parsed(json!([jwk]), &ALL).len()
    };
    assert_eq!(with("use", json!("sig")), 1);
    assert_eq!(with("use", json!("enc")), 0);
    assert_eq!(with("use", json!(["sig"])), 0);
    assert_eq!(with("key_ops", json!(["verify"])), 1);
    assert_eq!(with("key_ops", json!(["encrypt"])), 0);
    assert_eq!(with("kid", json!(7)), 0);
    assert_eq!(with("x5c", json!(["AAAA"])), 1);
}

#[test]
fn numbers_that_make_no_key_are_passed_over() {
    for (algorithm, name, values) in [
        (Algorithm::Rs256, "n", vec![json!("AQAB"), json!(""), json!("!"), json!(7), json!(null)]),
        (
            Algorithm::Rs256,
            "e",
            vec![json!(""), json!("AA"), json!("AQ"), json!("AAAB"), json!("Ag"), json!("AQAAAAAB"), json!(null)],
        ),
        (Algorithm::Es256, "x", vec![json!("AA"), json!("A".repeat(43)), json!("A".repeat(86)), json!(null)]),
        (Algorithm::Es256, "y", vec![json!("A".repeat(43)), json!("====")]),
        (Algorithm::EdDsa, "x", vec![json!("AA"), json!("A".repeat(44)), json!(null)]),
    ] {
        let issuer = Issuer::new(algorithm, None);
        assert_eq!(parsed(json!([issuer.jwk()]), &ALL).len(), 1);
        for value in values {
            let mut jwk = issuer.jwk();
            jwk[name] = value.clone();
            assert_eq!(parsed(json!([jwk]), &ALL), [], "{algorithm:?} {name} {value}");
        }
    }
}

#[test]
fn a_set_without_a_key_of_use_is_no_set() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[{}]}",
        "<html>",
        "{\"keys\":[],\"keys\":[]}",
    ] {
        assert!(jwks::parse(text.as_bytes(), &ALL).is_err(), "{text}");
    }
}

#[test]
fn a_set_of_very_many_keys_is_cut() {
    let jwk = Issuer::new(Algorithm::EdDsa, None).jwk();
    assert_eq!(parsed(vec![jwk; 1000].into(), &ALL).len(), jwks::MOST_KEYS);
}

#[test]
fn no_key_shows_in_debug_output() {
    let issuer = Issuer::new(Algorithm::Hs256, Some("name"));
    let key = VerifyingKey::from_secret(Algorithm::Hs256, issuer.public.as_bytes(), Some("name".into())).unwrap();
    assert_eq!(format!("{key:?}"), "VerifyingKey { algorithm: Hs256, kid: Some(\"name\"), own: false, .. }");
}
