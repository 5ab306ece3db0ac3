//! Logins that fail, at the application or at the gateway.

use std::net::TcpListener;

use tempfile::TempDir;

use crate::support::database::Database;
use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::{Reaction, Upstream, response};
use crate::{BY_FORM, FORM, answering, log_in, no_session, start, token};

const WITH_COOKIES: &str = "Location: /home\r\nSet-Cookie: sessionid=abc\r\n";

/// An application that answers the status that the target's query asks for.
fn asked() -> Upstream {
    Upstream::start(|request| {
        let status = request.target().split_once('?').map_or("404", |(_, query)| query);
        Reaction::Send(response(&format!("{status} X"), "X-User: ann\r\nLocation: /\r\n", ""))
    })
}

fn matched(gateway: &Gateway, status: u16) -> bool {
    let response = gateway.request("POST", &format!("/login?{status}"), FORM, b"username=ann");
    assert_eq!(response.status, status, "the application's answer passes");
    response.cookie("__Host-session").is_some()
}

#[test]
fn a_login_by_form_succeeds_with_a_redirect_alone_unless_it_is_said() {
    let upstream = asked();
    let gateway = start(&upstream, BY_FORM, "");
    for status in [200, 201, 204, 301, 302, 303, 304, 307, 400, 401, 403, 404, 422, 429, 500, 503] {
        assert_eq!(matched(&gateway, status), matches!(status, 302 | 303), "{status}");
    }
    let gateway = start(&upstream, &format!("{BY_FORM}\nsuccess = [200, 204]"), "");
    for status in [200, 204, 302, 303, 401] {
        assert_eq!(matched(&gateway, status), matches!(status, 200 | 204), "{status}");
    }
}

#[test]
fn a_login_that_the_answer_names_succeeds_with_anything_but_an_error() {
    let upstream = asked();
    let gateway = start(&upstream, "user = { header = \"X-User\" }", "");
    for status in [200, 201, 204, 302, 307, 400, 401, 500] {
        assert_eq!(matched(&gateway, status), status < 400, "{status}");
    }
}

#[test]
fn a_failure_that_is_answered_200_creates_nothing_and_ends_nothing() {
    let upstream = answering("200 OK", "", "wrong password, try again");
    let gateway = start(&upstream, BY_FORM, "");
    let session = gateway.login("ann");
    let response = gateway.request("POST", "/login", &format!("{FORM}{}", bearer(&session.token)), b"username=ann");
    assert_eq!((response.status, response.text()), (200, "wrong password, try again"));
    no_session(&response);
    let database = Database::of(&gateway);
    assert_eq!(database.count("true"), 1);
    assert!(database.events("login_unmatched").is_empty(), "that is no login at all");
    assert_eq!(gateway.get_as(&session.token, "/").status, 200);
}

#[test]
fn only_the_method_and_path_of_the_login_are_one() {
    let upstream = answering("302 Found", "Location: /home\r\n", "");
    let gateway = start(&upstream, &format!("{BY_FORM}\n[[upstream.route]]\npath = \"/\"\nauth = \"optional\"\n"), "");
    for (method, target) in
        [("PUT", "/login"), ("GET", "/login"), ("POST", "/login/"), ("POST", "/"), ("POST", "/login/x")]
    {
        no_session(&gateway.request(method, target, FORM, b"username=ann"));
    }
    for target in ["/login?x=1", "//login", "/./login", "/%6cogin"] {
        token(&gateway.request("POST", target, FORM, b"username=ann"));
    }
    assert_eq!(gateway.request("POST", "/login;x", FORM, b"username=ann").status, 400);
    let gateway = start(&upstream, &format!("{BY_FORM}\nmethod = \"PUT\""), "");
    token(&gateway.request("PUT", "/login", FORM, b"username=ann"));
    no_session(&gateway.request("POST", "/login", FORM, b"username=ann"));
}

#[test]
fn too_many_sessions_replace_the_applications_yes_and_its_cookies() {
    let upstream = answering("302 Found", WITH_COOKIES, "welcome");
    let gateway = start(&upstream, BY_FORM, "[policy.max_sessions]\ndefault = 1\non_exceed = \"reject_new\"\n");
    let first = token(&log_in(&gateway, "ann"));
    let response = log_in(&gateway, "ann");
    assert_eq!((response.status, response.code().as_str()), (409, "too_many_sessions"));
    assert_eq!((response.header("set-cookie"), response.header("location")), (None, None));
    assert!(!response.text().contains("welcome"));
    assert_eq!(gateway.get_as(&first, "/").status, 302);
    // The browser that holds the one session may log in again.
    let again = gateway.request("POST", "/login", &format!("{FORM}{}", bearer(&first)), b"username=ann");
    token(&again);
}

#[test]
fn a_disabled_user_is_not_let_in_by_the_application() {
    let upstream = answering("302 Found", WITH_COOKIES, "");
    let gateway = start(&upstream, BY_FORM, "");
    token(&log_in(&gateway, "dan"));
    Database::of(&gateway).execute("UPDATE users SET enabled = 0 WHERE id = 'dan'", []);
    let response = log_in(&gateway, "dan");
    assert_eq!((response.status, response.code().as_str()), (403, "user_disabled"));
    assert_eq!(response.header("set-cookie"), None);
}

#[test]
fn without_its_store_the_gateway_gives_no_answer_of_the_application() {
    let upstream = answering("302 Found", WITH_COOKIES, "welcome");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let toml = format!("[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.login]]\npath = \"/login\"\n{BY_FORM}\n");
    let store = format!("postgres://nobody@{nobody}/none");
    let gateway = Gateway::start_unready(TempDir::new().unwrap(), &upstream.url(), &store, &toml);
    assert_eq!(gateway.get("/login", "").status, 302, "the page itself needs no store");
    let response = log_in(&gateway, "ann");
    assert_eq!((response.status, response.code().as_str()), (503, "store_unavailable"));
    assert_eq!((response.header("set-cookie"), response.header("location")), (None, None));
    assert!(!response.text().contains("welcome"));
}

#[test]
fn an_application_that_does_not_answer_logs_nobody_in() {
    let upstream = Upstream::start(|_| Reaction::Close);
    let gateway = start(&upstream, BY_FORM, "");
    let response = log_in(&gateway, "ann");
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"));
    assert_eq!(Database::of(&gateway).count("true"), 0);
}

#[test]
fn a_redirect_back_to_the_login_page_is_no_login_unless_the_application_says_so_otherwise() {
    for location in
        ["/login", "/login?error=1", "login?error", "?error", "http://app.test/login/", "/./login#x", "/enter"]
    {
        let upstream = Upstream::start(move |_| {
            let headers = format!("Location: {location}\r\nSet-Cookie: sid=1\r\n");
            Reaction::Send(response("302 Found", &headers, ""))
        });
        let with = |login: &str| {
            let toml = format!(
                "[[upstream]]\nurl = \"{{upstream}}\"\nlogin_url = \"/enter\"\n[[upstream.login]]\npath = \"/login\"\n{login}\n"
            );
            Gateway::start(&upstream.url(), &toml)
        };
        let gateway = with(BY_FORM);
        let response = log_in(&gateway, "ann");
        assert_eq!((response.status, response.header("location")), (302, Some(location)));
        no_session(&response);
        assert_eq!(Database::of(&gateway).count("true"), 0, "{location}");
        assert!(
            Database::of(&gateway).events("login_unmatched").is_empty(),
            "a wrong password is no event: {location}"
        );
        token(&log_in(&with(&format!("{BY_FORM}\nsets_cookie = \"sid\"")), "ann"));
        for login in [&format!("{BY_FORM}\nsets_cookie = \"other\"")[..], "user = { header = \"X-User\" }"] {
            let gateway = with(login);
            no_session(&log_in(&gateway, "ann"));
            assert!(Database::of(&gateway).events("login_unmatched").is_empty(), "{login} {location}");
        }
    }
    for location in ["/", "/login/done", "/home?next=/login", "//login", "https://app.test/loginx"] {
        let upstream =
            Upstream::start(move |_| Reaction::Send(response("302 Found", &format!("Location: {location}\r\n"), "")));
        token(&log_in(&start(&upstream, BY_FORM, ""), "ann"));
    }
}
