//! Sessions whose lifetime begins anew with every use, and people who want to be remembered.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "slides/remembering.rs"]
mod remembering;
#[path = "slides/sliding.rs"]
mod sliding;

use support::gateway::{Gateway, bearer};

/// What a session's owner is shown of it.
#[track_caller]
fn current(gateway: &Gateway, token: &str) -> serde_json::Value {
    let response = gateway.get("/_sessions/current", &bearer(token));
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// Milliseconds from one shown time to another.
fn between(from: &serde_json::Value, to: &serde_json::Value) -> i64 {
    let parse = |time: &serde_json::Value| time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    parse(to) - parse(from)
}
