//! Client connections that are idle for longer than a moment give back what serving a request needs, and nobody notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::gateway::{Gateway, open_with_one_worker as open};
use support::http2_app::Http2App;
use support::upstream::{Reaction, Upstream, response};
use tokio::sync::Semaphore;

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

fn rest(gateway: &Gateway, connections: f64) {
    gateway.until_metric("gateway_connections_resting", connections);
}

#[test]
fn a_connection_that_rested_serves_what_comes_next_whole_in_pieces_and_pipelined() {
    let upstream = Upstream::start(|request| Reaction::Send(response("200 OK", "", request.target())));
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let mut connection = gateway.connect();
    connection.send(GET);
    assert_eq!(connection.read("GET").text(), "/");
    rest(&gateway, 1.0);

    connection.send("GET /a HTTP/1.1\r\nHost: app.test\r\n\r\nGET /b HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!((connection.read("GET").text(), connection.read("GET").text()), ("/a", "/b"));
    rest(&gateway, 1.0);

    connection.send("G");
    rest(&gateway, 0.0);
    connection.send("ET /pieces HTTP/1.1\r\nHost: app.test\r\n");
    connection.send(format!("X-Pad: {}\r\n\r\n", "p".repeat(9_000)));
    assert_eq!(connection.read("GET").text(), "/pieces");
    assert_eq!(gateway.metric("gateway_connections_total"), 1.0);
}

#[test]
fn a_connection_that_rests_is_closed_when_its_idle_time_is_over_and_not_before() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"3s\""));
    let mut connection = gateway.connect();
    connection.send(GET);
    assert_eq!(connection.read("GET").status, 200);
    let began = Instant::now();
    rest(&gateway, 1.0);
    assert!(connection.is_closed());
    let took = began.elapsed();
    assert!(took > Duration::from_millis(2_800) && took < Duration::from_secs(8), "{took:?}");
    gateway.until_metric("gateway_connections_timed_out_total", 1.0);
    rest(&gateway, 0.0);
}

#[test]
fn a_client_that_leaves_while_its_connection_rests_is_counted_out() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let mut connection = gateway.connect();
    connection.send(GET);
    assert_eq!(connection.read("GET").status, 200);
    rest(&gateway, 1.0);
    connection.close();
    gateway.until_metric("gateway_connections_open", 0.0);
    rest(&gateway, 0.0);
}

#[test]
fn a_gateway_that_stops_closes_what_rests_at_once() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("drain = \"30s\""));
    let mut connection = gateway.connect();
    connection.send(GET);
    assert_eq!(connection.read("GET").status, 200);
    rest(&gateway, 1.0);
    let began = Instant::now();
    gateway.stop();
    assert!(connection.is_closed());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let upstream = Upstream::start(|_| Reaction::Send(support::upstream::response_of(&vec![b'x'; 8 << 20])));
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let (mut slow, mut quick) = (gateway.connect(), gateway.connect());
    slow.send(GET);
    let head = slow.read_head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Another one's rest is the measure of time.
    quick.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(quick.read("HEAD").status, 200);
    rest(&gateway, 1.0);
    assert_eq!(slow.take(8 << 20).len(), 8 << 20);
    slow.send(GET);
    assert_eq!(slow.read("GET").status, 200);
}

#[test]
fn what_came_behind_a_request_while_it_was_served_is_not_lost_in_a_rest() {
    let upstream = Upstream::start(|request| Reaction::Send(response("200 OK", "", request.target())));
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let (mut connection, mut other) = (gateway.connect(), gateway.connect());
    let pad = "p".repeat(7_000);
    connection.send(format!("{GET}GET /next HTTP/1.1\r\nHost: app.test\r\nX-Pad: {pad}"));
    assert_eq!(connection.read("GET").text(), "/");
    other.send(GET);
    assert_eq!(other.read("GET").text(), "/");
    // Another one's rest is the measure of time.
    gateway.until_metric("gateway_connections_open", 2.0);
    while gateway.metric("gateway_connections_resting") < 1.0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    connection.send("q\r\n\r\n");
    assert_eq!(connection.read("GET").text(), "/next");
    assert_eq!(upstream.last().header("x-pad").map(str::len), Some(7_001));
}

fn before(app: &Http2App) -> Gateway {
    let settings = format!(
        "[server]\nworkers = 1\n[[upstream]]\nurl = \"{}\"\nprotocol = \"http2\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n",
        app.url()
    );
    Gateway::start("", &settings)
}

#[test]
fn a_connection_whose_body_is_thrown_away_behind_the_answer_rests_too() {
    // It answers when all of the request has left the client, and reads nothing of it.
    let sent = Arc::new(Semaphore::new(0));
    let told = sent.clone();
    let app = Http2App::start(move |mut exchange| {
        let told = told.clone();
        async move {
            told.acquire().await.unwrap().forget();
            exchange.answer(200, &[], b"early")?;
            std::future::pending().await
        }
    });
    let gateway = before(&app);
    let mut connection = gateway.connect();
    // More than the application's window and what waits for it, and little enough to be thrown away.
    let body = "x".repeat(170_000);
    connection.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    sent.add_permits(2);
    assert_eq!(connection.read("POST").text(), "early");
    rest(&gateway, 1.0);
    connection.send(GET);
    assert_eq!(connection.read("GET").text(), "early");
}

#[test]
fn the_rest_of_a_body_that_nobody_reads_is_never_taken_for_a_request() {
    // It answers at once, reads nothing, and leaves the stream as it is.
    let app = Http2App::start(|mut exchange| async move {
        exchange.answer(200, &[], b"early")?;
        std::future::pending().await
    });
    let gateway = before(&app);
    let mut connection = gateway.connect();
    // More than the application's window, so that some of it is still on its way.
    let length = 300_000;
    connection.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {length}\r\n\r\n"));
    connection.try_send("x".repeat(100_000));
    assert_eq!(connection.read("POST").text(), "early");
    let mut other = gateway.connect();
    other.send(GET);
    assert_eq!(other.read("GET").text(), "early");
    rest(&gateway, 1.0);
    connection.try_send("GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n".repeat(5_000));
    // Whatever becomes of the connection, nothing of that is answered.
    assert!(connection.try_read("GET").is_none());
    assert!(app.received().iter().all(|received| received.uri.path() == "/"), "{:?}", app.received());
}
