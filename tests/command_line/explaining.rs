//! `explain`: which way a request would go.

use serde_json::{Value, json};
use session_gateway::jwt::Algorithm;

use crate::site::Site;
use crate::support::gateway::AGENT;
use crate::support::issuer::Issuer;
use crate::support::program;

const SETTINGS: &str = r#"
[cache]
ttl = "1h"
[session]
rotate_grace = "100ms"
[[upstream]]
name = "shop"
url = "{upstream}"
  [[upstream.route]]
  path = "/static/"
  auth = "off"
  [[upstream.route]]
  path = "/maybe"
  auth = "optional"
  [[upstream.route]]
  path = "/admin"
  methods = ["GET"]
  roles = ["staff", "boss"]
  [[upstream.route]]
  path = "/api"
  on_reject = "401"
  [[upstream.login]]
  path = "/login"
  user = { form = "username" }
"#;

fn explain(site: &Site, status: i32, target: &str, more: &[&str]) -> Value {
    let url = format!("http://app.test{target}");
    site.json(status, &[&["explain", "GET", &url], more].concat())
}

/// What a real request meets: its status and code, and where it is led.
fn really(site: &Site, target: &str, token: Option<&str>, agent: &str) -> (u16, Value, Option<String>) {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let response = site.gateway.get(target, &format!("User-Agent: {agent}\r\n{token}"));
    let code = if response.status >= 400 { response.json()["code"].clone() } else { Value::Null };
    (response.status, code, response.header("location").map(str::to_owned))
}

both! {
    fn it_says_of_every_kind_of_request_what_the_gateway_then_does(site) {
        let staff = site.gateway.login_with(json!({ "user": "ann", "roles": ["staff"], "user_agent": AGENT, "ip": "127.0.0.1" }));
        let plain = site.gateway.login_with(json!({ "user": "bob", "user_agent": AGENT, "ip": "127.0.0.1" }));
        let unbound = site.gateway.login("cyd");
        let ended = site.gateway.login_with(json!({ "user": "dan", "user_agent": AGENT }));
        assert_eq!(site.gateway.delete_as(&ended.token, "/_sessions/current").status, 204);
        let expired = site.gateway.login_with(json!({ "user": "eve", "user_agent": AGENT }));
        site.execute(&format!("UPDATE sessions SET expires_at = {} WHERE id = {}", site.moment(1000), site.id(&expired.id)));
        let disabled = site.gateway.login_with(json!({ "user": "fay", "user_agent": AGENT }));
        site.execute("UPDATE users SET enabled = false WHERE id = 'fay'");
        let rotated = site.gateway.login_with(json!({ "user": "gus", "user_agent": AGENT }));
        let headers = format!("Authorization: Bearer {}\r\n", rotated.token);
        assert_eq!(site.gateway.request("POST", "/_sessions/rotate", &headers, b"").status, 200);
        let stolen = site.gateway.login_with(json!({ "user": "hal", "user_agent": AGENT }));

        let over = |token: &str| site.run(&["explain", "GET", "http://app.test/", "--token", token]).stdout.contains("would");
        crate::support::wait_until("the grace is over", || over(&rotated.token));
        // A token may begin like an option.
        let never = format!("-{}", "A".repeat(42));
        let cases: &[(&str, Option<&str>, &str, &str)] = &[
            ("/", None, AGENT, "missing_token"),
            ("/", Some(&staff.token), AGENT, ""),
            ("/", Some(&unbound.token), AGENT, ""),
            ("/", Some(&never), AGENT, "unknown_token"),
            ("/", Some("short"), AGENT, "unknown_token"),
            ("/", Some("no,token"), AGENT, "malformed_token"),
            ("/", Some(&ended.token), AGENT, "session_revoked"),
            ("/", Some(&expired.token), AGENT, "session_expired"),
            ("/", Some(&disabled.token), AGENT, "user_disabled"),
            ("/", Some(&rotated.token), AGENT, "session_revoked"),
            ("/admin/x", Some(&staff.token), AGENT, ""),
            ("/admin/x", Some(&plain.token), AGENT, "role_required"),
            ("/admin/x", None, AGENT, "missing_token"),
            ("/api/x", None, AGENT, "missing_token"),
            ("/static/x.css", Some(&never), AGENT, ""),
            ("/maybe", Some(&never), AGENT, ""),
            ("/maybe", Some(&plain.token), AGENT, ""),
            ("/login", None, AGENT, ""),
            ("/a%2Fb", Some(&plain.token), AGENT, "invalid_request"),
            ("/static/%2e%2e/admin", Some(&plain.token), AGENT, "role_required"),
            ("/admin;x=1/y", Some(&staff.token), AGENT, "invalid_request"),
            ("/_sessions", None, AGENT, "missing_token"),
            ("/_sessions", Some(&plain.token), AGENT, ""),
            ("/", Some(&stolen.token), "thief/2.0", "session_suspended"),
        ];
        let before = site.rows();
        let told: Vec<Value> = cases
            .iter()
            .map(|(target, token, agent, code)| {
                let mut more = vec!["--user-agent", agent, "--ip", "127.0.0.1"];
                if let Some(token) = token {
                    more.extend(["--token", token]);
                }
                explain(&site, i32::from(!code.is_empty()), target, &more)
            })
            .collect();
        assert_eq!(site.rows(), before, "explaining changes nothing");

        for ((target, token, agent, code), told) in cases.iter().zip(&told) {
            let (status, really_code, location) = really(&site, target, *token, agent);
            let shown = format!("{target}\n{told:#}");
            if code.is_empty() {
                assert_eq!((status, told["code"].as_str()), (200, None), "{shown}");
            } else {
                assert_eq!((Some(*code), told["code"].as_str()), (really_code.as_str(), Some(*code)), "{shown}");
                assert_eq!(told["program"]["status"], status, "{shown}");
            }
            assert_eq!(location, None, "{shown}");
        }
        assert_ne!(site.rows(), before, "the requests did what explaining did not");
    }

    fn what_a_request_would_change_is_told(site) {
        let unbound = site.gateway.login("cyd");
        let would = |target: &str, more: &[&str], status: i32| explain(&site, status, target, more)["would"].clone();
        assert_eq!(would("/", &["--token", &unbound.token, "--user-agent", "x/1"], 0), "bind");

        let bound = site.gateway.login_with(json!({ "user": "ann", "user_agent": AGENT }));
        assert_eq!(would("/", &["--token", &bound.token, "--user-agent", "x/1"], 1), "suspend");
        assert_eq!(would("/", &["--token", &bound.token], 0), Value::Null, "the session's own User-Agent is assumed");

        let rotated = site.gateway.login_with(json!({ "user": "gus", "user_agent": AGENT }));
        let headers = format!("Authorization: Bearer {}\r\n", rotated.token);
        assert_eq!(site.gateway.request("POST", "/_sessions/rotate", &headers, b"").status, 200);
        crate::support::wait_until("the grace is over", || {
            let told = site.run(&["explain", "GET", "http://app.test/", "--token", &rotated.token, "--json"]);
            let told: Value = serde_json::from_str(&told.stdout).unwrap();
            told["would"] == "end" && told["reason"] == "token_reused"
        });
        let state = site.json(1, &["explain", "GET", "/", "--token", &rotated.token])["session"]["state"].clone();
        assert_eq!(state, "active", "and it is not done");
    }

    fn people_are_told_in_words_and_never_see_the_token(site) {
        let session = site.gateway.login_with(json!({ "user": "Zoë\u{1b}"[..4].to_owned() + " Å", "roles": ["staff"], "user_agent": AGENT }));
        let ran = site.run(&["explain", "GET", "https://app.test/admin/../admin/x?y=1", "--token", &session.token]);
        assert_eq!(ran.status, 0, "{ran:?}");
        for part in [
            "/admin/x?y=1",
            "upstream shop at 127.0.0.1:",
            "number 3: path /admin GET, auth required, roles staff or boss",
            "acme-test/1.0 (assumed: the session's)",
            &session.id,
            "forwarded",
            "x-auth-user: Zo%C3%AB%20%C3%85",
            "x-auth-roles: staff",
        ] {
            assert!(ran.stdout.contains(part), "{part:?} is not in\n{}", ran.stdout);
        }
        assert!(!ran.stdout.contains(&session.token) && !ran.stderr.contains(&session.token), "{ran:?}");

        let ran = site.run(&["explain", "GET", "http://app.test/admin"]);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.stdout.contains("refused: missing_token"), "{}", ran.stdout);
        assert!(ran.stdout.contains("401, WWW-Authenticate: Bearer"), "{}", ran.stdout);
        assert!(ran.stdout.contains("302 to /login?next=/admin"), "{}", ran.stdout);
    }
}

#[test]
fn a_browser_and_a_program_are_told_apart_as_the_route_does() {
    let site = Site::sqlite(SETTINGS);
    let told = explain(&site, 1, "/x?a=1&b", &[]);
    assert_eq!((&told["program"]["status"], &told["browser"]["status"]), (&json!(401), &json!(302)), "{told:#}");
    assert_eq!(told["browser"]["location"], "/login?next=/x%3Fa%3D1%26b");
    let told = explain(&site, 1, "/api", &[]);
    assert_eq!((&told["program"]["status"], &told["browser"]["status"]), (&json!(401), &json!(401)), "{told:#}");
    assert_eq!(
        told["route"],
        json!({ "number": 4, "path": "/api", "methods": [], "auth": "required", "roles": [], "on_reject": "401" })
    );
    let told = explain(&site, 0, "/login", &[]);
    assert_eq!((&told["login"], &told["auth"], &told["watched"]), (&json!(true), &json!("optional"), &Value::Null));
    let told = site.json(0, &["explain", "POST", "http://app.test/login"]);
    assert_eq!(told["watched"], "login");
}

#[test]
fn the_token_may_come_from_where_no_list_of_processes_shows_it() {
    let site = Site::sqlite(SETTINGS);
    let session = site.gateway.login_with(json!({ "user": "ann", "user_agent": AGENT }));
    let file = site.gateway.directory.path().join("token");
    std::fs::write(&file, format!("{}\n", session.token)).unwrap();
    let from_file = format!("file:{}", file.display());
    for (argument, input) in [("-", format!("{}\n", session.token)), (&from_file, String::new())] {
        let ran = site.run_with_input(&["explain", "GET", "http://app.test/", "--token", argument], &input);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stdout.contains("x-auth-user: ann"), "{ran:?}");
    }
    let ran = site.run(&["explain", "GET", "http://app.test/", "--token", "file:/nonexistent"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.contains("--token: /nonexistent"), "{ran:?}");
}

#[test]
fn a_host_chooses_the_application_and_an_unknown_one_is_refused() {
    let site = Site::sqlite("[[upstream]]\nname = \"a\"\nhosts = [\"a.test\"]\nurl = \"{upstream}\"\n");
    assert_eq!(site.json(1, &["explain", "GET", "https://A.test:8443/"])["upstream"]["name"], "a");
    let told = site.json(1, &["explain", "GET", "https://b.test/"]);
    assert_eq!((&told["code"], &told["program"]["status"]), (&json!("not_found"), &json!(404)), "{told:#}");
    let ran = site.run(&["explain", "GET", "ftp://a.test/"]);
    assert_eq!(ran.status, 2, "{ran:?}");
}

#[test]
fn wrong_settings_an_old_schema_and_a_store_that_is_away_are_told_apart() {
    let directory = tempfile::TempDir::new().unwrap();
    let run = |arguments: &[&str]| program::run(program::command(directory.path()).args(arguments));
    let asked = ["explain", "GET", "http://a/", "--upstream", "http://127.0.0.1:1"];
    let with = |more: &[&'static str]| run(&[&asked[..], more].concat());
    let token = "--token=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    let ran = with(&["--listen", "nonsense"]);
    assert_eq!((ran.status, ran.stderr.contains("server.listen")), (78, true), "{ran:?}");
    // Without a token the store is not asked.
    let ran = with(&["--store", "sqlite:nowhere.db"]);
    assert_eq!((ran.status, directory.path().join("nowhere.db").exists()), (1, false), "{ran:?}");
    assert!(ran.stdout.contains("missing_token"), "{ran:?}");
    let ran = with(&["--store", "sqlite:nowhere.db", token]);
    assert_eq!((ran.status, directory.path().join("nowhere.db").exists()), (1, false), "{ran:?}");
    assert!(ran.stderr.contains("nowhere.db"), "{ran:?}");
    std::fs::write(directory.path().join("empty.db"), "").unwrap();
    let ran = with(&["--store", "sqlite:empty.db", token]);
    assert_eq!(ran.status, 78, "{ran:?}");
    assert!(ran.stderr.contains("session-gateway migrate"), "{ran:?}");
    let ran = with(&["--store", "postgres://ann:hunter2@127.0.0.1:1/x", token]);
    assert_eq!(ran.status, 75, "{ran:?}");
    assert!(ran.stdout.contains("refused: store_unavailable") && ran.stdout.contains("503"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
}

#[test]
fn a_session_is_over_by_the_clock_of_the_database() {
    let site = Site::postgres(SETTINGS);
    let told = site.json(0, &["sessions", "create", "ann", "--lifetime", "1h"]);
    let asked = ["explain", "GET", "/", "--token", told["token"].as_str().unwrap()];
    assert_eq!(site.json(0, &asked)["session"]["state"], "active");
    site.execute(
        "CREATE OR REPLACE FUNCTION database_time() RETURNS timestamptz LANGUAGE sql VOLATILE \
         AS $$ SELECT clock_timestamp() + interval '2 hours' $$",
    );
    let told = site.json(1, &asked);
    assert_eq!((&told["code"], &told["session"]["state"]), (&json!("session_expired"), &json!("expired")), "{told:#}");
    assert_eq!(site.json(0, &["sessions", "list"])["sessions"][0]["state"], "expired");
}

#[test]
fn forward_auth_is_told_as_it_answers() {
    let site = Site::sqlite(SETTINGS);
    let told = explain(&site, 1, "/_sessions/auth", &["--ip", "192.0.2.1"]);
    assert_eq!(
        (&told["for"], &told["code"], &told["program"]["status"]),
        (&json!("built_in"), &json!("untrusted_proxy"), &json!(403))
    );
    assert_eq!(really(&site, "/_sessions/auth", None, AGENT).1, "untrusted_proxy");
    let trusting = Site::sqlite(&format!("[server]\ntrusted_proxies = [\"192.0.2.0/24\"]\n{SETTINGS}"));
    assert_eq!(explain(&trusting, 0, "/_sessions/auth", &["--ip", "192.0.2.1"])["decision"], "answered");
}

#[test]
fn a_signed_token_is_judged_as_the_gateway_judges_it() {
    let key = Issuer::new(Algorithm::EdDsa, None).private;
    let site = Site::sqlite(&format!("[signing]\nkey = {key:?}\n"));
    let issue = |user: &str| site.gateway.issue(&json!({ "user": user, "format": "jwt", "user_agent": AGENT })).json();
    let (good, ended) = (issue("ann"), issue("bob"));
    let text = |answer: &Value, name: &str| answer[name].as_str().unwrap().to_owned();
    site.json(0, &["sessions", "revoke", &text(&ended, "id")]);
    let access = text(&good, "access_token");
    let (head, signature) = access.rsplit_once('.').unwrap();
    let altered = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for (token, code) in [
        (access.clone(), None),
        (text(&good, "refresh_token"), Some("invalid_token")),
        (altered, Some("invalid_token")),
        (text(&ended, "access_token"), Some("session_revoked")),
    ] {
        let told = explain(&site, i32::from(code.is_some()), "/", &["--token", &token]);
        assert_eq!(told["code"].as_str(), code, "{told:#}");
        assert_eq!(really(&site, "/", Some(&token), AGENT).1.as_str(), code);
    }
    assert_eq!(explain(&site, 0, "/", &["--token", &access])["identity"]["x-auth-user"], "ann");
}
