//! Who is refused, and what the client is told.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "refuses/binding.rs"]
mod binding;
#[path = "refuses/browsers.rs"]
mod browsers;
#[path = "refuses/codes.rs"]
mod codes;
#[path = "refuses/credentials.rs"]
mod credentials;
#[path = "refuses/endings.rs"]
mod endings;
#[path = "refuses/routes.rs"]
mod routes;

/// Asserts that a response is this problem, said in the way of its status, and gives its body.
#[track_caller]
fn problem(response: &support::client::Response, status: u16, code: &str) -> serde_json::Value {
    assert_eq!((response.status, response.code().as_str()), (status, code), "{response:?}");
    let body = response.json();
    assert_eq!(body["type"], "about:blank");
    assert_eq!(body["status"], status);
    assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("www-authenticate").is_some(), status == 401, "{response:?}");
    assert_eq!(response.header("allow").is_some(), status == 405, "{response:?}");
    assert_eq!(response.header("set-cookie"), None, "{response:?}");
    body
}
