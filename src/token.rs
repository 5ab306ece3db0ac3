//! Session tokens: what the client holds, and the digest that is all the gateway ever keeps of it.
//!
//! A [`Token`] is made once, handed to the client once, and wiped. Tables, caches, logs and metrics know a session only
//! by the [`Digest`] of its token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The fewest random bytes a token may have: 128 bits.
pub const MIN_BYTES: usize = 16;
/// The most random bytes a token may have.
pub const MAX_BYTES: usize = 64;

/// A session token in clear. It has no `Display`, its `Debug` is redacted, and it is wiped when dropped.
pub struct Token(Zeroizing<String>);

impl Token {
    /// Draws a token of `bytes` random bytes from the operating system, written as unpadded base64url.
    ///
    /// # Errors
    /// When the operating system has no randomness to give; no session may then be created.
    pub fn generate(bytes: usize) -> Result<Self, getrandom::Error> {
        let mut random = Zeroizing::new(vec![0; bytes.clamp(MIN_BYTES, MAX_BYTES)]);
        getrandom::fill(&mut random)?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(&random))))
    }

    /// The digest under which the session of this token is stored.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The token itself. Uses of this are the places where it is handed to its owner, and must stay few.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// SHA-256 of a token's text: the key of the cache and of the table.
///
/// It is no secret that opens anything, but it names a live session, so it is not printed either.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a token's bytes as they stand in the request; nothing is copied.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// The digest read back from the table.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What stands for a digest where a session is found by its id: the id, and zeros where no SHA-256 has so many of them.
    /// No token has it.
    pub fn of_id(id: &[u8; 16]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(id) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The digest as it is stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(redacted)")
    }
}

/// What a presented credential looks like, before anything is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It could be one of our tokens.
    Plausible,
    /// Well-formed as a credential, but none that we ever issued: refused as unknown without asking the store.
    Foreign,
    /// Not a credential at all by RFC 6750 section 2.1 (`b64token`), or absurdly long.
    Malformed,
}

/// Sorts a presented credential by its shape, so that garbage costs no look-up.
pub fn shape(presented: &[u8]) -> Shape {
    /// Longer than any token of ours and than any sensible JWT.
    const LONGEST_CREDENTIAL: usize = 8 * 1024;

    // Every byte is looked at whatever those before it are, so that many are looked at at once.
    let (mut ours, mut sound) = (true, true);
    for byte in presented {
        let is_ours = byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_');
        ours &= is_ours;
        sound &= is_ours | matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=');
    }
    if !sound {
        return Shape::Malformed;
    }
    let shortest = encoded_len(MIN_BYTES);
    let longest = encoded_len(MAX_BYTES);
    match presented.len() {
        0 => Shape::Malformed,
        len if len > LONGEST_CREDENTIAL => Shape::Malformed,
        len if ours && (shortest..=longest).contains(&len) => Shape::Plausible,
        _ => Shape::Foreign,
    }
}

const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(6)
}

/// The key with which a trusted service creates sessions. Only its digest is kept, and it is compared in constant time.
#[derive(Clone)]
pub struct ServiceKey(Digest);

impl ServiceKey {
    /// Keeps the digest of `key`.
    pub fn new(key: &str) -> Self {
        Self(Digest::of(key.as_bytes()))
    }

    /// Whether `presented` is this key. The time taken says nothing about where two keys differ.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(Digest::of(presented).as_bytes()).into()
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generated_token_is_plausible_and_different() {
        let mut seen = std::collections::HashSet::new();
        for bytes in [MIN_BYTES, 32, MAX_BYTES] {
            for _ in 0..100 {
                let token = Token::generate(bytes).unwrap();
                assert_eq!(shape(token.reveal().as_bytes()), Shape::Plausible);
                assert!(seen.insert(token.reveal().to_owned()));
            }
        }
    }

    #[test]
    fn a_token_of_32_bytes_has_43_characters() {
        assert_eq!(Token::generate(32).unwrap().reveal().len(), 43);
    }

    #[test]
    fn garbage_is_malformed_and_foreign_credentials_are_not_looked_up() {
        for malformed in [&b""[..], b"a b", b"tok\0en", "tökén".as_bytes(), b"a,b", &[b'a'; 9000]] {
            assert_eq!(shape(malformed), Shape::Malformed, "{malformed:?}");
        }
        for foreign in [&b"short"[..], b"eyJh.eyJz.c2ln", &[b'a'; 200], b"0123456789abcdef0123456789abcdef="] {
            assert_eq!(shape(foreign), Shape::Foreign, "{foreign:?}");
        }
    }

    #[test]
    fn no_secret_shows_in_debug_output() {
        let token = Token::generate(32).unwrap();
        let shown = format!("{token:?} {:?} {:?}", token.digest(), ServiceKey::new(token.reveal()));
        assert!(!shown.contains(token.reveal()));
        assert_eq!(shown, "Token(redacted) Digest(redacted) ServiceKey(redacted)");
    }

    #[test]
    fn a_service_key_matches_itself_alone() {
        let key = ServiceKey::new("correct horse");
        assert!(key.matches(b"correct horse"));
        assert!(!key.matches(b"correct hors"));
        assert!(!key.matches(b""));
    }
}
