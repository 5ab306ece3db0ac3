//! Asking the store, before the time of cached sessions is over, whether they are still as they are here.
//!
//! The question costs the store little, and taking it there and back costs ten times that. Nobody waits for the answer, so a
//! session waits a moment for others that are due as well, and they are asked about together.
//!
//! # Race: the answer against a revocation
//! The answer never goes into the cache. An unchanged row only moves the time of the very object that was asked about, which a
//! revocation has taken out of the cache by then; a changed row takes it out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::Sessions;
use super::find::by_id;
use crate::clock::{self, Uptime};
use crate::metrics::StoreCall;
use crate::session::Session;
use crate::store::Name;

/// Between two tries, when the first one failed; a short ttl is tried for twice in its last quarter.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the first one waits for others, at most: there is a quarter of the ttl left for it, or more.
const GATHERING: Duration = Duration::from_millis(100);
/// The most that one question is about: a reader of SQLite takes under a millisecond for them, and others wait that long.
const BATCH: usize = 64;
/// The most that wait at once. Whoever finds no room is due again after the pause.
const MOST: usize = 1024;

/// Sessions that are to be asked about.
#[derive(Debug, Default)]
pub(super) struct Due {
    waiting: Mutex<Vec<Arc<Session>>>,
}

impl Due {
    /// Adds a session, and says whether it is the first one, for which the others are waited for.
    fn add(&self, session: Arc<Session>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST {
            waiting.push(session);
        }
        waiting.len() == 1
    }

    fn take(&self) -> Vec<Arc<Session>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sessions {
    /// Asks the store in the background whether a session is still as it is here.
    pub(super) fn confirm_soon(&self, session: &Arc<Session>, now: Uptime) {
        let ttl = self.inner.settings.load().ttl;
        if !self.inner.health.is_up() || !session.claim_confirmation(now, PAUSE.min(ttl / 8)) {
            return;
        }
        if self.inner.due.add(session.clone()) {
            let sessions = self.clone();
            // Nobody waits for it; it ends by the store's own timeout.
            drop(self.inner.side.spawn(async move {
                sleep(GATHERING.min(ttl / 32)).await;
                for batch in sessions.inner.due.take().chunks(BATCH) {
                    if !sessions.confirm(batch).await {
                        return;
                    }
                }
            }));
        }
    }

    /// Says whether the store has answered. One that was lost is for its prober to ask: what it says before it was found again
    /// counts for nothing.
    async fn confirm(&self, batch: &[Arc<Session>]) -> bool {
        let names = batch.iter().map(|session| name(session)).collect();
        // The reading is as old as its question.
        let began = clock::uptime();
        let sessions = self.clone();
        let answer = self.run(StoreCall::Find, async move { sessions.inner.store.look_up(names).await }).await;
        let Ok(found) = answer else { return false };
        for (session, record) in batch.iter().zip(found) {
            let is_same = record.is_some_and(|record| session.confirm(&record, self.fingerprint(&record), began));
            if !is_same {
                self.inner.cache.forget_token(&session.digest);
            }
        }
        true
    }
}

/// The name that a session is cached by.
fn name(session: &Session) -> Name {
    if session.digest == by_id(session.id) { Name::Id(session.id) } else { Name::Token(session.digest) }
}
