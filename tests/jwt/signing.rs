//! Our own tokens, read by a library that is not ours.

use jsonwebtoken::jwk::{JwkSet, ThumbprintHash};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};
use session_gateway::jwt::{Algorithm, PublicKey, SigningKey, key_set};

use crate::support::issuer::Issuer;

#[test]
fn what_we_sign_is_verified_with_what_we_publish() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let key = SigningKey::from_pem(Issuer::new(algorithm, None).private.as_bytes()).unwrap();
        let set: JwkSet = serde_json::from_str(&key_set([&key.public].into_iter())).unwrap();
        let token = key.sign(&json!({ "sub": "Zoë \"x\"", "exp": 1 })).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        let jwk = set.find(header.kid.as_deref().unwrap()).unwrap();
        assert_eq!(header.kid.as_deref(), Some(key.public.kid()));
        assert_eq!(jwk.thumbprint(ThumbprintHash::SHA256).unwrap(), key.public.kid(), "RFC 7638");
        let mut rules = Validation::new(algorithm.name().parse().unwrap());
        rules.validate_exp = false;
        let decoded = jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(jwk).unwrap(), &rules).unwrap();
        assert_eq!(decoded.claims, json!({ "sub": "Zoë \"x\"", "exp": 1 }));
    }
}

#[test]
fn a_published_key_says_what_it_is_for_and_nothing_private() {
    let issuer = Issuer::new(Algorithm::Es256, None);
    let key = SigningKey::from_pem(issuer.private.as_bytes()).unwrap();
    let set: Value = serde_json::from_str(&key_set([&key.public].into_iter())).unwrap();
    let jwk = set["keys"][0].as_object().unwrap();
    let names: Vec<&str> = jwk.keys().map(String::as_str).collect();
    assert_eq!(names, ["kty", "crv", "x", "y", "kid", "use", "alg"]);
    assert_eq!((&jwk["use"], &jwk["alg"]), (&json!("sig"), &json!("ES256")));
    assert_eq!(format!("{key:?}"), format!("SigningKey {{ kid: {:?}, .. }}", key.public.kid()));
}

#[test]
fn an_old_key_may_be_given_by_its_public_half_or_whole() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let issuer = Issuer::new(algorithm, None);
        let whole = PublicKey::from_pem(issuer.private.as_bytes()).unwrap();
        let half = PublicKey::from_pem(issuer.public.as_bytes()).unwrap();
        assert_eq!(key_set([&whole].into_iter()), key_set([&half].into_iter()));
    }
    for algorithm in [Algorithm::Rs256, Algorithm::Es384] {
        let issuer = Issuer::new(algorithm, None);
        assert!(PublicKey::from_pem(issuer.public.as_bytes()).is_err(), "{algorithm:?}");
        assert!(PublicKey::from_pem(issuer.private.as_bytes()).is_err(), "{algorithm:?}");
        assert!(SigningKey::from_pem(issuer.private.as_bytes()).unwrap_err().contains("Ed25519"), "{algorithm:?}");
    }
    assert!(SigningKey::from_pem(Issuer::new(Algorithm::EdDsa, None).public.as_bytes()).is_err());
    assert!(SigningKey::from_pem(b"").is_err());
}
