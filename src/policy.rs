//! The rules for one session on one request: pure, the same for a cache hit and a miss.
//!
//! [`check`] is the only way from a [`Session`] to a [`Permit`], and forwarding takes a permit, so no request reaches an
//! application unchecked. Limits that concern all sessions of a user are not here but in the store's creating
//! transaction, where they can be enforced without a race.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Code, Problem};
use crate::session::{EndReason, Session, State, SuspendReason};
use crate::user_agent::{Fingerprint, Likeness};

/// The policies that bind a session, as configured.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How a request's User-Agent must agree with the session's; `None` is not at all.
    pub user_agent: Option<UserAgentRule>,
    /// How a request's client address must agree with the session's.
    pub ip: IpRule,
    /// After how long without a request a session is over; `None` is never.
    pub idle_timeout: Option<Duration>,
}

impl Rules {
    /// A stored User-Agent in the form in which [`check`] compares it; `None` where there is none, or none is compared.
    pub fn fingerprint(&self, user_agent: Option<&str>) -> Option<Fingerprint> {
        self.user_agent.zip(user_agent).map(|(rule, agent)| Fingerprint::of(agent.as_bytes(), rule.likeness))
    }
}

/// How a request's User-Agent must agree with the session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserAgentRule {
    /// How closely.
    pub likeness: Likeness,
    /// What follows when it does not.
    pub on_change: OnAgentChange,
}

/// What follows when a session is used with another User-Agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAgentChange {
    /// The session is suspended for everybody, its owner included, until it is reactivated.
    Suspend,
    /// This request is refused; the session goes on.
    Reject,
    /// The request passes and the change is logged.
    Log,
}

/// How a request's client address must agree with the session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRule {
    /// How closely.
    pub mode: IpMode,
    /// Whether a change passes with a log line instead of being refused.
    pub log_only: bool,
}

/// How closely client addresses are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpMode {
    /// Not at all; the address is only recorded.
    Record,
    /// By network: /24 for IPv4, /64 for IPv6.
    Subnet,
    /// Every bit.
    Exact,
}

/// What gives way when a user would have too many sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExceed {
    /// The sessions created longest ago.
    EvictOldest,
    /// The sessions used longest ago.
    EvictLeastRecent,
    /// The new one: it is not created.
    RejectNew,
}

/// What is known about the request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The User-Agent header's bytes; empty when there is none.
    pub user_agent: &'a [u8],
    /// A keyed hash of `user_agent`, under which a session remembers that it was found good; 0 for none.
    pub agent_memo: u64,
    /// The client's address, IPv4-mapped addresses already turned into IPv4.
    pub client_ip: IpAddr,
}

/// Why a session may not be used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session has ended.
    Ended(EndReason),
    /// The session is suspended.
    Suspended(SuspendReason),
    /// The session's lifetime is over since that time.
    Expired(Timestamp),
    /// The session's lifetime began with its last use and is over since that time, as far as this instance knows.
    Lapsed(Timestamp),
    /// The session was not used for too long.
    Idle,
    /// The session's user is disabled.
    UserDisabled,
    /// Another User-Agent; the session is to be suspended before this is answered.
    SuspendForUserAgent,
    /// Another User-Agent; the session stays as it is.
    UserAgentChanged,
    /// Another client address; the session stays as it is.
    IpChanged,
    /// The creator did not say which User-Agent or address the session is bound to: this request's are to be written
    /// down, and the session checked again.
    Unbound,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ended(reason @ EndReason::Unused) => Self::new(Code::SessionIdle).because(reason.name()),
            Refusal::Ended(reason @ EndReason::Evicted) => Self::new(Code::SessionEvicted).because(reason.name()),
            Refusal::Ended(
                reason @ (EndReason::LoggedOut
                | EndReason::LoggedOutElsewhere
                | EndReason::Revoked
                | EndReason::Replaced
                | EndReason::PasswordChanged
                | EndReason::EndedByAdmin
                | EndReason::UserDisabled
                | EndReason::TokenReused),
            ) => Self::new(Code::SessionRevoked).because(reason.name()),
            Refusal::Suspended(reason) => Self::new(Code::SessionSuspended).because(reason.name()),
            Refusal::SuspendForUserAgent => {
                Self::new(Code::SessionSuspended).because(SuspendReason::UserAgentChanged.name())
            }
            Refusal::Expired(at) | Refusal::Lapsed(at) => Self {
                since: Some(at),
                ..Self::with_detail(Code::SessionExpired, format!("The session expired at {at}."))
            },
            Refusal::Idle => Self::new(Code::SessionIdle),
            Refusal::UserDisabled => Self::new(Code::UserDisabled),
            Refusal::UserAgentChanged => Self::new(Code::UserAgentChanged),
            Refusal::IpChanged => Self::new(Code::IpChanged),
            // The caller binds the session and checks again; reaching the client would be our bug.
            Refusal::Unbound => Self::new(Code::Internal),
        }
    }
}

/// The proof that a request may pass. Only this module can make one.
#[derive(Clone, Debug)]
pub struct Permit {
    session: Option<Arc<Session>>,
    notes: Notes,
}

/// What a permit lets pass but the log shall mention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The User-Agent is not the session's, under `on_change = "log"`.
    pub user_agent_changed: bool,
    /// The client address is not the session's, under `on_change = "log"`.
    pub ip_changed: bool,
}

impl Permit {
    /// The session that was checked; `None` for an anonymous request.
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// What was let pass but shall be mentioned.
    pub const fn notes(&self) -> Notes {
        self.notes
    }

    /// Requires one of `roles` when there are any.
    ///
    /// # Errors
    /// [`Code::RoleRequired`] when the session has none of them.
    pub fn require_role(self, roles: &[Box<str>]) -> Result<Self, Problem> {
        let held = |session: &Arc<Session>| roles.iter().any(|role| session.identity.has_role(role));
        if roles.is_empty() || self.session.as_ref().is_some_and(held) {
            Ok(self)
        } else {
            Err(Problem::new(Code::RoleRequired))
        }
    }
}

/// What a route asks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing; a credential is not even looked at.
    Off,
    /// A good session becomes the identity; without one the request is anonymous.
    Optional,
    /// A good session.
    Required,
}

/// The permit of a request that carries no session.
///
/// # Errors
/// [`Code::MissingToken`] where the route requires a session.
pub fn anonymous(auth: Auth) -> Result<Permit, Problem> {
    match auth {
        Auth::Off | Auth::Optional => Ok(Permit { session: None, notes: Notes::default() }),
        Auth::Required => Err(Problem::new(Code::MissingToken)),
    }
}

/// Checks one session against one request.
///
/// The order matters to the client: what ended a session is told before what is merely wrong with this request.
///
/// # Errors
/// The [`Refusal`], which the caller must answer; for [`Refusal::SuspendForUserAgent`] and [`Refusal::Unbound`] it must
/// act first.
pub fn check(session: Arc<Session>, facts: &Facts<'_>, rules: &Rules, now: Timestamp) -> Result<Permit, Refusal> {
    check_alive(&session, rules, now)?;

    let mut notes = Notes::default();
    if let Some(rule) = rules.user_agent {
        notes.user_agent_changed = !check_user_agent(&session, facts, rule)?;
    }
    if rules.ip.mode != IpMode::Record {
        notes.ip_changed = !check_ip(&session, facts.client_ip, rules.ip)?;
    }
    Ok(Permit { session: Some(session), notes })
}

/// Checks a session again for a request that it was let pass with and that is not over. `opened` is the session as it was
/// then. What the request brought along is still the same, so its User-Agent is as good as it was while the session is bound
/// to the same one.
///
/// # Errors
/// As those of [`check`], but nothing is left to be done about them: a session that is not bound any more is not the one
/// that was checked, and [`Refusal::UserAgentChanged`] says that it is bound to another User-Agent than it was.
pub fn check_again(
    opened: &Session,
    session: Arc<Session>,
    client_ip: IpAddr,
    rules: &Rules,
    now: Timestamp,
) -> Result<Permit, Refusal> {
    check_alive(&session, rules, now)?;
    if rules.user_agent.is_some() && opened.user_agent() != session.user_agent() {
        return Err(Refusal::UserAgentChanged);
    }
    if rules.ip.mode != IpMode::Record {
        check_ip(&session, client_ip, rules.ip)?;
    }
    Ok(Permit { session: Some(session), notes: Notes::default() })
}

/// Whether a session may be used at all, whoever comes with it.
fn check_alive(session: &Session, rules: &Rules, now: Timestamp) -> Result<(), Refusal> {
    match session.state {
        State::Active => {}
        State::Suspended(reason) => return Err(Refusal::Suspended(reason)),
        State::Ended(reason) => return Err(Refusal::Ended(reason)),
    }
    if !session.user_enabled {
        return Err(Refusal::UserDisabled);
    }
    if let Some(expires_at) = session.expires_at()
        && now >= expires_at
    {
        return Err(Refusal::Expired(expires_at));
    }
    if let Some(slide) = session.slide()
        && now.since(session.last_seen()) >= slide
    {
        return Err(Refusal::Lapsed(session.last_seen().plus(slide)));
    }
    if let Some(limit) = rules.idle_timeout
        && now.since(session.last_seen()) >= limit
    {
        return Err(Refusal::Idle);
    }
    Ok(())
}

/// Whether the User-Agent is the session's; a difference that the rule lets pass is `Ok(false)`.
fn check_user_agent(session: &Session, facts: &Facts<'_>, rule: UserAgentRule) -> Result<bool, Refusal> {
    if session.remembers_agent(facts.agent_memo) {
        return Ok(true);
    }
    let Some(bound) = session.user_agent() else { return Err(Refusal::Unbound) };
    if Fingerprint::of(facts.user_agent, rule.likeness) == bound {
        session.remember_agent(facts.agent_memo);
        return Ok(true);
    }
    match rule.on_change {
        OnAgentChange::Suspend => Err(Refusal::SuspendForUserAgent),
        OnAgentChange::Reject => Err(Refusal::UserAgentChanged),
        OnAgentChange::Log => Ok(false),
    }
}

/// Whether the client address is the session's; a difference that the rule lets pass is `Ok(false)`.
fn check_ip(session: &Session, client: IpAddr, rule: IpRule) -> Result<bool, Refusal> {
    let Some(bound) = session.bound_ip() else { return Err(Refusal::Unbound) };
    if near(bound, client, rule.mode) {
        Ok(true)
    } else if rule.log_only {
        Ok(false)
    } else {
        Err(Refusal::IpChanged)
    }
}

fn near(a: IpAddr, b: IpAddr, mode: IpMode) -> bool {
    match mode {
        IpMode::Record => true,
        IpMode::Exact => a.to_canonical() == b.to_canonical(),
        IpMode::Subnet => match (a.to_canonical(), b.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a.to_bits() >> 8 == b.to_bits() >> 8,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() >> 64 == b.to_bits() >> 64,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        },
    }
}

#[cfg(test)]
mod tests;
