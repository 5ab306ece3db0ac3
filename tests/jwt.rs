//! Signed tokens: which are good, where their keys come from, and what the gateway does with them.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

#[path = "jwt/claims.rs"]
mod claims;
#[path = "jwt/keys.rs"]
mod keys;
#[path = "jwt/settings.rs"]
mod settings;
#[path = "jwt/signing.rs"]
mod signing;
