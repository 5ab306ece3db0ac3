//! Requests at a time, which count under `server.max_connections_per_client` and `server.max_connections`.

use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use http_body_util::Full;

use crate::support::client::Connection as Http1;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, get,
};
use crate::support::gateway::{Gateway, open_with_one_worker};
use crate::support::http2::{Connection, Pending, Response};
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;

const REFUSED: &str = "gateway_requests_total{verdict=\"rate_limited\",status=\"429\"}";
const ABANDONED: &str = "gateway_requests_total{verdict=\"abandoned\"}";

/// An application that keeps every request waiting until it is let go.
struct Patient {
    upstream: Upstream,
    going: Arc<(Mutex<bool>, Condvar)>,
}

impl Patient {
    fn start() -> Self {
        let going = Arc::<(Mutex<bool>, Condvar)>::default();
        let waiting = going.clone();
        let upstream = Upstream::start(move |_| {
            let (goes, changed) = &*waiting;
            drop(changed.wait_while(goes.lock().unwrap(), |goes| !*goes).unwrap());
            Reaction::Send(response("200 OK", "", "late"))
        });
        Self { upstream, going }
    }

    fn let_go(&self, goes: bool) {
        *self.going.0.lock().unwrap() = goes;
        self.going.1.notify_all();
    }

    /// Waits until so many requests have come to it.
    #[track_caller]
    fn until(&self, count: usize) {
        wait_until(&format!("request {count} is there"), || self.upstream.received().len() == count);
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.let_go(true);
    }
}

fn ask(connection: &Connection<Full<Bytes>>) -> Pending {
    connection.begin(connection.request("GET", "/").body(Full::default()).unwrap())
}

fn code(response: &Response) -> String {
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

fn send_get(frames: &mut Frames, stream: u32) {
    frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &get("/", &[]));
}

/// The next frame of this kind.
fn next(frames: &mut Frames, kind: u8) -> Frame {
    loop {
        let frame = frames.next().expect("the connection stays");
        if frame.kind == kind {
            return frame;
        }
    }
}

#[test]
fn requests_beside_the_first_of_a_connection_count_as_connections_of_their_client_until_they_end() {
    let app = Patient::start();
    let gateway = Gateway::start(&app.upstream.url(), &open_with_one_worker("max_connections_per_client = 3"));
    let connection = Connection::open(gateway.address);
    for round in 0..2 {
        let before = round * 4;
        let served: Vec<Pending> = (0..3).map(|_| ask(&connection)).collect();
        app.until(before + 3);
        for _ in 0..2 {
            let refused = ask(&connection).wait().unwrap();
            assert_eq!((refused.status, code(&refused).as_str()), (429, "rate_limited"));
            assert_eq!(refused.headers["retry-after"], "1");
        }
        assert!(Http1::open(gateway.address).is_closed(), "nor is there a place for a connection");
        let neighbour = ask(&Connection::open_from([127, 0, 0, 2], gateway.address));
        app.until(before + 4);

        app.let_go(true);
        for served in served.into_iter().chain([neighbour]) {
            assert_eq!(served.wait().unwrap().status, 200, "round {round}");
        }
        app.let_go(false);
    }
    gateway.until_metric(REFUSED, 4.0);
}

#[test]
fn a_request_has_its_place_until_the_client_has_taken_its_answer() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open_with_one_worker("max_connections_per_client = 2"));
    let mut frames = Frames::open(gateway.address);
    // SETTINGS_INITIAL_WINDOW_SIZE: bodies wait.
    frames.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in [1, 3] {
        send_get(&mut frames, stream);
        assert_eq!(next(&mut frames, HEADERS).status(), Some(200));
    }
    send_get(&mut frames, 5);
    assert_eq!(next(&mut frames, HEADERS).status(), None, "it is 429");
    for stream in [1, 3] {
        frames.send(WINDOW_UPDATE, 0, stream, &100_u32.to_be_bytes());
        assert_eq!(next(&mut frames, DATA).stream, stream);
    }
    for stream in [7, 9] {
        send_get(&mut frames, stream);
        assert_eq!(next(&mut frames, HEADERS).status(), Some(200));
    }
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn a_request_that_is_given_up_gives_its_place_back() {
    let app = Patient::start();
    let gateway = Gateway::start(&app.upstream.url(), &open_with_one_worker("max_connections_per_client = 3"));
    let mut frames = Frames::open(gateway.address);
    for stream in [1, 3, 5] {
        send_get(&mut frames, stream);
    }
    app.until(3);
    // One with a place of its own, and the one that has the connection's.
    for (count, given_up) in [5, 1].into_iter().enumerate() {
        let next_stream = 7 + 4 * count as u32;
        send_get(&mut frames, next_stream);
        let refused = next(&mut frames, HEADERS);
        assert_eq!((refused.stream, refused.status()), (next_stream, None));
        frames.send(RST_STREAM, 0, given_up, &8_u32.to_be_bytes());
        gateway.until_metric(ABANDONED, 1.0 + count as f64);
        send_get(&mut frames, next_stream + 2);
        app.until(4 + count);
    }
    gateway.until_metric(REFUSED, 2.0);
}

#[test]
fn a_connection_that_is_closed_gives_all_its_places_back() {
    let app = Patient::start();
    let gateway = Gateway::start(&app.upstream.url(), &open_with_one_worker("max_connections_per_client = 3"));
    for round in 1..=2 {
        let mut frames = Frames::open(gateway.address);
        for stream in [1, 3, 5] {
            send_get(&mut frames, stream);
        }
        app.until(3 * round);
        drop(frames);
        gateway.until_metric(ABANDONED, 3.0 * round as f64);
        gateway.until_metric("gateway_connections_open", 0.0);
    }
    assert_eq!(gateway.metric(REFUSED), 0.0);
}

#[test]
fn zero_is_no_limit_of_requests_and_trusted_proxies_have_none() {
    for server in
        ["max_connections_per_client = 0", "max_connections_per_client = 1\ntrusted_proxies = [\"127.0.0.0/8\"]"]
    {
        let app = Patient::start();
        let gateway = Gateway::start(&app.upstream.url(), &open_with_one_worker(server));
        let connection = Connection::open(gateway.address);
        let served: Vec<Pending> = (0..20).map(|_| ask(&connection)).collect();
        app.until(20);
        app.let_go(true);
        for served in served {
            assert_eq!(served.wait().unwrap().status, 200);
        }
    }
}

#[test]
fn requests_beside_the_first_count_under_max_connections_whoever_sends_them() {
    for server in ["max_connections_per_client = 0", "trusted_proxies = [\"127.0.0.0/8\"]"] {
        let app = Patient::start();
        // One for the connection, one for that which is waited for, and one more.
        let server = format!("max_connections = 3\n{server}");
        let gateway = Gateway::start(&app.upstream.url(), &open_with_one_worker(&server));
        let connection = Connection::open(gateway.address);
        for round in 1..=2 {
            let served = [ask(&connection), ask(&connection)];
            app.until(2 * round);
            let refused = ask(&connection).wait().unwrap();
            assert_eq!((refused.status, code(&refused).as_str()), (503, "upstream_unavailable"));
            assert_eq!(refused.headers["retry-after"], "1");
            app.let_go(true);
            for served in served {
                assert_eq!(served.wait().unwrap().status, 200);
            }
            app.let_go(false);
        }
    }
}

#[test]
fn a_client_that_takes_no_refusals_gets_the_rest_of_them_without_a_body() {
    let app = Patient::start();
    let gateway = Gateway::start(&app.upstream.url(), &open_with_one_worker("max_connections_per_client = 1"));
    let mut frames = Frames::open(gateway.address);
    frames.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    send_get(&mut frames, 1);
    app.until(1);
    let mut ended = 0;
    for number in 1..=40 {
        send_get(&mut frames, 1 + 2 * number);
        let refused = next(&mut frames, HEADERS);
        assert_eq!((refused.stream, refused.status()), (1 + 2 * number, None));
        ended += u32::from(refused.flags & END_STREAM != 0);
    }
    assert_eq!(ended, 40 - 16);
    gateway.until_metric(REFUSED, f64::from(ended));
    assert_eq!(app.upstream.received().len(), 1);
}

#[test]
fn a_head_is_refused_without_a_body() {
    let app = Patient::start();
    let gateway = Gateway::start(&app.upstream.url(), &open_with_one_worker("max_connections_per_client = 1"));
    let mut frames = Frames::open(gateway.address);
    send_get(&mut frames, 1);
    app.until(1);
    let head = [(":method", "HEAD"), (":scheme", "http"), (":authority", "app.example"), (":path", "/")];
    frames.send(HEADERS, END_HEADERS | END_STREAM, 3, &block(&head));
    let refused = next(&mut frames, HEADERS);
    assert_eq!((refused.stream, refused.flags & END_STREAM), (3, END_STREAM));
}

#[test]
fn a_stop_answers_requests_that_were_on_their_way_though_it_waits_for_all_places() {
    let app = Patient::start();
    let gateway = Gateway::start(&app.upstream.url(), &open_with_one_worker("drain = \"20s\"\nmax_connections = 3"));
    let mut frames = Frames::open(gateway.address);
    send_get(&mut frames, 1);
    app.until(1);
    let stopping = std::thread::spawn(move || gateway.stop());
    // Two GOAWAYs: before the second, which waits for the answer to a ping, requests may still come.
    assert_eq!(next(&mut frames, GOAWAY).error(), 0);
    for stream in [3, 5, 7] {
        send_get(&mut frames, stream);
    }
    app.until(4);
    app.let_go(true);
    for _ in 0..4 {
        assert_eq!(next(&mut frames, HEADERS).status(), Some(200));
    }
    drop(frames);
    stopping.join().unwrap();
}
