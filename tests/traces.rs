//! How a request is followed through several programs: its trace, its id, and the spans that are collected.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

#[path = "traces/collecting.rs"]
mod collecting;
#[path = "traces/context.rs"]
mod context;
#[path = "traces/ids.rs"]
mod ids;
#[path = "traces/outages.rs"]
mod outages;
#[path = "traces/secure.rs"]
mod secure;

use support::gateway::Gateway;
use support::wait_until;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Settings with which everybody may use the application; `trace` stands under `[trace]`.
fn open(trace: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[trace]\n{trace}\n[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n"
    )
}

/// The same behind a proxy that is trusted.
fn behind(trace: &str) -> String {
    open(trace).replace("workers = 1\n", "workers = 1\ntrusted_proxies = [\"127.0.0.1\"]\n")
}

/// The header of a trace that a client began.
fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

/// The parts of a `traceparent`: trace, span and flags.
#[track_caller]
fn parts(traceparent: &str) -> (String, String, String) {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    assert!(parts.len() == 4 && parts.iter().all(|part| is_hex(part)), "{traceparent}");
    assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts[3].len()), ("00", 32, 16, 2), "{traceparent}");
    (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

/// The lines of the access log, once there are so many of them.
#[track_caller]
fn lines(gateway: &Gateway, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(gateway.access_log()).unwrap_or_default();
    wait_until("the access log has its lines", || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

/// One word of a text line.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}
