//! A collector that is away, slow or unwilling: requests do not notice, what gets lost is counted, and the log says so once.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::collector::Collector;
use crate::support::gateway::Gateway;
use crate::support::program::{Program, command};
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::{now, wait_until};
use crate::{open, parts};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";
const DROPPED: &str = "gateway_spans_total{result=\"dropped\"}";
const EXPORTED: &str = "gateway_spans_total{result=\"exported\"}";

fn all(url: &str) -> String {
    open(&format!("traceparent = \"continue\"\nsample = 1.0\notlp_url = \"{url}\""))
}

#[test]
fn while_nobody_collects_requests_go_on_and_what_gets_lost_is_counted_and_told_of_once() {
    let upstream = Upstream::hello();
    let away = Arc::new(AtomicBool::new(true));
    let is_away = away.clone();
    let collector = Collector::answering(move |_| match is_away.load(Ordering::SeqCst) {
        true => Reaction::Close,
        false => Reaction::Send(response("200 OK", "", "{}")),
    });
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("gateway.toml");
    let store = format!("[store]\nurl = \"sqlite:{}\"\n", directory.path().join("sessions.db").display());
    let settings = all(&collector.url()).replace("{upstream}", &upstream.url());
    std::fs::write(&file, format!("{store}{settings}")).unwrap();
    let program = Program::start_ready(command(directory.path()).args(["serve", "--config"]).arg(&file));
    let figure = |name: &str| program.ops_get("/metrics").figure(name);
    let mut connection = crate::support::client::Connection::open(program.address);
    let mut lost = 0.0;
    // Three batches at least.
    while figure(DROPPED) < 6.0 || lost < 6.0 {
        connection.send(GET);
        assert_eq!(connection.read("GET").status, 200);
        lost += 2.0;
        wait_until("it is counted", || figure(DROPPED) == lost);
    }
    let told = |log: &str| log.lines().filter(|line| line.contains("spans get lost")).count();
    assert_eq!(told(&program.log()), 1, "{}", program.log());
    assert_eq!(figure(EXPORTED), 0.0);

    away.store(false, Ordering::SeqCst);
    connection.send(GET);
    connection.read("GET");
    wait_until("they arrive again", || figure(EXPORTED) == 2.0);
    wait_until("it is told of", || program.log().contains("spans arrive again"));
    away.store(true, Ordering::SeqCst);
    connection.send(GET);
    connection.read("GET");
    wait_until("the next outage is another one", || told(&program.log()) == 2);
}

#[test]
fn what_nobody_listens_for_is_lost_and_a_stop_does_not_wait_for_it() {
    let upstream = Upstream::hello();
    // In use, so that no other test has it, and not listened on.
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = taken.local_addr().unwrap().as_socket().unwrap();
    let gateway = Gateway::start(&upstream.url(), &all(&format!("http://{address}")));
    assert_eq!(gateway.get("/", "").status, 200);
    gateway.until_metric(DROPPED, 2.0);
    assert_eq!(gateway.get("/", "").status, 200);
    let stopping = now();
    gateway.stop();
    assert!(stopping.elapsed() < Duration::from_secs(2), "a stop took {:?}", stopping.elapsed());
}

#[test]
fn a_collector_that_does_not_answer_holds_up_nobody_and_not_more_than_the_bound_waits() {
    let upstream = Upstream::hello();
    // Connections are taken, by the kernel, and nothing is ever read.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::start(&upstream.url(), &all(&format!("http://{}", silent.local_addr().unwrap())));
    let mut connection = gateway.connect();
    let began = now();
    let mut longest = Duration::ZERO;
    // 2,048 requests wait at most; as many may be on their way.
    for _ in 0..5_000 {
        let asked = now();
        connection.send(GET);
        assert_eq!(connection.read("GET").status, 200);
        longest = longest.max(asked.elapsed());
    }
    assert!(longest < Duration::from_secs(3), "a request took {longest:?} of {:?}", began.elapsed());
    wait_until("what finds no room is counted", || gateway.metric(DROPPED) > 0.0);
    assert_eq!(gateway.metric(EXPORTED), 0.0);
    let stopping = now();
    gateway.stop();
    assert!(stopping.elapsed() < Duration::from_secs(8), "a stop took {:?}", stopping.elapsed());
}

#[test]
fn spans_that_a_collector_refuses_are_counted_as_lost() {
    let upstream = Upstream::hello();
    let refusal = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}"#;
    let collector = Collector::answering(move |_| Reaction::Send(response("200 OK", "", refusal)));
    let gateway = Gateway::start(&upstream.url(), &all(&collector.url()));
    gateway.get("/", "");
    gateway.until_metric(DROPPED, 1.0);
    assert_eq!(gateway.metric(EXPORTED), 1.0);
}

#[test]
fn a_redirect_of_a_collector_is_not_followed() {
    let upstream = Upstream::hello();
    let elsewhere = Collector::start();
    let location = format!("Location: {}/v1/traces\r\n", elsewhere.url());
    let collector = Collector::answering(move |_| Reaction::Send(response("307 Temporary Redirect", &location, "")));
    let gateway = Gateway::start(&upstream.url(), &all(&collector.url()));
    gateway.get("/", "");
    gateway.until_metric(DROPPED, 2.0);
    assert!(elsewhere.posts().is_empty());
}

#[test]
fn what_is_left_at_a_stop_is_still_sent() {
    let upstream = Upstream::hello();
    let collector = Collector::start();
    let gateway = Gateway::start(&upstream.url(), &all(&collector.url()));
    let mut connection = gateway.connect();
    for _ in 0..10 {
        connection.send(GET);
        connection.read("GET");
    }
    connection.close();
    gateway.stop();
    let spans = collector.spans();
    assert_eq!(spans.len(), 20, "all of them are there when the stop has ended");
    let (trace, ..) = parts(upstream.last().header("traceparent").unwrap());
    assert!(spans.iter().any(|span| span.text("traceId") == Some(&trace)));
}
