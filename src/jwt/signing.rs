//! Our own keys: the one that signs, and the public halves that are published.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Algorithm, VerifyingKey};

/// A key that signs. Its `Debug` shows its name alone.
pub struct SigningKey {
    pair: Pair,
    /// The public half.
    pub public: PublicKey,
    /// The header of every token that it signs, in base64url.
    header: Box<str>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// The public half of a key of ours, as it is published.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// The same, to verify with.
    pub verifying: VerifyingKey,
    jwk: Jwk,
}

#[derive(Clone, Debug, Serialize)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    kid: String,
    #[serde(rename = "use")]
    purpose: &'static str,
    alg: &'static str,
}

/// The cryptography refused to sign, which it has no reason to.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a token could not be signed")]
pub struct SigningFailed;

const FORM: &str = "must be a private key in PEM form (PKCS #8, not encrypted: -----BEGIN PRIVATE KEY-----) of the kind \
                    Ed25519 or EC on P-256; openssl genpkey -algorithm ed25519 makes one";

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.public.kid()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a private key in PEM form.
    ///
    /// # Errors
    /// A sentence with the form that is understood.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| FORM.to_owned())?;
        let der = der.secret_pkcs8_der();
        let (pair, public) = if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            let public = PublicKey::new(Algorithm::EdDsa, pair.public_key().as_ref());
            (Pair::Ed25519(pair), public)
        } else {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(|_| FORM.to_owned())?;
            let public = PublicKey::new(Algorithm::Es256, pair.public_key().as_ref());
            (Pair::P256(pair), public)
        };
        let public = public.ok_or_else(|| FORM.to_owned())?;
        // The names of algorithms and keys need no escaping.
        let header = format!(r#"{{"alg":"{}","typ":"JWT","kid":"{}"}}"#, public.jwk.alg, public.jwk.kid);
        Ok(Self { pair, public, header: URL_SAFE_NO_PAD.encode(header).into() })
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// When the cryptography fails, or the claims cannot be written as JSON; neither has a reason to happen.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SigningFailed> {
        let claims = serde_json::to_vec(claims).map_err(|_| SigningFailed)?;
        let mut token = String::with_capacity(self.header.len() + claims.len().div_ceil(3) * 4 + 96);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.try_sign(token.as_bytes()),
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), token.as_bytes()),
        };
        let signature = signature.map_err(|_| SigningFailed)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

impl PublicKey {
    /// Reads a key in PEM form, public or private: of a key that signed once the public half is enough.
    ///
    /// # Errors
    /// A sentence with the form that is understood.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        /// What stands before the 32 bytes of an Ed25519 key (RFC 8410).
        const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
        /// What stands before the uncompressed point of a key on P-256 (RFC 5480).
        const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\
                              \x07\x03\x42\x00";

        if let Ok(der) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
            let (ed25519, p256) = (der.strip_prefix(ED25519), der.strip_prefix(P256));
            return match (ed25519, p256) {
                (Some(key), _) => Self::new(Algorithm::EdDsa, key),
                (None, Some(key)) => Self::new(Algorithm::Es256, key),
                (None, None) => None,
            }
            .ok_or_else(|| "must be a key of the kind Ed25519 or EC on P-256".to_owned());
        }
        SigningKey::from_pem(pem).map(|key| key.public).map_err(|_| {
            "must be a key in PEM form (-----BEGIN PUBLIC KEY----- or PRIVATE KEY) of the kind Ed25519 or EC on P-256"
                .to_owned()
        })
    }

    /// By its raw bytes: 32 of Ed25519, or an uncompressed point on P-256.
    fn new(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (kty, crv, x, y) = if algorithm == Algorithm::EdDsa {
            ("OKP", "Ed25519", encode(raw), None)
        } else {
            let (x, y) = raw.strip_prefix(&[4])?.split_at_checked(32)?;
            ("EC", "P-256", encode(x), Some(encode(y)))
        };
        // The members that RFC 7638 takes, in its order; base64url needs no escaping.
        let canonical = match &y {
            None => format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}"}}"#),
            Some(y) => format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}"#),
        };
        let kid = encode(&Sha256::digest(canonical));
        let verifying = VerifyingKey::from_spki(algorithm, raw, Some(kid.as_str().into()))?.of_ours();
        Some(Self { verifying, jwk: Jwk { kty, crv, x, y, kid, purpose: "sig", alg: algorithm.name() } })
    }

    /// Its name: the thumbprint of RFC 7638.
    pub fn kid(&self) -> &str {
        &self.jwk.kid
    }
}

/// The key set of these keys, as JSON.
pub fn key_set<'k>(keys: impl Iterator<Item = &'k PublicKey>) -> String {
    let keys: Vec<&Jwk> = keys.map(|key| &key.jwk).collect();
    serde_json::json!({ "keys": keys }).to_string()
}
