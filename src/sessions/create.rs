//! Creating sessions.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::{Concerned, Sessions};
use crate::clock::Timestamp;
use crate::config::MaxSessions;
use crate::error::{Code, Problem};
use crate::metrics::StoreCall;
use crate::policy::OnExceed;
use crate::session::{Actor, EndReason, Format, Principal, Role, SessionId};
use crate::store::{Creation, Crowd, Crowds, Limit, NewSession};
use crate::token::Token;
use crate::user_agent::Device;

/// A login, as the one who creates the session describes it.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// Who logged in.
    pub principal: Principal,
    /// From creation to expiry; `None` is never.
    pub lifetime: Option<Duration>,
    /// How many live sessions the user may have by this call: `Some(None)` is unlimited, `None` says nothing.
    pub max_by_call: Option<Option<NonZeroU32>>,
    /// How many by the policy for the user's roles.
    pub max_by_policy: Option<NonZeroU32>,
    /// The User-Agent that the session is bound to; `None` binds it at its first use.
    pub user_agent: Option<String>,
    /// The client address that the session is bound to; `None` binds it at its first use.
    pub ip: Option<IpAddr>,
    /// The session of the same browser that this one takes the place of.
    pub replaces: Option<SessionId>,
    /// Who creates it.
    pub actor: Actor,
    /// What its user holds.
    pub format: Format,
    /// After how long without use it is over; `None` is never.
    pub slide: Option<Duration>,
    /// What its User-Agent said, where it is known.
    pub device: Option<Device>,
}

/// What the settings say about every creation.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many random bytes a token has.
    pub token_bytes: usize,
    /// What gives way when a user would have too many sessions.
    pub on_exceed: OnExceed,
    /// Sessions last used before this moment are idle and hold no place.
    pub idle_since: Option<Timestamp>,
}

/// A session that is ready to be created.
#[derive(Debug)]
pub struct Drawn {
    /// What the store is given.
    pub new: NewSession,
    /// The token for the client.
    pub token: Token,
    /// When the session expires unless it is used before; `None` is never.
    pub expires_at: Option<Timestamp>,
}

impl NewLogin {
    /// Draws the id and the token of the session.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn draw(self, terms: Terms, now: Timestamp) -> Result<Drawn, getrandom::Error> {
        let token = Token::generate(terms.token_bytes)?;
        let id = SessionId::generate()?;
        let ends_at = self.lifetime.map(|lifetime| now.plus(lifetime));
        let slide = self.slide.map(whole_seconds);
        let expires_at = ends_at.into_iter().chain(slide.map(|slide| now.plus(slide))).min();
        let new = NewSession {
            id,
            digest: token.digest(),
            principal: self.principal,
            now,
            expires_at: ends_at,
            user_agent: self.user_agent,
            ip: self.ip,
            limit: Limit {
                by_call: self.max_by_call,
                by_policy: self.max_by_policy,
                on_exceed: terms.on_exceed,
                idle_since: terms.idle_since,
            },
            replaces: self.replaces,
            actor: self.actor,
            format: self.format,
            slide,
            device: self.device,
        };
        Ok(Drawn { new, token, expires_at })
    }
}

/// A session just created. The token exists here and nowhere else.
#[derive(Debug)]
pub struct Created {
    /// The session's id.
    pub id: SessionId,
    /// The token for the client.
    pub token: Token,
    /// When the session expires unless it is used before; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it expires however much it is used; `None` is never.
    pub ends_at: Option<Timestamp>,
    /// The sessions that were evicted for it.
    pub evicted: Vec<SessionId>,
}

impl Sessions {
    /// Creates a session with a new id and a new token, under the user's limit.
    ///
    /// Cancel safety: when this is dropped, the session may exist, but nobody knows its token.
    ///
    /// # Errors
    /// [`Code::TooManySessions`] and [`Code::CreationRefused`] by the policy; [`Code::StoreUnavailable`] when the store
    /// cannot be asked; [`Code::Internal`] when the operating system gives no randomness.
    pub async fn create(&self, login: NewLogin, now: Timestamp) -> Result<Created, Problem> {
        let terms = Terms {
            token_bytes: self.inner.settings.load().token_bytes,
            on_exceed: self.inner.settings.load().on_exceed,
            idle_since: self.idle_since(now),
        };
        let Drawn { new, token, expires_at } = login.draw(terms, now).map_err(|error| {
            tracing::error!(%error, "the operating system gives no randomness: no session can be created");
            Problem::new(Code::Internal)
        })?;
        let (id, ends_at) = (new.id, new.expires_at);
        let (sessions, concerned) = (self.clone(), Concerned::User(new.principal.user.clone()));
        let creation = self.change(StoreCall::Create, concerned, async move {
            let creation = sessions.inner.store.create(new).await?;
            if let Creation::Created { ended } = &creation {
                sessions.forget(ended);
                sessions.inner.metrics.created.increment();
            }
            Ok(creation)
        });
        match creation.await? {
            Creation::Created { ended } => {
                let evicted = ended.iter().filter(|ended| ended.reason == Some(EndReason::Evicted));
                Ok(Created { id, token, expires_at, ends_at, evicted: evicted.map(|ended| ended.id).collect() })
            }
            Creation::TooMany { limit } => Err(Problem::with_detail(
                Code::TooManySessions,
                format!("The user has {limit} live session(s), as many as the policy allows."),
            )),
            Creation::UserDisabled => Err(Problem::new(Code::CreationRefused)),
        }
    }

    /// Evicts what users have more than `limits` allow, as after a lowered limit, and says how many sessions that were. The
    /// users are gone through once, some at a time; a creation meanwhile keeps to its own limit anyway.
    ///
    /// Cancel safety: what has been evicted stays so; the rest stays as it is.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when the store cannot be asked; what was evicted until then stays so.
    pub async fn enforce_limits(&self, limits: &MaxSessions, now: Timestamp) -> Result<usize, Problem> {
        let idle_since = self.idle_since(now);
        let (mut evicted, mut after) = (0, None);
        loop {
            let sessions = self.clone();
            let crowds =
                self.run(
                    StoreCall::List,
                    async move { sessions.inner.store.crowds(after.as_ref(), now, idle_since).await },
                );
            let Crowds { users, next } = crowds.await?;
            for Crowd { user, roles } in users {
                let by_policy = limits.for_roles(roles.iter().map(Role::as_str));
                let limit = Limit { by_call: None, by_policy, on_exceed: limits.on_exceed, idle_since };
                let sessions = self.clone();
                let ended = self.change(StoreCall::End, Concerned::User(user.clone()), async move {
                    let ended = sessions.inner.store.evict_excess(&user, limit, now).await?;
                    sessions.forget(&ended);
                    Ok(ended.len())
                });
                evicted += ended.await?;
            }
            after = next;
            if after.is_none() {
                return Ok(evicted);
            }
        }
    }
}

/// Rounds up to what the cache keeps of a time without use, so that it and the store agree to the millisecond.
fn whole_seconds(slide: Duration) -> Duration {
    let seconds = slide.as_secs().saturating_add(u64::from(slide.subsec_nanos() > 0));
    Duration::from_secs(seconds.clamp(1, u32::MAX.into()))
}
