//! Questions about requests that open a WebSocket. The proxy forwards it as it came, so what the gateway would refuse on its own
//! way, and what it would take out, is refused here.

use crate::support::client::Response;
use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::Upstream;
use crate::support::websocket::KEY;
use crate::{APP, TRUSTED, allowed, ask, refused, start};

/// A gateway whose application has this line.
fn start_with(line: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let app = APP.replacen("hosts = ", &format!("{line}\nhosts = "), 1);
    let gateway = Gateway::start(&upstream.url(), &format!("{TRUSTED}{app}"));
    (upstream, gateway)
}

/// How proxies tell of it, the most and the least that they leave.
fn tellings() -> [String; 4] {
    let sent = format!("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n");
    [
        format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{sent}"),
        sent,
        format!("Sec-WebSocket-Key: {KEY}\r\n"),
        "Sec-WebSocket-Version: 13\r\n".to_owned(),
    ]
}

fn opens(gateway: &Gateway, target: &str, headers: &str) -> [Response; 4] {
    tellings().map(|telling| ask(gateway, "GET", target, &format!("{telling}{headers}")))
}

#[test]
fn with_the_cookie_a_page_of_another_site_opens_none() {
    let (upstream, gateway) = start_with("websocket_origins = [\"https://other.test\"]");
    let session = gateway.login("ann");
    let cookie = format!("Cookie: __Host-session={}\r\n", session.token);
    for origin in [
        "Origin: https://evil.app.test\r\n",
        "Origin: https://app.test.evil.test\r\n",
        "Origin: http://app.test\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        for path in ["/ws", "/static/ws", "/open/ws"] {
            for response in opens(&gateway, path, &format!("{cookie}{origin}")) {
                refused(&response, 403, "csrf");
            }
        }
        // A program with a token of its own is no browser on the wrong page, and other requests are not about pages.
        for response in opens(&gateway, "/ws", &format!("{}{origin}", bearer(&session.token))) {
            allowed(&response, Some("ann"));
        }
        allowed(&ask(&gateway, "GET", "/ws", &format!("{cookie}{origin}")), Some("ann"));
    }
    for origin in
        ["", "Origin: https://app.test\r\n", "Origin: https://APP.test:443\r\n", "Origin: https://other.test\r\n"]
    {
        for response in opens(&gateway, "/ws", &format!("{cookie}{origin}")) {
            allowed(&response, Some("ann"));
        }
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn without_a_session_none_is_opened_on_any_route() {
    let (_upstream, gateway) = start();
    let ann = bearer(&gateway.login("ann").token);
    for path in ["/ws", "/static/ws", "/open/ws", "/readable/ws"] {
        for response in opens(&gateway, path, "") {
            refused(&response, 401, "missing_token");
        }
        for response in opens(&gateway, path, &bearer(&"x".repeat(43))) {
            refused(&response, 401, "unknown_token");
        }
        for response in opens(&gateway, path, &ann) {
            allowed(&response, Some("ann"));
        }
    }
    for response in opens(&gateway, "/staff/ws", &ann) {
        refused(&response, 403, "role_required");
    }
    allowed(&ask(&gateway, "GET", "/static/x", ""), None);
    allowed(&ask(&gateway, "GET", "/static/x", "Upgrade: h2c\r\nConnection: Upgrade\r\n"), None);
}

#[test]
fn where_the_application_wants_anonymous_ones_the_route_decides() {
    let (_upstream, gateway) = start_with("websocket = \"any\"");
    let session = gateway.login("ann");
    for path in ["/static/ws", "/open/ws"] {
        for response in opens(&gateway, path, "Origin: https://evil.test\r\n") {
            allowed(&response, None);
        }
    }
    for response in opens(&gateway, "/ws", "") {
        refused(&response, 401, "missing_token");
    }
    let foreign = format!("Cookie: __Host-session={}\r\nOrigin: https://evil.test\r\n", session.token);
    for response in opens(&gateway, "/open/ws", &foreign) {
        refused(&response, 403, "csrf");
    }
}

#[test]
fn where_none_is_opened_none_passes_with_a_session_either() {
    let (_upstream, gateway) = start_with("websocket = \"off\"");
    let ann = bearer(&gateway.login("ann").token);
    for path in ["/ws", "/static/ws", "/open/ws"] {
        for response in opens(&gateway, path, &ann) {
            refused(&response, 400, "invalid_request");
            assert_eq!(response.json()["field"], "Upgrade", "{response:?}");
        }
    }
    allowed(&ask(&gateway, "GET", "/open/ws", &ann), Some("ann"));
    for response in opens(&gateway, "/ws", "") {
        refused(&response, 401, "missing_token");
    }
}

#[test]
fn what_ends_a_login_or_begins_one_opens_none() {
    let upstream = Upstream::hello();
    let hooks = "[[upstream.logout]]\npath = \"/logout\"\nmethod = \"GET\"\n";
    let gateway = Gateway::start(&upstream.url(), &format!("{TRUSTED}{APP}{hooks}"));
    let ann = bearer(&gateway.login("ann").token);
    for response in opens(&gateway, "/logout", &ann) {
        refused(&response, 400, "invalid_request");
    }
    allowed(&ask(&gateway, "GET", "/logout", &ann), Some("ann"));
}
