//! The sessions and unknown tokens that this process remembers, and who may put what there.
//!
//! Found sessions lie in one sharded map keyed by token digest; unknown tokens in a second, smaller one, so that a flood
//! of guesses cannot push a session out. A third map leads from a session's id to its digest.
//!
//! # Race: a load against a revocation
//! A load that began before a revocation must not put its row into the cache after it. A load in flight is a placeholder in the
//! map; [`Cache::forget`] uses `remove`, which takes the placeholder away too, so that the load's insertion is refused.
//! `remove_if` and `retain` look at finished entries only and must not be used here. Requests that were already waiting for
//! that load look again when it ends, find nothing, and load anew.
//!
//! # The index never says less than the map
//! A row is entered into the index before it lands in the map, and taken out of it when it does not land, is evicted, or
//! turns out to be absent. [`Cache::clear`] keeps out rows that are landing: between its emptying of the one and of the
//! other, a row could else lose its entry in the index, and could not be forgotten by its id any more.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use quick_cache::Lifecycle;
use quick_cache::sync::{EntryAction, EntryResult};

use crate::clock::Uptime;
use crate::error::Problem;
use crate::metrics::Lookup;
use crate::session::{Session, SessionId};
use crate::store::Ended;
use crate::token::Digest;

type Found = quick_cache::sync::Cache<Digest, Arc<Session>, quick_cache::UnitWeighter, ahash::RandomState, Unindex>;
type Absent = quick_cache::sync::Cache<Digest, Uptime, quick_cache::UnitWeighter, ahash::RandomState>;

type Guard<'a> = quick_cache::sync::PlaceholderGuard<
    'a,
    Digest,
    Arc<Session>,
    quick_cache::UnitWeighter,
    ahash::RandomState,
    Unindex,
>;

/// What this process remembers of the store.
#[derive(Debug)]
pub(super) struct Cache {
    found: Found,
    absent: Absent,
    index: Arc<Index>,
    /// Shared by rows that are landing, held alone by [`Cache::clear`].
    landing: RwLock<()>,
    ttl: Duration,
    negative_ttl: Option<Duration>,
}

/// What a load brought back.
#[derive(Debug)]
pub(super) enum Loaded {
    /// A session, in whatever state.
    Found(Arc<Session>),
    /// There is no such token.
    Absent,
}

impl Cache {
    /// A cache of at most `capacity` sessions, rounded up to whole shards, and a tenth as many unknown tokens.
    pub(super) fn new(capacity: usize, ttl: Duration, negative_ttl: Option<Duration>) -> Self {
        let index = Arc::new(Index::default());
        let options = |items: usize| {
            quick_cache::OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(items as u64).build()
        };
        let hasher = ahash::RandomState::new;
        let found = match options(capacity) {
            Ok(options) => Found::with_options(options, quick_cache::UnitWeighter, hasher(), Unindex(index.clone())),
            // Only a missing capacity is an error, and it is there; the plain constructor says the same.
            Err(_) => {
                Found::with(capacity, capacity as u64, quick_cache::UnitWeighter, hasher(), Unindex(index.clone()))
            }
        };
        let absent = Absent::with(
            (capacity / 10).max(100),
            (capacity / 10).max(100) as u64,
            quick_cache::UnitWeighter,
            hasher(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Self { found, absent, index, landing: RwLock::default(), ttl, negative_ttl }
    }

    /// The session of a token when it is in the cache, however old.
    pub(super) fn peek(&self, digest: &Digest) -> Option<Arc<Session>> {
        self.found.get(digest)
    }

    /// Whether the token was found unknown a moment ago.
    pub(super) fn is_absent(&self, digest: &Digest, now: Uptime) -> bool {
        self.absent.get(digest).is_some_and(|until| now < until)
    }

    /// Whether the cache may answer with this session without asking the store.
    pub(super) fn is_fresh(&self, session: &Session, now: Uptime) -> bool {
        now.since(session.confirmed_at()) < self.ttl
    }

    /// Whether it is time to confirm this session in the background, so that no request has to wait when its time is over.
    pub(super) fn is_due(&self, session: &Session, now: Uptime) -> bool {
        now.since(session.confirmed_at()) >= self.ttl.mul_f32(0.75)
    }

    /// The session of a token, loaded by `load` unless it is fresh in the cache. Of several callers for one token one
    /// loads and the others wait. `load` is given the outdated entry, if there was one, and may return that.
    ///
    /// Cancel safety: when the caller that loads is dropped, the next one that waits takes over, and is given the same
    /// outdated entry.
    ///
    /// # Errors
    /// Those of `load`; the next one that waits then tries for itself.
    pub(super) async fn get_or_load<L, F>(
        &self,
        digest: &Digest,
        now: Uptime,
        load: L,
    ) -> Result<(Loaded, Lookup), Problem>
    where
        L: FnOnce(Option<Arc<Session>>) -> F,
        F: Future<Output = Result<Loaded, Problem>>,
    {
        let entry = self.found.entry_async(digest, |_, session| {
            if self.is_fresh(session, now) {
                EntryAction::Retain(session.clone())
            } else {
                EntryAction::ReplaceWithGuard
            }
        });
        let (guard, outdated) = match entry.await {
            // Not there at the first glance, there now: somebody else loaded it.
            EntryResult::Retained(session) => return Ok((Loaded::Found(session), Lookup::Coalesced)),
            EntryResult::Vacant(guard) => (guard, None),
            EntryResult::Replaced(guard, outdated) => (guard, Some(outdated)),
            EntryResult::Removed(..) | EntryResult::Timeout => {
                return Err(Problem::new(crate::error::Code::Internal));
            }
        };
        // The one that loaded before us may have found nothing; it wrote that down before it let us in.
        if self.is_absent(digest, now) {
            return Ok((Loaded::Absent, Lookup::Coalesced));
        }
        let mut loading = Loading { cache: self, digest: *digest, guard: Some(guard), session: outdated.clone() };
        match load(outdated).await? {
            Loaded::Found(session) => {
                loading.session = Some(session.clone());
                Ok((Loaded::Found(session), Lookup::Miss))
            }
            Loaded::Absent => {
                if let Some(ttl) = self.negative_ttl {
                    let until = now.as_micros().saturating_add(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX));
                    self.absent.insert(*digest, Uptime::from_micros(until));
                }
                if let Some(outdated) = loading.session.take() {
                    self.index.remove(outdated.id, digest);
                }
                Ok((Loaded::Absent, Lookup::Miss))
            }
        }
    }

    /// Forgets a session that ended or changed, and cancels loads of it that are in flight.
    pub(super) fn forget(&self, ended: &Ended) {
        self.found.remove(&ended.digest);
        // The digest that this process knows may be another one than the store's, after a rotation.
        if let Some(digest) = self.index.take(ended.id)
            && digest != ended.digest
        {
            self.found.remove(&digest);
        }
    }

    /// Forgets the session of a token, and cancels a load of it that is in flight.
    pub(super) fn forget_token(&self, digest: &Digest) {
        if let Some((_, session)) = self.found.remove(digest) {
            self.index.remove(session.id, digest);
        }
    }

    /// Forgets everything, loads in flight included.
    pub(super) fn clear(&self) {
        let alone = self.landing.write().unwrap_or_else(PoisonError::into_inner);
        self.found.clear();
        self.absent.clear();
        self.index.clear();
        drop(alone);
    }

    /// How many sessions and how many unknown tokens are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.found.len(), self.absent.len())
    }
}

/// From a session's id to the digest under which it is cached.
#[derive(Debug)]
struct Index {
    shards: [Mutex<HashMap<SessionId, Digest, ahash::RandomState>>; 16],
    hasher: RandomState,
}

impl Default for Index {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Index {
    fn with<T>(
        &self,
        id: SessionId,
        change: impl FnOnce(&mut HashMap<SessionId, Digest, ahash::RandomState>) -> T,
    ) -> Option<T> {
        let shards = NonZeroUsize::new(self.shards.len())?;
        let hash = usize::try_from(self.hasher.hash_one(id) >> 32).unwrap_or(0);
        let shard = self.shards.get(hash % shards)?;
        // A poisoned shard is still a whole map: no code of ours can panic between two of its changes.
        Some(change(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn insert(&self, id: SessionId, digest: Digest) {
        self.with(id, |map| map.insert(id, digest));
    }

    fn take(&self, id: SessionId) -> Option<Digest> {
        self.with(id, |map| map.remove(&id)).flatten()
    }

    /// Removes the way to this digest; a way to a newer one stays.
    fn remove(&self, id: SessionId, digest: &Digest) {
        self.with(id, |map| {
            if map.get(&id) == Some(digest) {
                map.remove(&id);
            }
        });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn clear(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

/// A load in flight. When it ends, by being dropped half-way too, it leaves in the map what it has: the loaded session, or
/// the outdated one that it was to replace, which an outage may still need.
#[derive(Debug)]
struct Loading<'a> {
    cache: &'a Cache,
    digest: Digest,
    guard: Option<Guard<'a>>,
    session: Option<Arc<Session>>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let (Some(guard), Some(session)) = (self.guard.take(), self.session.take()) else { return };
        let id = session.id;
        let landing = self.cache.landing.read().unwrap_or_else(PoisonError::into_inner);
        self.cache.index.insert(id, self.digest);
        // Refused when the session was forgotten meanwhile. The caller began before that and may have the row.
        if guard.insert(session).is_err() {
            self.cache.index.remove(id, &self.digest);
        }
        drop(landing);
    }
}

/// Keeps the index in step with what the cache drops for want of room.
#[derive(Clone, Debug)]
struct Unindex(Arc<Index>);

impl Lifecycle<Digest, Arc<Session>> for Unindex {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), digest: Digest, session: Arc<Session>) {
        self.0.remove(session.id, &digest);
    }
}

#[cfg(test)]
mod tests;
