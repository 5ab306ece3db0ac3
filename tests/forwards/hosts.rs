//! Which application and which part of it a request is for, and what that part asks for.

use serde_json::json;

use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::{Reaction, Upstream, response};

fn named(name: &'static str) -> Upstream {
    Upstream::start(move |_| Reaction::Send(response("200 OK", "", name)))
}

#[test]
fn an_exact_host_wins_over_a_wildcard_and_a_wildcard_over_any() {
    let (any, wildcard, exact) = (named("any"), named("wildcard"), named("exact"));
    let upstream = |url: String, hosts: &str| {
        format!("[[upstream]]\nurl = \"{url}\"\nhosts = {hosts}\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n")
    };
    let settings = upstream(any.url(), "[]")
        + &upstream(wildcard.url(), "[\"*.app.test\"]")
        + &upstream(exact.url(), "[\"Shop.app.test\", \"other.test\"]");
    let gateway = Gateway::start(&any.url(), &settings);
    for (host, expected) in [
        ("shop.app.test", "exact"),
        ("SHOP.APP.TEST.:81", "exact"),
        ("other.test", "exact"),
        ("blog.app.test", "wildcard"),
        ("a.b.app.test", "wildcard"),
        ("app.test", "any"),
        ("evilapp.test", "any"),
        ("[::1]:80", "any"),
    ] {
        assert_eq!(gateway.get("/", &format!("Host: {host}\r\n")).text(), expected, "{host}");
    }
}

#[test]
fn a_host_that_no_application_answers_for_is_404() {
    let upstream = Upstream::hello();
    let settings = "[[upstream]]\nurl = \"{upstream}\"\nhosts = [\"app.test\"]\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n";
    let gateway = Gateway::start(&upstream.url(), settings);
    assert_eq!(gateway.get("/", "").status, 200);
    let response = gateway.get("/", "Host: other.test\r\n");
    assert_eq!((response.status, response.code().as_str()), (404, "not_found"));
    assert_eq!(upstream.received().len(), 1);
}

const ROUTES: &str = r#"
[[upstream]]
url = "{upstream}"
[[upstream.route]]
path = "/static/private"
auth = "required"
[[upstream.route]]
path = "/static/"
auth = "off"
[[upstream.route]]
exact = "/"
auth = "off"
[[upstream.route]]
path = "/api"
methods = ["GET", "HEAD"]
auth = "optional"
[[upstream.route]]
path = "/admin"
roles = ["staff", "ops"]
[[upstream.login]]
path = "/login"
user = { form = "username" }
"#;

#[test]
fn the_first_route_that_matches_decides_and_without_one_a_session_is_required() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), ROUTES);
    for (method, target, passes) in [
        ("GET", "/", true),
        ("GET", "/static", true),
        ("GET", "/static/", true),
        ("POST", "/static/a.js", true),
        ("GET", "/static/private", false),
        ("GET", "/static/private/x", false),
        ("GET", "/static/privateer", true),
        ("GET", "/staticx", false),
        ("GET", "/api/x", true),
        ("HEAD", "/api", true),
        ("POST", "/api/x", false),
        ("GET", "/Static/a.js", false),
        ("GET", "/x", false),
        ("GET", "/login", true),
        ("GET", "/login/x", false),
    ] {
        let before = upstream.received().len();
        let response = gateway.request(method, target, "", b"");
        assert_eq!(response.status, if passes { 200 } else { 401 }, "{method} {target}");
        assert_eq!(upstream.received().len() - before, usize::from(passes), "{method} {target}");
    }
    let token = gateway.login("ann").token;
    assert_eq!(gateway.get_as(&token, "/x").status, 200);
}

#[test]
fn a_route_with_roles_needs_one_of_them() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), ROUTES);
    let ops = gateway.login_with(json!({ "user": "ann", "roles": ["other", "ops"] })).token;
    let other = gateway.login_with(json!({ "user": "bob", "roles": ["other", "op"] })).token;
    assert_eq!(gateway.get_as(&ops, "/admin/x").status, 200);
    for token in [&other, &gateway.login("cid").token] {
        let response = gateway.get_as(token, "/admin/x");
        assert_eq!((response.status, response.code().as_str()), (403, "role_required"));
    }
    assert_eq!(gateway.get("/admin/x", "").status, 401);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_browser_without_a_session_is_led_to_the_login_and_back() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), ROUTES);
    let browser = "Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

    let response = gateway.get("/x?a=b&c", browser);

    assert_eq!((response.status, response.header("location")), (302, Some("/login?next=/x%3Fa%3Db%26c")));
    assert_eq!(gateway.get("/x", &format!("{}Accept: application/json\r\n", bearer("dead"))).status, 401);
    assert!(upstream.received().is_empty());
}
