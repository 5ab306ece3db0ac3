//! What goes into the store's calls and comes out of them.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::OnExceed;
use crate::session::{Actor, EndReason, Format, Principal, Record, SessionId, State, UserId};
use crate::token::Digest;
use crate::user_agent::Device;

/// A session to be created.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// The digest of its token.
    pub digest: Digest,
    /// Its owner.
    pub principal: Principal,
    /// The time of creation, and of first use.
    pub now: Timestamp,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// The User-Agent that it is bound to; `None` binds it at its first use.
    pub user_agent: Option<String>,
    /// The client address that it is bound to; `None` binds it at its first use.
    pub ip: Option<IpAddr>,
    /// How many live sessions the user may have.
    pub limit: Limit,
    /// The session of the same browser that this one takes the place of, whoever's it is; it ends as
    /// [`EndReason::Replaced`] before the limit is looked at.
    pub replaces: Option<SessionId>,
    /// Who creates it.
    pub actor: Actor,
    /// What its user holds.
    pub format: Format,
    /// After how long without use it is over; `None` is never.
    pub slide: Option<Duration>,
    /// What its User-Agent said, where it was known at creation.
    pub device: Option<Device>,
}

/// A session that began elsewhere and goes on here, with the token that its user holds already.
#[derive(Clone, Debug)]
pub struct ImportedSession {
    /// Its id. A session with this id, or with this token, is left as it is.
    pub id: SessionId,
    /// The digest of its token.
    pub digest: Digest,
    /// Its owner.
    pub principal: Principal,
    /// Its state. What has ended did so when it was last used, as far as anybody knows.
    pub state: State,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub last_seen_at: Timestamp,
    /// From where it was last used. It is bound to the address of its first use here.
    pub last_ip: Option<IpAddr>,
    /// The User-Agent that it is bound to; `None` binds it at its first use.
    pub user_agent: Option<String>,
    /// Where it comes from, for the audit log.
    pub origin: &'static str,
    /// Who imports it.
    pub actor: Actor,
    /// When.
    pub now: Timestamp,
}

impl ImportedSession {
    /// The state's columns: its name, its reason, and when it ended.
    pub(super) fn state_columns(&self) -> (&'static str, Option<&'static str>, Option<Timestamp>) {
        match self.state {
            State::Active => ("active", None, None),
            State::Suspended(reason) => ("suspended", Some(reason.name()), None),
            State::Ended(reason) => ("ended", Some(reason.name()), Some(self.last_seen_at)),
        }
    }

    /// The detail of its event.
    pub(super) fn detail(&self) -> String {
        match self.state_columns() {
            (_, None, _) => serde_json::json!({ "imported_from": self.origin }),
            (state, Some(reason), _) => {
                serde_json::json!({ "imported_from": self.origin, "state": state, "reason": reason })
            }
        }
        .to_string()
    }
}

/// What became of an imported session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is there now.
    Created,
    /// It was there already; nothing was changed.
    Exists,
    /// Its user is disabled here; nothing was changed. Were it there, it would come to life when the user is enabled.
    UserDisabled,
}

/// How many live sessions a user may have, and what gives way.
///
/// A session is live when it is active, unexpired and (under an idle timeout) not idle. The order of precedence is: the
/// creating call, the user's own row, the policy.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What the creating call says: `Some(None)` is unlimited, `None` says nothing.
    pub by_call: Option<Option<NonZeroU32>>,
    /// What the policy says for the user's roles; `None` is unlimited.
    pub by_policy: Option<NonZeroU32>,
    /// What gives way.
    pub on_exceed: OnExceed,
    /// Sessions last used before this moment are idle and hold no place.
    pub idle_since: Option<Timestamp>,
}

impl Limit {
    /// The limit that counts, given what the user's own row says; 0 there is unlimited.
    pub(super) fn resolve(&self, by_user: Option<u32>) -> Option<NonZeroU32> {
        match (self.by_call, by_user) {
            (Some(by_call), _) => by_call,
            (None, Some(by_user)) => NonZeroU32::new(by_user),
            (None, None) => self.by_policy,
        }
    }
}

/// What became of a creation.
#[derive(Clone, Debug)]
pub enum Creation {
    /// The session exists. These ended for it: the one it replaces and those evicted.
    Created {
        /// Every session that ended in the same transaction.
        ended: Vec<Ended>,
    },
    /// The user has as many sessions as allowed; nothing was changed, the session to be replaced included.
    TooMany {
        /// The limit.
        limit: NonZeroU32,
    },
    /// The user is disabled; nothing was changed.
    UserDisabled,
}

/// A session that just ended or was suspended: enough to forget it in every cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The session's id.
    pub id: SessionId,
    /// The digest of its token.
    pub digest: Digest,
    /// Why it ended; `None` for a suspension.
    pub reason: Option<EndReason>,
}

/// What a session is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// The digest of its token.
    Token(Digest),
    /// Its id.
    Id(SessionId),
}

/// A session found by a token.
#[derive(Clone, Debug)]
pub struct Found {
    /// The session.
    pub record: Record,
    /// `None` for the session's token; for one that was rotated away, until when it is still good.
    pub retired: Option<Timestamp>,
}

/// A change of a session's token.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The session.
    pub id: SessionId,
    /// The token that it shall have had until now.
    pub from: Digest,
    /// The token that it gets.
    pub to: Digest,
    /// How long the old one stays usable.
    pub grace: Duration,
    /// Who asks for it.
    pub actor: Actor,
    /// When.
    pub now: Timestamp,
}

/// What became of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The session has the new token.
    Done,
    /// The old token was rotated away before; nothing was changed.
    Already,
    /// There is no active session with the old token; nothing was changed.
    Gone,
}

/// Which sessions to end.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// This one, whoever's it is.
    One(SessionId),
    /// Those of these that belong to the user.
    OwnedBy(&'a UserId, &'a [SessionId]),
    /// All of the user but this one.
    AllBut(&'a UserId, SessionId),
    /// All of the user.
    AllOf(&'a UserId),
}

/// Why, by whom and when sessions are ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// Why. Among the ended sessions, `current` ends with [`EndReason::LoggedOut`] instead.
    pub reason: EndReason,
    /// The session from which its own user made the call, if any.
    pub current: Option<SessionId>,
    /// By whom.
    pub actor: &'a Actor,
    /// When.
    pub now: Timestamp,
}

/// The use of a session, to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The session's id.
    pub id: SessionId,
    /// When it was used.
    pub at: Timestamp,
    /// From where.
    pub ip: IpAddr,
}

/// The offending request of a suspension.
#[derive(Clone, Copy, Debug)]
pub struct Offender<'a> {
    /// Its client address.
    pub ip: IpAddr,
    /// Its User-Agent.
    pub user_agent: &'a str,
}

/// A place in a list of sessions, newest created first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The creation time of the last session shown.
    pub created_at: Timestamp,
    /// Its id, which orders sessions of the same millisecond.
    pub id: SessionId,
}

impl Position {
    /// Before everything.
    pub(super) const FIRST: Self =
        Self { created_at: Timestamp::from_millis(i64::MAX), id: SessionId::from_uuid(uuid::Uuid::max()) };
}

/// A line of the audit log that belongs to no change of a session.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened: one of the stable kinds.
    pub kind: &'static str,
    /// When.
    pub at: Timestamp,
    /// The session, if one is concerned.
    pub session: Option<SessionId>,
    /// The user, if one is concerned.
    pub user: Option<UserId>,
    /// By whom.
    pub actor: Actor,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// More, as a JSON object.
    pub detail: serde_json::Value,
}
