//! What reaches the application and what comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

#[path = "forwards/answers.rs"]
mod answers;
#[path = "forwards/bodies.rs"]
mod bodies;
#[path = "forwards/framing.rs"]
mod framing;
#[path = "forwards/headers.rs"]
mod headers;
#[path = "forwards/hosts.rs"]
mod hosts;
#[path = "forwards/identity.rs"]
mod identity;
#[path = "forwards/interim.rs"]
mod interim;
#[path = "forwards/leaving.rs"]
mod leaving;
#[path = "forwards/pool.rs"]
mod pool;
#[path = "forwards/targets.rs"]
mod targets;

/// Lets everybody through, so that a test is about what it says and not about sessions.
const OPEN: &str =
    "[server]\nworkers = 1\n[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n";

/// The same with this line under `[[upstream]]`.
fn upstream_setting(line: &str) -> String {
    OPEN.replace("url = \"{upstream}\"", &format!("url = \"{{upstream}}\"\n{line}"))
}
