//! Who logged in: where the user's id and the rest stand.

use serde_json::json;

use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::{BY_FORM, FORM, JSON, answering, app, log_in, no_session, start, token, user_of};

fn post(gateway: &Gateway, headers: &str, body: &str) -> crate::support::client::Response {
    gateway.request("POST", "/login", headers, body.as_bytes())
}

#[test]
fn a_form_names_the_user() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let response = log_in(&gateway, "ann");
    assert_eq!((response.status, response.header("location")), (302, Some("/home")));
    assert_eq!(user_of(&gateway, &token(&response)).as_deref(), Some("ann"));
    let encoded = post(&gateway, FORM, "csrf=1&username=Zo%C3%AB+%26+co&password=x%3D");
    assert_eq!(user_of(&gateway, &token(&encoded)).as_deref(), Some("Zoë & co"));
    let created = Database::of(&gateway).events("session_created");
    assert_eq!(created[0].actor, "user:ann");
    assert_eq!(created[0].ip.as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_multipart_form_names_the_user() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let body = "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nx\r\n\
                --b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nZoë\r\n--b--\r\n";
    let response = post(&gateway, "Content-Type: multipart/form-data; boundary=b\r\n", body);
    assert_eq!(user_of(&gateway, &token(&response)).as_deref(), Some("Zoë"));
    assert_eq!(upstream.received()[0].body, body.as_bytes());
}

#[test]
fn a_json_request_names_the_user() {
    let upstream = app();
    let body = "{ \"credentials\": {\"login\":\"ann\", \"id\": 7}, \"username\": \"ben\" }";
    for (field, user) in [
        ("{ json = \"username\" }", "ben"),
        ("{ request_json = \"/credentials/login\" }", "ann"),
        ("{ request_json = \"/credentials/id\" }", "7"),
    ] {
        let gateway = start(&upstream, &format!("user = {field}"), "");
        let response = post(&gateway, JSON, body);
        assert_eq!(user_of(&gateway, &token(&response)).as_deref(), Some(user), "{field}");
        assert_eq!(upstream.received().iter().rfind(|r| r.target() == "/login").unwrap().body, body.as_bytes());
    }
}

#[test]
fn a_response_header_names_the_user_and_does_not_reach_the_client() {
    let upstream = Upstream::start(|request| {
        let status = if request.body == b"wrong" { "401 Unauthorized" } else { "200 OK" };
        let headers = "X-Session-User: ann\r\nX-Session-Roles: staff\r\nX-Session-Roles: ops,\r\nX-Session-Name: Ann\r\nX-Mail: a@b.test\r\nX-Other: 1\r\n";
        Reaction::Send(response(status, headers, "in"))
    });
    let login = "user = { header = \"X-Session-User\" }\nroles = { header = \"X-Session-Roles\" }\n\
                 name = { header = \"X-Session-Name\" }\nemail = { header = \"X-Mail\" }";
    let gateway = start(&upstream, login, "");
    for (body, logged_in) in [("right", true), ("wrong", false)] {
        let response = post(&gateway, "X-Session-User: mallory\r\n", body);
        assert_eq!(response.text(), "in");
        assert_eq!(response.cookie("__Host-session").is_some(), logged_in);
        for name in ["x-session-user", "x-session-roles", "x-session-name", "x-mail"] {
            assert_eq!(response.header(name), None, "{body}: {name} is between the application and the gateway");
        }
        assert_eq!(response.header("x-other"), Some("1"));
    }
    let current = gateway.get_as(&token(&post(&gateway, "", "right")), "/_sessions/current").json();
    assert_eq!(current["user"], "ann");
    assert_eq!(
        (&current["roles"], &current["name"], &current["email"]),
        (&json!(["staff", "ops"]), &json!("Ann"), &json!("a@b.test"))
    );
}

#[test]
fn a_json_response_names_the_user_and_comes_through_unchanged() {
    let answer =
        "{ \"user\" : {\"id\": 42, \"roles\": [\"staff\", \"ops\"], \"name\":\"Zo\\u00eb\"}, \"z\":1, \"a\": 2 }\n";
    let upstream = answering("200 OK", "Content-Type: application/json; charset=utf-8\r\n", answer);
    let login = "user = { json = \"/user/id\" }\nroles = { json = \"/user/roles\" }\nname = { json = \"/user/name\" }\n\
                 email = { json = \"/user/email\" }";
    let gateway = start(&upstream, login, "");
    let response = gateway.request("POST", "/login", "Accept-Encoding: gzip, br\r\n", b"opaque");
    assert_eq!(response.text(), answer, "byte for byte");
    let current = gateway.get_as(&token(&response), "/_sessions/current").json();
    assert_eq!(current["user"], "42");
    assert_eq!(
        (&current["roles"], &current["name"], &current["email"]),
        (&json!(["staff", "ops"]), &json!("Zoë"), &json!(null))
    );
    assert_eq!(upstream.received()[0].header("accept-encoding"), None, "what is compressed cannot be read");
    // Elsewhere the application may compress as it likes.
    assert_eq!(
        gateway
            .get("/", &format!("{}Accept-Encoding: gzip\r\n", crate::support::gateway::bearer(&token(&response))))
            .status,
        200
    );
    assert_eq!(upstream.last().header("accept-encoding"), Some("gzip"));
}

#[test]
fn accept_encoding_passes_when_the_answer_is_not_read() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    token(&post(&gateway, &format!("{FORM}Accept-Encoding: gzip\r\n"), "username=ann"));
    assert_eq!(upstream.last().header("accept-encoding"), Some("gzip"));
}

#[test]
fn roles_name_and_email_come_from_fields_or_are_the_same_for_all() {
    let upstream = app();
    let login = "user = { form = \"username\" }\nroles = { value = \"member, web\" }\nname = { form = \"display\" }\n\
                 email = { form = \"username\" }";
    let gateway = start(&upstream, login, "");
    let response = post(&gateway, FORM, "username=ann@example.org&display=Ann+E");
    let current = gateway.get_as(&token(&response), "/_sessions/current").json();
    assert_eq!(current["roles"], json!(["member", "web"]));
    assert_eq!((&current["name"], &current["email"]), (&json!("Ann E"), &json!("ann@example.org")));
    let nameless = post(&gateway, FORM, "username=ben");
    assert_eq!(gateway.get_as(&token(&nameless), "/_sessions/current").json()["name"], json!(null));
}

#[test]
fn a_user_that_two_programs_may_read_differently_gets_no_session() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let bodies = [
        "username=ann&username=root",
        "username=root;username=ann",
        "username=ann&USERNAME=root",
        "username=ann&username[]=root",
        "username=ann&user%6eame=root",
        "username=a%zz",
        "username=%ff",
        "username=",
        "username=+ann",
        "username=a%0ab",
        "user=ann",
        "",
    ];
    for body in bodies {
        let response = post(&gateway, FORM, body);
        assert_eq!((response.status, response.header("location")), (302, Some("/home")), "the answer passes: {body}");
        no_session(&response);
    }
    for (media, body) in [
        ("text/plain", "username=ann"),
        ("application/json", "{\"username\":\"ann\"}"),
        ("application/x-www-form-urlencoded; charset=utf-16", "username=ann"),
        ("multipart/form-data", "username=ann"),
    ] {
        no_session(&post(&gateway, &format!("Content-Type: {media}\r\n"), body));
    }
    no_session(&post(&gateway, &format!("{FORM}Content-Encoding: gzip\r\n"), "username=ann"));
    let database = Database::of(&gateway);
    assert_eq!(database.count("true"), 0);
    let events = database.events("login_unmatched");
    assert_eq!(events.len(), bodies.len() + 5);
    assert_eq!(events[0].ip.as_deref(), Some("127.0.0.1"));
    assert_eq!(events[0].user_agent.as_deref(), Some("acme-test/1.0"));
    assert!(!events.iter().any(|event| event.detail.contains("root") || event.detail.contains("ann")), "{events:?}");
}

#[test]
fn an_ambiguous_answer_of_the_application_gets_no_session_either() {
    for (field, headers, body) in [
        ("{ header = \"X-User\" }", "X-User: ann\r\nX-User: root\r\n", "{}"),
        ("{ header = \"X-User\" }", "", "{}"),
        ("{ json = \"/user\" }", "", "{\"user\":\"ann\",\"user\":\"root\"}"),
        ("{ json = \"/user\" }", "", "{\"user\":\"ann\",\"User\":\"root\"}"),
        ("{ json = \"/user\" }", "", "{\"user\":{\"id\":1}}"),
        ("{ json = \"/user\" }", "", "{\"user\":1.5}"),
        ("{ json = \"/user\" }", "", "{\"user\":null}"),
        ("{ json = \"/user\" }", "", "not json"),
        ("{ json = \"/user\" }", "Content-Encoding: gzip\r\n", "{\"user\":\"ann\"}"),
    ] {
        let upstream = Upstream::start(move |_| {
            Reaction::Send(response("200 OK", &format!("Content-Type: application/json\r\n{headers}"), body))
        });
        let gateway = start(&upstream, &format!("user = {field}"), "");
        let answer = post(&gateway, "", "x");
        assert_eq!((answer.status, answer.text()), (200, body));
        no_session(&answer);
        assert_eq!(Database::of(&gateway).events("login_unmatched").len(), 1, "{field} {headers} {body}");
    }
}

/// Servlets, for one, give `username` of the query to an application that asks for it, whatever the form says.
#[test]
fn a_query_that_names_another_user_than_the_body_makes_no_session() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nroot\r\n--b--\r\n";
    for query in
        ["username=ann", "next=/&username=ann", "user%6eame=ann", "Username=ann", "username[]=root", "x;username=ann"]
    {
        let target = format!("/login?{query}");
        no_session(&gateway.request("POST", &target, FORM, b"username=root&password=x"));
        let form = "Content-Type: multipart/form-data; boundary=b\r\n";
        no_session(&gateway.request("POST", &target, form, multipart.as_bytes()));
    }
    for query in ["next=/home", "username=root", "user=ann&name=ann"] {
        token(&gateway.request("POST", &format!("/login?{query}"), FORM, b"username=root&password=x"));
    }
    let gateway = start(&upstream, "user = { request_json = \"/user/name\" }", "");
    let body = br#"{"user": {"name": "root"}}"#;
    for query in ["user[name]=ann", "user=ann"] {
        no_session(&gateway.request("POST", &format!("/login?{query}"), JSON, body));
    }
    token(&gateway.request("POST", "/login?next=/", JSON, body));
    assert_eq!(Database::of(&gateway).events("login_unmatched").len(), 2);
}

/// Whoever is answered without a name has guessed wrong, and may go on guessing.
#[test]
fn guessing_does_not_fill_the_audit_log() {
    let upstream = Upstream::hello();
    let gateway = start(&upstream, "user = { header = \"X-Session-User\" }", "");
    for _ in 0..150 {
        assert_eq!(post(&gateway, FORM, "username=ann&password=guess").status, 200);
    }
    let written = Database::of(&gateway).events("login_unmatched").len();
    // At most two of the minutes that are counted by.
    assert!((60..=120).contains(&written), "{written}");
}
