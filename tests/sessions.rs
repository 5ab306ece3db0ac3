//! The gateway's own endpoints under `/_sessions`.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "sessions/calls.rs"]
mod calls;
#[path = "sessions/ending.rs"]
mod ending;
#[path = "sessions/issuing.rs"]
mod issuing;
#[path = "sessions/limits.rs"]
mod limits;
#[path = "sessions/listing.rs"]
mod listing;
#[path = "sessions/rotating.rs"]
mod rotating;

use support::client::Response;
use support::gateway::{Gateway, Issued};

/// Asserts that a response is this problem about this part of the request.
#[track_caller]
fn invalid(response: &Response, field: &str) {
    assert_eq!((response.status, response.code().as_str()), (400, "invalid_request"), "{response:?}");
    assert_eq!(response.json()["field"], field, "{response:?}");
}

/// The session cookie with this token, and the proof that a page of this origin makes the call.
fn own_page(session: &Issued) -> String {
    format!("Cookie: __Host-session={}\r\nSec-Fetch-Site: same-origin\r\n", session.token)
}

/// Whether a session is good for a request to the application.
fn lives(gateway: &Gateway, session: &Issued) -> bool {
    let status = gateway.get_as(&session.token, "/").status;
    assert!(matches!(status, 200 | 401), "{status}");
    status == 200
}

/// The ids of a user's own list.
fn listed(gateway: &Gateway, session: &Issued) -> Vec<String> {
    let answer = gateway.get_as(&session.token, "/_sessions").json();
    answer["sessions"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}
