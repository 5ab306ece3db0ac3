//! Proxies that forward requests themselves and ask the gateway whether one may pass.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "forward_auth/asking.rs"]
mod asking;
#[path = "forward_auth/behind.rs"]
mod behind;
#[path = "forward_auth/decisions.rs"]
mod decisions;
#[path = "forward_auth/site.rs"]
mod site;
#[path = "forward_auth/websockets.rs"]
mod websockets;

use support::client::Response;
use support::gateway::{AGENT, Gateway};
use support::upstream::Upstream;

/// An application with a part for everybody, one for those who want to be known, one for staff, and a login.
const APP: &str = "[[upstream]]\nurl = \"{upstream}\"\nhosts = [\"app.test\"]\n\
    [[upstream.login]]\npath = \"/login\"\nuser = { form = \"username\" }\n\
    [[upstream.route]]\npath = \"/static/\"\nauth = \"off\"\n\
    [[upstream.route]]\npath = \"/open/\"\nauth = \"optional\"\n\
    [[upstream.route]]\npath = \"/staff/\"\nroles = [\"staff\"]\n\
    [[upstream.route]]\npath = \"/api/\"\non_reject = \"401\"\n\
    [[upstream.route]]\npath = \"/readable/\"\nmethods = [\"GET\"]\nauth = \"off\"\n";

const TRUSTED: &str = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";

/// A gateway that believes this machine, in front of an application that nothing may reach through it.
fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &format!("{TRUSTED}{APP}"));
    (upstream, gateway)
}

/// Asks as Traefik and Caddy do.
fn ask(gateway: &Gateway, method: &str, uri: &str, headers: &str) -> Response {
    ask_at(gateway, "/_sessions/auth", method, uri, headers)
}

fn ask_at(gateway: &Gateway, endpoint: &str, method: &str, uri: &str, headers: &str) -> Response {
    let original = format!(
        "X-Forwarded-Method: {method}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test\r\n\
         X-Forwarded-Uri: {uri}\r\nX-Forwarded-For: 203.0.113.9\r\n"
    );
    let agent = if headers.contains("User-Agent") { String::new() } else { format!("User-Agent: {AGENT}\r\n") };
    let mut connection = gateway.connect();
    connection.send(format!("GET {endpoint} HTTP/1.1\r\nHost: gateway.internal\r\n{agent}{original}{headers}\r\n"));
    connection.read("GET")
}

/// Asserts that the request may pass, as nobody's or as this user's.
#[track_caller]
fn allowed(response: &Response, user: Option<&str>) {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("x-auth-user"), user, "{response:?}");
    assert_eq!(response.header("x-auth-session").is_some(), user.is_some(), "{response:?}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("set-cookie"), None);
    assert!(response.body.is_empty());
}

/// Asserts that it may not.
#[track_caller]
fn refused(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status, response.code().as_str()), (status, code), "{response:?}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("www-authenticate").is_some(), status == 401, "{response:?}");
    assert!(!response.head.to_ascii_lowercase().contains("\r\nx-auth-"), "{response:?}");
}
