//! What a session is: its id, its owner, its state, and the compact form that the cache holds.

mod cached;
mod identity;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

pub use self::cached::Session;
pub use self::identity::Identity;
use crate::clock::Timestamp;
use crate::token::Digest;
use crate::user_agent::Device;

/// The public handle of a session. It opens nothing: only the token does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Uuid);

impl SessionId {
    /// Draws a new random id (UUID version 4).
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(Self(uuid::Builder::from_random_bytes(random).into_uuid()))
    }

    /// Reads an id in the form in which it is printed: hyphenated, either case.
    pub fn parse(text: &str) -> Option<Self> {
        // `Uuid::parse_str` also takes braces, urns and bare hex; one id has one spelling here.
        if text.len() != 36 {
            return None;
        }
        Uuid::parse_str(text).ok().map(Self)
    }

    /// The id as a UUID, for the store.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }

    /// The id read back from the store.
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

/// The id of a user, as the application knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Box<str>);

impl UserId {
    /// The longest user id, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Accepts 1 to 255 bytes without control characters and without outer spaces.
    ///
    /// # Errors
    /// A sentence about what is wrong, without the value.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("must not be empty");
        }
        if text.len() > Self::MAX_BYTES {
            return Err("must not be longer than 255 bytes");
        }
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters");
        }
        if text.trim() != text {
            return Err("must not begin or end with white space");
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One role of a user: a word of `[A-Za-z0-9._:/@-]`, 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role(Box<str>);

impl Role {
    /// Accepts a role.
    ///
    /// # Errors
    /// A sentence about what is wrong, without the value.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/@-".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err("must be 1 to 64 characters of A-Z a-z 0-9 . _ : / @ -");
        }
        Ok(Self(text.into()))
    }

    /// The role as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who a session belongs to, as given when it was created. It never changes during the session's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user's id in the application.
    pub user: UserId,
    /// The user's roles.
    pub roles: Vec<Role>,
    /// The user's name, for display.
    pub name: Option<String>,
    /// The user's e-mail address.
    pub email: Option<String>,
    /// Anything else that the creator wanted to keep with the session: a JSON object.
    pub claims: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Principal {
    /// The most roles a session may carry.
    pub const MAX_ROLES: usize = 64;
    /// The longest name or e-mail address, in bytes.
    pub const MAX_TEXT: usize = 512;

    /// A user without roles, name or e-mail address.
    pub const fn of(user: UserId) -> Self {
        Self { user, roles: Vec::new(), name: None, email: None, claims: None }
    }
}

/// Accepts a name or an e-mail address: 1 to 512 bytes, no control characters, no outer spaces.
///
/// # Errors
/// A sentence about what is wrong, without the value.
pub fn parse_text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > Principal::MAX_TEXT {
        return Err("must be 1 to 512 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters");
    }
    if text.trim() != text {
        return Err("must not begin or end with white space");
    }
    Ok(text.to_owned())
}

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident => $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$vdoc])* $variant,)* }

        impl $type {
            /// Every value, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name, as stored, shown and counted.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The value of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

named! {
    /// Why a session ended. An ended session never comes back.
    EndReason {
        /// Its owner logged out.
        LoggedOut => "logged_out",
        /// Its owner logged out everywhere, from another session.
        LoggedOutElsewhere => "logged_out_elsewhere",
        /// Its owner ended it from the list of sessions.
        Revoked => "revoked",
        /// It made room for a newer session of the same user.
        Evicted => "evicted",
        /// The same browser logged in again.
        Replaced => "replaced",
        /// The user's password was changed from another session.
        PasswordChanged => "password_changed",
        /// An administrator ended it.
        EndedByAdmin => "ended_by_admin",
        /// The user was disabled.
        UserDisabled => "user_disabled",
        /// A token that had been rotated away was used again.
        TokenReused => "token_reused",
        /// It was over for want of use when the sessions of its user were counted for a limit, so that another one took its
        /// place. A use from before that moment, written down late, would bring it back beside that one.
        Unused => "unused",
    }
}

named! {
    /// Why a session is suspended. A suspended session can be reactivated.
    SuspendReason {
        /// It was used with another User-Agent.
        UserAgentChanged => "user_agent_changed",
        /// An administrator suspended it.
        SuspendedByAdmin => "suspended_by_admin",
    }
}

named! {
    /// What the user of a session holds.
    Format {
        /// A random token, which the store knows by its digest.
        Opaque => "opaque",
        /// JSON Web Tokens that name the session, and a refresh token to get new ones, which the store knows by its digest.
        Jwt => "jwt",
    }
}

/// The state of a session as stored. "Expired" is not stored: it follows from the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may be used.
    Active,
    /// It may not be used for now.
    Suspended(SuspendReason),
    /// It is over.
    Ended(EndReason),
}

named! {
    /// What a session is to somebody who looks at it at some moment: its state, and whether its time is over.
    Phase {
        /// It may be used.
        Active => "active",
        /// It may not be used for now.
        Suspended => "suspended",
        /// It was ended.
        Ended => "ended",
        /// Nobody ended it, but its lifetime is over or it was not used for too long.
        Expired => "expired",
    }
}

/// Whom an end, a suspension or another change is put down to, in the row and in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The session's own user.
    User(UserId),
    /// A service that holds a key, by its configured name.
    Service(String),
    /// The gateway itself, following the policy.
    Policy,
    /// An administrator, through the administrator's calls.
    Admin(UserId),
    /// Somebody at the command line.
    Operator,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{}", user.as_str()),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Policy => f.write_str("policy"),
            Self::Admin(user) => write!(f, "admin:{}", user.as_str()),
            Self::Operator => f.write_str("operator"),
        }
    }
}

/// A session as the store holds it, whole.
#[derive(Clone, Debug)]
pub struct Record {
    /// The session's id.
    pub id: SessionId,
    /// The digest of its token.
    pub digest: Digest,
    /// Its owner.
    pub principal: Principal,
    /// Its state.
    pub state: State,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, as far as it was written down.
    pub last_seen_at: Timestamp,
    /// From where it was last used, as far as it was written down.
    pub last_ip: Option<IpAddr>,
    /// The User-Agent that it is bound to; `None` until its first use when the creator did not know it.
    pub user_agent: Option<String>,
    /// The client address that it is bound to; `None` until its first use when the creator did not know it.
    pub bound_ip: Option<IpAddr>,
    /// When it ended, if it did.
    pub ended_at: Option<Timestamp>,
    /// Who ended it, if it ended.
    pub ended_by: Option<String>,
    /// Whether its user may have sessions at all.
    pub user_enabled: bool,
    /// What its user holds.
    pub format: Format,
    /// After how long without use it is over; `None` is never.
    pub slide: Option<Duration>,
    /// What its User-Agent said; `None` until it is known.
    pub device: Option<Device>,
}

impl Record {
    /// What the session is at `now`, where those last used before `idle_since` are idle.
    pub fn phase(&self, now: Timestamp, idle_since: Option<Timestamp>) -> Phase {
        let expired = self.over_at().is_some_and(|at| at <= now);
        let idle = idle_since.is_some_and(|since| self.last_seen_at < since);
        match self.state {
            State::Ended(_) => Phase::Ended,
            State::Active | State::Suspended(_) if expired || idle => Phase::Expired,
            State::Active => Phase::Active,
            State::Suspended(_) => Phase::Suspended,
        }
    }

    /// When it is over unless it is used before; `None` is never.
    pub fn over_at(&self) -> Option<Timestamp> {
        sooner(self.expires_at, self.last_seen_at, self.slide)
    }
}

/// The sooner end: that of the lifetime, or that of the time without use.
fn sooner(expires_at: Option<Timestamp>, last_seen: Timestamp, slide: Option<Duration>) -> Option<Timestamp> {
    let unused = slide.map(|slide| last_seen.plus(slide));
    expires_at.into_iter().chain(unused).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_has_one_spelling() {
        let id = SessionId::generate().unwrap();
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for other in [id.as_uuid().simple().to_string(), format!("{{{id}}}"), "x".repeat(36), String::new()] {
            assert_eq!(SessionId::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn a_user_id_is_refused_with_what_is_wrong() {
        assert_eq!(UserId::parse("ann").unwrap().as_str(), "ann");
        assert_eq!(UserId::parse("Zoë Ångström").unwrap().as_str(), "Zoë Ångström");
        for (bad, why) in [
            (String::new(), "must not be empty"),
            ("x".repeat(256), "must not be longer than 255 bytes"),
            ("a\nb".to_owned(), "must not contain control characters"),
            (" a".to_owned(), "must not begin or end with white space"),
        ] {
            assert_eq!(UserId::parse(&bad), Err(why));
        }
    }

    #[test]
    fn a_role_takes_no_comma_and_no_space() {
        assert!(Role::parse("team:ops/eu-1@example.org").is_ok());
        for bad in ["", "a,b", "a b", "é", &"x".repeat(65)] {
            assert!(Role::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_name_reads_back() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::from_name(reason.name()), Some(*reason));
        }
        for reason in SuspendReason::ALL {
            assert_eq!(SuspendReason::from_name(reason.name()), Some(*reason));
        }
        assert_eq!(EndReason::from_name("nothing"), None);
    }
}
