//! Users, and what may become of their sessions by an administrator's hand.

use std::num::NonZeroU32;

use super::contract::Ended;
use crate::clock::Timestamp;
use crate::session::{Role, UserId};

/// What an administrator can say about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSettings {
    /// Whether the user may have sessions at all.
    pub enabled: bool,
    /// How many live sessions, instead of what the policy says; 0 is unlimited.
    pub max_sessions: Option<u32>,
    /// How many lines of the audit log are kept, instead of what the configuration says.
    pub audit_keep: Option<u32>,
    /// Sessions created before this moment are over.
    pub not_before: Option<Timestamp>,
}

impl Default for UserSettings {
    fn default() -> Self {
        Self { enabled: true, max_sessions: None, audit_keep: None, not_before: None }
    }
}

/// What is known about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// What an administrator said.
    pub settings: UserSettings,
    /// How many live sessions it has.
    pub live_sessions: u64,
}

/// What became of a change of a user.
#[derive(Clone, Debug)]
pub enum UserChange {
    /// The settings are as asked for.
    Done {
        /// Whether they were not before; only then the audit log tells of it.
        changed: bool,
        /// The sessions that ended by it.
        ended: Vec<Ended>,
    },
    /// The guard keeps the user; nothing was changed.
    Protected,
}

/// What became of a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspended {
    /// The session is suspended.
    Done(Ended),
    /// It was suspended already.
    Already,
    /// It has ended.
    Over,
    /// The guard keeps its user.
    Protected,
    /// There is no such session.
    NotFound,
}

/// What became of a reactivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reactivated {
    /// The session is active.
    Done {
        /// The session. Caches that know it as suspended have to forget it.
        active: Ended,
        /// Those of its user that ended because they had lost their place to it for want of use.
        unused: Vec<Ended>,
    },
    /// It is active already.
    NotSuspended,
    /// Its time is over.
    Expired,
    /// It has ended.
    Over,
    /// The user has as many live sessions as allowed.
    OverLimit {
        /// The limit.
        limit: NonZeroU32,
    },
    /// The guard keeps it.
    Protected,
    /// There is no such session.
    NotFound,
}

/// A user with more than one live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// The user.
    pub user: UserId,
    /// The roles of all of them together.
    pub roles: Vec<Role>,
}

/// Some users in the order of their ids, looked through for crowds.
#[derive(Clone, Debug, Default)]
pub struct Crowds {
    /// Those with more than one live session.
    pub users: Vec<Crowd>,
    /// The last one looked at; `None` when there are no more.
    pub next: Option<UserId>,
}

/// How many users are looked through at a time.
pub(super) const CROWDS: u32 = 1000;

impl Crowd {
    /// The crowd of a user whose sessions have these roles, several times over and among others that nobody knows.
    pub(super) fn new<'a>(user: &str, roles: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut roles: Vec<_> = roles.filter_map(|role| Role::parse(role).ok()).collect();
        roles.sort_unstable();
        roles.dedup();
        UserId::parse(user).ok().map(|user| Self { user, roles })
    }
}
