//! What an application says before it has an answer.

use crate::Underway;
use crate::support::client::find;
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;

/// For clients of HTTP/1.1 too.
fn open() -> String {
    crate::OPEN.replace("[[upstream.route]]", "early_hints = \"all\"\n[[upstream.route]]")
}

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn hints(link: &str) -> String {
    format!("HTTP/1.1 103 Early Hints\r\nLink: <{link}>; rel=preload\r\n\r\n")
}

#[test]
fn early_hints_reach_the_client_before_the_answer_is_there_and_log_nobody_in() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &open());
    let mut client = gateway.connect();
    client.send(GET);
    let mut app = peer.accept();
    for round in 0..2 {
        app.read_head().unwrap();
        app.send(format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </{round}.css>; rel=preload\r\nSet-Cookie: __Host-session=x\r\nConnection: X-Hop\r\n\
             X-Hop: 1\r\nContent-Length: 5\r\n\r\n"
        ));
        let head = client.read_head().unwrap();
        assert_eq!(head, format!("HTTP/1.1 103 Early Hints\r\nlink: </{round}.css>; rel=preload\r\n\r\n"));
        app.send(ANSWER);
        assert_eq!((client.read("GET").status, round), (200, round), "the connection is in step");
        client.send(GET);
    }
}

#[test]
fn several_hints_come_in_order_and_more_than_a_client_takes_are_left_out() {
    let Underway { peer: _peer, gateway: _gateway, mut client, mut app } = Underway::begin(&open(), GET);
    let all: String = (0..20).map(|number| hints(&number.to_string())).collect();
    app.send([all.as_str(), ANSWER].concat());
    let mut links = Vec::new();
    let last = loop {
        let head = client.read_head().unwrap();
        match find(&head, "link") {
            Some(link) => links.push(link.to_owned()),
            None => break head,
        }
    };
    assert!(last.starts_with("HTTP/1.1 200 "), "{last}");
    assert!((1..20).contains(&links.len()), "{links:?}");
    let expected: Vec<_> = (0..links.len()).map(|number| format!("<{number}>; rel=preload")).collect();
    assert_eq!(links, expected);
}

#[test]
fn other_interim_answers_and_those_to_old_clients_end_here() {
    let Underway { peer: _peer, gateway, mut client, mut app } = Underway::begin(&open(), GET);
    app.send(["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX-A: b\r\n\r\n", ANSWER].concat());
    assert_eq!(client.read("GET").status, 200);

    let mut old = gateway.connect();
    old.send("GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n");
    app.read_head().unwrap();
    app.send([hints("/a.css").as_str(), ANSWER].concat());
    let head = old.read_head().unwrap();
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
}

#[test]
fn a_client_of_http_11_gets_none_unless_the_settings_say_so() {
    let Underway { peer: _peer, gateway: _gateway, mut client, mut app } = Underway::begin(crate::OPEN, GET);
    app.send([hints("/a.css").as_str(), ANSWER].concat());
    let head = client.read_head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[test]
fn hints_that_a_client_does_not_take_fill_no_memory() {
    let Underway { peer: _peer, gateway: _gateway, mut client, mut app } = Underway::begin(&open(), GET);
    // More than the kernel's buffers hold by far; the last one is told apart.
    let large = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(7_000));
    for _ in 0..5_000 {
        app.send(&large);
    }
    let too_large = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "y".repeat(9_000));
    app.send([too_large.as_str(), ANSWER].concat());
    let mut taken = 0;
    loop {
        let head = client.read_head().unwrap();
        assert!(!head.contains("yyy"), "too large a hint");
        if head.starts_with("HTTP/1.1 200 ") {
            break;
        }
        taken += 1;
    }
    assert!((1..5_000).contains(&taken), "what found no room was dropped: {taken}");
}
