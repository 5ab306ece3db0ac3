//! What the application receives, and what the client is answered, byte for byte.

use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::{BY_FORM, FORM, app, log_in, no_session, start, token, user_of};

/// A form of exactly so many bytes.
fn form(length: usize) -> Vec<u8> {
    let mut body = b"username=ann&padding=".to_vec();
    body.resize(length, b'x');
    body
}

#[test]
fn a_form_arrives_as_it_was_sent() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let body = b"a=%7e&username=ann&b=+&&c;d&\xff=\x00";
    let response = gateway.request("POST", "/login?next=%2Fx", &format!("{FORM}X-Own: 1\r\n"), body);
    let received = upstream.last();
    assert_eq!(received.body, body);
    assert_eq!(received.target(), "/login?next=%2Fx");
    assert_eq!(received.header("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(received.header("transfer-encoding"), None);
    assert_eq!(received.header("x-own"), Some("1"));
    assert_eq!(user_of(&gateway, &token(&response)).as_deref(), Some("ann"));
}

#[test]
fn a_chunked_form_arrives_too() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let mut connection = gateway.connect();
    connection.send(format!("POST /login HTTP/1.1\r\nHost: app.test\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n"));
    for piece in ["user", "name=an", "n&x=1"] {
        connection.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    connection.send("0\r\n\r\n");
    let response = connection.read("POST");
    assert_eq!(upstream.last().body, b"username=ann&x=1");
    assert!(token(&response).len() > 20);
}

#[test]
fn a_client_that_waits_for_a_100_gets_it() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let mut connection = gateway.connect();
    connection.send(format!(
        "POST /login HTTP/1.1\r\nHost: app.test\r\n{FORM}Expect: 100-continue\r\nContent-Length: 12\r\n\r\n"
    ));
    assert!(connection.read_head().unwrap().starts_with("HTTP/1.1 100 "));
    connection.send("username=ann");
    token(&connection.read("POST"));
    assert_eq!(upstream.last().body, b"username=ann");
}

#[test]
fn a_body_is_looked_at_up_to_the_bound_and_forwarded_whole_beyond_it() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    for (length, matched) in [(64 * 1024, true), (64 * 1024 + 1, false), (300_000, false)] {
        let body = form(length);
        let response = gateway.request("POST", "/login", FORM, &body);
        assert_eq!(upstream.last().body, body, "{length}");
        assert_eq!((response.status, response.header("location")), (302, Some("/home")));
        assert_eq!(response.cookie("__Host-session").is_some(), matched, "{length}");
    }
    assert_eq!(Database::of(&gateway).events("login_unmatched").len(), 2);
}

#[test]
fn a_chunked_body_beyond_the_bound_is_forwarded_whole() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let body = form(200_000);
    let mut connection = gateway.connect();
    connection.send(format!("POST /login HTTP/1.1\r\nHost: app.test\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n"));
    for piece in body.chunks(7000) {
        connection.send(format!("{:x}\r\n", piece.len()));
        connection.send(piece);
        connection.send("\r\n");
    }
    connection.send("0\r\n\r\n");
    no_session(&connection.read("POST"));
    assert_eq!(upstream.last().body, body);
}

#[test]
fn a_large_json_answer_passes_whole_and_unread() {
    let padding = "x".repeat(100_000);
    let answer = format!("{{\"id\":7,\"padding\":\"{padding}\"}}");
    let sent = answer.clone();
    let upstream =
        Upstream::start(move |_| Reaction::Send(response("200 OK", "Content-Type: application/json\r\n", &sent)));
    let gateway = start(&upstream, "user = { json = \"/id\" }", "");
    let response = gateway.request("POST", "/login", "", b"x");
    no_session(&response);
    assert_eq!(response.text(), answer);
    assert_eq!(Database::of(&gateway).events("login_unmatched").len(), 1);
}

#[test]
fn hints_before_the_answer_do_not_disturb_it() {
    let upstream = Upstream::start(|_| {
        let mut bytes =
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".to_vec();
        bytes.extend(response("302 Found", "Location: /home\r\n", ""));
        Reaction::Send(bytes)
    });
    let gateway = start(&upstream, BY_FORM, "");
    let mut connection = gateway.connect();
    connection.send(format!("POST /login HTTP/1.1\r\nHost: app.test\r\n{FORM}Content-Length: 12\r\n\r\nusername=ann"));
    let mut answer = connection.read("POST");
    while answer.status < 200 {
        answer = connection.read("POST");
    }
    assert_eq!((answer.status, answer.header("location")), (302, Some("/home")));
    token(&answer);
}

#[test]
fn a_connection_serves_on_after_a_login() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "");
    let mut connection = gateway.connect();
    let login = format!("POST /login HTTP/1.1\r\nHost: app.test\r\n{FORM}Content-Length: 12\r\n\r\nusername=ann");
    connection.send(&login);
    let first = token(&connection.read("POST"));
    connection.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: __Host-session={first}\r\n\r\n"));
    assert_eq!(connection.read("GET").status, 302);
    connection.send(&login);
    assert_ne!(token(&connection.read("POST")), first);
}

#[test]
fn a_form_that_does_not_arrive_reaches_nobody() {
    let upstream = app();
    let gateway = start(&upstream, BY_FORM, "[server]\nidle_timeout = \"200ms\"\n");
    let head = format!("POST /login HTTP/1.1\r\nHost: app.test\r\n{FORM}Content-Length: 20\r\n\r\nusername=ann");
    let mut stalling = gateway.connect();
    stalling.send(&head);
    let response = stalling.read("POST");
    assert_eq!((response.status, response.code().as_str()), (408, "request_timeout"));
    let mut leaving = gateway.connect();
    leaving.send(&head);
    leaving.close();
    let mut broken = gateway.connect();
    broken.send(format!("POST /login HTTP/1.1\r\nHost: app.test\r\n{FORM}Transfer-Encoding: chunked\r\n\r\nzz\r\n"));
    assert_eq!(broken.read("POST").status, 400);
    assert!(upstream.received().is_empty());
    assert_eq!(Database::of(&gateway).count("true"), 0);
}

#[test]
fn an_answer_that_names_the_user_and_stalls_is_504() {
    let upstream = Upstream::start(|_| {
        let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"user\":";
        Reaction::Send(half.to_vec())
    });
    let toml = "[[upstream]]\nurl = \"{upstream}\"\nresponse_timeout = \"300ms\"\n[[upstream.login]]\npath = \"/login\"\n\
                user = { json = \"/user\" }\n";
    let gateway = Gateway::start(&upstream.url(), toml);
    let response = log_in(&gateway, "ann");
    assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"));
    assert_eq!(Database::of(&gateway).count("true"), 0);
}
