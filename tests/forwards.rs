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

use support::client::Connection;
use support::gateway::Gateway;
use support::peer::Peer;

/// Lets everybody through, so that a test is about what it says and not about sessions.
const OPEN: &str =
    "[server]\nworkers = 1\n[[upstream]]\nurl = \"{upstream}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n";

/// The same with this line under `[[upstream]]`.
fn upstream_setting(line: &str) -> String {
    OPEN.replace("url = \"{upstream}\"", &format!("url = \"{{upstream}}\"\n{line}"))
}

/// A request on its way: its client, and its application, which has read the head of it.
struct Underway {
    peer: Peer,
    gateway: Gateway,
    client: Connection,
    app: Connection,
}

impl Underway {
    fn begin(settings: &str, request: &str) -> Self {
        let peer = Peer::listen();
        let gateway = Gateway::start(&peer.url(), settings);
        let mut client = gateway.connect();
        client.send(request);
        let mut app = peer.accept();
        app.read_head().unwrap();
        Self { peer, gateway, client, app }
    }
}
