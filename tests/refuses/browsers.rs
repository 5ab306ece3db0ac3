//! Who is led to the login page, and what is never made of the way back.

use crate::problem;
use crate::support::client::Response;
use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::Upstream;

const APP: &str = "[[upstream]]\nurl = \"{upstream}\"\n\
    [[upstream.login]]\npath = \"/login\"\nuser = { form = \"username\" }\n\
    [[upstream.route]]\npath = \"/api/\"\non_reject = \"401\"\n\
    [[upstream.route]]\npath = \"/pages/\"\non_reject = \"login\"\n";

const HTML: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: */*\r\n";

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), APP);
    (upstream, gateway)
}

#[track_caller]
fn redirects(response: &Response, status: u16, location: &str) {
    assert_eq!((response.status, response.header("location")), (status, Some(location)), "{response:?}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert!(response.body.is_empty());
}

#[test]
fn a_person_is_led_to_the_login_and_back() {
    let (upstream, gateway) = start();
    let way = "/login?next=/a/b%3Fc%3Dd%26e%3D%2520";
    for headers in [HTML, NAVIGATION] {
        redirects(&gateway.get("/a/b?c=d&e=%20", headers), 302, way);
        redirects(&gateway.request("HEAD", "/a/b?c=d&e=%20", headers, b""), 302, way);
        redirects(&gateway.request("POST", "/a/b?c=d&e=%20", headers, b"x"), 303, way);
    }
    let dead = format!("{}{HTML}", bearer(&"x".repeat(43)));
    redirects(&gateway.get("/", &dead), 302, "/login?next=/");
    assert!(upstream.received().is_empty());
}

#[test]
fn a_script_is_never_redirected() {
    let (_upstream, gateway) = start();
    for headers in [
        "Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n",
        "Sec-Fetch-Mode: same-origin\r\nAccept: text/html\r\n",
        "Sec-Fetch-Mode: no-cors\r\nAccept: text/html\r\n",
        "X-Requested-With: XMLHttpRequest\r\nAccept: text/html\r\n",
    ] {
        for path in ["/", "/pages/x", "/api/x"] {
            problem(&gateway.get(path, headers), 401, "missing_token");
        }
    }
    for headers in ["", "Accept: */*\r\n", "Accept: application/json\r\n", "Accept: text/html;q=0\r\n"] {
        problem(&gateway.get("/", headers), 401, "missing_token");
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        problem(&gateway.request(method, "/", HTML, b""), 401, "missing_token");
    }
}

#[test]
fn a_route_may_say_who_is_led() {
    let (_upstream, gateway) = start();
    problem(&gateway.get("/api/x", HTML), 401, "missing_token");
    problem(&gateway.get("/api/x", NAVIGATION), 401, "missing_token");
    for headers in ["", "Accept: */*\r\n", HTML] {
        redirects(&gateway.get("/pages/x", headers), 302, "/login?next=/pages/x");
    }
}

#[test]
fn only_what_a_login_can_mend_leads_there() {
    let (upstream, gateway) = start();
    let upstream_url = upstream.url();
    // A bad request stays a bad request, and the gateway's own endpoints are for programs.
    let two = format!("{HTML}Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n");
    problem(&gateway.get("/", &two), 400, "invalid_request");
    problem(&gateway.get("/_sessions", HTML), 401, "missing_token");
    // Without a login page there is nowhere to lead to.
    let plain = Gateway::start(&upstream_url, "");
    problem(&plain.get("/", HTML), 401, "missing_token");
    // Somebody who lacks a role is logged in already.
    let toml = format!("{APP}[[upstream.route]]\npath = \"/staff/\"\nroles = [\"staff\"]\non_reject = \"login\"\n");
    let gateway = Gateway::start(&upstream_url, &toml);
    let session = gateway.login("ann");
    problem(&gateway.get("/staff/", &format!("{}{HTML}", bearer(&session.token))), 403, "role_required");
}

#[test]
fn the_login_page_and_its_parameter_are_named_by_the_settings() {
    let upstream = Upstream::hello();
    let toml =
        "[[upstream]]\nurl = \"{upstream}\"\nlogin_url = \"https://login.test/in?app=1\"\nreturn_param = \"rd\"\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    redirects(&gateway.get("/a?b=c", HTML), 302, "https://login.test/in?app=1&rd=/a%3Fb%3Dc");
}

#[test]
fn the_way_back_is_always_a_path_of_this_site() {
    let (upstream, gateway) = start();
    let targets = [
        "//evil.test",
        "///evil.test",
        "////evil.test/",
        "/%2f/evil.test",
        "/%2F%2Fevil.test",
        "/\\evil.test",
        "/\\/evil.test",
        "/%5cevil.test",
        "/%5C%5Cevil.test",
        "/%09/evil.test",
        "/%0a/evil.test",
        "/%0d%0a/evil.test",
        "/%0d%0aSet-Cookie:%20a=b",
        "/%00/evil.test",
        "/.//evil.test",
        "/..//evil.test",
        "/../evil.test",
        "/%2e%2e//evil.test",
        "/%2e//evil.test",
        "/a/..//evil.test",
        "/;//evil.test",
        "/;@evil.test",
        "/@evil.test",
        "/.evil.test",
        "/?next=//evil.test",
        "/?//evil.test",
        "/#//evil.test",
        "/?next=https://evil.test&next=/",
        "/https://evil.test",
        "/javascript:alert(1)",
        "//evil.test@app.test/",
        "//app.test@evil.test/",
        "/%252f/evil.test",
        "/\u{2044}evil.test",
        "http://app.test//evil.test",
        "http://evil.test/x",
        "http://app.test/x",
        "https://app.test/\\evil.test",
        "http://app.test",
        "//",
        "/",
        "/%20/evil.test",
        "/x%23/evil",
        "/<script>",
        "/\"x",
        "javascript:alert(1)",
        "evil.test",
        "*",
        "?x",
        "/ /evil.test",
    ];
    let mut led = 0;
    for target in targets {
        for host in ["app.test", "evil.test"] {
            let mut connection = gateway.connect();
            connection.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{HTML}\r\n"));
            let response = connection.read("GET");
            match response.status {
                302 => {
                    led += 1;
                    let location = response.header("location").unwrap();
                    let back = location.strip_prefix("/login?next=").unwrap_or_else(|| panic!("{target}: {location}"));
                    assert!(
                        back.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b)),
                        "{target}: {back}"
                    );
                    stays_here(&percent_encoding::percent_decode_str(back).decode_utf8().unwrap(), target);
                    assert_eq!(response.header("set-cookie"), None);
                }
                400 => assert_eq!(response.header("location"), None, "{target}"),
                other => panic!("{target} was answered {other}: {response:?}"),
            }
        }
    }
    assert!(led > 20, "most of them are paths of this site after all: {led}");
    assert!(upstream.received().is_empty());
}

/// As a browser reads it: tabs and line breaks fall out, a backslash is a slash.
fn stays_here(back: &str, target: &str) {
    let read: String = back.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect();
    let read = read.trim_matches(|c: char| c <= ' ').replace('\\', "/");
    assert!(read.starts_with('/') && !read.starts_with("//"), "{target} leads back to {back:?}");
}
