//! What is decided about the request that the question is about: what the main line would decide.

use serde_json::json;

use crate::support::database::Database;
use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::Upstream;
use crate::support::{noise, wait_until};
use crate::{APP, TRUSTED, allowed, ask, ask_at, refused, start};

const HTML: &str = "Accept: text/html\r\n";

#[test]
fn a_session_passes_with_the_headers_that_tell_whose_it_is() {
    let (_upstream, gateway) = start();
    let session =
        gateway.login_with(json!({ "user": "zoë", "roles": ["staff", "ops"], "name": "Zoë Å", "email": "z@app.test" }));
    let cookie = format!("Cookie: a=b; __Host-session={}\r\n", session.token);
    for headers in [bearer(&session.token), cookie] {
        let response = ask(&gateway, "GET", "/", &headers);
        allowed(&response, Some("zo%C3%AB"));
        assert_eq!(response.header("x-auth-session"), Some(session.id.as_str()));
        assert_eq!(response.header("x-auth-roles"), Some("staff,ops"));
        assert_eq!(response.header("x-auth-name"), Some("Zo%C3%AB%20%C3%85"));
        assert_eq!(response.header("x-auth-email"), Some("z@app.test"));
        assert!(!response.head.contains(&session.token));
    }
    let bare = gateway.login("ann");
    let response = ask(&gateway, "GET", "/", &bearer(&bare.token));
    allowed(&response, Some("ann"));
    for absent in ["x-auth-roles", "x-auth-name", "x-auth-email"] {
        assert_eq!(response.header(absent), None);
    }
}

#[test]
fn the_identity_headers_have_their_configured_names() {
    let upstream = Upstream::hello();
    for (identity, user, roles) in [
        ("preset = \"remote-user\"", "remote-user", "remote-groups"),
        ("preset = \"x-forwarded-user\"", "x-forwarded-user", "x-forwarded-groups"),
    ] {
        let toml = format!("{TRUSTED}[identity]\n{identity}\n{APP}");
        let gateway = Gateway::start(&upstream.url(), &toml);
        let session = gateway.login_with(json!({ "user": "ann", "roles": ["staff"] }));
        let response = ask(&gateway, "GET", "/", &bearer(&session.token));
        assert_eq!((response.status, response.header(user)), (200, Some("ann")), "{response:?}");
        assert_eq!(response.header(roles), Some("staff"));
        refused(&ask(&gateway, "GET", "/static/", &format!("{user}: eve\r\n")), 400, "invalid_request");
    }
}

#[test]
fn the_route_of_the_original_decides() {
    let (_upstream, gateway) = start();
    let ann = bearer(&gateway.login("ann").token);
    let bob = bearer(&gateway.login_with(json!({ "user": "bob", "roles": ["staff"] })).token);
    let dead = bearer(&"x".repeat(43));

    refused(&ask(&gateway, "GET", "/", ""), 401, "missing_token");
    refused(&ask(&gateway, "GET", "/", &dead), 401, "unknown_token");
    allowed(&ask(&gateway, "GET", "/", &ann), Some("ann"));
    for headers in ["", &dead, &ann] {
        // Where no session is asked for, none is looked at.
        allowed(&ask(&gateway, "GET", "/static/x?y=/staff/", headers), None);
    }
    allowed(&ask(&gateway, "GET", "/open/x", ""), None);
    allowed(&ask(&gateway, "GET", "/open/x", &dead), None);
    allowed(&ask(&gateway, "GET", "/open/x", &ann), Some("ann"));
    refused(&ask(&gateway, "GET", "/staff/x", ""), 401, "missing_token");
    refused(&ask(&gateway, "GET", "/staff/x", &ann), 403, "role_required");
    allowed(&ask(&gateway, "GET", "/staff/x", &bob), Some("bob"));
    allowed(&ask(&gateway, "GET", "/readable/x", ""), None);
    refused(&ask(&gateway, "POST", "/readable/x", ""), 401, "missing_token");
    // Nobody could log in otherwise.
    allowed(&ask(&gateway, "GET", "/login", ""), None);
    allowed(&ask(&gateway, "POST", "/login", ""), None);
    refused(&ask(&gateway, "PUT", "/login", ""), 401, "missing_token");
    for method in ["TRACE", "CONNECT"] {
        refused(&ask(&gateway, method, "/static/x", &ann), 405, "method_not_allowed");
    }
}

/// The same requests, once to the gateway itself and once asked about. What it would refuse is refused in the same words;
/// what it would forward may pass, but for paths that only the gateway brings into one form before they are forwarded.
#[test]
fn the_answer_is_what_the_gateway_itself_would_do() {
    let (_upstream, gateway) = start();
    let credentials = [
        String::new(),
        bearer(&gateway.login("ann").token),
        bearer(&gateway.login_with(json!({ "user": "bob", "roles": ["staff"] })).token),
        bearer(&"x".repeat(43)),
        bearer("%"),
        "Cookie: __Host-session=a; __Host-session=b\r\n".to_owned(),
        "Authorization: Basic YTpi\r\n".to_owned(),
        "Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n".to_owned(),
    ];
    let targets = [
        "/",
        "/x",
        "/static",
        "/static/x",
        "/staticx",
        "/static/a%7eb",
        "/STATIC/x",
        "/open/x?a=b",
        "/staff/x",
        "/staff",
        "/api/x",
        "/readable/x",
        "/login",
        "/login/",
        "/static//x",
        "//static/x",
        "/static/../staff/x",
        "/staff/../static/x",
        "/static/%2e%2e/staff/x",
        "/static;x/y",
        "/static%2fx",
        "/static/%5cx",
        "/%73taff/x",
        "/../x",
        "/%zz",
    ];
    let mut passed = 0;
    for (method, target) in
        targets.iter().flat_map(|target| ["GET", "HEAD", "POST", "PUT"].map(|method| (method, *target)))
    {
        for accept in ["", HTML] {
            for credential in &credentials {
                let headers = format!("{credential}{accept}");
                let itself = gateway.request(method, target, &headers, b"");
                let forwarded = itself.header("cache-control").is_none();
                let asked = ask_at(&gateway, "/_sessions/auth-redirect", method, target, &headers);
                let what = format!("{method} {target} {headers}: {itself:?}, {asked:?}");
                match (forwarded, asked.status) {
                    (true, 200) => passed += 1,
                    (false, 400) if itself.status == 400 => {}
                    (_, 400) => assert!(["..", "%2e", "//", "%73"].iter().any(|odd| target.contains(odd)), "{what}"),
                    (false, status) => {
                        assert_eq!(status, itself.status, "{what}");
                        let login = itself.header("location").map(|location| format!("https://app.test{location}"));
                        assert_eq!(asked.header("location"), login.as_deref(), "{what}");
                        assert_eq!(asked.header("www-authenticate"), itself.header("www-authenticate"), "{what}");
                        if method != "HEAD" {
                            assert_eq!(asked.body, itself.body, "{what}");
                        }
                    }
                    (true, _) => panic!("{what}"),
                }
            }
        }
    }
    assert!(passed > 200, "{passed} passed");
}

#[test]
fn the_host_of_the_original_decides() {
    let (_upstream, gateway) = start();
    let ask = |host: &str| {
        let headers = format!(
            "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Uri: /static/x\r\nX-Forwarded-Host: {host}\r\n"
        );
        gateway.get("/_sessions/auth", &headers)
    };
    for host in ["app.test", "APP.Test.", "app.test:8443"] {
        allowed(&ask(host), None);
    }
    refused(&ask("other.test"), 404, "not_found");
    for host in ["", "app.test, other.test", "u@app.test", "app.test/x"] {
        refused(&ask(host), 400, "invalid_request");
    }
}

#[test]
fn a_path_that_can_be_read_in_two_ways_never_passes() {
    let (_upstream, gateway) = start();
    let bob = bearer(&gateway.login_with(json!({ "user": "bob", "roles": ["staff"] })).token);
    for path in [
        "/static/../staff/x",
        "/static/./x",
        "/staff/../static/x",
        "/static/%2e%2e/staff/",
        "/static/.%2E/staff/",
        "/static/x/..",
        "/static/..",
        "/../static/x",
        "/static/x/../../staff//../static/x",
        "/static%2fx",
        "/static/..%2fstaff",
        "/static/..%5cstaff",
        "/static\\x",
        "/static/%00",
        "/static/%0a",
        "/static/%zz",
        "/static/%c0%af",
        "/static/..;/staff/",
        "/static;x/y",
        "//static/x",
        "/%73tatic/x",
        "/static/x#/../../staff",
        "/static/x y",
        "static/x",
        "*",
        "http://app.test/static/x",
        "http:http://internal/static/x",
        "",
    ] {
        for headers in ["", bob.as_str()] {
            refused(&ask(&gateway, "GET", path, headers), 400, "invalid_request");
        }
    }
    // Spellings that lead to the same place whoever reads them.
    for path in
        ["/static//x", "/static/a%7eb", "/static/%41", "/static/a%20b", "/static/a;b", "/static/x/...", "/static"]
    {
        allowed(&ask(&gateway, "GET", path, ""), None);
    }
    refused(&ask(&gateway, "GET", "/x//y", ""), 401, "missing_token");
}

#[test]
fn the_gateways_own_calls_are_nobody_elses_to_answer() {
    let (_upstream, gateway) = start();
    let ann = bearer(&gateway.login("ann").token);
    for path in ["/_sessions", "/_sessions/current", "/_sessions/auth", "/_sessions/auth-redirect", "/_sessions/x"] {
        for headers in ["", ann.as_str()] {
            refused(&ask(&gateway, "GET", path, headers), 404, "not_found");
        }
    }
    refused(&ask(&gateway, "GET", "/static/..//_sessions", &ann), 404, "not_found");
}

#[test]
fn a_client_that_claims_an_identity_is_refused_where_it_would_pass() {
    let (_upstream, gateway) = start();
    let ann = bearer(&gateway.login("ann").token);
    for name in ["X-Auth-User", "x_auth_user", "X.Auth.Roles", "XAuthName", "X-Auth-Other"] {
        let claim = format!("{name}: root\r\n");
        for path in ["/static/x", "/open/x", "/login"] {
            refused(&ask(&gateway, "GET", path, &claim), 400, "invalid_request");
        }
        let response = ask(&gateway, "GET", "/", &format!("{claim}{ann}"));
        refused(&response, 400, "invalid_request");
        assert_eq!(response.json()["field"].as_str(), Some(name.to_ascii_lowercase().as_str()));
        refused(&ask(&gateway, "GET", "/", &claim), 401, "missing_token");
    }
}

#[test]
fn whatever_stands_in_the_cookie_nobody_passes_with_it() {
    let (_upstream, gateway) = start();
    let long = "a".repeat(5000);
    for cookie in ["", "x", "%", "a=b", "\"", "\t", "é", ";", ",", "a,b", &long] {
        let response = ask(&gateway, "GET", "/", &format!("Cookie: __Host-session={cookie}\r\n"));
        assert_eq!(response.status, 401, "{cookie}: {response:?}");
    }
    for seed in 0..300 {
        let mut connection = gateway.connect();
        let head = "GET /_sessions/auth HTTP/1.1\r\nHost: g\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\n\
            X-Forwarded-Host: app.test\r\nX-Forwarded-Uri: /\r\nConnection: close\r\nCookie: __Host-session=";
        connection.send(head);
        // Control characters are no HTTP and do not come this far.
        connection.send(noise(64, seed).into_iter().filter(|byte| !byte.is_ascii_control()).collect::<Vec<_>>());
        connection.send("\r\n\r\n");
        let response = connection.read("GET");
        assert_eq!(response.status, 401, "{seed}: {response:?}");
    }
    let ann = gateway.login("ann").token;
    let two = format!("Cookie: __Host-session={ann}\r\nCookie: __Host-session=other\r\n");
    refused(&ask(&gateway, "GET", "/", &two), 401, "malformed_token");
    let two = format!("Authorization: Bearer {ann}\r\nAuthorization: Bearer {ann}\r\n");
    refused(&ask(&gateway, "GET", "/", &two), 400, "invalid_request");
}

#[test]
fn a_session_that_has_ended_is_refused_at_the_next_question() {
    let (_upstream, gateway) = start();
    let ann = gateway.login("ann");
    let headers = bearer(&ann.token);
    allowed(&ask(&gateway, "GET", "/", &headers), Some("ann"));
    assert_eq!(gateway.delete_as(&ann.token, "/_sessions/current").status, 204);
    let response = ask(&gateway, "GET", "/", &headers);
    refused(&response, 401, "session_revoked");
    assert_eq!(response.json()["reason"], "logged_out");
    assert!(response.header("www-authenticate").unwrap().contains("invalid_token"), "{response:?}");
}

#[test]
fn another_user_agent_suspends_the_session_and_the_clients_own_counts() {
    let (_upstream, gateway) = start();
    let headers = bearer(&gateway.login("ann").token);
    let with = |agent: &str| ask(&gateway, "GET", "/", &format!("User-Agent: {agent}\r\n{headers}"));
    allowed(&with("acme-test/1.0"), Some("ann"));
    allowed(&with("acme-test/2.0"), Some("ann"));
    refused(&with("other/1.0"), 401, "session_suspended");
    refused(&with("acme-test/1.0"), 401, "session_suspended");
}

#[test]
fn the_clients_address_is_the_one_that_the_proxy_names() {
    let upstream = Upstream::hello();
    let toml = format!("{TRUSTED}{APP}[policy.ip]\nmode = \"exact\"\n[session]\ntouch_interval = \"100ms\"\n");
    let gateway = Gateway::start(&upstream.url(), &toml);
    let session = gateway.login_with(json!({ "user": "ann", "ip": "203.0.113.9" }));
    let headers = bearer(&session.token);
    allowed(&ask(&gateway, "GET", "/", &headers), Some("ann"));
    // The right-most address that is not trusted counts; what the client wrote before it does not.
    allowed(&ask(&gateway, "GET", "/", &format!("{headers}X-Forwarded-For: 127.0.0.1\r\n")), Some("ann"));
    refused(&ask(&gateway, "GET", "/", &format!("{headers}X-Forwarded-For: 198.51.100.1\r\n")), 401, "ip_changed");
    wait_until("the use is written down", || {
        let _ = ask(&gateway, "GET", "/", &headers);
        Database::of(&gateway).column(&session.id, "last_ip").is_some_and(|ip| ip == "203.0.113.9")
    });
}

#[test]
fn a_browser_is_told_where_the_login_is_and_led_there_if_the_proxy_passes_that_on() {
    let (_upstream, gateway) = start();
    let login = "https://app.test/login?next=/a/b%3Fc%3Dd";
    let response = ask(&gateway, "GET", "/a/b?c=d", HTML);
    refused(&response, 401, "missing_token");
    assert_eq!(response.header("location"), Some(login));
    for (method, status) in [("GET", 302), ("HEAD", 302), ("POST", 303)] {
        let response = ask_at(&gateway, "/_sessions/auth-redirect", method, "/a/b?c=d", HTML);
        assert_eq!((response.status, response.header("location")), (status, Some(login)), "{response:?}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    // Envoy's way, with the original's port.
    let envoy = format!("Host: app.test:8443\r\nX-Forwarded-Proto: http\r\n{HTML}");
    let response = gateway.get("/_sessions/auth-redirect/a?redirect=false", &envoy);
    let location = Some("http://app.test:8443/login?next=/a%3Fredirect%3Dfalse");
    assert_eq!((response.status, response.header("location")), (302, location), "{response:?}");
}

#[test]
fn programs_and_those_whom_a_login_does_not_help_are_led_nowhere() {
    let (_upstream, gateway) = start();
    let ann = bearer(&gateway.login("ann").token);
    for endpoint in ["/_sessions/auth", "/_sessions/auth-redirect"] {
        for (path, headers, status, code) in [
            ("/x", String::new(), 401, "missing_token"),
            ("/x", format!("{HTML}Sec-Fetch-Mode: cors\r\n"), 401, "missing_token"),
            ("/api/x", HTML.to_owned(), 401, "missing_token"),
            ("/staff/", format!("{HTML}{ann}"), 403, "role_required"),
            ("/_sessions", HTML.to_owned(), 404, "not_found"),
        ] {
            let response = ask_at(&gateway, endpoint, "GET", path, &headers);
            refused(&response, status, code);
            assert_eq!(response.header("location"), None, "{path} {headers}");
        }
        // The client cannot ask to be led by its own query, which Caddy leaves in the call's target.
        let response = ask_at(&gateway, "/_sessions/auth?redirect=true", "GET", "/x", HTML);
        assert_eq!(response.status, 401);
    }
}

#[test]
fn without_the_store_nothing_that_needs_it_passes() {
    let directory = tempfile::TempDir::new().unwrap();
    let upstream = Upstream::hello();
    // A directory is no database.
    let store = format!("sqlite:{}", directory.path().display());
    let toml = format!("{TRUSTED}{APP}");
    let gateway = Gateway::start_unready(tempfile::TempDir::new().unwrap(), &upstream.url(), &store, &toml);
    let token = bearer(&"x".repeat(43));
    for endpoint in ["/_sessions/auth", "/_sessions/auth-redirect"] {
        for path in ["/", "/open/x"] {
            let response = ask_at(&gateway, endpoint, "GET", path, &format!("{token}{HTML}"));
            refused(&response, 503, "store_unavailable");
            assert_eq!((response.header("retry-after"), response.header("location")), (Some("1"), None));
        }
    }
    allowed(&ask(&gateway, "GET", "/static/x", &token), None);
}

#[test]
fn the_log_tells_of_the_original_and_the_metrics_count_the_question() {
    let (_upstream, gateway) = start();
    let ann = gateway.login("ann");
    allowed(&ask(&gateway, "DELETE", "/mine//x?secret", &bearer(&ann.token)), Some("ann"));
    refused(&ask(&gateway, "GET", "/staff/", &bearer(&ann.token)), 403, "role_required");
    refused(&gateway.get("/_sessions/auth", ""), 400, "invalid_request");
    let lines = || std::fs::read_to_string(gateway.access_log()).unwrap();
    // Each worker writes its own lines, in no order among them.
    let awaited = ["verdict=allowed", "role_required", "target=/_sessions/auth "];
    wait_until("the log is written", || awaited.iter().all(|part| lines().contains(part)));
    let log = lines();
    let line = log.lines().find(|line| line.contains("verdict=allowed")).unwrap_or_else(|| panic!("{log}"));
    for part in ["client=203.0.113.9", "method=DELETE", "host=app.test", "target=/mine/x ", "status=200", "user=ann"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.contains("secret") && !log.contains("aborted"), "{log}");
    assert_eq!(gateway.metric("gateway_requests_total{verdict=\"allowed\"}"), 1.0);
    assert_eq!(gateway.metric("gateway_requests_total{verdict=\"forwarded\"}"), 0.0);
}
