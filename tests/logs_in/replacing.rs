//! A login always gets a new session, and the one that the browser came with is over.

use serde_json::json;

use crate::support::client::Response;
use crate::support::gateway::{Gateway, bearer};
use crate::support::wait_until;
use crate::{BY_FORM, FORM, app, start, token, user_of};

fn log_in_with(gateway: &Gateway, headers: &str, user: &str) -> Response {
    gateway.request("POST", "/login", &format!("{FORM}{headers}"), format!("username={user}").as_bytes())
}

fn cookie(token: &str) -> String {
    format!("Cookie: __Host-session={token}\r\n")
}

#[track_caller]
fn replaced(gateway: &Gateway, token: &str) {
    let response = gateway.get_as(token, "/");
    assert_eq!((response.status, response.code().as_str()), (401, "session_revoked"));
    assert_eq!(response.json()["reason"], "replaced");
}

#[test]
fn the_earlier_session_of_the_browser_is_replaced_whoevers_it_was() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let elsewhere = gateway.login("ann");
    let first = token(&log_in_with(&gateway, "", "ann"));
    assert_eq!(gateway.get_as(&first, "/").status, 302, "hot in the cache");

    let second = token(&log_in_with(&gateway, &cookie(&first), "ann"));
    assert_ne!(first, second);
    replaced(&gateway, &first);
    let third = token(&log_in_with(&gateway, &bearer(&second), "ben"));
    replaced(&gateway, &second);
    assert_eq!(user_of(&gateway, &third).as_deref(), Some("ben"));
    assert!(user_of(&gateway, &elsewhere.token).is_some(), "other browsers are left alone");
}

#[test]
fn a_token_that_was_planted_is_never_adopted() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let planted = "A".repeat(43);
    let mallory = gateway.login("mallory").token;
    for headers in [cookie(&planted), bearer(&planted), cookie(&mallory), format!("{}{}", cookie("x"), cookie("y"))] {
        let given = token(&log_in_with(&gateway, &headers, "ann"));
        assert!(given != planted && given != mallory, "{headers}");
        assert_eq!(user_of(&gateway, &given).as_deref(), Some("ann"));
        // Nobody else holds what ann was given, and what was planted opens nothing of hers.
        assert_eq!(user_of(&gateway, &planted), None);
        assert_ne!(user_of(&gateway, &mallory).as_deref(), Some("ann"));
    }
}

#[test]
fn the_login_page_is_reached_without_a_session_and_with_a_dead_one() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let dead = gateway.login("ann");
    assert_eq!(gateway.delete_as(&dead.token, "/_sessions/current").status, 204);
    for headers in [String::new(), cookie(&dead.token), bearer(&dead.token), cookie("!"), cookie(&"x".repeat(43))] {
        for method in ["GET", "HEAD", "POST"] {
            assert_eq!(gateway.request(method, "/login", &headers, b"").status, 302, "{method} {headers}");
            let received = upstream.last();
            assert_eq!((received.method(), received.target()), (method, "/login"));
            assert_eq!(received.header("x-auth-user"), None);
            assert!(!received.head.contains(&dead.token));
        }
        let response = log_in_with(&gateway, &headers, "ann");
        assert!(user_of(&gateway, &token(&response)).is_some());
    }
    for path in ["/login/", "/login/x", "/loginx", "/LOGIN"] {
        assert_eq!(gateway.get(path, "").status, 401, "{path}");
    }
}

#[test]
fn a_route_over_the_login_does_not_close_it() {
    let upstream = app();
    let gateway = start(&upstream, &format!("{BY_FORM}\n[[upstream.route]]\npath = \"/\"\nroles = [\"staff\"]\n"), "");
    assert_eq!(gateway.get("/login", "").status, 302);
    let session = token(&log_in_with(&gateway, "", "ann"));
    assert_eq!(gateway.get_as(&session, "/x").status, 403);
    let session = token(&log_in_with(&gateway, &cookie(&session), "ben"));
    assert_eq!(user_of(&gateway, &session).as_deref(), Some("ben"));
}

#[test]
fn where_a_login_is_open_to_all_the_earlier_session_is_replaced_all_the_same() {
    let upstream = app();
    let gateway = start(&upstream, &format!("{BY_FORM}\n[[upstream.route]]\npath = \"/login\"\nauth = \"off\"\n"), "");
    let first = token(&log_in_with(&gateway, "", "ann"));
    token(&log_in_with(&gateway, &cookie(&first), "ann"));
    replaced(&gateway, &first);
}

#[test]
fn the_session_is_bound_to_the_browser_that_logged_in() {
    let upstream = app();
    let gateway =
        start(&upstream, BY_FORM, "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[policy.ip]\nmode = \"exact\"\n");
    let from = |ip: &str| format!("X-Forwarded-For: {ip}\r\n");
    let session = token(&log_in_with(&gateway, &from("192.0.2.7"), "ann"));
    let get = |ip: &str| gateway.get("/_sessions/current", &format!("{}{}", bearer(&session), from(ip)));
    assert_eq!(get("192.0.2.8").code(), "ip_changed");
    let current = get("192.0.2.7").json();
    assert_eq!((&current["last_ip"], &current["user_agent"]), (&json!("192.0.2.7"), &json!("acme-test/1.0")));
    let thief = gateway.get("/", &format!("{}{}User-Agent: thief/1\r\n", bearer(&session), from("192.0.2.7")));
    assert_eq!(thief.code(), "session_suspended");
}

#[test]
fn a_login_under_a_limit_takes_the_place_of_the_browsers_own_session_first() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "[policy.max_sessions]\ndefault = 2\n");
    let elsewhere = gateway.login("ann");
    let first = token(&log_in_with(&gateway, "", "ann"));
    let second = token(&log_in_with(&gateway, &cookie(&first), "ann"));
    replaced(&gateway, &first);
    assert!(user_of(&gateway, &elsewhere.token).is_some(), "logging in again evicts nobody");
    let third = token(&log_in_with(&gateway, "", "ann"));
    assert_eq!(gateway.get_as(&elsewhere.token, "/").code(), "session_evicted");
    assert!(user_of(&gateway, &second).is_some() && user_of(&gateway, &third).is_some());
}

#[test]
fn a_session_in_use_elsewhere_at_the_same_time_ends_with_the_login() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let first = token(&log_in_with(&gateway, "", "ann"));
    let addresses = gateway.address;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            wait_until("the reader is told", || {
                let mut connection = crate::support::client::Connection::open(addresses);
                connection.send(format!(
                    "GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{}\r\n",
                    bearer(&first)
                ));
                connection.read("GET").status == 401
            });
        });
        token(&log_in_with(&gateway, &cookie(&first), "ann"));
        replaced(&gateway, &first);
        reader.join().unwrap();
    });
}
