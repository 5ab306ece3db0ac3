//! What administrators see and change under `/_sessions/admin`, and who may.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "admin/ending.rs"]
mod ending;
#[path = "admin/events.rs"]
mod events;
#[path = "admin/limits.rs"]
mod limits;
#[path = "admin/permissions.rs"]
mod permissions;
#[path = "admin/searching.rs"]
mod searching;
#[path = "admin/users.rs"]
mod users;

use serde_json::{Value, json};
use support::client::Response;
use support::gateway::{Gateway, Issued, bearer};
use support::upstream::Upstream;

const ADMIN: &str =
    "[admin]\nusers = [\"root\"]\nview = [\"auditor\"]\nlogout = [\"staff\"]\nlogout_all = [\"superuser\"]\n";

fn start(toml: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("{ADMIN}{toml}"));
    (upstream, gateway)
}

/// A session of a user with a role.
fn login(gateway: &Gateway, user: &str, role: &str) -> Issued {
    gateway.login_with(json!({ "user": user, "roles": [role] }))
}

/// A call below `/_sessions/admin` with a session's token.
fn call(gateway: &Gateway, admin: &Issued, method: &str, path: &str) -> Response {
    gateway.request(method, &format!("/_sessions/admin{path}"), &bearer(&admin.token), b"")
}

fn put(gateway: &Gateway, admin: &Issued, user: &str, body: &Value) -> Response {
    let headers = format!("{}Content-Type: application/json\r\n", bearer(&admin.token));
    gateway.request("PUT", &format!("/_sessions/admin/users/{user}"), &headers, body.to_string().as_bytes())
}

/// The answer to a call that must succeed.
#[track_caller]
fn ok(response: Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    response.json()
}

#[track_caller]
fn refused(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status, response.code().as_str()), (status, code), "{response:?}");
}

#[track_caller]
fn invalid(response: &Response, field: &str) {
    refused(response, 400, "invalid_request");
    assert_eq!(response.json()["field"], field, "{response:?}");
}

fn lives(gateway: &Gateway, session: &Issued) -> bool {
    let status = gateway.get_as(&session.token, "/").status;
    assert!(matches!(status, 200 | 401), "{status}");
    status == 200
}

/// What the owner of a session that is over is told.
fn told(gateway: &Gateway, session: &Issued) -> (String, String) {
    let response = gateway.get_as(&session.token, "/");
    assert_eq!(response.status, 401, "{response:?}");
    (response.code(), response.json()["reason"].as_str().unwrap_or_default().to_owned())
}

/// The ids in a page of sessions.
fn ids(page: &Value) -> Vec<String> {
    page["sessions"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}
