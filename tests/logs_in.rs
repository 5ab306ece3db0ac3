//! How an application that knows nothing of the gateway gets sessions: its login, logout and password change.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "logs_in/bodies.rs"]
mod bodies;
#[path = "logs_in/delivering.rs"]
mod delivering;
#[path = "logs_in/logging_out.rs"]
mod logging_out;
#[path = "logs_in/refused.rs"]
mod refused;
#[path = "logs_in/replacing.rs"]
mod replacing;
#[path = "logs_in/users.rs"]
mod users;

use support::client::Response;
use support::gateway::Gateway;
use support::upstream::{Reaction, Upstream, response};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

/// An application whose `/login` and everything else is answered with this.
fn answering(status: &'static str, headers: &'static str, body: &'static str) -> Upstream {
    Upstream::start(move |_| Reaction::Send(response(status, headers, body)))
}

/// An application that lets everybody in, as most frameworks do: with a redirect.
fn app() -> Upstream {
    answering("302 Found", "Location: /home\r\n", "")
}

/// A gateway whose `[[upstream.login]]` has these lines; the settings after it are `more`.
fn start(upstream: &Upstream, login: &str, more: &str) -> Gateway {
    let toml =
        format!("{more}\n[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.login]]\npath = \"/login\"\n{login}\n");
    Gateway::start(&upstream.url(), &toml)
}

const BY_FORM: &str = "user = { form = \"username\" }";

/// Logs in with a form.
fn log_in(gateway: &Gateway, user: &str) -> Response {
    gateway.request("POST", "/login", FORM, format!("username={user}&password=secret").as_bytes())
}

/// The token in the session cookie of a response.
#[track_caller]
fn token(response: &Response) -> String {
    response.cookie("__Host-session").unwrap_or_else(|| panic!("no session cookie in {response:?}"))
}

/// Whose session a token opens, in the application's eyes; `None` when it is refused.
fn user_of(gateway: &Gateway, token: &str) -> Option<String> {
    let response = gateway.get_as(token, "/_sessions/current");
    (response.status == 200).then(|| response.json()["user"].as_str().unwrap().to_owned())
}

/// Asserts that the application's answer came without a session of ours.
#[track_caller]
fn no_session(response: &Response) {
    assert_eq!(response.cookie("__Host-session"), None, "{response:?}");
}
