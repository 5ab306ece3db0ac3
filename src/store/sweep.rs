//! Removing what nobody needs any more: the contract, and the order in which a sweep goes about it.
//!
//! A sweep is made of many calls, each a short transaction over a bounded number of rows. The store remembers nothing
//! between them: each answer says where the next call goes on.
//!
//! # What goes
//! - An ended session goes `keep_for` after its end, an expired one `keep_for` after its expiry, and one that has gone
//!   unused for longer than it may, `keep_for` after that.
//! - Of a user's ended sessions only the newest stay: as many as the user's row says, or else `keep_per_user`.
//! - An event goes after `keep_for`, unless its session's row is there and has not ended. With a session that goes because
//!   there are too many go the `session_…` events about it; those that tell of a theft or of an administrator stay until
//!   their time.
//! - Nothing of all that goes within minutes of its end.
//! - The tokens that a session had before go with it. The row of its user stays.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::session::SessionId;

/// How many rows that belong to sessions (events, retired tokens) one call removes for each session that it may remove. A
/// session that rotates every few minutes leaves thousands.
const CHILDREN_PER_SESSION: u32 = 10;

/// What ended or was written less than this ago stays in any case. Where gateways cannot be notified, they read the audit log
/// to hear what the others have ended; and whoever was evicted may well try again within minutes, and shall learn why.
pub(super) const SETTLED: Duration = Duration::from_secs(600);

/// How long what is over is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long after its end; `None` is for ever.
    pub keep_for: Option<Duration>,
    /// How many ended sessions of one user, where the user's own row does not say; `None` is all.
    pub keep_per_user: Option<u32>,
    /// After how long without use every session is over; `None` is never.
    pub idle_timeout: Option<Duration>,
}

/// One call of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// What stays.
    pub retention: Retention,
    /// The time. A database that several gateways share does not believe it beyond its own clock: one gateway with a
    /// wrong clock must not remove the sessions of all.
    pub now: Timestamp,
    /// What ended or grew old since then is looked at; `None` looks at everything.
    pub since: Option<Timestamp>,
    /// The most sessions, or events, that are removed.
    pub batch: u32,
    /// What this call looks for, and from where on.
    pub stage: Stage,
}

/// What one call of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions removed.
    pub sessions: u64,
    /// Events removed.
    pub events: u64,
    /// Tokens removed that had been rotated away.
    pub tokens: u64,
    /// Where to go on; `None` when all is done.
    pub next: Option<Stage>,
    /// Another gateway is sweeping; nothing was done.
    pub busy: bool,
}

/// What a call of a sweep looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Sessions that ended long enough ago.
    Ended,
    /// Sessions that expired long enough ago.
    Expired,
    /// Sessions that went unused, or were ended by a word about their user, long enough ago. No index knows them: those
    /// created long enough ago are looked through, from here on.
    Unused(Mark<SessionId>),
    /// Users with more ended sessions than are kept: those of the sessions that ended from here on.
    Surplus(Mark<SessionId>),
    /// Events that are old enough, from here on.
    Events(Mark<i64>),
}

/// A place in an order by time: after the row of this time and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<I> {
    pub(super) at: Timestamp,
    pub(super) id: I,
}

impl Mark<SessionId> {
    pub(super) const fn before(at: Timestamp) -> Self {
        Self { at, id: SessionId::from_uuid(uuid::Uuid::nil()) }
    }
}

impl Mark<i64> {
    pub(super) const fn before(at: Timestamp) -> Self {
        Self { at, id: 0 }
    }
}

impl Stage {
    /// Where a sweep begins.
    pub const FIRST: Self = Self::Ended;
}

impl Sweep {
    /// What became over before this moment goes; `None` keeps all of it.
    pub(super) fn cutoff(&self) -> Option<Timestamp> {
        self.keep_for().map(|keep_for| self.now.minus(keep_for))
    }

    fn keep_for(&self) -> Option<Duration> {
        self.retention.keep_for.map(|keep_for| keep_for.max(SETTLED))
    }

    /// What ended before this moment may go because there is too much of it.
    pub(super) fn settled(&self) -> Timestamp {
        self.now.minus(SETTLED)
    }

    /// The most events and retired tokens that one call removes with their sessions.
    pub(super) fn children(&self) -> u32 {
        self.batch.saturating_mul(CHILDREN_PER_SESSION)
    }

    /// The stage after this call's.
    pub(super) fn following(&self) -> Option<Stage> {
        let start = self.since.unwrap_or(Timestamp::from_millis(i64::MIN));
        match self.stage {
            Stage::Ended => Some(Stage::Expired),
            // Whoever asks for what is new asks often; this one looks at every session that is there.
            Stage::Expired if self.since.is_none() => Some(Stage::Unused(Mark::<SessionId>::before(start))),
            Stage::Expired | Stage::Unused(_) => Some(Stage::Surplus(Mark::<SessionId>::before(start))),
            Stage::Surplus(_) => {
                let keep_for = self.keep_for().unwrap_or_default();
                Some(Stage::Events(Mark::<i64>::before(start.minus(keep_for))))
            }
            Stage::Events(_) => None,
        }
    }
}

/// Whether an idle session is over, in the form in which a row's own limit is stored.
pub(super) fn idle_millis(retention: &Retention) -> Option<i64> {
    super::schema::slide(retention.idle_timeout)
}
