//! Who may ask, and how the request is named that the question is about.

use crate::support::client::Response;
use crate::support::gateway::{AGENT, Gateway, bearer};
use crate::support::upstream::Upstream;
use crate::{APP, allowed, ask, refused, start};

/// Sends this request line and these header lines and nothing else.
fn raw(gateway: &Gateway, line: &str, headers: &str) -> Response {
    let mut connection = gateway.connect();
    connection.send(format!("{line} HTTP/1.1\r\nUser-Agent: {AGENT}\r\n{headers}\r\n"));
    connection.read(line.split(' ').next().unwrap())
}

#[test]
fn only_a_trusted_proxy_is_answered_and_the_others_learn_nothing() {
    let upstream = Upstream::hello();
    for trusted in ["", "[server]\ntrusted_proxies = [\"192.0.2.0/24\"]\n"] {
        let gateway = Gateway::start(&upstream.url(), &format!("{trusted}{APP}"));
        let ann = bearer(&gateway.login("ann").token);
        let mut answers = Vec::new();
        for headers in ["", ann.as_str(), "X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-Host: x\r\n"] {
            for path in ["/static/x", "/", "/_sessions", "/%2f", "x"] {
                answers.push(ask(&gateway, "GET", path, headers));
            }
        }
        for target in
            ["/_sessions/auth", "/_sessions/auth/static/x", "/_sessions/auth-redirect", "/_sessions/auth/../current"]
        {
            answers.push(gateway.get(target, &ann));
        }
        for answer in &answers {
            refused(answer, 403, "untrusted_proxy");
            assert!(answer.text().contains("server.trusted_proxies"), "{answer:?}");
            assert_eq!(answer.body, answers[0].body);
        }
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn every_proxy_asks_in_its_own_way() {
    let (upstream, gateway) = start();
    let ann = bearer(&gateway.login("ann").token);
    let common = format!("Host: gateway.internal\r\nX-Forwarded-Proto: https\r\n{ann}");
    // Traefik and Caddy.
    let uri = "X-Forwarded-Method: POST\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-Uri: /x?y\r\n";
    allowed(&raw(&gateway, "GET /_sessions/auth", &format!("{common}{uri}")), Some("ann"));
    // Caddy leaves the original's query in the call's target.
    allowed(&raw(&gateway, "GET /_sessions/auth?y", &format!("{common}{uri}")), Some("ann"));
    // nginx, and Kubernetes' ingress for it.
    let uri = "X-Original-Method: POST\r\nX-Forwarded-Host: app.test\r\nX-Original-URI: /x?y\r\n";
    allowed(&raw(&gateway, "GET /_sessions/auth", &format!("{common}{uri}")), Some("ann"));
    let url = "X-Original-Method: POST\r\nX-Original-URL: https://app.test/x?y\r\nX-Auth-Request-Redirect: /x?y\r\n";
    allowed(&raw(&gateway, "GET /_sessions/auth", &format!("Host: gateway.internal\r\n{url}{ann}")), Some("ann"));
    // nginx speaks HTTP/1.0 to what it asks, unless it is told otherwise.
    let mut connection = gateway.connect();
    connection.send(format!("GET /_sessions/auth HTTP/1.0\r\nUser-Agent: {AGENT}\r\n{common}{uri}\r\n"));
    allowed(&connection.read("GET"), Some("ann"));
    // Envoy: the original's method and host, and its path behind the endpoint.
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let line = format!("{method} /_sessions/auth/x?y");
        let envoy = format!("Host: app.test\r\nX-Forwarded-Proto: https\r\nContent-Length: 0\r\n{ann}");
        allowed(&raw(&gateway, &line, &envoy), Some("ann"));
    }
    assert!(upstream.received().is_empty(), "nothing is forwarded");
}

#[test]
fn the_question_may_have_any_method_and_its_body_is_not_read() {
    let (upstream, gateway) = start();
    let ann = bearer(&gateway.login("ann").token);
    let original = format!(
        "Host: gateway.internal\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test\r\n\
         X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /staff/\r\n{ann}"
    );
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let line = format!("{method} /_sessions/auth");
        refused(&raw(&gateway, &line, &format!("{original}Content-Length: 1000000\r\n")), 403, "role_required");
        refused(&raw(&gateway, &line, &format!("{original}Transfer-Encoding: chunked\r\n")), 403, "role_required");
    }
    let response = raw(&gateway, "HEAD /_sessions/auth", &original);
    assert_eq!(response.status, 403, "{response:?}");
    let mine = original.replace("/staff/", "/mine");
    allowed(&raw(&gateway, "HEAD /_sessions/auth", &mine), Some("ann"));
    assert!(upstream.received().is_empty());
}

#[test]
fn what_is_missing_is_named_and_never_assumed() {
    let (_upstream, gateway) = start();
    // Everybody may see this one; so a guess would let it pass.
    let all = [
        "X-Forwarded-Method: GET\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Host: app.test\r\n",
        "X-Forwarded-Uri: /static/x\r\n",
    ];
    let host = "Host: app.test\r\n";
    allowed(&raw(&gateway, "GET /_sessions/auth", &format!("{host}{}", all.concat())), None);
    for missing in all {
        let headers: String = all.into_iter().filter(|line| *line != missing).collect();
        let response = raw(&gateway, "GET /_sessions/auth", &format!("{host}{headers}"));
        refused(&response, 400, "invalid_request");
        let name = missing.split(':').next().unwrap();
        assert!(response.json()["field"].as_str().unwrap().contains(name), "{response:?}");
    }
    let response = raw(&gateway, "GET /_sessions/auth", host);
    refused(&response, 400, "invalid_request");
    refused(&raw(&gateway, "GET /_sessions/auth/static/x", host), 400, "invalid_request");
    // A slash behind the endpoint is the target "/", and not what the header says.
    let response = raw(&gateway, "GET /_sessions/auth/", &format!("{host}{}", all.concat()));
    refused(&response, 400, "invalid_request");
}

#[test]
fn what_is_said_twice_in_two_ways_is_refused() {
    let (_upstream, gateway) = start();
    for contradiction in [
        "X-Forwarded-Uri: /static/y\r\n",
        "X-Forwarded-Uri: /static/x\r\n",
        "X-Forwarded-Host: app.test\r\n",
        "X-Forwarded-Host: other.test\r\n",
        "X-Forwarded-Method: GET\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Original-URI: /static/y\r\n",
        "X-Original-Method: POST\r\n",
        "X-Original-URL: https://app.test/static/y\r\n",
        "X-Original-URL: https://other.test/static/x\r\n",
        "X-Original-URL: http://app.test/static/x\r\n",
        "Host: app.test\r\n",
    ] {
        refused(&ask(&gateway, "GET", "/static/x", contradiction), 400, "invalid_request");
    }
    for agreement in
        ["X-Original-URI: /static/x\r\n", "X-Original-Method: GET\r\n", "X-Original-URL: https://APP.test/static/x\r\n"]
    {
        allowed(&ask(&gateway, "GET", "/static/x", agreement), None);
    }
}

#[test]
fn a_method_with_a_lower_case_letter_is_refused_whoever_names_it() {
    let (upstream, gateway) = start();
    let ann = bearer(&gateway.login("ann").token);
    let common = format!("X-Forwarded-Proto: https\r\n{ann}");
    for method in ["delete", "Get", "GEt", "trace"] {
        let headers = [
            format!("X-Forwarded-Method: {method}\r\nX-Forwarded-Uri"),
            format!("X-Original-Method: {method}\r\nX-Original-URI"),
        ]
        .map(|named| format!("Host: gateway.internal\r\n{common}X-Forwarded-Host: app.test\r\n{named}: /static/x\r\n"));
        let [traefik, nginx] = headers.map(|headers| raw(&gateway, "GET /_sessions/auth", &headers));
        let envoy =
            raw(&gateway, &format!("{method} /_sessions/auth/static/x"), &format!("Host: app.test\r\n{common}"));
        for response in [traefik, nginx, envoy] {
            refused(&response, 400, "invalid_request");
            assert_eq!(response.json()["field"], "method", "{response:?}");
        }
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn another_call_below_sessions_does_not_answer_for_envoy() {
    let (upstream, gateway) = start();
    let ann = gateway.login("ann");
    let headers = format!("Host: app.test\r\nX-Forwarded-Proto: https\r\n{}", bearer(&ann.token));
    for target in [
        "/_sessions/auth/../current",
        "/_sessions/auth/..",
        "/_sessions/auth/../",
        "/_sessions/auth/../..",
        "/_sessions/auth/../../static/x",
        "/_sessions/auth/static/../../../static/x",
        "/_sessions/auth/%2e%2e/current",
        "/_sessions/auth/x/../../current",
        "/_sessions/auth//../current",
        "/_sessions/auth/..;/current",
        "/_sessions/auth/..%2fcurrent",
        "/_sessions/auth/..\\current",
        "/_sessions/auth/_sessions/current",
        "/_sessions/auth/_sessions/auth/static/x",
        "/_sessions//auth/static/x",
        "/_sessions/./auth/static/x",
        "/x/../_sessions/auth/static/x",
        "/_sessions/%61uth/static/x",
        "/_sessions/authx",
        "/_sessions/auth;x/static/x",
        "/_SESSIONS/auth/../../_sessions/auth",
    ] {
        for method in ["GET", "HEAD", "DELETE"] {
            let response = raw(&gateway, &format!("{method} {target}"), &headers);
            assert!((400..500).contains(&response.status), "{method} {target}: {response:?}");
        }
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.last());
    assert_eq!(gateway.get_as(&ann.token, "/_sessions/current").status, 200, "and nobody was logged out");
}
