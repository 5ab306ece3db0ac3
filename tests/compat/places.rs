//! Where the calls are, and which settings are refused.

use session_gateway::config::Invalid;

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Reaction;
use crate::support::upstream::{Upstream, response};
use crate::{ON, lives, request, start, start_with};

#[test]
fn the_prefix_is_the_one_of_the_project_and_everything_else_below_it_is_the_apps() {
    let (upstream, gateway) = start_with(&format!("{ON}prefix = \"/api/v1/me\"\n"));
    let session = gateway.login("7");
    assert_eq!(request(&gateway, "GET", &session, "/api/v1/me/active").json()[0]["current"], true);
    assert!(upstream.received().is_empty());
    for target in ["/api/v1/me", "/api/v1/me/", "/api/v1/me/actives", "/api/v1/me/active/7", "/sessions/active"] {
        assert_eq!(request(&gateway, "GET", &session, target).text(), "hello", "{target}");
        assert_eq!(upstream.last().target(), target);
    }
}

#[test]
fn a_slash_at_the_end_leads_nowhere() {
    let (upstream, gateway) = start();
    let session = gateway.login("7");
    for method in ["GET", "DELETE", "POST"] {
        let with = request(&gateway, method, &session, "/sessions/active/");
        assert_eq!((with.status, &with.json()["detail"]), (404, &serde_json::json!("Not found.")), "{method}");
        assert_eq!(gateway.request(method, "/sessions/active/", "", b"").status, 404, "{method}");
    }
    assert!(lives(&gateway, &session));
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn the_calls_are_there_on_every_host_and_at_the_root_too() {
    let upstream = Upstream::start(|_| Reaction::Send(response("404 Not Found", "", "no")));
    let settings = format!("{ON}prefix = \"/\"\n[[upstream]]\nurl = \"{{upstream}}\"\nhosts = [\"app.test\"]\n");
    let gateway = Gateway::start(&upstream.url(), &settings);
    let session = gateway.login("7");
    let headers = format!("Host: any.test\r\n{}", crate::token(&session.token));
    assert_eq!(gateway.get("/active", &headers).status, 200);
    assert!(upstream.received().is_empty());
}

#[test]
fn another_spelling_of_the_path_does_not_reach_the_app() {
    let (upstream, gateway) = start();
    let session = gateway.login("7");
    for target in ["/x/../sessions/active", "/sessions//active", "/sessions/%61ctive"] {
        assert_eq!(request(&gateway, "GET", &session, target).json()[0]["current"], true, "{target}");
    }
    for target in ["/sessions/active;x", "/sessions;x=1/active"] {
        let response = request(&gateway, "GET", &session, target);
        assert_eq!(
            (response.status, &response.json()["code"]),
            (400, &serde_json::json!("invalid_request")),
            "{target}"
        );
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_key() {
    let directory = tempfile::TempDir::new().unwrap();
    let faults = |toml: &str| match config(&directory, "http://127.0.0.1:1", "sqlite:x.db", toml) {
        Ok(_) => Vec::new(),
        Err(Invalid(faults)) => faults.into_iter().map(|fault| fault.key).collect(),
    };
    for (lines, key) in [
        ("prefix = \"sessions\"", "compat.prefix"),
        ("prefix = \"/a/../b\"", "compat.prefix"),
        ("prefix = \"/_sessions\"", "compat.prefix"),
        ("prefix = \"/a;b\"", "compat.prefix"),
        ("challenge = \"Basic\"", "compat.challenge"),
        ("[token]\nschemes = [\"Bearer\"]", "compat.challenge"),
        ("[token]\nschemes = []", "compat.challenge"),
    ] {
        assert_eq!(faults(&format!("{ON}{lines}\n")), [key], "{lines}");
    }
    assert_eq!(faults(&format!("{ON}challenge = \"Bearer\"\n[token]\nschemes = [\"bearer\"]\n")), [""; 0]);
    assert_eq!(faults("[compat]\nnilva = false\n[token]\nschemes = []\n"), [""; 0]);
}
