//! What one client may have of what is there for all, and who says which client it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a test may look at the clock and tell figures")]

mod support;

use support::gateway::open;

#[path = "bounds/connections.rs"]
mod connections;
#[path = "bounds/idle.rs"]
mod idle;
#[path = "bounds/proxy.rs"]
mod proxy;
#[path = "bounds/rates.rs"]
mod rates;

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";
