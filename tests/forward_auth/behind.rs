//! What three real proxies let pass that are set up as `docs/forward-auth.md` says.

use serde_json::json;

use crate::site::{Kind, Site, belongs};
use crate::support::client::Connection;
use crate::support::gateway::{AGENT, Issued, bearer};
use crate::support::noise;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::websocket::KEY;

const HTML: &str = "Accept: text/html\r\n";

fn nobody_passes_without_a_session(kind: Kind) {
    let site = Site::start(kind);
    let response = site.stops("/x", "");
    assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")), "{response:?}");
    let response = site.stops("/x", &bearer(&"x".repeat(43)));
    assert_eq!(response.status, 401);
    assert!(response.header("www-authenticate").unwrap().contains("invalid_token"), "{response:?}");
    if kind != Kind::Nginx {
        assert_eq!(response.code(), "unknown_token");
    }
}

fn a_browser_is_led_to_the_login_and_back(kind: Kind) {
    let site = Site::start(kind);
    let response = site.stops("/a/b?c=d", HTML);
    let login = "http://app.test/login?next=/a/b%3Fc%3Dd";
    assert_eq!((response.status, response.header("location")), (302, Some(login)), "{response:?}");
    assert_eq!(site.stops("/api/x", HTML).status, 401);
    belongs(&site.passes("/login", HTML), None);
}

fn a_session_passes_and_the_app_is_told_whose_it_is(kind: Kind) {
    let site = Site::start(kind);
    let ann = site.gateway.login("ann");
    for credential in [bearer(&ann.token), format!("Cookie: __Host-session={}\r\n", ann.token)] {
        let received = site.passes("/a/b?c=d&e=%20f", &credential);
        belongs(&received, Some(&ann));
        assert_eq!((received.method(), received.target()), ("GET", "/a/b?c=d&e=%20f"));
    }
    let staff = json!({ "user": "bob", "roles": ["staff", "ops"], "name": "Bob", "email": "b@app.test" });
    let bob = site.gateway.login_with(staff);
    let received = site.passes("/staff/", &bearer(&bob.token));
    for (name, value) in [
        ("x-auth-user", "bob"),
        ("x-auth-session", &bob.id),
        ("x-auth-roles", "staff,ops"),
        ("x-auth-name", "Bob"),
        ("x-auth-email", "b@app.test"),
    ] {
        assert_eq!(received.headers(name), [value]);
    }
}

fn who_is_anonymous_has_no_identity_headers_at_all(kind: Kind) {
    let site = Site::start(kind);
    let ann = bearer(&site.gateway.login("ann").token);
    for (path, headers) in [("/static/x", ""), ("/static/x", ann.as_str()), ("/open/x", "")] {
        belongs(&site.passes(path, headers), None);
    }
}

fn an_identity_that_a_client_claims_does_not_arrive(kind: Kind) {
    let site = Site::start(kind);
    let ann = site.gateway.login("ann");
    let credential = bearer(&ann.token);
    for name in [
        "X-Auth-User",
        "x-auth-user",
        "X-AUTH-ROLES",
        "X-Auth-Email",
        "X_Auth_User",
        "X_AUTH_ROLES",
        "X.Auth.User",
        "X-Auth_Roles",
        "XAuthUser",
        "X--Auth--User",
        "X-Auth-Anything",
    ] {
        for (path, who) in [("/static/x", None), ("/open/x", None), ("/x", Some(&ann)), ("/open/x", Some(&ann))] {
            let before = site.upstream.received().len();
            let headers = format!("{name}: root\r\n{}", who.map_or("", |_| &credential));
            let response = site.get(path, &headers);
            // A proxy may drop the name by itself; then the request passes without it.
            match response.status {
                200 => belongs(&site.upstream.last(), who),
                400 => assert_eq!(site.upstream.received().len(), before, "{name} on {path}"),
                other => panic!("{name} on {path}: {other} {response:?}"),
            }
        }
    }
}

fn a_client_cannot_ask_about_another_request(kind: Kind) {
    let site = Site::start(kind);
    let ann = bearer(&site.gateway.login("ann").token);
    for line in [
        "X-Forwarded-Uri: /static/x",
        "X-Original-URI: /static/x",
        "X-Original-URL: http://app.test/static/x",
        "X-Forwarded-Method: OPTIONS",
        "X-Original-Method: OPTIONS",
        "X-Forwarded-Host: other.test",
        "X_Forwarded_Uri: /static/x",
        "X-Forwarded-Uri: /static/x\r\nX-Original-URI: /static/x\r\nX-Original-URL: http://app.test/static/x",
        "Connection: X-Forwarded-Uri, X-Original-URI, X-Forwarded-Method, X-Forwarded-Host",
    ] {
        assert!(matches!(site.stops("/x", &format!("{line}\r\n")).status, 400 | 401), "{line}");
        assert!(matches!(site.stops("/staff/x", &format!("{line}\r\n{ann}")).status, 400 | 403), "{line}");
    }
    for target in ["/_sessions/auth", "/_sessions/auth/static/x", "/_sessions/auth-redirect", "/_sessions/auth?x"] {
        let headers = "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Uri: /static/x\r\n";
        assert_eq!(site.stops(target, headers).status, 404, "{target}");
    }
}

fn a_name_in_connection_does_not_drop_the_identity(kind: Kind) {
    let site = Site::start(kind);
    let ann = site.gateway.login("ann");
    for connection in ["X-Auth-User, X-Auth-Session", "x-auth-user\r\nConnection: x-auth-session", "close, X-Auth-User"]
    {
        let headers = format!("Connection: {connection}\r\n{}", bearer(&ann.token));
        let before = site.upstream.received().len();
        let response = site.get("/x", &headers);
        match response.status {
            200 => belongs(&site.upstream.last(), Some(&ann)),
            400 => assert_eq!(site.upstream.received().len(), before),
            other => panic!("{connection}: {other} {response:?}"),
        }
    }
}

fn a_path_that_can_be_read_in_two_ways_does_not_arrive(kind: Kind) {
    let site = Site::start(kind);
    let ann = bearer(&site.gateway.login("ann").token);
    for target in [
        "/static/../staff/x",
        "/static/%2e%2e/staff/x",
        "/static/..%2fstaff/x",
        "/static/..%5cstaff/x",
        "/staff/../static/x",
        "/static/x/../../staff//../static/x",
        "//staff/x",
        "/%73taff/x",
        "/static;x/../staff/",
        "/static/..;/staff/",
        "/x/../_sessions/auth",
    ] {
        for headers in ["", ann.as_str()] {
            let response = site.stops(target, headers);
            assert!(matches!(response.status, 400 | 401 | 403 | 404), "{target}: {response:?}");
        }
    }
}

fn a_session_that_has_ended_is_refused_at_the_next_request(kind: Kind) {
    let site = Site::start(kind);
    let ann = site.gateway.login("ann");
    let credential = bearer(&ann.token);
    belongs(&site.passes("/x", &credential), Some(&ann));
    // Through the proxy, on the path that it sends to the gateway.
    let response = site.request("DELETE", "/_sessions/current", &credential, b"");
    assert_eq!(response.status, 204, "{response:?}");
    assert_eq!(site.stops("/x", &credential).status, 401);
    assert_eq!(site.stops("/x", &credential).status, 401);
}

fn a_login_that_goes_through_the_gateway_makes_a_session(kind: Kind) {
    let (language, from, to) = match kind {
        Kind::Nginx => ("nginx", "location /_sessions {", "location ~ ^/(_sessions(/|$)|login$) {"),
        Kind::Caddy => ("caddyfile", "@own path /_sessions /_sessions/*", "@own path /_sessions /_sessions/* /login"),
        Kind::Haproxy => ("haproxy", "acl own path /_sessions\n", "acl own path /_sessions\n    acl own path /login\n"),
    };
    let upstream = Upstream::start(|received| match received.method() {
        "POST" => Reaction::Send(response("302 Found", "Location: /home\r\n", "")),
        _ => Reaction::Send(response("200 OK", "", "hello")),
    });
    let site = Site::start_on(kind, upstream, "", Some((language, from, to)));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let response = site.request("POST", "/login", form, b"username=ann&password=secret");
    assert_eq!((response.status, response.header("location")), (302, Some("/home")), "{response:?}");
    let cookie = response.cookie("__Host-session").unwrap_or_else(|| panic!("{response:?}"));
    let received = site.passes("/home", &format!("Cookie: __Host-session={cookie}\r\n"));
    assert_eq!(received.headers("x-auth-user"), ["ann"]);
}

fn a_page_of_another_site_opens_no_websocket(kind: Kind) {
    let site = Site::start(kind);
    let ann = site.gateway.login("ann");
    let headers = |more: &str| {
        format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}"
        )
    };
    let cookie = format!("Cookie: __Host-session={}\r\n", ann.token);
    for path in ["/ws", "/static/ws", "/open/ws"] {
        let foreign = format!("{cookie}Origin: http://evil.app.test\r\n");
        assert_eq!(site.stops(path, &headers(&foreign)).status, 403, "{path}");
        assert_eq!(site.stops(path, &headers("Origin: http://app.test\r\n")).status, 401, "{path}");
        let own = format!("{cookie}Origin: http://app.test\r\n");
        belongs(&site.passes(path, &headers(&own)), Some(&ann));
    }
}

fn a_lacking_role_is_told(kind: Kind) {
    let site = Site::start(kind);
    let response = site.stops("/staff/x", &format!("{HTML}{}", bearer(&site.gateway.login("ann").token)));
    assert_eq!((response.status, response.header("location")), (403, None), "{response:?}");
}

fn a_body_arrives_whole(kind: Kind) {
    let site = Site::start(kind);
    let ann = site.gateway.login("ann");
    let body = noise(300_000, 7);
    let response = site.request("POST", "/x", &bearer(&ann.token), &body);
    assert_eq!(response.status, 200, "{response:?}");
    let received = site.upstream.last();
    assert_eq!(received.method(), "POST");
    assert!(received.body == body, "{} bytes", received.body.len());
    belongs(&received, Some(&ann));
    // In chunks of which nobody knows how many will come.
    let mut connection = Connection::open(site.proxy.address);
    let head = format!("Host: app.test\r\nUser-Agent: {AGENT}\r\n{}", bearer(&ann.token));
    connection.send(format!("PUT /y HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n"));
    for piece in body.chunks(50_000) {
        connection.send(format!("{:x}\r\n", piece.len()));
        connection.send(piece);
        connection.send("\r\n");
    }
    connection.send("0\r\n\r\n");
    assert_eq!(connection.read("PUT").status, 200);
    let received = site.upstream.last();
    assert!((received.method(), received.target()) == ("PUT", "/y") && received.body == body, "{}", received.head);
    // And the method counts.
    assert_eq!(site.request("POST", "/readable/x", "", b"x").status, 401);
    assert_eq!(site.request("GET", "/readable/x", "", b"").status, 200);
}

fn the_gateway_sees_the_clients_address_and_program(kind: Kind) {
    let site = Site::start_with(kind, "[policy.ip]\nmode = \"exact\"\n");
    let agent = "User-Agent: acme-test/1.0\r\n";
    let here = site.gateway.login_with(json!({ "user": "ann", "ip": "127.0.0.1", "user_agent": "acme-test/1.0" }));
    let elsewhere =
        site.gateway.login_with(json!({ "user": "ann", "ip": "203.0.113.9", "user_agent": "acme-test/1.0" }));
    for spoofed in ["", "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n"] {
        let headers = |session: &Issued| format!("{agent}{spoofed}{}", bearer(&session.token));
        belongs(&site.passes("/x", &headers(&here)), Some(&here));
        assert_eq!(site.stops("/x", &headers(&elsewhere)).status, 401);
    }
    let other = format!("User-Agent: other/1.0\r\n{}", bearer(&here.token));
    assert_eq!(site.stops("/x", &other).status, 401);
    assert_eq!(site.stops("/x", &format!("{agent}{}", bearer(&here.token))).status, 401, "it is suspended");
}

fn without_the_gateway_nobody_passes(kind: Kind) {
    let Site { upstream, gateway, proxy } = Site::start(kind);
    let ann = bearer(&gateway.login("ann").token);
    drop(gateway);
    let mut connection = Connection::open(proxy.address);
    connection.send(format!("GET /static/x HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {AGENT}\r\n{ann}\r\n"));
    let response = connection.read("GET");
    assert!((500..600).contains(&response.status), "{response:?}");
    assert!(upstream.received().is_empty());
}

macro_rules! each {
    ($($behaviour:ident)*) => {
        mod nginx { $(#[test] fn $behaviour() { super::$behaviour(super::Kind::Nginx) })* }
        mod caddy { $(#[test] fn $behaviour() { super::$behaviour(super::Kind::Caddy) })* }
        mod haproxy { $(#[test] fn $behaviour() { super::$behaviour(super::Kind::Haproxy) })* }
    };
}

each! {
    nobody_passes_without_a_session
    a_browser_is_led_to_the_login_and_back
    a_session_passes_and_the_app_is_told_whose_it_is
    who_is_anonymous_has_no_identity_headers_at_all
    an_identity_that_a_client_claims_does_not_arrive
    a_client_cannot_ask_about_another_request
    a_name_in_connection_does_not_drop_the_identity
    a_path_that_can_be_read_in_two_ways_does_not_arrive
    a_session_that_has_ended_is_refused_at_the_next_request
    a_login_that_goes_through_the_gateway_makes_a_session
    a_page_of_another_site_opens_no_websocket
    a_lacking_role_is_told
    a_body_arrives_whole
    the_gateway_sees_the_clients_address_and_program
    without_the_gateway_nobody_passes
}
