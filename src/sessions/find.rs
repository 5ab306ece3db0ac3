//! From a token's digest to its session.

use std::sync::Arc;

use super::cache::{Alias, AliasKind, Loaded};
use super::overdue::{Deed, Offence};
use super::{Circumstances, Sessions};
use crate::clock::{self, Moment, Timestamp, Uptime};
use crate::error::{Code, Problem};
use crate::metrics::{Lookup, StoreCall};
use crate::policy::Facts;
use crate::session::{Record, Session, SessionId, State};
use crate::store::StoreError;
use crate::token::Digest;

/// A session, or why there is none, and how that is known.
pub type Found = (Result<Arc<Session>, Problem>, Lookup);

impl Sessions {
    /// What this instance knows of a token without asking anybody: its session in whatever state, or that there is none,
    /// and how it is known. `None` when the store has to be asked, by [`Sessions::load`].
    pub fn recall(&self, digest: &Digest, now: Moment) -> Option<Found> {
        let cache = &self.inner.cache;
        if let Some(session) = cache.peek(digest) {
            return self.still_good(session, now.uptime);
        }
        if let Some(alias) = cache.alias(digest) {
            // What follows when it is over is for the store.
            return (now.wall < alias.until).then(|| self.recall_id(alias.id, now.uptime)).flatten();
        }
        cache.is_absent(digest, now.uptime).then(|| (Err(Problem::new(Code::UnknownToken)), Lookup::Absent))
    }

    /// The same for a session that is named by its id.
    pub(super) fn recall_id(&self, id: SessionId, now: Uptime) -> Option<Found> {
        self.inner.cache.peek(&by_id(id)).and_then(|session| self.still_good(session, now))
    }

    /// The same for a session that a stream was opened with: under the name that it was found by then, or by its id. Never by
    /// its token alone, which may have been rotated away since: asking for that would be using it.
    pub fn recall_again(&self, opened: &Session, now: Uptime) -> Option<Found> {
        let named = self.inner.cache.peek(&opened.digest).filter(|session| session.id == opened.id);
        named.and_then(|session| self.still_good(session, now)).or_else(|| self.recall_id(opened.id, now))
    }

    /// What the store has now of a session that a stream was opened with; `anew` whatever the cache says of it.
    ///
    /// Cancel safety: may be dropped while it waits.
    ///
    /// # Errors
    /// As [`Sessions::load`].
    pub async fn load_again(&self, opened: &Session, anew: bool, now: Uptime) -> Result<Arc<Session>, Problem> {
        if anew {
            self.inner.cache.forget_id(opened.id);
        }
        self.load_id(opened.id, now).await.0
    }

    /// How far the record of forgotten sessions has come, for [`Sessions::goes_on_unasked`].
    pub fn forgotten_so_far(&self) -> u64 {
        self.inner.cache.forgotten_so_far()
    }

    /// Whether a session that was found good may go on while the store cannot be asked: it was confirmed lately, and nothing
    /// was said about it since the record of forgotten sessions stood at `then`, before it was found good.
    pub fn goes_on_unasked(&self, session: &Session, then: u64, now: Uptime) -> bool {
        self.may_serve_stale(session, now) && !self.inner.cache.forgot_since(then, session.id)
    }

    fn still_good(&self, session: Arc<Session>, now: Uptime) -> Option<Found> {
        let inner = &self.inner;
        if inner.cache.is_fresh(&session, now) {
            if inner.cache.is_due(&session, now) {
                self.confirm_soon(&session, now);
            }
            return Some((Ok(session), Lookup::Hit));
        }
        let stale = !inner.health.is_up() && self.may_serve_stale(&session, now);
        stale.then_some((Ok(session), Lookup::Stale))
    }

    /// The session as the store has it now, whatever the cache says of it.
    ///
    /// # Errors
    /// As [`Sessions::load`].
    pub async fn find_anew(&self, session: &Session, facts: &Facts<'_>, now: Moment) -> Found {
        if session.digest == by_id(session.id) {
            self.inner.cache.forget_id(session.id);
        } else {
            self.inner.cache.forget_token(&session.digest);
        }
        self.load_as_found(session, facts, now).await
    }

    /// The session as the store has it later than `session` was read. Of many who ask at a time, one asks the store.
    ///
    /// # Errors
    /// As [`Sessions::load`].
    pub(super) async fn find_newer(&self, session: &Arc<Session>, facts: &Facts<'_>, now: Moment) -> Found {
        self.inner.cache.forget_this(session);
        self.load_as_found(session, facts, now).await
    }

    /// [`Sessions::load`] under the name that the session was found by.
    async fn load_as_found(&self, session: &Session, facts: &Facts<'_>, now: Moment) -> Found {
        if session.digest == by_id(session.id) {
            return self.load_id(session.id, now.uptime).await;
        }
        self.load(&session.digest, facts, now).await
    }

    /// The session of a token, in whatever state, from the store, and how it was found. A token that was rotated away
    /// leads to its session while its grace lasts; after that it ends the session.
    ///
    /// Cancel safety: may be dropped while it waits; another request that waits for the same token takes over.
    ///
    /// # Errors
    /// [`Code::UnknownToken`] when there is none; [`Code::StoreUnavailable`] when nobody knows.
    pub async fn load(&self, digest: &Digest, facts: &Facts<'_>, now: Moment) -> Found {
        let loaded = self.inner.cache.get_or_load(digest, now.uptime, |outdated| async move {
            let wanted = *digest;
            // The reading is as old as its question: what is revoked after it must not look confirmed later than this.
            let asked_at = clock::uptime();
            let ask = |sessions: Self| async move { sessions.inner.store.find(&wanted).await };
            let found = self.ask(ask, |found| found.record.id).await;
            match (found, outdated) {
                (Ok(Some(found)), _) => Ok(match found.retired {
                    None => Loaded::Found(self.cached(&found.record, wanted, asked_at)),
                    Some(until) => Loaded::Alias(Alias { id: found.record.id, until, kind: AliasKind::Retired }),
                }),
                (Ok(None), _) => Ok(Loaded::Absent),
                // Put back as it was, with its old time: the next request meets it just as outdated.
                (Err(_), Some(session)) if self.may_serve_stale(&session, now.uptime) => Ok(Loaded::Found(session)),
                (Err(problem), _) => Err(problem),
            }
        });
        match loaded.await {
            Ok((Loaded::Found(session), how)) => (Ok(session), how),
            Ok((Loaded::Alias(alias), _)) => self.resolve(digest, alias, facts, now).await,
            Ok((Loaded::Absent, how)) => (Err(Problem::new(Code::UnknownToken)), how),
            Err(problem) => (Err(problem), Lookup::Miss),
        }
    }

    /// The session that a token stands for which is not its own.
    async fn resolve(&self, digest: &Digest, alias: Alias, facts: &Facts<'_>, now: Moment) -> Found {
        let found = match self.recall_id(alias.id, now.uptime) {
            Some(known) => known,
            None => self.load_id(alias.id, now.uptime).await,
        };
        match (&found.0, alias.kind) {
            (Ok(session), AliasKind::Retired) if is_reuse(session.state, alias.until, now.wall) => {
                if let Err(problem) = self.end_reused(digest, alias.id, facts, now).await {
                    return (Err(problem), Lookup::Miss);
                }
                self.load_id(alias.id, now.uptime).await
            }
            _ => found,
        }
    }

    /// The session with this id, from the store.
    pub(super) async fn load_id(&self, id: SessionId, now: Uptime) -> Found {
        let digest = by_id(id);
        let loaded = self.inner.cache.get_or_load(&digest, now, |outdated| async move {
            let asked_at = clock::uptime();
            let found = self.ask(move |sessions| async move { sessions.inner.store.get(id).await }, |_| id).await;
            match (found, outdated) {
                (Ok(Some(record)), _) => Ok(Loaded::Found(self.cached(&record, digest, asked_at))),
                (Ok(None), _) => Ok(Loaded::Absent),
                (Err(_), Some(session)) if self.may_serve_stale(&session, now) => Ok(Loaded::Found(session)),
                (Err(problem), _) => Err(problem),
            }
        });
        match loaded.await {
            Ok((Loaded::Found(session), how)) => (Ok(session), how),
            Ok((Loaded::Absent | Loaded::Alias(_), how)) => (Err(Problem::new(Code::UnknownToken)), how),
            Err(problem) => (Err(problem), Lookup::Miss),
        }
    }

    /// What the store has; if a suspension of the session that it finds was overdue, then after that was written down.
    async fn ask<T, F>(&self, ask: impl Fn(Self) -> F, id: impl Fn(&T) -> SessionId) -> Result<Option<T>, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<Option<T>, StoreError>> + Send + 'static,
    {
        let found = self.run(StoreCall::Find, ask(self.clone())).await?;
        match &found {
            Some(row) if self.catch_up_on(id(row)).await? => self.run(StoreCall::Find, ask(self.clone())).await,
            _ => Ok(found),
        }
    }

    /// A token that was rotated away is used after its grace: two parties have had it, and nobody knows which one is the
    /// thief. Its session ends.
    async fn end_reused(&self, digest: &Digest, id: SessionId, facts: &Facts<'_>, now: Moment) -> Result<(), Problem> {
        tracing::warn!(session = %id, client = %facts.client_ip, "ending a session: a token that was rotated away was used again");
        self.answer_for(id, Offence::new(Deed::Reuse(*digest), Circumstances::of(facts, now))).await
    }

    /// The cached form of a row that was read at `read_at` for `digest`.
    fn cached(&self, record: &Record, digest: Digest, read_at: Uptime) -> Arc<Session> {
        Arc::new(Session::new(record, digest, self.fingerprint(record), read_at))
    }

    /// Whether a session may be served on its last confirmation while the store cannot be asked.
    fn may_serve_stale(&self, session: &Session, now: Uptime) -> bool {
        let limit = self.inner.settings.load().serve_while_store_down;
        limit.is_some_and(|limit| now.since(session.confirmed_at()) < limit.max(self.inner.settings.load().ttl))
    }
}

/// Whether the use at `now` of a token that was rotated away, and was usable until then, ends its session. Of a session that
/// has ended nothing more is to be ended: it says itself why it was.
pub fn is_reuse(state: State, usable_until: Timestamp, now: Timestamp) -> bool {
    now >= usable_until && !matches!(state, State::Ended(_))
}

/// Under what a session is cached that is named by its id.
pub(super) fn by_id(id: SessionId) -> Digest {
    Digest::of_id(id.as_uuid().as_bytes())
}
