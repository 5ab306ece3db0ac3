//! What happens while the session store is away, slow, or asked for little: cached sessions, refusals, recovery.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "outage/asking.rs"]
mod asking;
#[path = "outage/hanging.rs"]
mod hanging;
#[path = "outage/losing.rs"]
mod losing;
#[path = "outage/returning.rs"]
mod returning;
#[path = "outage/starting.rs"]
mod starting;
#[path = "outage/writing.rs"]
mod writing;

use support::client::Response;
use support::gateway::{Gateway, Issued};
use support::link::Link;
use support::postgres::{Database, fresh_database};
use support::upstream::Upstream;
use support::wait_until;

/// A PostgreSQL database behind a link that can be cut, and a gateway on it.
struct Behind {
    upstream: Upstream,
    database: Database,
    link: Link,
    gateway: Gateway,
}

impl Behind {
    fn start(toml: &str) -> Self {
        let (upstream, database) = (Upstream::hello(), fresh_database());
        let link = Link::to(database.port);
        let url = database.url_at("127.0.0.1", link.address.port());
        let gateway = Gateway::start_on(&url, &upstream.url(), toml);
        Self { upstream, database, link, gateway }
    }

    /// Cuts the link and has the gateway find out.
    fn cut(&self) {
        self.link.cut();
        assert_unavailable(&self.gateway.get_as(UNKNOWN, "/"));
        assert_eq!(self.gateway.ops_get("/readyz").status, 503);
    }

    fn mend(&self) {
        self.link.mend();
        wait_until("the store is up again", || self.gateway.ops_get("/readyz").status == 200);
    }

    fn end_in_database(&self, session: &Issued) {
        end_in_database(&self.database, session);
    }
}

/// A token of the right form that nobody has.
const UNKNOWN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn end_in_database(database: &Database, session: &Issued) {
    let sql = format!(
        "UPDATE sessions SET state = 'ended', state_reason = 'revoked', ended_at = now(), ended_by = 'operator' \
         WHERE id = '{}' RETURNING id",
        session.id
    );
    assert_eq!(database.run(&sql).len(), 1);
}

#[track_caller]
fn assert_unavailable(response: &Response) {
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.code(), "store_unavailable");
    let seconds: u32 = response.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}
