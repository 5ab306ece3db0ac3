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
/// take the response, or does not send its body. When the gateway closes it while the client may still be sending, it
/// lingers for a moment.
#[derive(Debug)]
pub struct Phases {
    connection: Deadline,
    response: Deadline,
    phase: AtomicU8,
    awaiting_body: AtomicBool,
    body_left: AtomicBool,
    response_timeout: AtomicU64,
    header_timeout: Duration,
    idle_timeout: Duration,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;
/// Nothing has come yet.
const FRESH: u8 = 3;
const LINGERING: u8 = 4;

/// How long a connection that is closed on our side waits for what the client had begun to send.
const LINGER: Duration = Duration::from_secs(2);

impl Phases {
    fn new(gate: &Gate) -> Self {
        let server = &gate.config.server;
        let phases = Self {
            connection: gate.deadlines.limit(),
            response: gate.deadlines.limit(),
            phase: AtomicU8::new(FRESH),
            awaiting_body: AtomicBool::new(false),
            body_left: AtomicBool::new(false),
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
        match self.phase.load(Ordering::Relaxed) {
            IDLE => {
                self.phase.store(HEAD, Ordering::Relaxed);
                self.connection.arm(self.header_timeout);
            }
            // Its time began with the connection.
            FRESH => self.phase.store(HEAD, Ordering::Relaxed),
            _ => {}
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
        match self.phase.load(Ordering::Relaxed) {
            SERVING => self.connection.disarm(),
            // The end of a response that was larger than the buffers: idleness begins when the client has it.
            IDLE => self.connection.arm(self.idle_timeout),
            _ => {}
        }
    }

    /// A request's headers are complete.
    pub fn request_began(&self) {
        self.phase.store(SERVING, Ordering::Relaxed);
        self.body_left.store(false, Ordering::Relaxed);
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
        if !self.response.is_armed() {
            // The application answers before it has read everything: what is left is the connection's own limit.
            self.write_blocked();
        } else if !self.awaiting_body.swap(true, Ordering::Relaxed) {
            self.response.arm(self.idle_timeout);
        }
    }

    /// The client sent more of its body. The application's time to answer begins anew.
    pub(super) fn body_moved(&self) {
        if self.response.is_armed() {
            self.awaiting_body.store(false, Ordering::Relaxed);
            self.response.arm(Duration::from_millis(self.response_timeout.load(Ordering::Relaxed)));
        } else {
            self.write_moved();
        }
    }

    /// Nobody will read the rest of the request's body.
    pub(super) fn body_left(&self) {
        self.body_left.store(true, Ordering::Relaxed);
    }

    /// We are about to close. Says whether the client may still be sending, and if so gives it a moment to stop: a
    /// connection that is closed with bytes unread is reset, and a reset may destroy the response on its way.
    pub fn linger(&self) -> bool {
        let lingers = match self.phase.load(Ordering::Relaxed) {
            // A head that was not understood.
            HEAD => true,
            IDLE | SERVING => self.body_left.load(Ordering::Relaxed),
            _ => false,
        };
        if lingers {
            self.phase.store(LINGERING, Ordering::Relaxed);
            self.connection.arm(LINGER);
        }
        lingers
    }

    /// Whether the connection is closed on our side and waits for the client to stop sending.
    pub fn is_lingering(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == LINGERING
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
