//! The key sets that issuers publish (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Family;
use super::{Algorithm, VerifyingKey};
use crate::http::fields;

/// The most keys that are taken from one set. Large issuers publish some ten.
pub const MOST_KEYS: usize = 64;

/// The keys of a set that verify tokens, each for one of the `allowed` algorithms. A key that says its algorithm is for
/// that one; one that does not is for every allowed one of its kind. Secrets, keys for other purposes and kinds that are
/// not known are passed over: a set is for many readers.
///
/// # Errors
/// A sentence when this is no key set, or one without a single key that could be used: whoever published it made a
/// mistake, and what was known before is better.
pub fn parse(text: &[u8], allowed: &[Algorithm]) -> Result<Vec<VerifyingKey>, &'static str> {
    let document = fields::json_document(text).ok_or("is no JSON, or has a key twice in one object")?;
    let keys = document.get("keys").and_then(Value::as_array).ok_or("has no list \"keys\"")?;
    let mut found = Vec::new();
    for jwk in keys.iter().filter_map(Value::as_object) {
        for algorithm in algorithms(jwk, allowed) {
            found.extend(key(jwk, algorithm));
        }
    }
    found.truncate(MOST_KEYS);
    if found.is_empty() { Err("has no key that could be used") } else { Ok(found) }
}

/// The algorithms that a key is for.
fn algorithms(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Vec<Algorithm> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let family = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => Family::Rsa,
        (Some("EC"), Some("P-256")) => Family::P256,
        (Some("EC"), Some("P-384")) => Family::P384,
        (Some("OKP"), Some("Ed25519")) => Family::Ed25519,
        _ => return Vec::new(),
    };
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Vec::new();
    }
    let verifies =
        |list: &Value| list.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"));
    if jwk.get("key_ops").is_some_and(|list| !verifies(list)) {
        return Vec::new();
    }
    let of_kind = allowed.iter().copied().filter(|algorithm| algorithm.family() == family);
    match jwk.get("alg") {
        None => of_kind.collect(),
        // RFC 9864 gives EdDSA on this curve a name of its own.
        Some(name) if name == "Ed25519" => of_kind.collect(),
        Some(name) => of_kind.filter(|algorithm| name == algorithm.name()).collect(),
    }
}

fn key(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<VerifyingKey> {
    let kid = match jwk.get("kid") {
        None => None,
        Some(kid) => Some(Box::from(kid.as_str()?)),
    };
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok();
    let coordinate = |name: &str, length: usize| number(name).filter(|bytes| bytes.len() == length);
    let point = |length: usize| {
        let mut point = vec![4];
        point.extend(coordinate("x", length)?);
        point.extend(coordinate("y", length)?);
        Some(point)
    };
    match algorithm.family() {
        Family::Secret => None,
        Family::Rsa => VerifyingKey::from_rsa(algorithm, &number("n")?, &number("e")?, kid),
        Family::P256 => VerifyingKey::from_spki(algorithm, &point(32)?, kid),
        Family::P384 => VerifyingKey::from_spki(algorithm, &point(48)?, kid),
        Family::Ed25519 => VerifyingKey::from_spki(algorithm, &coordinate("x", 32)?, kid),
    }
}
