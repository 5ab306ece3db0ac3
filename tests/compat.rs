//! `[compat] nilva = true`: what clients of nilva-session 0.1.5 are used to. The sentences are those that its services send.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "compat/ending.rs"]
mod ending;
#[path = "compat/listing.rs"]
mod listing;
#[path = "compat/places.rs"]
mod places;
#[path = "compat/refusals.rs"]
mod refusals;

use support::client::Response;
use support::gateway::{Gateway, Issued};
use support::upstream::Upstream;

const ON: &str = "[compat]\nnilva = true\n";
const ACTIVE: &str = "/sessions/active";

/// A gateway with the preset, in front of an app that answers 200 `hello` to everything.
fn start() -> (Upstream, Gateway) {
    start_with(ON)
}

fn start_with(toml: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), toml);
    (upstream, gateway)
}

/// The header that clients of nilva-session send.
fn token(token: &str) -> String {
    format!("Authorization: Token {token}\r\n")
}

fn request(gateway: &Gateway, method: &str, session: &Issued, target: &str) -> Response {
    gateway.request(method, target, &token(&session.token), b"")
}

/// Whether a session is good for a request to the application.
fn lives(gateway: &Gateway, session: &Issued) -> bool {
    let status = request(gateway, "GET", session, "/").status;
    assert!(matches!(status, 200 | 401), "{status}");
    status == 200
}

/// Asserts that a response is a refusal as Django REST framework writes it, with this status and sentence.
#[track_caller]
fn refused(response: &Response, status: u16, detail: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{response:?}");
    assert_eq!(response.json()["detail"], detail, "{response:?}");
    let challenge = (status == 401).then_some("Token");
    assert_eq!(response.header("www-authenticate"), challenge, "{response:?}");
}
