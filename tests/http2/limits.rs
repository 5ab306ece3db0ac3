//! Limits of time and number, and the end of connections.

use bytes::Bytes;
use http_body_util::Full;

use crate::support::frames::{
    ACK, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Verdict, get,
};
use crate::support::gateway::Gateway;
use crate::support::http2::Connection;
use crate::support::upstream::{Reaction, Upstream, response};
use crate::support::wait_until;

fn open(server: &str) -> String {
    format!(
        "[server]\nworkers = 1\n{server}\n[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n"
    )
}

#[test]
fn a_connection_without_requests_is_told_to_leave_after_the_idle_time() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"300ms\""));
    let mut frames = Frames::open(gateway.address);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/", &[]));
    assert_eq!(frames.verdict(), Verdict::Answered(Some(200)));
    let mut farewell = None;
    while let Some(frame) = frames.next() {
        if frame.kind == GOAWAY {
            farewell = Some(frame.error());
        }
    }
    assert_eq!(farewell, Some(0), "without a complaint, and then it is closed though nobody answers its ping");
    wait_until("it is closed", || gateway.metric("gateway_connections_open") == 0.0);
}

#[test]
fn a_client_that_waits_for_an_answer_is_asked_again_and_again_whether_it_is_there() {
    let upstream = Upstream::start(|_| {
        Reaction::Custom(Box::new(|stream| {
            let _ = std::io::Read::read(stream, &mut [0; 1]);
        }))
    });
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"200ms\""));
    let mut frames = Frames::open(gateway.address);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/", &[]));
    for _ in 0..3 {
        let ping = frames.next().expect("the connection stays");
        assert_eq!((ping.kind, ping.flags), (PING, 0));
        frames.send(PING, ACK, 0, &ping.payload);
    }
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_connection_that_begins_and_says_nothing_more_is_closed() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open("header_timeout = \"300ms\""));
    for begun in [&b""[..], b"PRI * HT", crate::support::frames::PREFACE] {
        let mut frames = Frames::connect(gateway.address);
        frames.send_raw(begun);
        while frames.read().is_some() {}
    }
    wait_until("they are closed", || gateway.metric("gateway_connections_open") == 0.0);
}

#[test]
fn a_client_that_takes_nothing_of_one_response_loses_that_stream_and_no_other() {
    let upstream = Upstream::start(|request| match request.target() {
        "/large" => Reaction::Send(response("200 OK", "", &"x".repeat(4_000_000))),
        _ => Reaction::Send(response("200 OK", "", "small")),
    });
    let gateway = Gateway::start(&upstream.url(), &open("idle_timeout = \"400ms\""));
    let mut frames = Frames::open(gateway.address);
    // No window is ever given back: the first 65,535 bytes come, and no more.
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/large", &[]));
    let reset = loop {
        let frame = frames.next().expect("the connection stays");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!(reset.stream, 1);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 3, &get("/", &[]));
    let answer = frames.next().unwrap();
    assert_eq!((answer.kind, answer.stream, answer.status()), (HEADERS, 3, Some(200)));
    gateway.until_metric("gateway_connections_timed_out_total", 1.0);
}

#[test]
fn more_requests_than_allowed_at_a_time_are_refused_and_the_others_go_on() {
    let upstream = Upstream::start(|_| {
        Reaction::Custom(Box::new(|stream| {
            // Until the gateway goes away.
            let _ = std::io::Read::read(stream, &mut [0; 1]);
        }))
    });
    let gateway = Gateway::start(&upstream.url(), &open("http2_max_streams = 3"));
    let mut frames = Frames::connect(gateway.address);
    frames.send_raw(crate::support::frames::PREFACE);
    frames.send(SETTINGS, 0, 0, &[]);
    let settings = frames.read().unwrap();
    assert!(settings.payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 3]), "{settings:?}");
    for stream in [1, 3, 5, 7] {
        frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &get("/", &[]));
    }
    let refused = frames.next().unwrap();
    assert_eq!((refused.kind, refused.stream, refused.error()), (RST_STREAM, 7, 7), "REFUSED_STREAM");
    wait_until("three are there", || upstream.received().len() == 3);
}

#[test]
fn a_drain_lets_requests_in_flight_finish_and_takes_no_new_ones() {
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let released = std::sync::Mutex::new(released);
    let upstream = Upstream::start(move |_| {
        released.lock().unwrap().recv().unwrap();
        Reaction::Send(response("200 OK", "", "late"))
    });
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let connection = Connection::<Full<Bytes>>::open(gateway.address);
    let request = connection.request("GET", "/slow").body(Full::default()).unwrap();
    let slow = connection.begin(request);
    wait_until("it is there", || upstream.received().len() == 1);
    let address = gateway.address;
    let stopping = std::thread::spawn(move || gateway.stop());
    tokio::task::block_in_place(|| {
        wait_until("new connections are refused", || std::net::TcpStream::connect(address).is_err())
    });
    release.send(()).unwrap();
    let answer = slow.wait().unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"late"[..]));
    let request = connection.request("GET", "/more").body(Full::default()).unwrap();
    stopping.join().unwrap();
    assert!(connection.begin(request).wait().is_err());
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_stream_that_the_client_gives_up_closes_the_connection_to_the_application() {
    let upstream = Upstream::start(|_| {
        Reaction::Custom(Box::new(|stream| {
            let ended = std::io::Read::read(stream, &mut [0; 1]);
            assert!(matches!(ended, Ok(0) | Err(_)));
        }))
    });
    let gateway = Gateway::start(&upstream.url(), &open(""));
    let mut frames = Frames::open(gateway.address);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get("/", &[]));
    wait_until("it is there", || upstream.received().len() == 1);
    frames.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    wait_until("it is given up", || {
        let page = gateway.ops_get("/metrics");
        page.text().lines().any(|line| {
            line.starts_with("gateway_requests_total{") && line.contains("abandoned") && line.ends_with(" 1")
        })
    });
}
