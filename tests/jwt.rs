//! Signed tokens: which are good, where their keys come from, and what the gateway does with them.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "jwt/assertions.rs"]
mod assertions;
#[path = "jwt/claims.rs"]
mod claims;
#[path = "jwt/fetching.rs"]
mod fetching;
#[path = "jwt/gate.rs"]
mod gate;
#[path = "jwt/keys.rs"]
mod keys;
#[path = "jwt/pairs.rs"]
mod pairs;
#[path = "jwt/settings.rs"]
mod settings;
#[path = "jwt/signing.rs"]
mod signing;

use support::client::Response;

/// Seconds since 1970.
fn now() -> i64 {
    session_gateway::clock::wall().as_millis() / 1000
}

/// The status and the code of a problem.
fn code(response: &Response) -> (u16, String) {
    (response.status, response.code())
}
