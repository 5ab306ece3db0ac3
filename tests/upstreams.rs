//! The way to applications: sockets of this machine, TLS, several addresses, and what happens when they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

#[path = "upstreams/front.rs"]
mod front;
#[path = "upstreams/health.rs"]
mod health;
#[path = "upstreams/limits.rs"]
mod limits;
#[path = "upstreams/local.rs"]
mod local;
#[path = "upstreams/multiplexed.rs"]
mod multiplexed;
#[path = "upstreams/pki.rs"]
mod pki;
#[path = "upstreams/secure.rs"]
mod secure;
#[path = "upstreams/several.rs"]
mod several;
#[path = "upstreams/streaming.rs"]
mod streaming;

/// Settings of an application with these lines, which lets everybody through.
fn open(lines: &str) -> String {
    format!("[server]\nworkers = 1\n[[upstream]]\n{lines}\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n")
}
