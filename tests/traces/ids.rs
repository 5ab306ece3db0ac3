//! `X-Request-Id`: to the application, to the client, into the log.

use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::{Reaction, Upstream, response};
use crate::{TRACE, behind, lines, open, parts, traceparent, word};

#[test]
fn a_request_has_one_id_for_the_application_the_client_and_the_log() {
    let upstream = Upstream::start(|_| Reaction::Send(response("200 OK", "X-Request-Id: of-the-app\r\n", "hello")));
    let gateway = Gateway::start(&upstream.url(), &open("request_id = true"));
    let answer = gateway.get("/", "");
    let received = upstream.last();
    let [told] = received.headers("x-request-id")[..] else { panic!("{}", received.head) };
    assert_eq!(answer.headers("x-request-id"), [told]);
    assert_eq!(word(&lines(&gateway, 1)[0], "id"), Some(told));
    assert!(told.len() >= 16 && told.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{told}");
    assert_eq!(received.header("traceparent"), None, "the one is not the other");
}

#[test]
fn a_client_does_not_choose_its_id() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("request_id = true"));
    let answer = gateway.get("/", "X-Request-Id: mine\r\nX_Request_Id: mine\r\nx.request.id: mine\r\n");
    let received = upstream.last();
    assert!(!received.head.contains("mine"), "{}", received.head);
    assert_eq!(answer.headers("x-request-id"), received.headers("x-request-id"));
}

#[test]
fn a_trusted_proxys_id_is_kept_if_it_is_one() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &behind("request_id = true"));
    let long = "x".repeat(128);
    for id in ["7", "a.B-c_9", &long] {
        let answer = gateway.get("/", &format!("X-Request-Id: {id}\r\n"));
        assert_eq!((answer.headers("x-request-id"), upstream.last().headers("x-request-id")), (vec![id], vec![id]));
    }
    let longer = "x".repeat(129);
    for bad in ["", "a b", "a,b", "a=b", "\"a\"", "a/b", "verdict=forwarded", "é", &longer, "a\r\nX-Request-Id: b"] {
        gateway.get("/", &format!("X-Request-Id: {bad}\r\n"));
        let received = upstream.last();
        let [told] = received.headers("x-request-id")[..] else { panic!("{bad}: {}", received.head) };
        assert!(told != bad && told.len() == 32, "{bad}: {told}");
    }
    let lines = lines(&gateway, 13);
    assert_eq!(word(&lines[1], "id"), Some("a.B-c_9"));
    assert!(lines.iter().all(|line| line.matches(" verdict=").count() == 1));
}

#[test]
fn a_refusal_has_an_id_too() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), "[trace]\nrequest_id = true\ntraceparent = \"continue\"\n");
    for target in ["/", "/%00", "/_sessions/current"] {
        let answer = gateway.get(target, &traceparent("01"));
        assert!(answer.status >= 400 && answer.headers("x-request-id").len() == 1, "{answer:?}");
    }
    assert!(lines(&gateway, 3).iter().all(|line| word(line, "trace") == Some(TRACE) && word(line, "id").is_some()));
}

#[test]
fn a_proxy_that_asks_finds_both_in_the_log_alone() {
    let upstream = Upstream::hello();
    let settings =
        behind("traceparent = \"continue\"\nrequest_id = true").replace("auth = \"off\"", "auth = \"required\"");
    let gateway = Gateway::start(&upstream.url(), &settings);
    let token = gateway.login("ann").token;
    let original =
        "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-Uri: /a\r\n";
    let known = format!("{}tracestate: a=1\r\nX-Request-Id: of-the-proxy\r\n", traceparent("01"));
    for (headers, status) in [(bearer(&token), 200), (String::new(), 401)] {
        let answer = gateway.get("/_sessions/auth", &format!("{original}{known}{headers}"));
        assert_eq!(answer.status, status, "{answer:?}");
        for header in ["traceparent", "tracestate", "x-request-id"] {
            assert_eq!(answer.header(header), None, "what the application is told is the proxy's to say");
        }
    }
    let lines = lines(&gateway, 3);
    for line in &lines[1..] {
        assert_eq!((word(line, "trace"), word(line, "id")), (Some(TRACE), Some("of-the-proxy")), "{line}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_line_in_json_has_both() {
    let upstream = Upstream::hello();
    let settings = format!("[log]\nformat = \"json\"\n{}", open("traceparent = \"continue\"\nrequest_id = true"));
    let gateway = Gateway::start(&upstream.url(), &settings);
    let answer = gateway.get("/", "");
    let line: serde_json::Value = serde_json::from_str(&lines(&gateway, 1)[0]).unwrap();
    assert_eq!(line["id"], answer.header("x-request-id").unwrap());
    assert_eq!(line["trace"], parts(upstream.last().header("traceparent").unwrap()).0);
}
