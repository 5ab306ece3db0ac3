//! What real applications do that a gateway in front of them must get along with. `scripts/apps` runs the applications
//! themselves; here stand the habits that once were in the way.

mod support;

use support::gateway::Gateway;
use support::upstream::{Reaction, Received, Upstream, response};

const LOGIN: &str = r#"
[[upstream]]
url = "{upstream}"
  [[upstream.route]]
  path = "/public/"
  auth = "off"
  [[upstream.login]]
  path = "/login"
  user = { form = "username" }
"#;

/// An application whose login page leads everybody whom its own cookie makes known to `there`.
fn leads_known_people_to(there: &'static str) -> Upstream {
    Upstream::start(move |received: &Received| {
        let known = received.header("cookie").is_some_and(|cookies| cookies.contains("app="));
        Reaction::Send(match known {
            true => response("302 Found", &format!("Location: {there}\r\n"), ""),
            false => response("200 OK", "Set-Cookie: form=1\r\n", "the form"),
        })
    })
}

fn open_login_page(gateway: &Gateway) -> support::client::Response {
    gateway.get("/login?next=/", "Accept: text/html\r\nCookie: app=1; theme=dark\r\n")
}

/// Django's admin does this: after a session was evicted, its browser went to and fro between the admin and its login.
#[test]
fn whose_session_ended_gets_the_login_form_though_the_application_still_knows_him() {
    for there in ["/", "/inside?a=b", "http://app.test/inside", "inside", "./inside#top"] {
        let upstream = leads_known_people_to(there);
        let gateway = Gateway::start(&upstream.url(), LOGIN);

        let page = open_login_page(&gateway);

        assert_eq!((page.status, page.text()), (200, "the form"), "{there}");
        assert_eq!(page.header("set-cookie"), Some("form=1"), "{there}");
        let received = upstream.received();
        assert_eq!(received.len(), 2, "{there}");
        assert_eq!(received[1].target(), "/login?next=/");
        assert_eq!(received[1].header("cookie"), None);
        assert_eq!(received[1].header("host"), Some("app.test"));
    }
}

#[test]
fn the_login_form_is_asked_for_once_more_in_the_place_of_the_first_request_where_there_is_no_other() {
    let upstream = leads_known_people_to("/");
    let one_at_a_time = "url = \"{upstream}\"\nmax_connections = 1\nmax_pending = 0";
    let gateway = Gateway::start(&upstream.url(), &LOGIN.replace("url = \"{upstream}\"", one_at_a_time));

    let page = open_login_page(&gateway);

    assert_eq!((page.status, page.text()), (200, "the form"));
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn a_login_page_that_leads_to_where_no_session_is_needed_has_its_way() {
    for there in ["/public/next-step", "/login?step=2", "?step=2", "https://sign-on.test/", "//sign-on.test/inside"] {
        let upstream = leads_known_people_to(there);
        let gateway = Gateway::start(&upstream.url(), LOGIN);

        let page = open_login_page(&gateway);

        assert_eq!((page.status, page.header("location")), (302, Some(there)));
        assert_eq!(upstream.received().len(), 1, "{there}");
    }
}

#[test]
fn whoever_is_logged_in_is_led_away_from_the_login_page_as_the_application_likes() {
    let upstream = leads_known_people_to("/inside");
    let gateway = Gateway::start(&upstream.url(), LOGIN);
    let session = gateway.login("ann");

    let page = gateway.get("/login", &format!("Authorization: Bearer {}\r\nCookie: app=1\r\n", session.token));

    assert_eq!((page.status, page.header("location")), (302, Some("/inside")));
    assert_eq!(upstream.received().len(), 1);
}

/// An application that asks nobody twice: whoever is logged in already is led on from the login, whatever was typed.
fn asks_nobody_twice() -> Upstream {
    Upstream::start(|received: &Received| {
        let known = received.header("cookie").is_some_and(|cookies| cookies.contains("app=1"));
        let right = received.body.ends_with(b"password=right");
        Reaction::Send(match (known, right) {
            (true, false) => response("302 Found", "Location: /\r\nSet-Cookie: theme=dark\r\n", ""),
            // Who types the right password again keeps the cookie's value, as in Django.
            (true, true) => response("302 Found", "Location: /\r\nSet-Cookie: app=1; Path=/\r\n", ""),
            (false, true) => response("302 Found", "Location: /\r\nSet-Cookie: app=2; Path=/\r\n", ""),
            (false, false) => response("200 OK", "", "wrong"),
        })
    })
}

/// Django's `LoginView` with `redirect_authenticated_user` does this.
#[test]
fn nobody_becomes_somebody_else_because_the_application_knows_him_already() {
    let upstream = asks_nobody_twice();
    let gateway = Gateway::start(&upstream.url(), &format!("{LOGIN}  sets_cookie = \"app\"\n"));
    let log_in = |headers: &str, body: &str| {
        let headers = format!("{headers}Content-Type: application/x-www-form-urlencoded\r\n");
        let response = gateway.request("POST", "/login", &headers, body.as_bytes());
        (response.status, response.headers("set-cookie").iter().any(|line| line.starts_with("__Host-session=")))
    };

    assert_eq!(log_in("Cookie: app=1\r\n", "username=root&password=wrong"), (302, false));
    assert_eq!(log_in("Cookie: app=0\r\n", "username=root&password=wrong"), (200, false));
    assert_eq!(log_in("Cookie: app=0\r\n", "username=ann&password=right"), (302, true));
    assert_eq!(log_in("Cookie: app=1\r\n", "username=ann&password=right"), (302, true));
    assert_eq!(gateway.metric("gateway_sessions_created_total"), 2.0);
}
