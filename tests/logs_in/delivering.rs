//! How the client gets its token.

use serde_json::json;

use crate::support::database::Database;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::{BY_FORM, FORM, JSON, answering, app, log_in, no_session, start, token, user_of};

#[test]
fn a_cookie_has_all_its_attributes_and_lasts_as_long_as_the_session() {
    let upstream = app();
    for (settings, name, attributes) in [
        ("", "__Host-session", "; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=1209600"),
        ("[session]\nlifetime = \"1h\"\n", "__Host-session", "; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=3600"),
        (
            "[session]\nlifetime = \"0\"\n",
            "__Host-session",
            "; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=34560000",
        ),
        (
            "[token]\ncookie = \"sid\"\ncookie_secure = false\ncookie_same_site = \"strict\"\n",
            "sid",
            "; Path=/; HttpOnly; SameSite=Strict; Max-Age=1209600",
        ),
    ] {
        let gateway = start(&upstream, BY_FORM, settings);
        let response = log_in(&gateway, "ann");
        let lines = response.headers("set-cookie");
        assert_eq!(lines.len(), 1);
        let token = response.cookie(name).unwrap();
        assert_eq!(lines[0], format!("{name}={token}{attributes}"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(gateway.get("/", &format!("Cookie: {name}={token}\r\n")).status, 302);
    }
}

#[test]
fn the_applications_own_cookies_and_location_pass_beside_ours() {
    let upstream = answering(
        "303 See Other",
        "Set-Cookie: sessionid=abc; Path=/; HttpOnly\r\nSet-Cookie: csrftoken=def\r\nLocation: http://127.0.0.1:1/next?x=1\r\n",
        "bye",
    );
    let gateway = start(&upstream, BY_FORM, "");
    let response = log_in(&gateway, "ann");
    assert_eq!((response.status, response.text()), (303, "bye"));
    assert_eq!(response.header("location"), Some("http://127.0.0.1:1/next?x=1"));
    let lines = response.headers("set-cookie");
    assert_eq!(&lines[..2], ["sessionid=abc; Path=/; HttpOnly", "csrftoken=def"]);
    assert!(lines[2].starts_with("__Host-session="), "{lines:?}");
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_cookie_of_our_name_that_the_application_sets_is_not_the_last_word() {
    let upstream = answering("302 Found", "Location: /\r\nSet-Cookie: __Host-session=theirs; Path=/; Secure\r\n", "");
    let gateway = start(&upstream, BY_FORM, "");
    let response = log_in(&gateway, "ann");
    let lines: Vec<_> =
        response.headers("set-cookie").into_iter().filter(|line| line.starts_with("__Host-session=")).collect();
    assert_eq!(lines.len(), 1, "which of two a browser keeps is a matter of order: {lines:?}");
    assert_eq!(user_of(&gateway, &token(&response)).as_deref(), Some("ann"));
}

#[test]
fn a_header_carries_the_token_and_no_cookie_does() {
    let upstream = answering("200 OK", "X-Session-User: ann\r\nX-Session-Token: theirs\r\n", "in");
    for deliver in ["{ header = \"X-Session-Token\" }", "\"header\""] {
        let gateway = start(&upstream, &format!("user = {{ header = \"X-Session-User\" }}\ndeliver = {deliver}"), "");
        let response = gateway.request("POST", "/login", "", b"x");
        no_session(&response);
        let tokens = response.headers("x-session-token");
        assert_eq!(tokens.len(), 1);
        assert_eq!(user_of(&gateway, tokens[0]).as_deref(), Some("ann"));
        assert_eq!((response.text(), response.header("cache-control")), ("in", Some("no-store")));
    }
}

#[test]
fn a_json_field_carries_the_token_and_the_others_keep_their_order() {
    let answer =
        "{\"zeta\": 1, \"user\": {\"id\": \"ann\", \"b\": [1, 2.50]}, \"alpha\": null, \"big\": 12345678901234567890}";
    let upstream = answering("200 OK", "Content-Type: application/json\r\nETag: \"1\"\r\n", answer);
    for (deliver, pointer) in
        [("{ json = \"/token\" }", "/token"), ("{ json = \"/user/token\" }", "/user/token"), ("\"json\"", "/token")]
    {
        let gateway = start(&upstream, &format!("user = {{ json = \"/user/id\" }}\ndeliver = {deliver}"), "");
        let response = gateway.request("POST", "/login", JSON, b"{}");
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-length").unwrap(), response.body.len().to_string());
        assert_eq!(response.header("transfer-encoding"), None);
        assert_eq!(response.header("etag"), None, "it is another body now");
        no_session(&response);
        let body = response.json();
        let token = body.pointer(pointer).unwrap().as_str().unwrap();
        assert_eq!(user_of(&gateway, token).as_deref(), Some("ann"));
        let text = response.text().replace(&format!(",\"token\":\"{token}\""), "");
        assert_eq!(
            text,
            "{\"zeta\":1,\"user\":{\"id\":\"ann\",\"b\":[1,2.5]},\"alpha\":null,\"big\":12345678901234567890}"
        );
    }
}

#[test]
fn a_json_answer_that_came_in_chunks_gets_its_token_too() {
    let upstream = Upstream::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        Reaction::Send(format!("{head}8\r\n{{\"id\":7,\r\n6\r\n\"a\":1}}\r\n0\r\n\r\n").into_bytes())
    });
    let gateway = start(&upstream, "user = { json = \"/id\" }\ndeliver = \"json\"", "");
    let response = gateway.request("POST", "/login", JSON, b"{}");
    assert_eq!(response.headers("content-length").len() + response.headers("transfer-encoding").len(), 1);
    let body = response.json();
    assert_eq!((&body["id"], &body["a"]), (&json!(7), &json!(1)));
    assert_eq!(user_of(&gateway, body["token"].as_str().unwrap()).as_deref(), Some("7"));
}

#[test]
fn an_answer_that_cannot_take_the_token_creates_no_session() {
    for (media, body) in [
        ("application/json", "[1]"),
        ("application/json", "{\"token\":{}}"),
        ("text/html", "<p>"),
        ("application/json", "{"),
    ] {
        let upstream = Upstream::start(move |_| {
            let headers = format!("Content-Type: {media}\r\nSet-Cookie: app=1\r\n");
            Reaction::Send(response("302 Found", &headers, body))
        });
        let gateway = start(&upstream, &format!("{BY_FORM}\ndeliver = {{ json = \"/token/x/y\" }}"), "");
        let earlier = gateway.login("ann");
        let form = format!("{FORM}{}", crate::support::gateway::bearer(&earlier.token));
        let response = gateway.request("POST", "/login", &form, b"username=ann");
        assert_eq!((response.status, response.code().as_str()), (500, "internal"), "{media} {body}");
        assert_eq!(response.header("set-cookie"), None);
        assert_eq!(Database::of(&gateway).count("true"), 1, "no session that nobody has the token of");
        assert_eq!(user_of(&gateway, &earlier.token).as_deref(), Some("ann"), "and the earlier one lives");
    }
}
