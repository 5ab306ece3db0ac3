//! What whoever collects spans is told, and what not.

use crate::support::collector::{Collector, Span};
use crate::support::gateway::{Gateway, bearer};
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;
use crate::{PARENT, TRACE, behind, open, parts, traceparent};

/// Settings that send the spans of every trace to this collector.
fn all(collector: &Collector) -> String {
    format!("traceparent = \"continue\"\nsample = 1.0\notlp_url = \"{}\"", collector.url())
}

fn one<'a>(spans: &'a [Span], path: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.attribute("url.path").as_deref() == Some(path));
    let first = found.next().unwrap_or_else(|| panic!("no span of {path} in {spans:#?}"));
    assert!(found.next().is_none(), "two spans of {path}");
    first
}

#[test]
fn a_request_is_a_span_in_the_clients_trace_and_the_application_was_told_the_span_of_its_call() {
    let upstream = Upstream::hello();
    let collector = Collector::start();
    let gateway = Gateway::start(&upstream.url(), &behind(&all(&collector)));
    let headers = format!("Host: app.test:8080\r\n{}X-Forwarded-For: 192.0.2.9\r\n", traceparent("01"));
    gateway.get("/a/./b?secret=1", &headers);
    let spans = collector.until_spans(2);
    let (request, call) = (&spans[0], &spans[1]);
    assert!(request.is_of_server() && !call.is_of_server());
    let told = parts(upstream.last().header("traceparent").unwrap());
    assert_eq!(told, (TRACE.to_owned(), call.text("spanId").unwrap().to_owned(), "01".to_owned()));
    assert_eq!((request.text("traceId"), request.text("parentSpanId")), (Some(TRACE), Some(PARENT)));
    assert_eq!((call.text("traceId"), call.text("parentSpanId")), (Some(TRACE), request.text("spanId")));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/a/b"),
        ("http.response.status_code", "200"),
        ("client.address", "192.0.2.9"),
        ("server.address", "app.test"),
        ("server.port", "8080"),
        ("gateway.verdict", "anonymous"),
    ] {
        assert_eq!(request.attribute(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(call.attribute("server.port"), Some(upstream.address.port().to_string()));
    assert_eq!(call.attribute("http.response.status_code").as_deref(), Some("200"));
    let nanos = |span: &Span, field: &str| span.text(field).unwrap().parse::<u128>().unwrap();
    let (began, ended) = (nanos(request, "startTimeUnixNano"), nanos(request, "endTimeUnixNano"));
    assert!(began <= nanos(call, "startTimeUnixNano") && nanos(call, "endTimeUnixNano") <= ended, "{spans:#?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert!(ended <= now + 1_000_000_000 && now - began < 60_000_000_000, "{began} to {ended} at {now}");
    let post = &collector.posts()[0];
    assert!(post.head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", post.head);
    assert_eq!(post.header("content-type"), Some("application/json"));
    assert!(!String::from_utf8_lossy(&post.body).contains("secret"), "queries are not told");
    gateway.until_metric("gateway_spans_total{result=\"exported\"}", 2.0);
    assert_eq!(gateway.metric("gateway_spans_total{result=\"dropped\"}"), 0.0);
}

#[test]
fn many_requests_of_a_second_are_one_post() {
    let upstream = Upstream::hello();
    let collector = Collector::start();
    let gateway = Gateway::start(&upstream.url(), &open(&all(&collector)));
    let mut connection = gateway.connect();
    for _ in 0..100 {
        connection.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        connection.read("GET");
    }
    let spans = collector.until_spans(200);
    assert!(collector.posts().len() <= 4, "{} posts", collector.posts().len());
    let sent: Vec<_> = spans.iter().filter(|span| !span.is_of_server()).map(|span| span.text("spanId")).collect();
    for received in upstream.received() {
        let (_, span, flags) = parts(received.header("traceparent").unwrap());
        assert!(flags == "01" && sent.contains(&Some(span.as_str())));
    }
}

#[test]
fn what_is_not_sampled_is_not_collected_whoever_decided_that() {
    let upstream = Upstream::hello();
    let collector = Collector::start();
    let settings = all(&collector).replace("sample = 1.0", "sample = 0.0");
    let gateway = Gateway::start(&upstream.url(), &open(&settings));
    gateway.get("/new", "");
    gateway.get("/not", &traceparent("00"));
    gateway.get("/sampled", &traceparent("01"));
    let spans = collector.until_spans(2);
    assert_eq!(spans[0].attribute("url.path").as_deref(), Some("/sampled"));
}

#[test]
fn what_becomes_of_a_request_is_told_by_verdict_and_status() {
    let upstream = Upstream::start(|received| match received.target() {
        "/gone" => Reaction::Close,
        "/broken" => Reaction::Send(response("500 Internal Server Error", "", "")),
        _ => Reaction::Send(response("200 OK", "", "hello")),
    });
    let collector = Collector::start();
    let settings = open(&all(&collector)).replace("auth = \"off\"", "auth = \"required\"");
    let gateway = Gateway::start(&upstream.url(), &settings);
    let token = bearer(&gateway.login("ann").token);
    gateway.get("/refused", "");
    gateway.get("/gone", &token);
    gateway.get("/broken", &token);
    gateway.get("/fine", &token);
    // The login, the refusal, and three calls of the application.
    let spans = collector.until_spans(8);
    for (path, verdict, status, failed) in [
        ("/_sessions", "answered", "201", false),
        ("/refused", "missing_token", "401", false),
        ("/gone", "upstream_unreachable", "502", true),
        ("/broken", "forwarded", "500", true),
        ("/fine", "forwarded", "200", false),
    ] {
        let span = one(&spans, path);
        assert_eq!(span.attribute("gateway.verdict").as_deref(), Some(verdict), "{path}");
        assert_eq!(span.attribute("http.response.status_code").as_deref(), Some(status), "{path}");
        assert_eq!(span.json["status"]["code"] == 2, failed, "{path}");
        assert_eq!(span.text("parentSpanId"), None, "{path} began the trace");
    }
    let calls: Vec<_> = spans.iter().filter(|span| !span.is_of_server()).collect();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].attribute("error.type").as_deref(), Some("upstream_unreachable"));
}

#[test]
fn who_the_user_is_stays_here_unless_it_is_asked_for() {
    let upstream = Upstream::hello();
    for (more, expected) in [("", None), ("\notlp_user = true\notlp_service = \"shop-edge\"", Some("zoë"))] {
        let collector = Collector::start();
        let gateway = Gateway::start(&upstream.url(), &format!("[trace]\n{}{more}\n", all(&collector)));
        let session = gateway.login("zoë");
        gateway.get_as(&session.token, "/mine");
        let spans = collector.until_spans(3);
        assert_eq!(one(&spans, "/mine").attribute("enduser.id").as_deref(), expected);
        assert_eq!(one(&spans, "/_sessions").attribute("enduser.id"), None, "the service has no session");
        assert!(spans.iter().all(|span| !span.keys().contains(&"user_agent.original")));
        assert!(spans.iter().all(|span| span.service == if more.is_empty() { "session-gateway" } else { "shop-edge" }));
        let posted: String = collector.posts().iter().map(|post| String::from_utf8_lossy(&post.body)).collect();
        assert!(!posted.contains(&session.token) && posted.contains("zoë") == expected.is_some());
    }
}

#[test]
fn the_collectors_key_is_sent_to_it_and_shown_to_nobody() {
    const KEY: &str = "canary-otlp-key-2Wq8";
    let upstream = Upstream::hello();
    let collector = Collector::answering(|_| Reaction::Send(response("403 Forbidden", "", "no")));
    let directory = tempfile::TempDir::new().unwrap();
    let key = directory.path().join("otlp.key");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    let file = directory.path().join("gateway.toml");
    let headers = format!("otlp_headers = {{ Api-Key = {{ file = {key:?} }}, x-tenant = \"shop\" }}");
    let store = format!("[store]\nurl = \"sqlite:{}\"\n", directory.path().join("sessions.db").display());
    let settings = open(&format!("{}\n{headers}", all(&collector))).replace("{upstream}", &upstream.url());
    std::fs::write(&file, format!("{store}{settings}")).unwrap();
    let mut command = crate::support::program::command(directory.path());
    command.args(["serve", "--config"]).arg(&file).env("RUST_LOG", "trace");
    let program = crate::support::program::Program::start_ready(&mut command);
    let mut connection = crate::support::client::Connection::open(program.address);
    connection.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let answer = connection.read("GET");
    wait_until("it is posted", || !collector.posts().is_empty());
    let post = &collector.posts()[0];
    assert_eq!((post.headers("api-key"), post.headers("x-tenant")), (vec![KEY], vec!["shop"]));
    wait_until("the refusal is told of", || program.log().contains("trace.otlp_url"));
    let metrics = program.ops_get("/metrics").text().to_owned();
    let (_, log) = program.stop();
    for shown in
        [&log, &metrics, &answer.head, &upstream.last().head, &String::from_utf8_lossy(&post.body).into_owned()]
    {
        assert!(!shown.contains(KEY), "{shown}");
    }
}

#[test]
fn other_settings_send_spans_to_another_collector() {
    let upstream = Upstream::hello();
    let (first, second) = (Collector::start(), Collector::start());
    let gateway = Gateway::start(&upstream.url(), &open("traceparent = \"continue\"\nsample = 1.0"));
    gateway.get("/to-nobody", "");
    gateway.adopt(&upstream.url(), &open(&all(&first)));
    gateway.get("/to-the-first", "");
    first.until_spans(2);
    gateway.adopt(&upstream.url(), &open(&all(&second)));
    gateway.get("/to-the-second", "");
    let spans = second.until_spans(2);
    one(&spans, "/to-the-second");
    assert_eq!(first.spans().len(), 2);
    assert_eq!(gateway.metric("gateway_spans_total{result=\"dropped\"}"), 0.0);
}
