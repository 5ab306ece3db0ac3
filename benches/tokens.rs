//! What signed tokens cost: a signature for an assertion, one that is kept, and the check of a token that is not known yet.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may fail")]

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use session_gateway::clock::Timestamp;
use session_gateway::jwt::{Rules, SigningKey, Verifier};
use session_gateway::token::Digest;

const NOW: Timestamp = Timestamp::from_millis(1_763_656_204_000);

fn key(der: &[u8]) -> SigningKey {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    SigningKey::from_pem(pem.as_bytes()).unwrap()
}

fn benches(c: &mut Criterion) {
    let random = SystemRandom::new();
    let keys = [
        ("Ed25519", key(Ed25519KeyPair::generate_pkcs8v1(&random).unwrap().as_ref())),
        ("P-256", key(EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap().as_ref())),
    ];
    let claims = json!({
        "iss": "session-gateway", "aud": "app", "sub": "ann", "sid": "0c8a5ef1-6f0b-4a51-9b1d-3c5f6a7b8c9d",
        "session_id": "0c8a5ef1-6f0b-4a51-9b1d-3c5f6a7b8c9d", "roles": ["staff"], "name": "Ann Example",
        "email": "ann@example.org", "iat": 1_763_656_204, "exp": 1_763_656_264, "token_type": "access",
        "jti": "00112233445566778899aabbccddeeff", "htm": "GET", "htp": "/orders/17",
    });
    for (name, key) in &keys {
        c.bench_function(&format!("assertion signed with {name}"), |b| {
            b.iter(|| key.sign(black_box(&claims)).unwrap())
        });
        let token = key.sign(&claims).unwrap();
        let rules = Rules {
            issuers: vec!["session-gateway".to_owned()],
            audiences: vec!["app".to_owned()],
            leeway: Duration::ZERO,
            session_claim: "session_id".to_owned(),
            user_claim: Some("sub".to_owned()),
        };
        let verifier = Verifier { keys: vec![key.public.verifying.clone()], rules };
        c.bench_function(&format!("unknown token verified with {name}"), |b| {
            b.iter(|| verifier.verify(black_box(token.as_bytes()), NOW).unwrap());
        });
        c.bench_function(&format!("digest of a known token of {} bytes ({name})", token.len()), |b| {
            b.iter(|| Digest::of(black_box(token.as_bytes())));
        });
    }
}

criterion_group!(token_benches, benches);
criterion_main!(token_benches);
