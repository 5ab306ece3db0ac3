//! Which calls there are, and what the others are answered.

use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::Upstream;

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(
        &upstream.url(),
        "[[upstream]]\nurl = \"{upstream}\"\n\
        [[upstream.route]]\npath = \"/\"\nauth = \"off\"\n",
    );
    (upstream, gateway)
}

#[test]
fn another_method_is_answered_with_those_that_are_allowed() {
    let (upstream, gateway) = start();
    let session = gateway.login("ann");
    let one = format!("/_sessions/{}", session.id);
    for (target, allow, methods) in [
        ("/_sessions", "GET, HEAD, POST, DELETE", &["PUT", "PATCH", "OPTIONS"][..]),
        ("/_sessions/current", "GET, HEAD, DELETE", &["POST", "PUT", "PATCH", "OPTIONS"]),
        (&one, "DELETE", &["GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS"]),
    ] {
        for method in methods {
            let response = gateway.request(method, target, &bearer(&session.token), b"");
            assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{method} {target}");
            if *method != "HEAD" {
                assert_eq!(response.code(), "method_not_allowed");
            }
        }
    }
    assert!(upstream.received().is_empty());
    assert_eq!(gateway.get_as(&session.token, "/_sessions/current").status, 200);
}

#[test]
fn nothing_under_the_prefix_reaches_the_application() {
    let (upstream, gateway) = start();
    let session = gateway.login("ann");
    for (target, status) in [
        ("/_sessions/", 404),
        ("/_sessions/current/", 404),
        ("/_sessions/current/x", 404),
        ("/_sessions/x/y", 404),
        ("/_sessions//current", 200),
        ("//_sessions/current", 200),
        ("/x/../_sessions/current", 200),
        ("/%5fsessions/current", 200),
        ("/_sessions/%63urrent", 200),
        ("/_sessions;x/current", 400),
        ("/_sessions/current;x", 400),
        ("/_sessions%2fcurrent", 400),
        ("/_sessions/..%2fx", 400),
    ] {
        let response = gateway.get_as(&session.token, target);
        assert_eq!(response.status, status, "{target}: {response:?}");
    }
    assert!(upstream.received().is_empty());
    for target in ["/_sessionsx", "/_SESSIONS", "/x/_sessions"] {
        assert_eq!(gateway.get(target, "").status, 200, "{target} is the application's");
    }
}

#[test]
fn who_has_no_session_learns_nothing_about_what_is_there() {
    let (upstream, gateway) = start();
    for (method, target) in [
        ("GET", "/_sessions"),
        ("PUT", "/_sessions"),
        ("DELETE", "/_sessions"),
        ("GET", "/_sessions/current"),
        ("GET", "/_sessions/nonsense"),
        ("GET", "/_sessions/x/y"),
        ("DELETE", "/_sessions/00000000-0000-4000-8000-000000000000"),
    ] {
        let response = gateway.request(method, target, "", b"");
        assert_eq!((response.status, response.code().as_str()), (401, "missing_token"), "{method} {target}");
        assert_eq!(response.header("allow"), None);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_session_of_a_wrong_browser_may_not_see_the_list_either() {
    let (_upstream, gateway) = start();
    let session = gateway.login_with(serde_json::json!({ "user": "ann", "user_agent": "acme-test/1.0" }));
    let stolen = format!("{}User-Agent: thief/1\r\n", bearer(&session.token));
    assert_eq!(gateway.get("/_sessions", &stolen).code(), "session_suspended");
    assert_eq!(gateway.get_as(&session.token, "/_sessions/current").code(), "session_suspended");
}
