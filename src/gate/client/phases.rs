//! Where a connection or a stream stands, and the limit of time that goes with it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::gate::Gate;

/// Where a connection stands, and the limit that goes with it.
///
/// A connection waits for a request (`idle_timeout`), reads its headers (`header_timeout`, from the first byte), or
/// serves it. One that waits for longer than a moment rests: what serving needs is let go of. While it serves, the client
/// is under a limit only when it is the client that is waited for: it does not take the response, or does not send its
/// body. When the gateway closes it while the client may still be sending, it lingers for a moment.
///
/// A connection that carries many requests at a time is itself under three limits only: the time to its first request, the
/// time without any, and the time in which it takes nothing of what is to be written. The rest is up to its streams, which
/// have phases of their own.
#[derive(Debug)]
pub struct Phases {
    kind: AtomicU8,
    connection: Deadline,
    response: Deadline,
    phase: AtomicU8,
    awaiting_body: AtomicBool,
    /// Whether bytes that are to be written do not go out.
    stuck: AtomicBool,
    /// Whether somebody still reads the request's body, after the response too.
    body_open: AtomicBool,
    body_left: AtomicBool,
    /// Whether anything has come since that was asked last, on a connection that carries many requests.
    spoken: AtomicBool,
    response_timeout: AtomicU64,
    header_timeout: Duration,
    idle_timeout: Duration,
}

/// What the phases are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A connection with one request at a time.
    Connection,
    /// A connection with many requests at a time.
    Multiplexed,
    /// One of these requests.
    Stream,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;
/// Nothing has come yet.
const FRESH: u8 = 3;
const LINGERING: u8 = 4;
/// It has been idle for longer than a moment.
const RESTING: u8 = 5;
/// Many requests at a time: the client knows that no more are taken.
const LEAVING: u8 = 6;

/// The moment after which an idle connection rests. Browsers and programs that are at work come back sooner.
const REST: Duration = Duration::from_secs(2);

/// A frame of HTTP/2 carries so much unless the client asks for more.
const STREAM_PIECE: usize = 16 * 1024;

/// How long a connection that is closed on our side waits for what the client had begun to send.
const LINGER: Duration = Duration::from_secs(2);

impl Phases {
    pub(super) fn new(gate: &Gate, kind: Kind) -> Self {
        let server = &gate.config.server;
        let phases = Self {
            kind: AtomicU8::new(kind as u8),
            connection: gate.deadlines.limit(),
            response: gate.deadlines.limit(),
            phase: AtomicU8::new(FRESH),
            awaiting_body: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            body_open: AtomicBool::new(false),
            body_left: AtomicBool::new(false),
            spoken: AtomicBool::new(false),
            response_timeout: AtomicU64::new(0),
            header_timeout: server.header_timeout,
            idle_timeout: server.idle_timeout,
        };
        // A new connection has the time of a request's headers to say something.
        if kind == Kind::Connection {
            phases.connection.arm(server.header_timeout);
        }
        phases
    }

    fn is(&self, kind: Kind) -> bool {
        self.kind.load(Ordering::Relaxed) == kind as u8
    }

    /// The connection turns out to be one that carries many requests at a time. Its first one is to come within the time of
    /// a request's headers.
    pub fn multiplexed(&self) {
        self.kind.store(Kind::Multiplexed as u8, Ordering::Relaxed);
        self.phase.store(SERVING, Ordering::Relaxed);
        self.connection.arm(self.header_timeout);
    }

    /// The first request of a multiplexed connection is here.
    pub fn streams_began(&self) {
        self.connection.disarm();
    }

    /// The last request of a multiplexed connection has ended.
    pub fn streams_ended(&self) {
        // A connection that is closing has a limit already.
        if !self.is_lingering() {
            self.connection.arm(self.idle_timeout);
        }
    }

    /// A multiplexed connection has said that it closes; the other side has a moment to take that in.
    pub fn closing(&self) {
        self.phase.store(LEAVING, Ordering::Relaxed);
        self.connection.arm(LINGER);
    }

    /// Bytes came from the client.
    pub fn bytes_read(&self) {
        if self.is(Kind::Multiplexed) {
            self.spoken.store(true, Ordering::Relaxed);
            return;
        }
        match self.phase.load(Ordering::Relaxed) {
            IDLE | RESTING => {
                self.phase.store(HEAD, Ordering::Relaxed);
                self.connection.arm(self.header_timeout);
            }
            // Its time began with the connection.
            FRESH => self.phase.store(HEAD, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether the client of a multiplexed connection has said anything since this was asked last.
    pub fn has_spoken(&self) -> bool {
        self.spoken.load(Ordering::Relaxed) && self.spoken.swap(false, Ordering::Relaxed)
    }

    /// The client did not take all that was to be written.
    pub fn write_blocked(&self) {
        if self.is(Kind::Multiplexed) {
            if !self.response.is_armed() {
                self.response.arm(self.idle_timeout);
            }
            return;
        }
        self.stuck.store(true, Ordering::Relaxed);
        match self.phase.load(Ordering::Relaxed) {
            SERVING if !self.connection.is_armed() => self.connection.arm(self.idle_timeout),
            IDLE => self.connection.arm(self.idle_timeout),
            _ => {}
        }
    }

    /// The client took something.
    pub fn write_moved(&self) {
        if self.is(Kind::Multiplexed) {
            let was_blocked = self.response.is_armed();
            self.response.disarm();
            if was_blocked {
                self.takes_what_is_left();
            }
            return;
        }
        self.stuck.store(false, Ordering::Relaxed);
        match self.phase.load(Ordering::Relaxed) {
            SERVING => self.connection.disarm(),
            // The end of a response that was larger than the buffers: idleness begins when the client has it.
            IDLE | RESTING => self.idles(),
            _ => {}
        }
    }

    /// A multiplexed connection had to wait before it could write, and has written. Its requests may be over; what is left of their
    /// responses is still on its way, and who takes it is there and not idle.
    fn takes_what_is_left(&self) {
        self.spoken.store(true, Ordering::Relaxed);
        if self.connection.is_armed() {
            match self.phase.load(Ordering::Relaxed) {
                LINGERING => {}
                LEAVING => self.connection.arm(LINGER),
                _ => self.connection.arm(self.idle_timeout),
            }
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
        if self.is(Kind::Stream) {
            self.phase.store(IDLE, Ordering::Relaxed);
            self.connection.disarm();
        } else {
            self.idles();
        }
    }

    fn idles(&self) {
        self.phase.store(IDLE, Ordering::Relaxed);
        self.connection.arm(if self.may_rest() { REST.min(self.idle_timeout) } else { self.idle_timeout });
    }

    /// Whether nothing of a request or its response is still on its way: what would be forgotten of it in a rest would be taken
    /// for the next request.
    fn may_rest(&self) -> bool {
        !self.stuck.load(Ordering::Relaxed)
            && !self.body_open.load(Ordering::Relaxed)
            && !self.body_left.load(Ordering::Relaxed)
    }

    /// The limit of the connection has passed. Whether that was the moment after which it rests, and not the end of its time,
    /// which then goes on.
    pub fn begins_to_rest(&self) -> bool {
        let idles = self.phase.load(Ordering::Relaxed) == IDLE && self.may_rest();
        let rests = idles && self.idle_timeout > REST && self.is(Kind::Connection);
        if rests {
            self.phase.store(RESTING, Ordering::Relaxed);
            self.connection.arm(self.idle_timeout.saturating_sub(REST));
        }
        rests
    }

    /// A piece of the response's body was handed over, or is still there after the client took some of it. On a stream it may stay
    /// until the client gives room for it; the next piece is asked for when all of it is gone, and the response ends with the last.
    pub fn piece_offered(&self) {
        if self.is(Kind::Stream) {
            self.connection.arm(self.idle_timeout);
        }
    }

    /// The most of a response's body that is handed over at a time: what a stream holds of it that the client does not take.
    pub(in crate::gate) fn largest_piece(&self) -> usize {
        if self.is(Kind::Stream) { STREAM_PIECE } else { usize::MAX }
    }

    /// The next piece of the response's body is asked for.
    pub(in crate::gate) fn piece_wanted(&self) {
        if self.is(Kind::Stream) {
            self.connection.disarm();
        }
    }

    /// The request is on its way; the head of its response is to come within `timeout`.
    pub(in crate::gate) fn response_awaited(&self, timeout: Duration) {
        self.response_timeout.store(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.awaiting_body.store(false, Ordering::Relaxed);
        self.response.arm(timeout);
    }

    /// The head of the response is here.
    pub(in crate::gate) fn response_begun(&self) {
        self.response.disarm();
    }

    /// The application cannot go on until the client sends more of its body.
    pub(in crate::gate) fn body_awaited(&self) {
        if !self.response.is_armed() {
            // The application answers before it has read everything: what is left is the connection's own limit.
            self.write_blocked();
        } else if !self.awaiting_body.swap(true, Ordering::Relaxed) {
            self.response.arm(self.idle_timeout);
        }
    }

    /// The client sent more of its body. The application's time to answer begins anew.
    pub(in crate::gate) fn body_moved(&self) {
        if self.response.is_armed() {
            self.awaiting_body.store(false, Ordering::Relaxed);
            self.response.arm(Duration::from_millis(self.response_timeout.load(Ordering::Relaxed)));
        } else {
            self.write_moved();
        }
    }

    /// The request has a body, which somebody is going to read; or it was read to its end.
    pub(in crate::gate) fn body_is_open(&self, open: bool) {
        self.body_open.store(open, Ordering::Relaxed);
    }

    /// Nobody will read the rest of the request's body.
    pub(in crate::gate) fn body_left(&self) {
        self.body_open.store(false, Ordering::Relaxed);
        self.body_left.store(true, Ordering::Relaxed);
    }

    /// The rest of the request's body, which nobody reads, is off the connection all the same.
    pub fn body_discarded(&self) {
        let was_left = self.body_left.load(Ordering::Relaxed);
        self.body_left.store(false, Ordering::Relaxed);
        // Behind the answer: the connection has gone idle as one that must not rest.
        if was_left && self.phase.load(Ordering::Relaxed) == IDLE {
            self.idles();
        }
    }

    /// We are about to close. Says whether the client may still be sending, and if so gives it a moment to stop: a
    /// connection that is closed with bytes unread is reset, and a reset may destroy the response on its way.
    pub fn linger(&self) -> bool {
        if self.is(Kind::Multiplexed) {
            self.phase.store(LINGERING, Ordering::Relaxed);
            self.connection.arm(LINGER);
            return true;
        }
        let lingers = match self.phase.load(Ordering::Relaxed) {
            // A head that was not understood.
            HEAD => true,
            IDLE | RESTING | SERVING => self.body_left.load(Ordering::Relaxed),
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
    pub(in crate::gate) fn body_inspected(&self) {
        self.response_awaited(self.idle_timeout);
    }

    /// Ready when the limit on the way to a response has passed: `true` when it was the client that was waited for.
    pub(in crate::gate) fn poll_response_limit(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.response.poll_passed(cx).map(|()| self.awaiting_body.load(Ordering::Relaxed))
    }

    /// Has whoever serves the connection or the stream look at it.
    pub(in crate::gate) fn wake_connection(&self) {
        self.connection.wake();
    }

    /// Whether the connection has to be closed because the client took too long.
    pub fn has_passed(&self) -> bool {
        self.connection.has_passed()
    }

    /// The same, for somebody who waits: ready when it is so.
    pub fn poll_connection_limit(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.poll_passed(cx)
    }

    /// Ready when a multiplexed connection has taken nothing for too long of what is to be written.
    pub fn poll_write_limit(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.response.poll_passed(cx)
    }
}
