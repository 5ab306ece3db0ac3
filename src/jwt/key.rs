//! Keys that verify, each for one algorithm.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use super::algorithm::{Algorithm, Family};

/// The fewest bytes of an RSA modulus: 2048 bits.
const SHORTEST_MODULUS: usize = 256;
/// The most: verifying takes time that grows with its square.
const LONGEST_MODULUS: usize = 1024;

/// The most bytes of an RSA exponent, for the same reason.
const LONGEST_EXPONENT: usize = 4;

/// A key that verifies, pinned to one algorithm. Cloning is cheap. Its `Debug` shows no key.
#[derive(Clone)]
pub struct VerifyingKey {
    /// The algorithm. A token that names another one is not for this key.
    pub algorithm: Algorithm,
    /// The key's name, which tokens may give.
    pub kid: Option<Box<str>>,
    /// Whether it is our own, with which we sign other things than access tokens too.
    pub own: bool,
    material: Arc<DecodingKey>,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithm, kid, own, material: _ } = self;
        f.debug_struct("VerifyingKey")
            .field("algorithm", algorithm)
            .field("kid", kid)
            .field("own", own)
            .finish_non_exhaustive()
    }
}

impl VerifyingKey {
    /// A shared secret, as its bytes.
    ///
    /// # Errors
    /// A sentence when the algorithm takes no secret, or a longer one.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8], kid: Option<Box<str>>) -> Result<Self, String> {
        if algorithm.family() != Family::Secret {
            return Err(format!("is a secret, but {} needs a public key: public_key = …", algorithm.name()));
        }
        let shortest = algorithm.shortest_secret();
        if secret.len() < shortest {
            return Err(format!("must have at least {shortest} bytes for {}", algorithm.name()));
        }
        Ok(Self::of(algorithm, kid, DecodingKey::from_secret(secret)))
    }

    /// A public key in PEM form (`-----BEGIN PUBLIC KEY-----`).
    ///
    /// # Errors
    /// A sentence when it cannot be read, is of another kind than the algorithm takes, or is too weak.
    pub fn from_pem(algorithm: Algorithm, pem: &[u8], kid: Option<Box<str>>) -> Result<Self, String> {
        let name = algorithm.name();
        if algorithm.family() == Family::Secret {
            // Whoever has the public key could sign with it.
            return Err(format!("is a public key, but {name} needs a secret: secret = …"));
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| "must be a public key in PEM form: -----BEGIN PUBLIC KEY-----".to_owned())?;
        if algorithm.family() == Family::Rsa {
            let key = rsa::PublicKey::from_der(&der).map_err(|_| format!("is no RSA key, which {name} needs"))?;
            check_modulus(key.modulus_len())?;
        }
        Self::from_spki(algorithm, &der, kid).ok_or_else(|| format!("is no key for {name}"))
    }

    /// A public key in DER form, of a kind that was looked at before.
    pub(super) fn from_spki(algorithm: Algorithm, der: &[u8], kid: Option<Box<str>>) -> Option<Self> {
        // What cannot be read is told when the key is, and not for every token.
        ParsedPublicKey::new(algorithm.signature()?, der).ok()?;
        let key = match algorithm.family() {
            Family::Secret => return None,
            Family::Rsa => DecodingKey::from_rsa_der(der),
            Family::P256 | Family::P384 => DecodingKey::from_ec_der(der),
            Family::Ed25519 => DecodingKey::from_ed_der(der),
        };
        Some(Self::of(algorithm, kid, key))
    }

    /// An RSA key by its numbers.
    pub(super) fn from_rsa(algorithm: Algorithm, n: &[u8], e: &[u8], kid: Option<Box<str>>) -> Option<Self> {
        let (n, e) = (significant(n), significant(e));
        check_modulus(n.len()).ok()?;
        // An exponent of 1 would make every message its own signature; the library looks only when it verifies.
        if e.len() > LONGEST_EXPONENT || e == [1] || e.last().is_none_or(|last| last % 2 == 0) {
            return None;
        }
        RsaPublicKeyComponents { n, e }.to_parsed_public_key(algorithm.rsa()?).ok()?;
        Some(Self::of(algorithm, kid, DecodingKey::from_rsa_raw_components(n, e)))
    }

    fn of(algorithm: Algorithm, kid: Option<Box<str>>, material: DecodingKey) -> Self {
        Self { algorithm, kid, own: false, material: Arc::new(material) }
    }

    /// The same as one of our own.
    #[must_use]
    pub fn of_ours(self) -> Self {
        Self { own: true, ..self }
    }

    /// Whether `signature`, as it stands in the token, is this key's under `message`. A MAC is compared in constant time.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.material, self.algorithm.of_library()).unwrap_or(false)
    }

    /// Whether two keys are the same: algorithm, name and material. Secrets are not looked into: a secret is the same as
    /// its own copies alone.
    pub fn is(&self, other: &Self) -> bool {
        let same_material = match (self.algorithm.family(), self.material.kind(), other.material.kind()) {
            (Family::Secret, ..) => Arc::ptr_eq(&self.material, &other.material),
            (_, DecodingKeyKind::SecretOrDer(a), DecodingKeyKind::SecretOrDer(b)) => a == b,
            (
                _,
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent { n: other_n, e: other_e },
            ) => n == other_n && e == other_e,
            (_, DecodingKeyKind::SecretOrDer(_), DecodingKeyKind::RsaModulusExponent { .. })
            | (_, DecodingKeyKind::RsaModulusExponent { .. }, DecodingKeyKind::SecretOrDer(_)) => false,
        };
        self.algorithm == other.algorithm && self.kid == other.kid && self.own == other.own && same_material
    }
}

fn check_modulus(bytes: usize) -> Result<(), String> {
    if (SHORTEST_MODULUS..=LONGEST_MODULUS).contains(&bytes) {
        Ok(())
    } else {
        Err("must be an RSA key of 2048 to 8192 bits".to_owned())
    }
}

/// A number's bytes without leading zeros, which say nothing.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
