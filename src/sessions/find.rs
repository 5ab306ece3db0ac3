//! From a token's digest to its session.

use std::sync::Arc;

use super::Sessions;
use super::cache::Loaded;
use crate::clock::{self, Uptime};
use crate::error::{Code, Problem};
use crate::metrics::{Lookup, StoreCall};
use crate::session::Session;
use crate::token::Digest;

/// A session, or why there is none, and how that is known.
pub type Found = (Result<Arc<Session>, Problem>, Lookup);

impl Sessions {
    /// What this instance knows of a token without asking anybody: its session in whatever state, or that there is none,
    /// and how it is known. `None` when the store has to be asked, by [`Sessions::load`].
    pub fn recall(&self, digest: &Digest, now: Uptime) -> Option<Found> {
        let inner = &self.inner;
        if let Some(session) = inner.cache.peek(digest) {
            if inner.cache.is_fresh(&session, now) {
                if inner.cache.is_due(&session, now) {
                    self.confirm_soon(digest, &session, now);
                }
                return Some((Ok(session), Lookup::Hit));
            }
            if !inner.health.is_up() && self.may_serve_stale(&session, now) {
                return Some((Ok(session), Lookup::Stale));
            }
        } else if inner.cache.is_absent(digest, now) {
            return Some((Err(Problem::new(Code::UnknownToken)), Lookup::Absent));
        }
        None
    }

    /// The session as the store has it now, whatever the cache says.
    ///
    /// # Errors
    /// As [`Sessions::load`].
    pub async fn find_anew(&self, digest: &Digest, now: Uptime) -> Found {
        self.inner.cache.forget_token(digest);
        self.load(digest, now).await
    }

    /// The session of a token, in whatever state, from the store, and how it was found.
    ///
    /// Cancel safety: may be dropped while it waits; another request that waits for the same token takes over.
    ///
    /// # Errors
    /// [`Code::UnknownToken`] when there is none; [`Code::StoreUnavailable`] when nobody knows.
    pub async fn load(&self, digest: &Digest, now: Uptime) -> Found {
        let loaded = self.inner.cache.get_or_load(digest, now, |outdated| async move {
            let wanted = *digest;
            let sessions = self.clone();
            // The reading is as old as its question: what is revoked after it must not look confirmed later than this.
            let asked_at = clock::uptime();
            let found = self.run(StoreCall::Find, async move { sessions.inner.store.find(&wanted).await }).await;
            match (found, outdated) {
                (Ok(Some(record)), _) => {
                    Ok(Loaded::Found(Arc::new(Session::new(&record, self.fingerprint(&record), asked_at))))
                }
                (Ok(None), _) => Ok(Loaded::Absent),
                // Put back as it was, with its old time: the next request meets it just as outdated.
                (Err(_), Some(session)) if self.may_serve_stale(&session, now) => Ok(Loaded::Found(session)),
                (Err(problem), _) => Err(problem),
            }
        });
        match loaded.await {
            Ok((Loaded::Found(session), how)) => (Ok(session), how),
            Ok((Loaded::Absent, how)) => (Err(Problem::new(Code::UnknownToken)), how),
            Err(problem) => (Err(problem), Lookup::Miss),
        }
    }

    /// Whether a session may be served on its last confirmation while the store cannot be asked.
    fn may_serve_stale(&self, session: &Session, now: Uptime) -> bool {
        let limit = self.inner.settings.serve_while_store_down;
        limit.is_some_and(|limit| now.since(session.confirmed_at()) < limit.max(self.inner.settings.ttl))
    }

    /// Asks the store in the background whether a session is still as it is here.
    ///
    /// # Race: the answer against a revocation
    /// The answer never goes into the cache. An unchanged row only moves the time of the very object that was asked
    /// about, which a revocation has taken out of the cache by then; a changed row takes it out.
    fn confirm_soon(&self, digest: &Digest, session: &Arc<Session>, now: Uptime) {
        if !self.inner.health.is_up() || !session.claim_confirmation(now) {
            return;
        }
        let (sessions, digest, session) = (self.clone(), *digest, session.clone());
        let task = self.inner.side.spawn(async move {
            let began = clock::uptime();
            let answer = sessions.inner.store.find(&digest).await;
            sessions.inner.metrics.store_call(StoreCall::Find, clock::uptime().since(began));
            match answer {
                Ok(Some(record)) if session.confirm(&record, sessions.fingerprint(&record), began) => {}
                Ok(_) => sessions.inner.cache.forget_token(&digest),
                Err(error) => {
                    sessions.failed(&error);
                }
            }
        });
        // Nobody waits for it; it ends by the store's own timeout.
        drop(task);
    }
}
