//! Every code that a client can meet, brought about on the wire.

use std::net::TcpListener;

use serde_json::json;
use session_gateway::error::Code;
use tempfile::TempDir;

use crate::problem;
use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, SERVICE_KEY, bearer};
use crate::support::upstream::{Reaction, Upstream, response};

/// What clients rely on.
const CONTRACT: &[(&str, u16)] = &[
    ("missing_token", 401),
    ("malformed_token", 401),
    ("unknown_token", 401),
    ("session_expired", 401),
    ("session_idle", 401),
    ("session_revoked", 401),
    ("session_suspended", 401),
    ("session_evicted", 401),
    ("user_agent_changed", 401),
    ("ip_changed", 401),
    ("user_disabled", 401),
    ("user_disabled", 403),
    ("invalid_service_key", 401),
    ("too_many_sessions", 409),
    ("already_rotated", 409),
    ("role_required", 403),
    ("untrusted_proxy", 403),
    ("csrf", 403),
    ("invalid_request", 400),
    ("not_found", 404),
    ("method_not_allowed", 405),
    ("request_timeout", 408),
    ("payload_too_large", 413),
    ("unsupported_media_type", 415),
    ("rate_limited", 429),
    ("store_unavailable", 503),
    ("upstream_unreachable", 502),
    ("upstream_timeout", 504),
];

/// Those that take more than a gateway with a service and an upstream; `tests/jwt.rs`, `tests/admin.rs` and
/// `tests/upstreams.rs` meet them.
const MET_ELSEWHERE: [&str; 6] =
    ["keys_unavailable", "invalid_token", "token_expired", "conflict", "protected_user", "upstream_unavailable"];

#[test]
fn every_code_that_a_client_can_meet_is_met_with_its_status() {
    let mut met = Vec::new();
    evicting_and_suspending(&mut met);
    rejecting(&mut met);
    failing(&mut met);
    for response in &met {
        problem(response, response.status, &response.code());
    }

    let mut met: Vec<_> = met.iter().map(|response| (response.code(), response.status)).collect();
    met.sort();
    let mut contract: Vec<_> = CONTRACT.iter().map(|(code, status)| ((*code).to_owned(), *status)).collect();
    contract.sort();
    assert_eq!(met, contract);

    // A code that is new has to be met above. `internal` takes a bug of ours.
    let all: Vec<_> = Code::ALL.iter().filter(|code| **code != Code::Internal).map(|code| code.rule().name).collect();
    let all: Vec<_> = all.into_iter().filter(|name| !MET_ELSEWHERE.contains(name)).collect();
    let mut contract: Vec<_> = CONTRACT.iter().map(|(code, _)| *code).collect();
    contract.sort_unstable();
    let mut all = all;
    all.sort_unstable();
    assert_eq!(all, contract);
}

/// What the sessions of a gateway with mostly default rules meet.
fn evicting_and_suspending(met: &mut Vec<Response>) {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(
        &upstream.url(),
        "[session]\nidle_timeout = \"1h\"\n[server]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [policy.ip]\nmode = \"exact\"\n\
         [[upstream]]\nurl = \"{upstream}\"\nhosts = [\"app.test\"]\n\
         [[upstream.route]]\npath = \"/admin/\"\nroles = [\"staff\"]\n",
    );
    let database = Database::of(&gateway);
    let use_it = |token: &str| gateway.get_as(token, "/");

    met.push(gateway.get("/", ""));
    met.push(gateway.get("/", "Authorization: Bearer a b\r\n"));
    met.push(use_it(&"x".repeat(43)));

    let expired = gateway.login("ann");
    database.change(&expired, "expires_at = created_at");
    met.push(use_it(&expired.token));

    let idle = gateway.login("ann");
    database.change(&idle, "last_seen_at = last_seen_at - 3600001");
    met.push(use_it(&idle.token));

    let disabled = gateway.login("dan");
    database.execute("UPDATE users SET enabled = 0 WHERE id = 'dan'", []);
    met.push(use_it(&disabled.token));
    met.push(gateway.issue(&json!({ "user": "dan" })));

    let revoked = gateway.login("ann");
    assert_eq!(gateway.delete_as(&revoked.token, "/_sessions/current").status, 204);
    met.push(use_it(&revoked.token));

    let rotated = bearer(&gateway.login("ann").token);
    assert_eq!(gateway.request("POST", "/_sessions/rotate", &rotated, b"").status, 200);
    met.push(gateway.request("POST", "/_sessions/rotate", &rotated, b""));

    let evicted = gateway.login("eve");
    gateway.login_with(json!({ "user": "eve", "max_sessions": 1 }));
    met.push(use_it(&evicted.token));

    let live = gateway.login_with(json!({ "user": "ann", "user_agent": "acme-test/1.0" }));
    met.push(gateway.get_as(&live.token, "/admin/"));
    met.push(gateway.get("/", &format!("{}X-Forwarded-For: 192.0.2.7\r\n", bearer(&live.token))));
    met.push(gateway.request(
        "DELETE",
        "/_sessions/current",
        &format!("Cookie: __Host-session={}\r\n", live.token),
        b"",
    ));
    met.push(gateway.request("PUT", "/_sessions", &bearer(&live.token), b""));
    met.push(gateway.get_as(&live.token, "/_sessions?limit=0"));
    met.push(gateway.get("/", "Host: other.test\r\n"));
    met.push(gateway.get("/", &format!("{}User-Agent: thief/1\r\n", bearer(&live.token))));
}

/// What needs other rules.
fn rejecting(met: &mut Vec<Response>) {
    let gateway = Gateway::start(
        "http://127.0.0.1:9",
        "[server]\nidle_timeout = \"200ms\"\n[policy.user_agent]\non_change = \"reject\"\n\
         [policy.max_sessions]\ndefault = 1\non_exceed = \"reject_new\"\n\
         [limits]\nrotations_per_session = \"1/1h\"\n",
    );
    let live = gateway.login_with(json!({ "user": "ann", "user_agent": "acme-test/1.0" }));
    met.push(gateway.issue(&json!({ "user": "ann" })));
    met.push(gateway.get("/", &format!("{}User-Agent: other/1\r\n", bearer(&live.token))));
    met.push(gateway.get("/_sessions/auth", ""));
    let rotated = gateway.request("POST", "/_sessions/rotate", &bearer(&live.token), b"").json();
    met.push(gateway.request("POST", "/_sessions/rotate", &bearer(rotated["token"].as_str().unwrap()), b""));

    let json = "Content-Type: application/json\r\n";
    let key = bearer(SERVICE_KEY);
    met.push(gateway.request("POST", "/_sessions", &format!("{}{json}", bearer("no-such-key")), b"{}"));
    met.push(gateway.request("POST", "/_sessions", &key, b"user=ann"));
    met.push(gateway.request("POST", "/_sessions", &format!("{key}{json}"), &[b' '; 70_000]));

    let mut stalling = gateway.connect();
    stalling.send(format!("POST /_sessions HTTP/1.1\r\nHost: app.test\r\n{key}{json}Content-Length: 9\r\n\r\n{{"));
    met.push(stalling.read("POST"));
}

/// What is not the client's fault.
fn failing(met: &mut Vec<Response>) {
    let slow = Upstream::start(|_| {
        Reaction::Custom(Box::new(|stream| {
            let mut rest = Vec::new();
            let _ = std::io::Read::read_to_end(stream, &mut rest);
        }))
    });
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let toml = format!(
        "[[upstream]]\nurl = \"{}\"\nhosts = [\"slow.test\"]\nresponse_timeout = \"200ms\"\n\
         [[upstream]]\nurl = \"{nobody}\"\n",
        slow.url()
    );
    let gateway = Gateway::start(&nobody, &toml);
    let session = gateway.login("ann");
    met.push(gateway.get("/", &format!("Host: slow.test\r\n{}", bearer(&session.token))));
    met.push(gateway.get_as(&session.token, "/"));

    let directory = TempDir::new().unwrap();
    let store = nobody.replace("http://", "postgres://nobody@") + "/none";
    let without_store = Gateway::start_unready(directory, &nobody, &store, "");
    met.push(without_store.get_as(&session.token, "/"));
}

#[test]
fn a_refusal_says_invalid_token_only_to_whoever_brought_one() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "");
    assert_eq!(gateway.get("/", "").header("www-authenticate"), Some("Bearer"));
    assert_eq!(gateway.get("/", "Authorization: Basic YTpi\r\n").header("www-authenticate"), Some("Bearer"));
    for credential in [bearer(&"x".repeat(43)), bearer("~"), format!("Cookie: __Host-session={}\r\n", "x".repeat(43))] {
        let response = gateway.get("/", &credential);
        let challenge = response.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer error=\"invalid_token\", error_description=\""), "{challenge}");
        assert!(!response.text().contains("xxxx") && !response.head.contains("xxxx"), "{response:?}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_store_that_is_away_is_a_503_and_never_a_login_page_or_a_pass() {
    let upstream = Upstream::start(|_| Reaction::Send(response("200 OK", "", "secret")));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start_unready(
        TempDir::new().unwrap(),
        &upstream.url(),
        &format!("postgres://nobody@{closed}/none"),
        "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.login]]\npath = \"/login\"\nuser = { form = \"username\" }\n\
         [[upstream.route]]\npath = \"/open/\"\nauth = \"optional\"\n\
         [[upstream.route]]\npath = \"/in/\"\non_reject = \"login\"\n",
    );
    let token = "x".repeat(43);
    for path in ["/", "/open/", "/in/", "/login", "/_sessions", "/_sessions/current"] {
        let headers = format!("{}Accept: text/html\r\n", bearer(&token));
        let response = gateway.get(path, &headers);
        problem(&response, 503, "store_unavailable");
        assert_eq!(response.header("retry-after"), Some("1"), "{path}");
        assert_eq!(response.header("location"), None, "{path}");
    }
    problem(&gateway.issue(&json!({ "user": "ann" })), 503, "store_unavailable");
    assert!(upstream.received().is_empty());
    // Who brings nothing needs no store: the login page is for them.
    assert_eq!(gateway.get("/in/", "Accept: text/html\r\n").status, 302);
}
