//! What is no token at all, or could be read in two ways.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;
use session_gateway::jwt::{Algorithm, Rejection, Verifier, is_shaped};

use super::{NOW, at, good, key_of, refused, rules, with};
use crate::support::issuer::Issuer;

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
