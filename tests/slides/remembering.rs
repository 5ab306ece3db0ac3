//! `remember`, in a login's form and in `POST /_sessions`.

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::{between, current};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const LIFETIMES: &str = "[session]\nlifetime = \"1h\"\nremember_lifetime = \"20d\"\n";
const HOUR: i64 = 3_600_000;
const TWENTY_DAYS: i64 = 20 * 24 * HOUR;
const COOKIE: &str = "; Path=/; HttpOnly; Secure; SameSite=Lax";

/// An application that lets everybody in, and a gateway with these settings and lines of `[[upstream.login]]`.
fn start(settings: &str, login: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(|_| Reaction::Send(response("302 Found", "Location: /home\r\nX-Keep: yes\r\n", "")));
    let hook = "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.login]]\npath = \"/login\"\n";
    let gateway = Gateway::start(&upstream.url(), &format!("{settings}{hook}{login}\n"));
    (upstream, gateway)
}

const BY_FORM: &str = "user = { form = \"username\" }\nremember = { form = \"remember\" }";

fn log_in(gateway: &Gateway, fields: &str) -> Response {
    gateway.request("POST", "/login", FORM, format!("username=ann{fields}").as_bytes())
}

/// How long the session of a login lasts from its creation, and what stands behind the token in its cookie.
fn lasts(gateway: &Gateway, login: &Response) -> (i64, String) {
    let token = login.cookie("__Host-session").unwrap_or_else(|| panic!("{login:?}"));
    let shown = current(gateway, &token);
    let line = login.headers("set-cookie")[0].to_owned();
    (between(&shown["created_at"], &shown["expires_at"]), line[line.find(';').unwrap()..].to_owned())
}

fn remembered() -> (i64, String) {
    (TWENTY_DAYS, format!("{COOKIE}; Max-Age=1728000"))
}

fn forgotten() -> (i64, String) {
    (HOUR, COOKIE.to_owned())
}

#[test]
fn who_wants_to_be_remembered_gets_the_longer_lifetime_and_a_cookie_that_stays() {
    let (_upstream, gateway) = start(LIFETIMES, BY_FORM);
    for yes in ["&remember=on", "&remember=1", "&remember=true", "&remember=yes", "&remember=0&remember=1"] {
        assert_eq!(lasts(&gateway, &log_in(&gateway, yes)), remembered(), "{yes}");
    }
    for no in [
        "",
        "&remember=",
        "&remember",
        "&remember=0",
        "&remember=False",
        "&remember=off",
        "&remember=NO",
        "&remembered=1",
    ] {
        assert_eq!(lasts(&gateway, &log_in(&gateway, no)), forgotten(), "{no}");
    }
}

#[test]
fn a_login_that_asks_nobody_keeps_its_cookie_as_long_as_the_session() {
    let (_upstream, gateway) = start(LIFETIMES, "user = { form = \"username\" }");
    assert_eq!(lasts(&gateway, &log_in(&gateway, "&remember=on")), (HOUR, format!("{COOKIE}; Max-Age=3600")));
}

#[test]
fn the_wish_may_stand_in_json_in_a_multipart_form_or_in_the_answer() {
    let by_json = "user = { request_json = \"/name\" }\nremember = { request_json = \"/stay\" }";
    let (_upstream, gateway) = start(LIFETIMES, by_json);
    let log_in_with = |stay: Value| {
        let body = json!({ "name": "ann", "stay": stay }).to_string();
        lasts(&gateway, &gateway.request("POST", "/login", JSON, body.as_bytes()))
    };
    for yes in [json!(true), json!(1), json!("on")] {
        assert_eq!(log_in_with(yes.clone()), remembered(), "{yes}");
    }
    for no in [json!(false), json!(0), json!("off"), json!(null), json!([true])] {
        assert_eq!(log_in_with(no.clone()), forgotten(), "{no}");
    }

    let (_upstream, gateway) = start(LIFETIMES, BY_FORM);
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let body = format!("{}{}--b--\r\n", part("username", "ann"), part("remember", "on"));
    let multipart = "Content-Type: multipart/form-data; boundary=b\r\n";
    assert_eq!(lasts(&gateway, &gateway.request("POST", "/login", multipart, body.as_bytes())), remembered());

    let (_upstream, gateway) = start(LIFETIMES, "user = { form = \"username\" }\nremember = { header = \"X-Keep\" }");
    let login = log_in(&gateway, "");
    assert_eq!(login.header("x-keep"), None, "what the application tells the gateway does not reach the client");
    assert_eq!(lasts(&gateway, &login), remembered());
}

#[test]
fn the_cookie_of_a_session_that_slides_lasts_to_the_hard_maximum() {
    for (settings, max_age) in [
        ("[session]\nsliding = true\nlifetime = \"1h\"\nmax_lifetime = \"60d\"\n", 60 * 86_400),
        ("[session]\nsliding = true\nlifetime = \"1h\"\n", 400 * 86_400),
        ("[session]\nsliding = true\nlifetime = \"1h\"\nmax_lifetime = \"1000d\"\n", 400 * 86_400),
    ] {
        let (_upstream, gateway) = start(settings, "user = { form = \"username\" }");
        let expected = (HOUR, format!("{COOKIE}; Max-Age={max_age}"));
        assert_eq!(lasts(&gateway, &log_in(&gateway, "")), expected, "{settings}");
    }
    let (_upstream, gateway) = start(
        "[session]\nsliding = true\nlifetime = \"1h\"\nremember_lifetime = \"20d\"\nmax_lifetime = \"60d\"\n",
        BY_FORM,
    );
    let expected = (TWENTY_DAYS, format!("{COOKIE}; Max-Age=5184000"));
    assert_eq!(lasts(&gateway, &log_in(&gateway, "&remember=1")), expected);
    assert_eq!(lasts(&gateway, &log_in(&gateway, "")), forgotten());
}

#[test]
fn a_rotated_cookie_stays_or_goes_with_the_browser_as_the_one_before_it_did() {
    for sliding in ["", "sliding = true\nmax_lifetime = \"60d\"\n"] {
        let (_upstream, gateway) = start(&format!("{LIFETIMES}{sliding}"), BY_FORM);
        for (fields, stays) in [("&remember=on", true), ("", false)] {
            let token = log_in(&gateway, fields).cookie("__Host-session").unwrap();
            let page = format!("Cookie: __Host-session={token}\r\nSec-Fetch-Site: same-origin\r\n");
            let rotated = gateway.request("POST", "/_sessions/rotate", &page, b"");
            assert_eq!(rotated.status, 200, "{rotated:?}");
            let cookie = rotated.headers("set-cookie")[0];
            assert_eq!(cookie.contains("; Max-Age="), stays, "{cookie}");
        }
    }
}

#[test]
fn a_service_may_ask_for_a_session_that_is_remembered() {
    let (_upstream, gateway) = start(LIFETIMES, BY_FORM);
    let lasts = |body: Value| {
        let session = gateway.login_with(body);
        let shown = current(&gateway, &session.token);
        between(&shown["created_at"], &shown["expires_at"])
    };
    assert_eq!(lasts(json!({ "user": "ann", "remember": true })), TWENTY_DAYS);
    assert_eq!(lasts(json!({ "user": "ann", "remember": false })), HOUR);
    assert_eq!(lasts(json!({ "user": "ann", "remember": null })), HOUR);
    assert_eq!(
        lasts(json!({ "user": "ann", "remember": true, "lifetime": "2h" })),
        2 * HOUR,
        "what is said outright counts"
    );
    for wrong in [json!("true"), json!(1), json!({})] {
        let answer = gateway.issue(&json!({ "user": "ann", "remember": wrong }));
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("remember")));
    }
}
