//! Every figure the gateway counts, each named once.
//!
//! What the request's path counts lies in one [`WorkerMetrics`] per worker: only that worker writes it, so counting is a
//! load and a store without a locked instruction, and no two cores share a line. `/metrics` sums them when it is asked.
//! Everything rarer lies in the shared [`SharedMetrics`].

mod address;
mod count;
mod cut;
mod handshake;
mod render;
mod turned_away;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Code;
use crate::session::{EndReason, SuspendReason};

pub use self::address::{AddressMetrics, LocalGauge};
use self::count::BOUNDS;
pub use self::count::{Counter, Gauge, Histogram, LocalCounter, LocalHistogram};
pub use self::cut::Cut;
pub use self::handshake::{Handshake, HandshakeFailure};
pub use self::render::render;
pub use self::turned_away::TurnedAway;

/// How a session was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// In the cache.
    Hit,
    /// Known to be unknown.
    Absent,
    /// In the store, or not even there.
    Miss,
    /// By another request that was asking the store for the same token.
    Coalesced,
    /// In the cache, beyond its time, because the store cannot be asked.
    Stale,
}

impl Lookup {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 5] = [Self::Hit, Self::Absent, Self::Miss, Self::Coalesced, Self::Stale];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Absent => "absent",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Stale => "stale",
        }
    }
}

/// A counter for each code.
#[derive(Debug)]
struct PerCode([LocalCounter; Code::ALL.len()]);

impl Default for PerCode {
    fn default() -> Self {
        Self(std::array::from_fn(|_| LocalCounter::default()))
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Requests forwarded with a session.
    pub forwarded: LocalCounter,
    /// Requests forwarded without one.
    pub anonymous: LocalCounter,
    /// Requests answered by `/_sessions`.
    pub answered: LocalCounter,
    /// Requests that a proxy asked about and may let pass.
    pub allowed: LocalCounter,
    /// Requests sent to a login page.
    pub redirected: LocalCounter,
    /// Requests given up before there was a response.
    pub abandoned: LocalCounter,
    refused: PerCode,
    lookups: [LocalCounter; Lookup::ALL.len()],
    /// From the first byte of a request's handling to the end of its response.
    pub duration: LocalHistogram,
    /// Client connections accepted.
    pub connections: LocalCounter,
    /// Client connections open.
    pub open_connections: Gauge,
    /// Those of them whose clients have not asked for anything for a while.
    pub resting_connections: Gauge,
    /// Requests whose bytes were no HTTP, or beyond the limits.
    pub unparsable: LocalCounter,
    /// Client connections on which HTTP/2 was spoken.
    pub http2_connections: LocalCounter,
    /// Connections ended by a timeout.
    pub timed_out: LocalCounter,
    /// WebSockets that were opened.
    pub tunnels: LocalCounter,
    /// WebSockets that are open.
    pub open_tunnels: Gauge,
    /// Bytes that clients sent through WebSockets.
    pub tunnel_to_upstream: LocalCounter,
    /// Bytes that applications sent through WebSockets.
    pub tunnel_to_client: LocalCounter,
    cut_tunnels: [LocalCounter; Cut::ALL.len()],
    cut_responses: [LocalCounter; Cut::ALL.len()],
    turned_away: [LocalCounter; TurnedAway::ALL.len()],
    /// Connections to applications that were opened.
    pub upstream_opened: LocalCounter,
    /// Requests sent on a kept-alive connection to an application.
    pub upstream_reused: LocalCounter,
    /// Requests sent a second time because a kept-alive connection turned out closed before they started.
    pub upstream_retried: LocalCounter,
    tls_handshakes: [LocalCounter; Handshake::ALL.len()],
    tls_failures: [LocalCounter; HandshakeFailure::ALL.len()],
    /// Requests without TLS that were sent to https.
    pub https_redirects: LocalCounter,
}

impl WorkerMetrics {
    /// Counts a refusal.
    pub fn refused(&self, code: Code) {
        if let Some(counter) = self.refused.0.get(code.index()) {
            counter.increment();
        }
    }

    /// Counts a stream that was cut: a WebSocket or a response.
    pub fn cut(&self, is_tunnel: bool, why: Cut) {
        let counters = if is_tunnel { &self.cut_tunnels } else { &self.cut_responses };
        if let Some(counter) = counters.get(why as usize) {
            counter.increment();
        }
    }

    /// Counts a client with which TLS was agreed on.
    pub fn tls_established(&self, how: Handshake) {
        if let Some(counter) = self.tls_handshakes.get(how as usize) {
            counter.increment();
        }
    }

    /// Counts a client with which it was not.
    pub fn tls_failed(&self, why: HandshakeFailure) {
        if let Some(counter) = self.tls_failures.get(why as usize) {
            counter.increment();
        }
    }

    /// Counts a connection that was closed at its beginning. Says how many of its kind there have been.
    pub fn turned_away(&self, why: TurnedAway) -> u64 {
        self.turned_away.get(why as usize).map_or(0, |counter| {
            counter.increment();
            counter.get()
        })
    }

    /// Counts a look-up.
    pub fn looked_up(&self, how: Lookup) {
        if let Some(counter) = self.lookups.get(how as usize) {
            counter.increment();
        }
    }
}

/// The kinds of store calls that are timed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreCall {
    /// A session by its token.
    Find,
    /// A creation.
    Create,
    /// Ending or suspending sessions.
    End,
    /// A list or a single session for its owner.
    List,
    /// A batch of touches.
    Touch,
    /// One batch of a sweep.
    Sweep,
    /// Anything else.
    Other,
}

impl StoreCall {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 7] = [Self::Find, Self::Create, Self::End, Self::List, Self::Touch, Self::Sweep, Self::Other];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Create => "create",
            Self::End => "end",
            Self::List => "list",
            Self::Touch => "touch",
            Self::Sweep => "sweep",
            Self::Other => "other",
        }
    }
}

/// What all workers share because it is rare.
#[derive(Debug, Default)]
pub struct SharedMetrics {
    /// Sessions created.
    pub created: Counter,
    ended: [Counter; EndReason::ALL.len()],
    suspended: [Counter; SuspendReason::ALL.len()],
    store_calls: [Histogram; StoreCall::ALL.len()],
    /// Store calls that failed.
    pub store_errors: Counter,
    /// 1 while the store answers.
    pub store_up: Gauge,
    /// 1 while changes by other gateways are heard of.
    pub listen_up: Gauge,
    /// Notices of changes by others.
    pub notifications: Counter,
    /// From a change by another to its being forgotten here.
    pub notification_lag: Histogram,
    /// How far the clock that decides is ahead of this machine's.
    pub clock_offset_millis: Gauge,
    /// Uses of sessions that were not written down because the queue was full.
    pub touches_dropped: Counter,
    /// Uses of sessions waiting to be written down.
    pub touches_waiting: Gauge,
    /// Sessions in the cache.
    pub cached: Gauge,
    /// Unknown tokens remembered.
    pub cached_absent: Gauge,
    /// Access-log lines lost because the disk was too slow.
    pub log_lines_dropped: Counter,
    /// Sessions that were removed from the store because they were over for long enough.
    pub swept_sessions: Counter,
    /// Events that were removed from the store.
    pub swept_events: Counter,
    /// Tokens that were removed from the store after they had been rotated away.
    pub swept_tokens: Counter,
    /// Sweeps that came to their end, from the first batch to the last.
    pub sweeps: Histogram,
    /// Signed tokens whose signature and claims were looked at.
    pub jwt_checks: Counter,
    /// Key sets fetched.
    pub jwks_fetches: Counter,
    /// Key sets that could not be fetched or used.
    pub jwks_failures: Counter,
    /// Keys of the set fetched last.
    pub jwks_keys: Gauge,
    /// Assertions signed for applications.
    pub assertions: Counter,
    /// When the first of the certificates ends, in seconds of Unix time; 0 without TLS.
    pub tls_expiry: Gauge,
    /// Files of certificates that could not be used when they were read last, so that what was read before is in force.
    pub tls_outdated: Gauge,
    /// Other settings put in place.
    pub reloads: Counter,
    /// Settings that were not, because something is wrong with them.
    pub reload_failures: Counter,
    /// Times that all files of certificates were read again.
    pub tls_reloads: Counter,
    /// Times that some of them could not be used.
    pub tls_reload_failures: Counter,
    /// Spans that whoever collects them has.
    pub spans_exported: Counter,
    /// Spans that got lost.
    pub spans_dropped: Counter,
    /// Panics in request handlers, each of which was one request's 500.
    pub panics: Counter,
    addresses: Mutex<Vec<Arc<AddressMetrics>>>,
}

impl SharedMetrics {
    /// Shows these addresses of applications from now on.
    pub fn show_addresses(&self, addresses: Vec<Arc<AddressMetrics>>) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Counts ended sessions.
    pub fn ended(&self, reason: EndReason) {
        if let Some(counter) = self.ended.get(reason as usize) {
            counter.increment();
        }
    }

    /// Counts a suspended session.
    pub fn suspended(&self, reason: SuspendReason) {
        if let Some(counter) = self.suspended.get(reason as usize) {
            counter.increment();
        }
    }

    /// Times a store call.
    pub fn store_call(&self, call: StoreCall, duration: Duration) {
        if let Some(histogram) = self.store_calls.get(call as usize) {
            histogram.observe(duration);
        }
    }
}
