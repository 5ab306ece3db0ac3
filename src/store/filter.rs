//! Which sessions and which lines of the audit log a search is about, and who is kept from a change.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::contract::{Ended, Position};
use crate::clock::Timestamp;
use crate::session::{Actor, Phase, Role, SessionId, UserId};

/// How many sessions a bulk end looks at in one transaction.
pub(super) const BATCH: u32 = 1000;

/// Which sessions, of all users. Every part that is there must agree; without any, it is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// This one.
    pub id: Option<SessionId>,
    /// Those of this user.
    pub user: Option<UserId>,
    /// Those that are this at the time of the call.
    pub phase: Option<Phase>,
    /// Those last used from, or bound to, an address of this network.
    pub network: Option<IpNet>,
    /// Those whose User-Agent contains this, in either case of A-Z (PostgreSQL also folds the letters that its database's
    /// locale knows).
    pub user_agent: Option<String>,
    /// Those that have this role.
    pub role: Option<Role>,
    /// Those created before this moment.
    pub created_before: Option<Timestamp>,
    /// Those created at this moment or after it.
    pub created_after: Option<Timestamp>,
}

/// Whose sessions a caller may not touch: those of certain users, and of every user who has a live session with certain
/// roles. It is looked at in the transaction of the change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Who is protected by name.
    pub users: Arc<[UserId]>,
    /// A live session with one of these roles protects its user.
    pub roles: Arc<[Role]>,
}

impl Guard {
    /// Keeps nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether a session with these roles protects its user, once it is live.
    pub fn keeps(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.roles.contains(role))
    }

    /// Whether the user is protected by name.
    pub fn names(&self, user: &UserId) -> bool {
        self.users.contains(user)
    }
}

/// Who makes a change, from where and when.
#[derive(Clone, Debug)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// From where, if that is known.
    pub ip: Option<IpAddr>,
    /// With what, if that is known.
    pub user_agent: Option<String>,
    /// When.
    pub now: Timestamp,
    /// Sessions last used before this moment are idle: not live.
    pub idle_since: Option<Timestamp>,
}

impl By {
    /// Somebody of whom no more is known than who it is.
    pub const fn new(actor: Actor, now: Timestamp, idle_since: Option<Timestamp>) -> Self {
        Self { actor, ip: None, user_agent: None, now, idle_since }
    }
}

/// How many sessions a bulk end would be about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that would end.
    pub matching: u64,
    /// Those that the guard keeps.
    pub skipped: u64,
}

/// What one transaction of a bulk end did.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The sessions that ended.
    pub ended: Vec<Ended>,
    /// How many the guard kept.
    pub skipped: u64,
    /// Where the next batch begins; `None` when there is none.
    pub next: Option<Position>,
}

/// What a bulk end did.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    /// The sessions that ended.
    pub ended: Vec<Ended>,
    /// How many the guard kept.
    pub skipped: u64,
}

/// Which lines of the audit log. Every part that is there must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Those about this user.
    pub user: Option<UserId>,
    /// Those about this session.
    pub session: Option<SessionId>,
    /// Those of this kind.
    pub kind: Option<String>,
    /// Those put down to this actor, as the log writes it (`admin:ann`, `policy`).
    pub actor: Option<String>,
    /// Those that came from an address of this network.
    pub network: Option<IpNet>,
    /// Those of this moment or after it.
    pub since: Option<Timestamp>,
    /// Those before this moment.
    pub until: Option<Timestamp>,
}

/// A place in the audit log, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPosition {
    /// The time of the last line shown.
    pub at: Timestamp,
    /// Its id, which orders lines of the same millisecond.
    pub id: i64,
}

impl EventPosition {
    /// Before everything.
    pub(super) const FIRST: Self = Self { at: Timestamp::from_millis(i64::MAX), id: i64::MAX };
}

/// A line of the audit log.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Its number, unique in its database.
    pub id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: String,
    /// The session, if one is concerned.
    pub session: Option<SessionId>,
    /// The user, if one is concerned.
    pub user: Option<String>,
    /// By whom.
    pub actor: String,
    /// From where, if that is known.
    pub ip: Option<IpAddr>,
    /// With what, if that is known.
    pub user_agent: Option<String>,
    /// More, as a JSON object.
    pub detail: serde_json::Value,
}
