//! `traceparent` and `tracestate` on their way to the application.

use std::collections::HashSet;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, Full};

use crate::support::gateway::Gateway;
use crate::support::http2::Connection;
use crate::support::peer::Peer;
use crate::support::upstream::Upstream;
use crate::support::websocket;
use crate::{PARENT, TRACE, lines, open, parts, traceparent, word};

/// What is no `traceparent`, by the specification.
const MALFORMED: [&str; 10] = [
    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
    "nonsense",
];

#[test]
fn by_default_the_clients_headers_pass_like_any_others_and_nothing_is_added() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let answer = gateway.get("/", "traceparent: nonsense\r\ntracestate: a=1\r\nX-Request-Id: mine, yours\r\n");
    let received = upstream.last();
    assert_eq!(received.headers("traceparent"), ["nonsense"]);
    assert_eq!(received.headers("tracestate"), ["a=1"]);
    assert_eq!(received.headers("x-request-id"), ["mine, yours"]);
    assert_eq!(answer.header("x-request-id"), None);
    gateway.get("/", "");
    let received = upstream.last();
    assert_eq!((received.header("traceparent"), received.header("x-request-id")), (None, None));
    let line = &lines(&gateway, 2)[0];
    assert_eq!((word(line, "trace"), word(line, "id")), (None, None), "{line}");
}

#[test]
fn a_trace_is_continued_with_a_span_of_ours_and_keeps_its_state_and_its_flag() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("traceparent = \"continue\"\nsample = 0.5"));
    let mut spans = HashSet::from([PARENT.to_owned()]);
    for sent in ["00", "01", "00", "01"] {
        gateway.get("/", &format!("{}tracestate: a=1,b=2\r\ntracestate: c=3\r\n", traceparent(sent)));
        let received = upstream.last();
        let (trace, span, flags) = parts(received.headers("traceparent")[0]);
        assert_eq!((trace.as_str(), flags.as_str()), (TRACE, sent));
        assert!(spans.insert(span), "each request has a span of its own");
        assert_eq!(received.headers("traceparent").len(), 1);
        assert_eq!(received.headers("tracestate"), ["a=1,b=2", "c=3"]);
    }
    assert!(lines(&gateway, 4).iter().all(|line| word(line, "trace") == Some(TRACE)));
}

#[test]
fn a_malformed_traceparent_goes_with_its_state_and_a_new_trace_begins() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("traceparent = \"continue\""));
    let twice = format!("{0}{0}", traceparent("01"));
    let malformed = MALFORMED.map(|value| format!("traceparent: {value}\r\n"));
    let mut traces = HashSet::from([TRACE.to_owned()]);
    for headers in malformed.iter().chain([&twice, &String::new()]) {
        gateway.get("/", &format!("{headers}tracestate: a=1\r\nX-Other: stays\r\n"));
        let received = upstream.last();
        let [traceparent] = received.headers("traceparent")[..] else { panic!("{headers}: {}", received.head) };
        assert!(traces.insert(parts(traceparent).0), "{headers}: {}", received.head);
        assert_eq!((received.header("tracestate"), received.header("x-other")), (None, Some("stays")), "{headers}");
    }
    let logged: HashSet<String> =
        lines(&gateway, 12).iter().map(|line| word(line, "trace").unwrap().to_owned()).collect();
    traces.remove(TRACE);
    assert_eq!(logged, traces, "the log names the traces that the application was told");
}

#[test]
fn a_later_version_is_continued_in_the_one_that_is_spoken_here() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("traceparent = \"continue\""));
    gateway.get("/", &format!("traceparent: cc-{TRACE}-{PARENT}-01-what-comes-later\r\n"));
    let (trace, _, flags) = parts(upstream.last().header("traceparent").unwrap());
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
}

#[test]
fn at_a_public_edge_the_clients_trace_is_not_believed() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("traceparent = \"restart\"\nsample = 0.0"));
    gateway.get("/", &format!("{}tracestate: a=1\r\nTrace_Parent: x\r\n", traceparent("01")));
    let received = upstream.last();
    let (trace, span, flags) = parts(received.headers("traceparent")[0]);
    assert!(trace != TRACE && span != PARENT);
    assert_eq!(flags, "00", "whether it is sampled is not the client's to say either");
    assert_eq!((received.header("tracestate"), received.header("trace_parent")), (None, None));
    assert_eq!(received.headers("traceparent").len(), 1);
}

#[test]
fn a_client_cannot_have_ours_dropped_by_calling_it_a_matter_of_the_connection() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("traceparent = \"restart\"\nrequest_id = true"));
    gateway.get("/", "Connection: traceparent, x-request-id\r\n");
    let received = upstream.last();
    parts(received.header("traceparent").unwrap());
    assert!(received.header("x-request-id").is_some());
}

#[test]
fn as_large_a_part_of_the_new_traces_is_sampled_as_was_asked_for() {
    let upstream = Upstream::hello();
    for (sample, range) in [("0.0", 0..=0), ("1.0", 200..=200), ("0.5", 50..=150)] {
        let gateway = Gateway::start(&upstream.url(), &open(&format!("traceparent = \"continue\"\nsample = {sample}")));
        let before = upstream.received().len();
        let mut connection = gateway.connect();
        for _ in 0..200 {
            connection.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
            connection.read("GET");
        }
        let received = upstream.received();
        let flags = received[before..].iter().map(|received| parts(received.header("traceparent").unwrap()).2);
        let sampled = flags.filter(|flags| flags == "01").count();
        assert!(range.contains(&sampled), "{sample}: {sampled} of 200");
    }
}

#[test]
fn no_two_requests_have_a_trace_or_a_span_in_common() {
    let upstream = Upstream::hello();
    let settings = open("traceparent = \"restart\"\nrequest_id = true").replace("workers = 1", "workers = 2");
    let gateway = Gateway::start(&upstream.url(), &settings);
    for _ in 0..50 {
        gateway.get("/", "");
    }
    let mut seen = HashSet::new();
    for received in upstream.received() {
        let (trace, span, _) = parts(received.header("traceparent").unwrap());
        let id = received.header("x-request-id").unwrap().to_owned();
        assert!([trace, span, id].into_iter().all(|id| seen.insert(id)), "{}", received.head);
    }
    assert_eq!(seen.len(), 150);
}

#[test]
fn a_websocket_is_part_of_its_trace() {
    let peer = Peer::listen();
    let settings =
        open("traceparent = \"continue\"\nrequest_id = true").replace("auth = \"off\"", "auth = \"optional\"");
    let settings = settings.replace("url = \"{upstream}\"", "url = \"{upstream}\"\nwebsocket = \"any\"");
    let gateway = Gateway::start(&peer.url(), &settings);
    let mut client = gateway.connect();
    client.send(websocket::opening("/ws", &traceparent("01")));
    let mut app = peer.accept();
    let head = app.read_head().unwrap();
    let find = |name| crate::support::client::find(&head, name);
    assert_eq!(parts(find("traceparent").unwrap()).0, TRACE);
    let id = find("x-request-id").unwrap();
    app.send(websocket::consent("X-Request-Id: of-the-app\r\n"));
    let answer = client.read_head().unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert_eq!(crate::support::client::all(&answer, "x-request-id").collect::<Vec<_>>(), [id]);
    client.close();
    app.close();
    let line = &lines(&gateway, 1)[0];
    assert_eq!((word(line, "status"), word(line, "trace"), word(line, "id")), (Some("101"), Some(TRACE), Some(id)));
}

#[test]
fn a_client_of_http2_is_served_the_same_and_its_trailers_bring_nothing_past_it() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("traceparent = \"restart\"\nrequest_id = true"));
    let connection = Connection::open(gateway.address);
    let request = connection
        .request("POST", "/")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("tracestate", "a=1")
        .header("x-request-id", "mine");
    let mut trailers = HeaderMap::new();
    for name in ["traceparent", "tracestate", "x-request-id", "x-checksum"] {
        trailers.insert(name, "of-a-trailer".parse().unwrap());
    }
    let body = Full::new(Bytes::from_static(b"abc")).with_trailers(std::future::ready(Some(Ok(trailers))));
    let answer = connection.send(request.body(body.boxed()).unwrap());
    assert_eq!(answer.status, 200);
    let received = upstream.last();
    assert_ne!(parts(received.headers("traceparent")[0]).0, TRACE);
    assert_eq!((received.header("tracestate"), received.body.as_slice()), (None, &b"abc"[..]));
    let id = received.headers("x-request-id")[0];
    assert_ne!(id, "mine");
    assert_eq!(answer.headers["x-request-id"], id);
}

#[test]
fn trailers_bring_no_trace_and_no_id_past_ours() {
    let peer = Peer::listen();
    let gateway = Gateway::start(&peer.url(), &open("traceparent = \"continue\"\nrequest_id = true"));
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum\r\n\r\n3\r\nabc\r\n0\r\n\
         traceparent: a\r\nTraceState: b\r\nX_Request_Id: c\r\nX-Checksum: 7\r\n\r\n",
    );
    let mut app = peer.accept();
    app.read_head().unwrap();
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\n") {
        rest.extend(app.take(1));
    }
    let rest = String::from_utf8(rest).unwrap().to_ascii_lowercase();
    assert!(rest.contains("x-checksum: 7"), "{rest}");
    assert!(["trace", "request"].iter().all(|ours| !rest.contains(ours)), "{rest}");
}

#[test]
fn a_reload_changes_what_becomes_of_the_next_request() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let mut connection = gateway.connect();
    let mut ask = || {
        connection.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", traceparent("01")));
        (connection.read("GET").header("x-request-id").is_some(), upstream.last().headers("traceparent")[0].to_owned())
    };
    assert_eq!(ask(), (false, format!("00-{TRACE}-{PARENT}-01")));
    gateway.adopt(&upstream.url(), &open("traceparent = \"restart\"\nrequest_id = true"));
    let (has_id, traceparent) = ask();
    assert!(has_id && parts(&traceparent).0 != TRACE);
    gateway.adopt(&upstream.url(), &open("traceparent = \"continue\""));
    let (has_id, traceparent) = ask();
    assert!(!has_id && parts(&traceparent).0 == TRACE);
    let same = |text: &str| gateway.settings(&upstream.url(), &open(text));
    let (taken, left) = same("request_id = true").following(&same("traceparent = \"restart\""));
    assert!(left.is_empty() && taken.trace.request_id, "nothing of it waits for a restart: {left:?}");
}
