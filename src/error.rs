//! Every way in which a request can fail, with whose fault it is and what the client is told.
//!
//! A [`Code`] is the stable name that clients, logs and metrics share. [`Code::rule`] is the one total match that gives
//! its status, fault and log level; a new code does not compile until it has all of them.

use std::borrow::Cow;

use crate::clock::Timestamp;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's: it may mend its request.
    Client,
    /// The application behind us.
    Upstream,
    /// The session store, or another place that must be asked first.
    Store,
    /// Our own: a bug.
    Ours,
}

/// How loudly a failure is logged (beside its access-log line, which every request has).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every-day refusals.
    Debug,
    /// Worth reading the next morning.
    Warn,
    /// Somebody must look.
    Error,
}

/// What one [`Code`] means to clients, logs and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The stable name: `code` in the problem body and the metric label.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Whose fault it is.
    pub fault: Fault,
    /// How it is logged.
    pub level: Level,
    /// The sentence for people, used when the failure brings none of its own.
    pub title: &'static str,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $status:literal, $fault:ident, $level:ident, $title:literal;)*) => {
        /// The stable code of a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of [`Code::index`].
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Status, fault, level and words of this code.
            pub const fn rule(self) -> Rule {
                match self {
                    $(Self::$variant => Rule {
                        name: $name, status: $status, fault: Fault::$fault, level: Level::$level, title: $title,
                    },)*
                }
            }
        }
    };
}

codes! {
    /// No credential at all.
    MissingToken => "missing_token", 401, Client, Debug, "This request needs a session.";
    /// A credential that cannot be one.
    MalformedToken => "malformed_token", 401, Client, Debug, "The session token is malformed.";
    /// A well-formed token of no session.
    UnknownToken => "unknown_token", 401, Client, Debug, "There is no session for this token.";
    /// A JSON Web Token that cannot be accepted; the detail says why.
    InvalidToken => "invalid_token", 401, Client, Debug, "The token cannot be accepted.";
    /// A JSON Web Token whose time is over.
    TokenExpired => "token_expired", 401, Client, Debug, "The token has expired.";
    /// The session's lifetime is over.
    SessionExpired => "session_expired", 401, Client, Debug, "The session has expired.";
    /// The session was not used for too long.
    SessionIdle => "session_idle", 401, Client, Debug, "The session was idle for too long.";
    /// The session was ended; `reason` says how.
    SessionRevoked => "session_revoked", 401, Client, Debug, "The session was ended.";
    /// The session was suspended; `reason` says why.
    SessionSuspended => "session_suspended", 401, Client, Debug, "The session is suspended.";
    /// The session made room for a newer one.
    SessionEvicted => "session_evicted", 401, Client, Debug, "The session was ended by a newer login of the same user.";
    /// The User-Agent is not the one that the session is bound to.
    UserAgentChanged => "user_agent_changed", 401, Client, Debug, "The session belongs to another browser or program.";
    /// The client address is not the one that the session is bound to.
    IpChanged => "ip_changed", 401, Client, Debug, "The session belongs to another network address.";
    /// The user is disabled.
    UserDisabled => "user_disabled", 401, Client, Debug, "The user is disabled.";
    /// No (more) session for a disabled user.
    CreationRefused => "user_disabled", 403, Client, Debug, "The user is disabled and gets no session.";
    /// The service key is not one of ours.
    InvalidServiceKey => "invalid_service_key", 401, Client, Warn, "The service key is not known.";
    /// The user has as many sessions as allowed.
    TooManySessions => "too_many_sessions", 409, Client, Debug, "The user has as many sessions as the policy allows.";
    /// The token was rotated away before; its successor is the one to use.
    AlreadyRotated => "already_rotated", 409, Client, Debug, "This token has been rotated already; use its successor.";
    /// What the call is about has changed in the meantime.
    Conflict => "conflict", 409, Client, Debug, "The call does not fit what is there now.";
    /// The user may only be touched by an administrator with more rights.
    ProtectedUser => "protected_user", 403, Client, Warn, "This user is protected: the call needs the permission logout_all.";
    /// The session's roles do not open this route.
    RoleRequired => "role_required", 403, Client, Debug, "The session lacks a role that this route requires.";
    /// An unsafe call with a cookie and no proof of its origin.
    Csrf => "csrf", 403, Client, Debug, "A call with the session cookie must come from this site itself.";
    /// Forward auth was asked by somebody who is not trusted to say what it is about.
    UntrustedProxy => "untrusted_proxy", 403, Client, Warn, "Only a proxy in server.trusted_proxies may ask here.";
    /// The request itself cannot be accepted; `field` says which part.
    InvalidRequest => "invalid_request", 400, Client, Debug, "The request is not valid.";
    /// Nothing there, or nothing for this session to see.
    NotFound => "not_found", 404, Client, Debug, "There is nothing here.";
    /// Known address, unknown verb.
    MethodNotAllowed => "method_not_allowed", 405, Client, Debug, "This method is not allowed here.";
    /// The client did not send its request's body in time.
    RequestTimeout => "request_timeout", 408, Client, Debug, "The request's body did not arrive in time.";
    /// The body is larger than this call takes.
    PayloadTooLarge => "payload_too_large", 413, Client, Debug, "The request's body is too large.";
    /// The body is not of a kind that this call takes.
    UnsupportedMediaType => "unsupported_media_type", 415, Client, Debug, "The request's body must be application/json.";
    /// The client or the session does it too often.
    RateLimited => "rate_limited", 429, Client, Debug, "That was too often. Try again in a while.";
    /// The store cannot be asked, so nothing is known about the session.
    StoreUnavailable => "store_unavailable", 503, Store, Warn, "The session store cannot be reached. Try again in a moment.";
    /// The keys of a token's issuer were never fetched, so nothing is known about the token.
    KeysUnavailable => "keys_unavailable", 503, Store, Warn, "The keys that signed tokens are checked with cannot be fetched. Try again in a moment.";
    /// The application cannot be reached, or broke off.
    UpstreamUnreachable => "upstream_unreachable", 502, Upstream, Warn, "The application cannot be reached.";
    /// No address of the application is in use now, or it has as many requests as it may.
    UpstreamUnavailable => "upstream_unavailable", 503, Upstream, Warn, "The application is not available. Try again in a moment.";
    /// The application did not answer in time.
    UpstreamTimeout => "upstream_timeout", 504, Upstream, Warn, "The application did not answer in time.";
    /// A bug of ours; the log has the details.
    Internal => "internal", 500, Ours, Error, "The gateway failed on this request.";
}

impl Code {
    /// Whether it is told of a credential that never was one, or of no session that is known.
    pub const fn is_of_no_session(self) -> bool {
        matches!(self, Self::UnknownToken | Self::MalformedToken | Self::InvalidToken)
    }

    /// The place of this code in [`Code::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A failure on its way to the client: a code and what is to be said about this case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.rule().name)]
pub struct Problem {
    /// What happened.
    pub code: Code,
    /// One sentence about this case, for people. Never a token, a digest or an internal address.
    pub detail: Cow<'static, str>,
    /// The key, field or parameter at fault.
    pub field: Option<Cow<'static, str>>,
    /// Why a session ended or was suspended.
    pub reason: Option<&'static str>,
    /// The methods allowed, for [`Code::MethodNotAllowed`].
    pub allow: Option<&'static str>,
    /// Since when it is so, for [`Code::SessionExpired`].
    pub since: Option<Timestamp>,
    /// After how many seconds it may be better, for what is unavailable or came too often; `None` is one.
    pub retry_after: Option<u16>,
}

impl Problem {
    /// A failure about which there is no more to say than its code.
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.rule().title),
            field: None,
            reason: None,
            allow: None,
            since: None,
            retry_after: None,
        }
    }

    /// A failure with its own sentence.
    pub fn with_detail(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..Self::new(code) }
    }

    /// An invalid request, with the part that is wrong.
    pub fn invalid(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..Self::with_detail(Code::InvalidRequest, detail) }
    }

    /// The same with the reason why a session ended or was suspended.
    #[must_use]
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

/// An error with its causes, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_answers_success() {
        for code in Code::ALL {
            assert!((400..600).contains(&code.rule().status), "{code:?}");
        }
    }

    #[test]
    fn the_fault_and_the_status_agree() {
        for code in Code::ALL {
            let expected = match code.rule().fault {
                Fault::Client => 400..500,
                Fault::Upstream => 502..505,
                Fault::Store => 503..504,
                Fault::Ours => 500..501,
            };
            assert!(expected.contains(&code.rule().status), "{code:?}");
        }
    }

    #[test]
    fn an_index_finds_its_code_again() {
        for code in Code::ALL {
            assert_eq!(Code::ALL.get(code.index()), Some(code));
        }
    }
}
