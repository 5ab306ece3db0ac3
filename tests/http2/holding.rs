//! What is held of responses that a client does not take: no more than one piece of each, and that not for ever.

use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, get,
};
use crate::support::gateway::{Gateway, open_with_one_worker};
use crate::support::http2_app::{Http2App, head, trailers};
use crate::support::upstream::Upstream;
use crate::support::wait_until;

const PASSED: &str = "gateway_requests_total{verdict=\"anonymous\"}";
const CANCEL: u32 = 8;

/// A connection on whose streams there is room for so much of a response.
fn with_room(gateway: &Gateway, window: u32) -> Frames {
    let mut frames = Frames::open(gateway.address);
    // SETTINGS_INITIAL_WINDOW_SIZE.
    frames.send(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
    frames
}

fn ask(frames: &mut Frames, stream: u32) {
    frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &get("/", &[]));
}

/// The next frame of one of these kinds.
fn next(frames: &mut Frames, kinds: &[u8]) -> Frame {
    std::iter::from_fn(|| frames.next()).find(|frame| kinds.contains(&frame.kind)).expect("the connection stays")
}

#[test]
fn a_response_is_over_when_the_client_has_room_for_the_last_of_it_and_its_application_is_free_before() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open_with_one_worker(""));
    let in_flight =
        format!("gateway_upstream_requests_in_flight{{upstream=\"app\",address=\"{}\"}}", &upstream.url()[7..]);
    let mut frames = with_room(&gateway, 3);
    ask(&mut frames, 1);
    let first = next(&mut frames, &[DATA]);
    assert_eq!((first.payload.as_slice(), first.flags & END_STREAM), (&b"hel"[..], 0));
    gateway.until_metric(&in_flight, 0.0);
    assert_eq!(gateway.metric(PASSED), 0.0);
    frames.send(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    let second = next(&mut frames, &[DATA]);
    assert_eq!((second.payload.as_slice(), second.flags & END_STREAM), (&b"l"[..], 0));
    frames.send(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    let last = next(&mut frames, &[DATA]);
    assert_eq!((last.payload.as_slice(), last.flags & END_STREAM), (&b"o"[..], END_STREAM));
    gateway.until_metric(PASSED, 1.0);
    assert_eq!(upstream.connections(), 1);
    assert_eq!(gateway.get("/", "").status, 200);
    assert_eq!(upstream.connections(), 1, "it went back whole");
}

#[test]
fn the_last_pieces_of_many_responses_that_a_client_does_not_take_are_let_go_of() {
    let upstream = Upstream::hello();
    let gateway = Gateway::start(&upstream.url(), &open_with_one_worker("idle_timeout = \"500ms\""));
    let mut frames = with_room(&gateway, 3);
    let streams = (0..30).map(|number| 1 + 2 * number);
    for stream in streams.clone() {
        ask(&mut frames, stream);
    }
    let mut reset = Vec::new();
    while reset.len() < streams.len() {
        let frame = next(&mut frames, &[RST_STREAM, DATA]);
        if frame.kind == RST_STREAM {
            assert_eq!(frame.error(), CANCEL);
            reset.push(frame.stream);
        } else {
            assert_eq!((frame.payload.as_slice(), frame.flags & END_STREAM), (&b"hel"[..], 0));
        }
    }
    reset.sort_unstable();
    assert_eq!(reset, streams.collect::<Vec<_>>());
    gateway.until_metric("gateway_connections_timed_out_total", 30.0);
    let log = || std::fs::read_to_string(gateway.access_log()).unwrap_or_default();
    wait_until("all of them are in the log", || log().lines().count() == 30);
    for line in log().lines() {
        assert!(line.contains(" bytes=3 ") && line.contains(" aborted=true"), "{line}");
    }
}

#[test]
fn trailers_wait_for_what_is_before_them() {
    let app = Http2App::start(|mut exchange| async move {
        let mut stream = exchange.respond.send_response(head(200, &[]), false)?;
        stream.send_data("hello".into(), false)?;
        stream.send_trailers(trailers(&[("x-sum", "7")]))
    });
    let settings = open_with_one_worker("").replace("{upstream}\"", &format!("{}\"\nprotocol = \"http2\"", app.url()));
    let gateway = Gateway::start("", &settings);
    let mut frames = with_room(&gateway, 3);
    ask(&mut frames, 1);
    assert_eq!(next(&mut frames, &[DATA]).payload, b"hel");
    frames.send(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes());
    let rest = next(&mut frames, &[DATA, HEADERS]);
    assert_eq!((rest.kind, rest.payload.as_slice(), rest.flags & END_STREAM), (DATA, &b"lo"[..], 0));
    let end = next(&mut frames, &[DATA, HEADERS]);
    assert_eq!((end.kind, end.flags & END_STREAM), (HEADERS, END_STREAM));
}
