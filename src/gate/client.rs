//! One client connection as the requests on it see it: who is there, and which limits of time it is under.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::Gate;
use crate::deadline::Deadline;
use crate::http::client::Scheme;
use crate::http::forwarding::Origin;

/// One client connection.
#[derive(Debug)]
pub struct Client {
    /// The worker that serves it.
    pub gate: Arc<Gate>,
    /// Its address: the TCP peer's.
    pub peer: Option<IpAddr>,
    /// How it speaks to us.
    pub transport: Scheme,
    /// What applications are told of it, unless it is a trusted proxy that speaks for others.
    pub origin: Origin,
    /// Whether it is a trusted proxy.
    pub trusted: bool,
    /// Its limits of time.
    pub phases: Phases,
}

impl Client {
    /// The client at `peer`, just connected.
    pub fn new(gate: Arc<Gate>, peer: Option<IpAddr>, transport: Scheme) -> Self {
        let trusted = gate.config.server.trusted_proxies.trusts(peer);
        let address =
            crate::http::Caller::resolve(peer, transport, &http::HeaderMap::new(), &gate.config.server.trusted_proxies)
                .ip;
        let phases = Phases::new(&gate);
        Self { origin: Origin::new(address, transport), gate, peer, transport, trusted, phases }
    }
}

/// Where a connection stands, and the limit that goes with it.
///
/// A connection waits for a request (`idle_timeout`), reads its headers (`header_timeout`, from the first byte), or
/// serves it. While it serves, the client is under a limit only when it is the client that is waited for: it does not
/// take the response, or does not send its body.
#[derive(Debug)]
pub struct Phases {
    connection: Deadline,
    response: Deadline,
    phase: AtomicU8,
    awaiting_body: AtomicBool,
    response_timeout: AtomicU64,
    header_timeout: Duration,
    idle_timeout: Duration,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;

impl Phases {
    fn new(gate: &Gate) -> Self {
        let server = &gate.config.server;
        let phases = Self {
            connection: gate.deadlines.limit(),
            response: gate.deadlines.limit(),
            phase: AtomicU8::new(HEAD),
            awaiting_body: AtomicBool::new(false),
            response_timeout: AtomicU64::new(0),
            header_timeout: server.header_timeout,
            idle_timeout: server.idle_timeout,
        };
        // A new connection has the time of a request's headers to say something.
        phases.connection.arm(server.header_timeout);
        phases
    }

    /// Bytes came from the client.
    pub fn bytes_read(&self) {
        if self.phase.load(Ordering::Relaxed) == IDLE {
            self.phase.store(HEAD, Ordering::Relaxed);
            self.connection.arm(self.header_timeout);
        }
    }

    /// The client did not take all that was to be written.
    pub fn write_blocked(&self) {
        if self.phase.load(Ordering::Relaxed) == SERVING && !self.connection.is_armed() {
            self.connection.arm(self.idle_timeout);
        }
    }

    /// The client took something.
    pub fn write_moved(&self) {
        if self.phase.load(Ordering::Relaxed) == SERVING {
            self.connection.disarm();
        }
    }

    /// A request's headers are complete.
    pub fn request_began(&self) {
        self.phase.store(SERVING, Ordering::Relaxed);
        self.connection.disarm();
    }

    /// The response is complete, or given up.
    pub fn response_ended(&self) {
        self.response.disarm();
        self.phase.store(IDLE, Ordering::Relaxed);
        self.connection.arm(self.idle_timeout);
    }

    /// The request is on its way; the head of its response is to come within `timeout`.
    pub(super) fn response_awaited(&self, timeout: Duration) {
        self.response_timeout.store(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.awaiting_body.store(false, Ordering::Relaxed);
        self.response.arm(timeout);
    }

    /// The head of the response is here.
    pub(super) fn response_begun(&self) {
        self.response.disarm();
    }

    /// The application cannot go on until the client sends more of its body.
    pub(super) fn body_awaited(&self) {
        if self.response.is_armed() && !self.awaiting_body.swap(true, Ordering::Relaxed) {
            self.response.arm(self.idle_timeout);
        }
    }

    /// The client sent more of its body. The application's time to answer begins anew.
    pub(super) fn body_moved(&self) {
        if self.response.is_armed() {
            self.awaiting_body.store(false, Ordering::Relaxed);
            self.response.arm(Duration::from_millis(self.response_timeout.load(Ordering::Relaxed)));
        }
    }

    /// Waits for a body that is looked at before anything is sent.
    pub(super) fn body_inspected(&self) {
        self.response_awaited(self.idle_timeout);
    }

    /// Ready when the limit on the way to a response has passed: `true` when it was the client that was waited for.
    pub(super) fn poll_response_limit(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.response.poll_passed(cx).map(|()| self.awaiting_body.load(Ordering::Relaxed))
    }

    /// Ready when the connection has to be closed because the client took too long.
    pub fn poll_connection_limit(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.poll_passed(cx)
    }
}
