//! Somebody who signs tokens: fresh keys of every kind, and tokens made with a library that the gateway does not use.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use session_gateway::jwt::{Algorithm, Family};

/// A key and its owner.
#[derive(Clone)]
pub struct Issuer {
    pub algorithm: Algorithm,
    /// What stands in the header of its tokens.
    pub kid: Option<String>,
    /// A secret, or a private key in PEM form.
    pub private: String,
    /// A secret, or a public key in PEM form.
    pub public: String,
}

impl Issuer {
    /// An issuer with a fresh key; `kid` stands in its tokens.
    pub fn new(algorithm: Algorithm, kid: Option<&str>) -> Self {
        let (private, public) = match algorithm.family() {
            Family::Secret => {
                let mut secret = [0; 48];
                aws_lc_rs::rand::fill(&mut secret).unwrap();
                let secret = STANDARD.encode(secret);
                (secret.clone(), secret)
            }
            Family::Rsa => rsa(KeySize::Rsa2048),
            Family::P256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                let public = pair.public_key().as_der().unwrap();
                pems(pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref())
            }
            Family::P384 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
                let public = pair.public_key().as_der().unwrap();
                pems(pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref())
            }
            Family::Ed25519 => {
                let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
                let public = pair.public_key().as_der().unwrap();
                pems(document.as_ref(), public.as_ref())
            }
        };
        Self { algorithm, kid: kid.map(str::to_owned), private, public }
    }

    /// The same key under another algorithm.
    pub fn by(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        let header = Header { kid: self.kid.clone(), ..Header::new(self.their_algorithm()) };
        jsonwebtoken::encode(&header, claims, &self.encoding_key()).unwrap()
    }

    /// A token of this header and payload, whatever they are, with a good signature.
    pub fn raw(&self, header: &str, payload: &str) -> String {
        self.sign(&format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload)))
    }

    /// This text with a dot and its signature.
    pub fn sign(&self, text: &str) -> String {
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &self.encoding_key(), self.their_algorithm());
        format!("{text}.{}", signature.unwrap())
    }

    /// A header that names the algorithm and nothing else.
    pub fn header(&self) -> String {
        json!({ "alg": self.algorithm.name() }).to_string()
    }

    /// The public key as its owner publishes it.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.encoding_key(), self.their_algorithm()).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        let fields = jwk.as_object_mut().unwrap();
        fields.remove("key_ops");
        fields.insert("alg".to_owned(), self.algorithm.name().into());
        fields.insert("use".to_owned(), "sig".into());
        if let Some(kid) = &self.kid {
            fields.insert("kid".to_owned(), kid.as_str().into());
        }
        jwk
    }

    /// Its entry of `jwt.keys`.
    pub fn entry(&self) -> String {
        let kind = if self.algorithm.family() == Family::Secret { "secret" } else { "public_key" };
        let kid = self.kid.as_ref().map(|kid| format!(", kid = \"{kid}\"")).unwrap_or_default();
        format!("{{ algorithm = \"{}\", {kind} = {:?}{kid} }}", self.algorithm.name(), self.public)
    }

    fn their_algorithm(&self) -> jsonwebtoken::Algorithm {
        self.algorithm.name().parse().unwrap()
    }

    fn encoding_key(&self) -> EncodingKey {
        let private = self.private.as_bytes();
        match self.algorithm.family() {
            Family::Secret => EncodingKey::from_secret(private),
            Family::Rsa => EncodingKey::from_rsa_pem(private).unwrap(),
            Family::P256 | Family::P384 => EncodingKey::from_ec_pem(private).unwrap(),
            Family::Ed25519 => EncodingKey::from_ed_pem(private).unwrap(),
        }
    }
}

/// This text with the files of keys that examples name in place of `/run/secrets/…`.
pub fn with_key_files(directory: &std::path::Path, text: &str) -> String {
    let issuer = Issuer::new(Algorithm::EdDsa, None);
    let secret = "0123456789abcdef0123456789abcdef\n".to_owned();
    let mut text = text.to_owned();
    for (name, content) in [
        ("/run/secrets/signing.pem", &issuer.private),
        ("/run/secrets/issuer.pem", &issuer.public),
        ("/run/secrets/key", &secret),
    ] {
        let file = directory.join(name.rsplit('/').next().unwrap());
        std::fs::write(&file, content).unwrap();
        text = text.replace(name, &file.display().to_string());
    }
    text
}

/// A fresh RSA key of this size in PEM form, private and public.
pub fn rsa(size: KeySize) -> (String, String) {
    let pair = RsaKeyPair::generate(size).unwrap();
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    pems(private.as_ref(), public.as_ref())
}

fn pems(private: &[u8], public: &[u8]) -> (String, String) {
    (pem("PRIVATE KEY", private), pem("PUBLIC KEY", public))
}

/// A section of a PEM file.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
