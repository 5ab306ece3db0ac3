//! What a route asks for.

use serde_json::json;

use crate::problem;
use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::Upstream;

const ROUTES: &str = "[[upstream]]\nurl = \"{upstream}\"\n\
    [[upstream.route]]\npath = \"/off/\"\nauth = \"off\"\n\
    [[upstream.route]]\npath = \"/optional/\"\nauth = \"optional\"\n\
    [[upstream.route]]\npath = \"/staff/\"\nroles = [\"staff\", \"superuser\"]\n\
    [[upstream.route]]\nexact = \"/hook\"\nmethods = [\"POST\"]\nauth = \"off\"\n";

#[test]
fn a_dead_token_means_anonymous_where_a_session_is_optional_and_is_not_forwarded() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), ROUTES);
    let dead = gateway.login("ann").token;
    assert_eq!(gateway.delete_as(&dead, "/_sessions/current").status, 204);
    for headers in [
        String::new(),
        bearer(&dead),
        bearer(&"x".repeat(43)),
        "Authorization: Bearer ! !\r\n".to_owned(),
        format!("Cookie: a=1; __Host-session={dead}\r\n"),
        format!("Cookie: __Host-session={dead}; __Host-session=other\r\n"),
    ] {
        for path in ["/off/", "/optional/"] {
            let spoofed = format!("{headers}X-Auth-User: root\r\n");
            assert_eq!(gateway.get(path, &spoofed).status, 200, "{path} {headers}");
            let received = upstream.last();
            assert_eq!(received.header("x-auth-user"), None, "{path} {headers}");
            assert_eq!(received.header("authorization"), None, "{path} {headers}");
            assert!(received.header("cookie").is_none_or(|cookie| cookie == "a=1"), "{received:?}");
        }
        let received = upstream.received().len();
        assert_eq!(gateway.get("/required", &headers).status, 401);
        assert_eq!(upstream.received().len(), received);
    }
}

#[test]
fn a_live_token_is_an_identity_where_it_is_optional_and_nothing_where_it_is_off() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), ROUTES);
    let token = gateway.login("ann").token;
    assert_eq!(gateway.get_as(&token, "/optional/").status, 200);
    assert_eq!(upstream.last().header("x-auth-user"), Some("ann"));
    let finds = gateway.store_finds();
    assert_eq!(gateway.get_as(&"y".repeat(43), "/off/").status, 200);
    assert_eq!(gateway.get_as(&token, "/off/").status, 200);
    assert_eq!(upstream.last().header("x-auth-user"), None);
    assert_eq!(upstream.last().header("authorization"), None);
    assert_eq!(gateway.store_finds(), finds, "nobody looks at a credential there");
    // The application's own credentials pass.
    assert_eq!(gateway.get("/off/", "Authorization: Basic YTpi\r\nCookie: a=1\r\n").status, 200);
    assert_eq!(upstream.last().header("authorization"), Some("Basic YTpi"));
    assert_eq!(upstream.last().header("cookie"), Some("a=1"));
}

#[test]
fn a_thief_with_another_user_agent_is_anonymous_where_a_session_is_optional_and_suspends_it() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), ROUTES);
    let session = gateway.login_with(json!({ "user": "ann", "user_agent": "acme-test/1.0" }));
    let stolen = format!("{}User-Agent: thief/1\r\n", bearer(&session.token));
    assert_eq!(gateway.get("/optional/", &stolen).status, 200);
    assert_eq!(upstream.last().header("x-auth-user"), None);
    problem(&gateway.get_as(&session.token, "/"), 401, "session_suspended");
}

#[test]
fn a_route_opens_to_any_of_its_roles_and_to_no_other() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), ROUTES);
    for (roles, status) in [
        (json!(["staff"]), 200),
        (json!(["ops", "superuser"]), 200),
        (json!(["ops"]), 403),
        (json!(["Staff"]), 403),
        (json!(["staffer"]), 403),
        (json!([]), 403),
    ] {
        let session = gateway.login_with(json!({ "user": "ann", "roles": roles }));
        let response = gateway.get("/staff/", &format!("{}Accept: text/html\r\n", bearer(&session.token)));
        assert_eq!(response.status, status, "{roles}");
        if status == 403 {
            problem(&response, 403, "role_required");
        }
    }
    problem(&gateway.get("/staff/", ""), 401, "missing_token");
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn what_no_route_matches_needs_a_session() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), ROUTES);
    for path in ["/", "/offx", "/OFF/", "/hook/", "/hook/x", "/off%2f", "/off/../x", "/optional;x/", "/off;x/"] {
        let response = gateway.get(path, "");
        assert!(matches!(response.status, 400 | 401), "{path}: {response:?}");
    }
    problem(&gateway.get("/hook", ""), 401, "missing_token");
    assert!(upstream.received().is_empty());
    assert_eq!(gateway.request("POST", "/hook", "", b"x").status, 200);
}

#[test]
fn every_method_needs_a_session_preflights_too() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        assert_eq!(gateway.request(method, "/", "", b"").status, 401, "{method}");
    }
    assert!(upstream.received().is_empty());
}

/// Many applications fold a method to upper case, and then do what another route was to keep from them.
#[test]
fn a_method_with_a_lower_case_letter_passes_no_route_for_what_an_application_may_take_it_for() {
    let upstream = Upstream::hello();
    let toml = "[[upstream]]\nurl = \"{upstream}\"\n\
        [[upstream.route]]\npath = \"/api/posts\"\nmethods = [\"POST\", \"DELETE\"]\nroles = [\"staff\"]\n\
        [[upstream.route]]\npath = \"/api/posts\"\nauth = \"optional\"\n\
        [[upstream.login]]\npath = \"/login\"\nuser = { form = \"u\" }\n\
        [[upstream.logout]]\npath = \"/logout\"\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    let ann = bearer(&gateway.login("ann").token);
    for method in ["delete", "Delete", "DELETe", "post", "get", "trace", "Connect", "x-ODD"] {
        for path in ["/api/posts/1", "/login", "/logout", "/_sessions"] {
            for headers in ["", ann.as_str()] {
                let body = problem(&gateway.request(method, path, headers, b""), 400, "invalid_request");
                assert_eq!(body["field"], "method", "{method} {path}: {body}");
                assert!(body["detail"].as_str().unwrap().contains(method), "{body}");
            }
        }
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
    assert_eq!(
        gateway.request("DELETE", "/api/posts/1", "", b"").status,
        401,
        "in upper case it is what the route says"
    );
    assert_eq!(gateway.request("GET", "/api/posts/1", "", b"").status, 200);
}

#[test]
fn a_login_path_is_open_to_the_login_alone_and_not_to_other_methods() {
    let upstream = Upstream::hello();
    let toml = "[[upstream]]\nurl = \"{upstream}\"\n\
        [[upstream.route]]\npath = \"/session\"\nroles = [\"staff\"]\n\
        [[upstream.login]]\npath = \"/session\"\nuser = { form = \"u\" }\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    for method in ["GET", "HEAD", "POST"] {
        assert_eq!(gateway.request(method, "/session", "", b"").status, 200, "{method}");
    }
    let token = gateway.login("ann").token;
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_eq!(gateway.request(method, "/session", "", b"").status, 401, "{method}");
        assert_eq!(gateway.request(method, "/session", &bearer(&token), b"").status, 403, "{method}");
    }
}
