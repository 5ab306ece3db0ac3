//! What outlasts its request: WebSockets, event streams and downloads, and how the end of a session ends them.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "tunnels/cutting.rs"]
mod cutting;
#[path = "tunnels/fleet.rs"]
mod fleet;
#[path = "tunnels/opening.rs"]
mod opening;
#[path = "tunnels/passing.rs"]
mod passing;
#[path = "tunnels/responses.rs"]
mod responses;

use std::time::Duration;

use support::gateway::Gateway;
use support::wait_until;

/// The bound that is promised.
const BOUND: Duration = Duration::from_secs(1);

/// The access log once it has a line with this word.
fn log_with(gateway: &Gateway, word: &str) -> String {
    let mut log = String::new();
    wait_until("the access log has its line", || {
        log = std::fs::read_to_string(gateway.access_log()).unwrap_or_default();
        log.contains(word)
    });
    log.lines().find(|line| line.contains(word)).unwrap().to_owned()
}

/// Waits for so long, because nothing is to happen meanwhile.
fn while_nothing_happens(length: Duration) {
    let began = support::now();
    wait_until("the time passes", || began.elapsed() >= length);
}
