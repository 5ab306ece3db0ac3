//! Where a gateway listens: on addresses of both families, in socket files, and on sockets that the service manager holds open
//! over restarts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

use support::gateway::open;

#[path = "listens/families.rs"]
mod families;
#[path = "listens/files.rs"]
mod files;
#[path = "listens/passed.rs"]
mod passed;
#[path = "listens/restarting.rs"]
mod restarting;

/// A request whose answer ends with the connection.
const LAST: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
