//! JSON Web Tokens: what makes one good, and how ours are made. Pure functions of bytes, keys and the time.
//!
//! - [`Verifier`] judges a presented token: signature first, then every claim. It is strict where parsers differ: an
//!   object with a key twice, padding, a `crit` header or a second spelling of a type is refused.
//! - [`VerifyingKey`] is a key pinned to one [`Algorithm`]. What a token says about its algorithm only chooses among the
//!   keys; it never makes a public key serve as a secret.
//! - [`jwks`] reads the key sets that issuers publish.
//! - [`SigningKey`] is our own key: it signs access tokens and the assertions that applications verify.
//!
//! Signatures of presented tokens are checked by `jsonwebtoken`. Its own reading of headers and claims is not used: it takes
//! what [`Verifier`] refuses, and it asks the machine for the time. Our own tokens are signed by aws-lc directly, because an
//! assertion may be made for every request, and the crate would parse the private key for each.

mod algorithm;
mod claims;
pub mod jwks;
mod key;
mod rejection;
mod signing;
mod verifier;

pub use self::algorithm::{Algorithm, Family};
pub use self::key::VerifyingKey;
pub use self::rejection::Rejection;
pub use self::signing::{PublicKey, SigningFailed, SigningKey, key_set};
pub use self::verifier::{Rules, Verified, Verifier, is_shaped};
