//! What integration tests share. A test takes it in with `mod support;`.
//!
//! - [`gateway`]: a real gateway in this process, on free ports, with a store of its own.
//! - [`upstream`]: a real application on a free port that records, byte for byte, what reaches it.
//! - [`peer`]: an application that the test plays itself, byte by byte.
//! - [`client`]: a client that sends exactly what it is told and reads whole responses.
//! - [`http2`]: a client of HTTP/2, and [`http2_app`]: an application that speaks it.
//! - [`authority`]: somebody who issues certificates, and [`tls`]: a client that checks them.
//! - [`collector`]: somebody who collects spans.
//! - [`issuer`]: somebody who signs tokens, with a library that is not ours.
//! - [`link`]: a link to a server that can be cut.
//! - [`postgres`]: a throw-away PostgreSQL server.
//! - [`database`]: the SQLite file of a gateway, to age and change its rows.
//! - [`websocket`]: what is said to open one, and frames.
//! - [`proxy`]: a proxy of somebody else's in front of a gateway.
//! - [`program`]: the real program as a process of its own.
#![allow(dead_code, unreachable_pub, reason = "every test uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock to give up waiting")]

pub mod authority;
pub mod client;
pub mod collector;
pub mod database;
pub mod frames;
pub mod gateway;
pub mod http2;
pub mod http2_app;
pub mod issuer;
pub mod link;
pub mod peer;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod tls;
pub mod upstream;
pub mod websocket;

use std::time::{Duration, Instant};

/// Bytes that no compression, text handling or lucky alignment gets right by chance; NUL, CR and LF among them. The same
/// for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Waits until `condition` holds; fails the test when it does not within ten seconds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(10), "waited ten seconds in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The time, for a test that measures how long something took.
pub fn now() -> Instant {
    Instant::now()
}
