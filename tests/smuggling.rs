//! Requests that two readers may take for different ones, over raw sockets, with an application that records every byte.
//!
//! Each shape is sent on a connection of its own, with an honest request right behind it. Whatever the gateway makes of it,
//! what reaches the application must be requests that nobody can read in two ways, and never the one hidden inside.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "smuggling/recorder.rs"]
mod recorder;
#[path = "smuggling/shapes.rs"]
mod shapes;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use recorder::Recorder;
use shapes::{Fate, Shape};
use support::gateway::{Gateway, Issued};

const SETTINGS: &str = "[server]\nworkers = 1\nheader_timeout = \"400ms\"\nidle_timeout = \"400ms\"\n";
const OPEN: &str = "[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n";

/// The statuses of all final responses on the connection, until the gateway closes it.
fn exchange(gateway: &Gateway, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // It may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
    }
    let text = String::from_utf8_lossy(&answer);
    let statuses = text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok());
    statuses.filter(|status| *status >= 200).collect()
}

/// An honest request that asks for the connection's end.
fn marker(number: usize, token: &str) -> String {
    format!(
        "GET /marker-{number} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{token}Connection: close\r\n\r\n"
    )
}

fn judge(gateway: &Gateway, recorder: &Recorder, number: usize, shape: &Shape, token: &str) -> Result<(), String> {
    let bytes = [shape.bytes(number, token), marker(number, token).into_bytes()].concat();
    let statuses = exchange(gateway, &bytes);
    // What is left of an earlier shape that was given up may come late.
    let ours = format!("-{number}");
    let mut received = recorder.requests();
    received.retain(|raw| {
        let target = recorder::target(raw);
        target.ends_with(&ours) || target.contains("smuggled")
    });
    let told = || {
        let heads: Vec<_> = received.iter().map(|raw| String::from_utf8_lossy(raw).into_owned()).collect();
        format!("{}: answers {statuses:?}, the application got {heads:#?}", shape.name)
    };
    for raw in &received {
        recorder::is_unambiguous(raw).map_err(|why| format!("{why} in {}", told()))?;
    }
    let targets: Vec<_> = received.iter().map(|raw| recorder::target(raw)).collect();
    if targets.iter().any(|target| target.contains("smuggled")) {
        return Err(format!("the hidden request arrived: {}", told()));
    }
    let shaped: Vec<_> = targets.iter().filter(|target| !target.starts_with("/marker")).collect();
    match shape.fate {
        Fate::Refused if !shaped.is_empty() => Err(format!("it passed: {}", told())),
        Fate::Refused if statuses.first().is_some_and(|status| !(400..=599).contains(status)) => {
            Err(format!("it was not refused: {}", told()))
        }
        Fate::Chunks if shaped.len() != 1 || statuses.len() != 1 || targets.len() != 1 => {
            Err(format!("expected one and the end of the connection: {}", told()))
        }
        Fate::Passes(number) if shaped.len() != number || statuses.len() != number + 1 => {
            Err(format!("expected {number} and the marker: {}", told()))
        }
        Fate::Refused | Fate::Chunks | Fate::Passes(_) | Fate::Either => Ok(()),
    }
}

fn run(gateway: &Gateway, recorder: &Recorder, session: Option<&Issued>) {
    let token = session.map_or_else(String::new, |session| support::gateway::bearer(&session.token));
    let shapes = shapes::all();
    assert!(shapes.len() >= 90, "{}", shapes.len());
    let wrong: Vec<_> = shapes
        .iter()
        .enumerate()
        .filter_map(|(number, shape)| judge(gateway, recorder, number, shape, &token).err())
        .collect();
    assert!(wrong.is_empty(), "{} of {} shapes:\n{}", wrong.len(), shapes.len(), wrong.join("\n"));
    assert_eq!(exchange(gateway, marker(9999, &token).as_bytes()), [200], "it serves after all of them");
}

#[test]
fn no_shape_smuggles_a_request_where_everybody_may_pass() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(&recorder.url(), &format!("{SETTINGS}{OPEN}"));
    run(&gateway, &recorder, None);
}

#[test]
fn no_shape_smuggles_a_request_behind_that_of_a_session() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(&recorder.url(), SETTINGS);
    let session = gateway.login("ann");
    run(&gateway, &recorder, Some(&session));
}

#[test]
fn nothing_at_all_reaches_the_application_without_a_session() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(&recorder.url(), SETTINGS);
    for shape in shapes::all() {
        let statuses = exchange(&gateway, &[shape.bytes(0, ""), marker(0, "").into_bytes()].concat());
        assert!(statuses.iter().all(|status| *status >= 400), "{}: {statuses:?}", shape.name);
    }
    assert!(recorder.requests().is_empty(), "{:?}", recorder.requests());
}

#[test]
fn of_pipelined_requests_each_is_judged_by_its_own_token() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(&recorder.url(), SETTINGS);
    let (ann, bob) = (gateway.login("ann"), gateway.login("bob"));
    let request = |path: &str, token: &str| {
        format!("GET /{path} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: acme-test/1.0\r\n{token}\r\n")
    };
    let (ann, bob) = (support::gateway::bearer(&ann.token), support::gateway::bearer(&bob.token));
    let all = [
        request("a", &ann),
        request("nobody", ""),
        request("b", &bob),
        request("bad", "Authorization: Bearer x\r\n"),
        request("c", &ann),
        marker(0, &bob),
    ];
    assert_eq!(exchange(&gateway, all.concat().as_bytes()), [200, 401, 200, 401, 200, 200]);
    let seen: Vec<_> = recorder
        .requests()
        .iter()
        .map(|raw| (recorder::target(raw), recorder::values(raw, "x-auth-user").join(",")))
        .collect();
    let expected = [("/a", "ann"), ("/b", "bob"), ("/c", "ann"), ("/marker-0", "bob")];
    assert_eq!(seen, expected.map(|(target, user)| (target.to_owned(), user.to_owned())));
}
