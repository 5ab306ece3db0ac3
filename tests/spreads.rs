//! What one gateway changes, and when the others act on it.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "spreads/changes.rs"]
mod changes;
#[path = "spreads/clocks.rs"]
mod clocks;
#[path = "spreads/doubt.rs"]
mod doubt;
#[path = "spreads/file.rs"]
mod file;
#[path = "spreads/hostile.rs"]
mod hostile;
#[path = "spreads/kills.rs"]
mod kills;
#[path = "spreads/losing.rs"]
mod losing;
#[path = "spreads/polling.rs"]
mod polling;
#[path = "spreads/racing.rs"]
mod racing;

use std::time::Duration;

use support::gateway::{Gateway, Issued};
use support::link::Link;
use support::postgres::{Database, fresh_database};
use support::upstream::Upstream;
use support::{now, wait_until};

/// Long enough that whatever is noticed in a test was not noticed because its time was over.
const LONG: &str = "[cache]\nttl = \"10m\"\n";

/// Several gateways on one PostgreSQL.
struct Fleet {
    upstream: Upstream,
    database: Database,
    gateways: Vec<Gateway>,
}

impl Fleet {
    fn start(count: usize, toml: &str) -> Self {
        Self::on(fresh_database(), count, toml)
    }

    fn on(database: Database, count: usize, toml: &str) -> Self {
        let upstream = Upstream::hello();
        let mut fleet = Self { upstream, database, gateways: Vec::new() };
        for _ in 0..count {
            fleet.gateways.push(Gateway::start_on(&fleet.database.url(), &fleet.upstream.url(), toml));
        }
        fleet.gateways.iter().for_each(until_hearing);
        fleet
    }

    /// Another gateway, which reaches the database over a link.
    fn behind_link(&self, toml: &str) -> (Link, Gateway) {
        let link = Link::to(self.database.port);
        let url = self.database.url_at("127.0.0.1", link.address.port());
        let gateway = Gateway::start_on(&url, &self.upstream.url(), toml);
        until_hearing(&gateway);
        (link, gateway)
    }

    fn run(&self, sql: &str) -> Vec<Option<String>> {
        self.database.run(&format!("SET search_path = session_gateway; {sql}"))
    }
}

/// Two gateways whose caches would never notice by themselves.
fn two() -> Fleet {
    Fleet::start(2, LONG)
}

fn readiness(gateway: &Gateway) -> (u16, String) {
    let ready = gateway.ops_get("/readyz");
    (ready.status, ready.text().to_owned())
}

fn until_hearing(gateway: &Gateway) {
    wait_until("it hears of the others' changes", || readiness(gateway) == (200, "ok\n".to_owned()));
    assert_eq!(gateway.metric("gateway_listen_up"), 1.0);
}

fn until_deaf(gateway: &Gateway) {
    // The three are read one after the other, and a gateway that hears nothing tries again meanwhile.
    wait_until("it knows that it hears nothing", || {
        let (status, told) = readiness(gateway);
        told.starts_with("degraded") && status == 200 && gateway.metric("gateway_listen_up") == 0.0
    });
}

/// The code with which a gateway refuses a session; empty when it does not.
fn refusal(gateway: &Gateway, session: &Issued) -> String {
    let answer = gateway.get_as(&session.token, "/");
    if answer.status == 200 { String::new() } else { answer.code() }
}

/// Uses a session, which then is in the gateway's memory.
#[track_caller]
fn cache(gateway: &Gateway, session: &Issued) {
    assert_eq!(refusal(gateway, session), "");
}

fn heard(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_notifications_total")
}

/// A session that no first use has to bind.
fn login(gateway: &Gateway, user: &str) -> Issued {
    gateway.login_with(serde_json::json!({ "user": user, "user_agent": "acme-test/1.0", "ip": "127.0.0.1" }))
}

/// Does `change`, waits until the other gateway has heard of it without having asked the store for any session, and says how
/// long that took.
fn told(there: &Gateway, change: impl FnOnce()) -> Duration {
    let (finds, before) = (there.store_finds(), heard(there));
    change();
    let began = now();
    wait_until("the other one hears of it", || heard(there) > before);
    let took = began.elapsed();
    assert_eq!(there.store_finds(), finds, "it was told and did not ask");
    took
}
