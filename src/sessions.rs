//! The only door to sessions: every other module asks here, and only here are the cache and the store known together.
//!
//! Reading goes cache first ([`Sessions::recall`], then [`Sessions::load`]). Changing goes store first: commit, then forget ([`Sessions::end`] and
//! the others), so that from the moment a call returns no request of this instance finds the session as it was.
//!
//! Every store call runs as a task of its own on the side runtime. A client that goes away while its call is running
//! therefore cannot leave a committed change unforgotten.

mod admin;
mod cache;
mod call;
mod confirm;
mod create;
mod find;
mod follow;
mod health;
mod hear;
mod jwt;
mod overdue;
mod rotate;
mod settle;
mod sweep;
mod tasks;
mod touch;
mod unmatched;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use self::admin::Refusals;
use self::cache::Cache;
use self::call::Concerned;
use self::confirm::Due;
use self::health::Health;
use self::hear::Ears;
use self::overdue::Overdue;
use self::touch::Touches;
use crate::clock::{Anchored, Moment, Timestamp};
use crate::error::Problem;
use crate::metrics::{SharedMetrics, StoreCall};
use crate::policy::{Facts, OnExceed, Rules, UserAgentRule};
use crate::session::{Record, Session, SessionId, UserId};
use crate::store::{Ended, Ending, Event, Position, Store, Touch, Which};
use crate::user_agent::Fingerprint;

pub use self::create::{Created, Drawn, NewLogin, Terms};
pub use self::find::{Found, is_reuse};
pub use self::jwt::same_user;
pub use self::sweep::Sweeping;
use self::unmatched::Unmatched;

/// All sessions, as one instance sees them. Cloning is cheap; all clones are the same.
#[derive(Clone, Debug)]
pub struct Sessions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    side: Handle,
    cache: Cache,
    due: Due,
    touches: Touches,
    overdue: Overdue,
    health: Health,
    ears: Ears,
    clock: Anchored,
    settings: ArcSwap<Settings>,
    metrics: Arc<SharedMetrics>,
    refusals: Refusals,
    unmatched: Unmatched,
    searches: tokio::sync::Mutex<()>,
    cursor_key: OnceLock<[u8; 32]>,
}

/// What sessions need to know of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What binds a session.
    pub rules: Rules,
    /// The most sessions in the cache.
    pub capacity: usize,
    /// How long a cached session is trusted.
    pub ttl: Duration,
    /// How long an unknown token is taken for unknown.
    pub negative_ttl: Option<Duration>,
    /// How long after its last confirmation a cached session is served while the store cannot be asked.
    pub serve_while_store_down: Option<Duration>,
    /// How often the last use of a session is written down.
    pub touch_interval: Duration,
    /// What gives way when a user would have too many sessions.
    pub on_exceed: OnExceed,
    /// How many random bytes a token has.
    pub token_bytes: usize,
    /// Whether the schema is brought up to date at start.
    pub migrate: bool,
}

impl Sessions {
    /// Sessions on `store`, whose calls run on `side`.
    pub fn new(store: Store, side: Handle, settings: Settings, metrics: Arc<SharedMetrics>) -> Self {
        let cache = Cache::new(settings.capacity, settings.ttl, settings.negative_ttl);
        let inner = Inner {
            store,
            side,
            cache,
            due: Due::default(),
            touches: Touches::default(),
            overdue: Overdue::default(),
            health: Health::default(),
            ears: Ears::default(),
            clock: Anchored::default(),
            settings: ArcSwap::from_pointee(settings),
            metrics,
            refusals: Refusals::default(),
            unmatched: Unmatched::default(),
            searches: tokio::sync::Mutex::default(),
            cursor_key: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether the store answers, for `/readyz`.
    pub fn store_is_up(&self) -> bool {
        self.inner.health.is_up()
    }

    /// Resolves when it does. Cancel safe.
    pub async fn until_store_is_up(&self) {
        self.inner.health.until_found().await;
    }

    /// What binds a session.
    pub fn rules(&self) -> Rules {
        self.inner.settings.load().rules
    }

    /// Puts other settings in place, for all that begins from now on. What was made with the old ones stays as it is: the
    /// size of the cache, its times, and the form in which User-Agents are compared.
    pub fn adopt(&self, settings: Settings) {
        let kept = **self.inner.settings.load();
        let Settings { capacity, ttl, negative_ttl, migrate, .. } = kept;
        let likeness = kept.rules.user_agent.map(|rule| rule.likeness);
        let mut settings = Settings { capacity, ttl, negative_ttl, migrate, ..settings };
        settings.rules.user_agent = match (settings.rules.user_agent, likeness) {
            (Some(rule), Some(likeness)) => Some(UserAgentRule { likeness, ..rule }),
            (Some(_) | None, _) => kept.rules.user_agent,
        };
        self.inner.settings.store(Arc::new(settings));
    }

    /// Takes note that a session was used, at most once per interval and never waiting for anything.
    pub fn touch(&self, session: &Session, ip: IpAddr, now: Timestamp) {
        let seen = session.last_seen();
        // One that is over soon without use must be seen to be used in time, whatever its creator made its lifetime.
        let settings = self.inner.settings.load();
        let interval = session.slide().map_or(settings.touch_interval, |slide| settings.touch_interval.min(slide / 4));
        if now.since(seen) >= interval && session.advance_last_seen(seen, now) {
            self.inner.touches.push(Touch { id: session.id, at: now, ip }, &self.inner.metrics);
        }
    }

    /// Ends sessions and says which. They are refused by this instance from the moment this returns.
    ///
    /// Cancel safety: once begun, the change and its effect on the cache happen even when this is dropped.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::error::Code::StoreUnavailable) when the store cannot be asked; nothing has then ended, as far as anybody knows.
    pub async fn end(&self, which: OwnedWhich, ending: OwnedEnding) -> Result<Vec<Ended>, Problem> {
        let (sessions, concerned) = (self.clone(), which.concerned());
        self.change(StoreCall::End, concerned, async move {
            let ended = sessions.inner.store.end(which.borrow(), ending.borrow()).await?;
            sessions.forget(&ended);
            Ok(ended)
        })
        .await
    }

    /// The user's live sessions after `after`, newest created first.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::error::Code::StoreUnavailable) when the store cannot be asked.
    pub async fn list(
        &self,
        user: UserId,
        after: Option<Position>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Record>, Problem> {
        let sessions = self.clone();
        let idle_since = self.idle_since(now);
        self.run(
            StoreCall::List,
            async move { sessions.inner.store.list_live(&user, after, limit, now, idle_since).await },
        )
        .await
    }

    /// One session by its id, in whatever state.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::error::Code::StoreUnavailable) when the store cannot be asked.
    pub async fn get(&self, id: SessionId) -> Result<Option<Record>, Problem> {
        let sessions = self.clone();
        self.run(StoreCall::List, async move { sessions.inner.store.get(id).await }).await
    }

    /// Appends a line to the audit log.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::error::Code::StoreUnavailable) when the store cannot be asked.
    pub async fn record(&self, event: Event) -> Result<(), Problem> {
        let sessions = self.clone();
        self.run(StoreCall::Other, async move { sessions.inner.store.record(event).await }).await
    }

    /// Sessions last used before this moment are idle.
    pub fn idle_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.inner.settings.load().rules.idle_timeout.map(|timeout| now.minus(timeout))
    }

    /// The fingerprint of a stored User-Agent under the policy in force.
    fn fingerprint(&self, record: &Record) -> Option<Fingerprint> {
        self.inner.settings.load().rules.fingerprint(record.user_agent.as_deref())
    }

    /// After a commit: no request of this instance finds these sessions as they were.
    fn forget(&self, ended: &[Ended]) {
        for session in ended {
            self.inner.cache.forget(session);
            if let Some(reason) = session.reason {
                self.inner.metrics.ended(reason);
            }
        }
    }
}

/// [`Which`] for a call that outlives its caller.
#[derive(Clone, Debug)]
pub enum OwnedWhich {
    /// This one, whoever's it is.
    One(SessionId),
    /// Those of these that belong to the user.
    OwnedBy(UserId, Vec<SessionId>),
    /// All of the user but this one.
    AllBut(UserId, SessionId),
    /// All of the user.
    AllOf(UserId),
}

impl OwnedWhich {
    fn concerned(&self) -> Concerned {
        match self {
            Self::One(id) => Concerned::Sessions(vec![*id]),
            Self::OwnedBy(_, ids) => Concerned::Sessions(ids.clone()),
            Self::AllBut(user, _) | Self::AllOf(user) => Concerned::User(user.clone()),
        }
    }

    fn borrow(&self) -> Which<'_> {
        match self {
            Self::One(id) => Which::One(*id),
            Self::OwnedBy(user, ids) => Which::OwnedBy(user, ids),
            Self::AllBut(user, keep) => Which::AllBut(user, *keep),
            Self::AllOf(user) => Which::AllOf(user),
        }
    }
}

/// [`Ending`] for a call that outlives its caller.
#[derive(Clone, Debug)]
pub struct OwnedEnding {
    /// Why.
    pub reason: crate::session::EndReason,
    /// The session from which the call was made, if any.
    pub current: Option<SessionId>,
    /// By whom.
    pub actor: crate::session::Actor,
    /// When.
    pub now: Timestamp,
}

impl OwnedEnding {
    fn borrow(&self) -> Ending<'_> {
        Ending { reason: self.reason, current: self.current, actor: &self.actor, now: self.now }
    }
}

/// What is known about one request, owned, for the calls that outlive it.
#[derive(Clone, Debug)]
struct Circumstances {
    user_agent: String,
    ip: IpAddr,
    now: Moment,
}

impl Circumstances {
    fn of(facts: &Facts<'_>, now: Moment) -> Self {
        let user_agent = String::from_utf8_lossy(facts.user_agent).into_owned();
        Self { user_agent, ip: facts.client_ip, now }
    }
}
