//! The sessions and unknown tokens that this process remembers, and who may put what there.
//!
//! Found sessions lie in one sharded map keyed by token digest; unknown tokens in a second, smaller one, so that a flood
//! of guesses cannot push a session out. A set of the same sessions by their ids leads back from what the store calls them.
//!
//! # Race: a load against a revocation
//! A load that began before a revocation must not put its row into the cache after it. A load in flight is a placeholder in the
//! map; [`Cache::forget`] uses `remove`, which takes the placeholder away too, so that the load's insertion is refused.
//! `remove_if` and `retain` look at finished entries only and must not be used here. Requests that were already waiting for
//! that load look again when it ends, find nothing, and load anew.
//!
//! # The index says what the map says
//! A lock is held wherever both change: when a load ends, when something is forgotten, when all is. A hit takes no part in
//! it. Only an outdated entry whose load is in flight stands in the index alone, so that forgetting its session by id finds
//! the placeholder; it goes when the load ends.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::Lifecycle;
use quick_cache::sync::{EntryAction, EntryResult};

use crate::clock::Uptime;
use crate::error::Problem;
use crate::metrics::Lookup;
use crate::session::{Session, SessionId};
use crate::store::Ended;
use crate::token::Digest;

type Found = quick_cache::sync::Cache<Key, Arc<Session>, quick_cache::UnitWeighter, ahash::RandomState, Unindex>;
type Absent = quick_cache::sync::Cache<Digest, Uptime, quick_cache::UnitWeighter, ahash::RandomState>;

type Guard<'a> =
    quick_cache::sync::PlaceholderGuard<'a, Key, Arc<Session>, quick_cache::UnitWeighter, ahash::RandomState, Unindex>;

/// What this process remembers of the store.
#[derive(Debug)]
pub(super) struct Cache {
    found: Found,
    absent: Absent,
    index: Arc<Index>,
    in_step: Mutex<()>,
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
        Self { found, absent, index, in_step: Mutex::default(), ttl, negative_ttl }
    }

    /// The session of a token when it is in the cache, however old.
    pub(super) fn peek(&self, digest: &Digest) -> Option<Arc<Session>> {
        self.found.get(&Key::of(digest)).filter(|session| session.digest == *digest)
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
        let key = Key::of(digest);
        let entry = self.found.entry_async(&key, |_, session| {
            if session.digest == *digest && self.is_fresh(session, now) {
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
        let mut loading =
            Loading { cache: self, guard: Some(guard), landing: outdated.clone(), outdated: outdated.clone() };
        match load(outdated).await? {
            Loaded::Found(session) => {
                loading.landing = Some(session.clone());
                Ok((Loaded::Found(session), Lookup::Miss))
            }
            Loaded::Absent => {
                if let Some(ttl) = self.negative_ttl {
                    let until = now.as_micros().saturating_add(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX));
                    self.absent.insert(*digest, Uptime::from_micros(until));
                }
                loading.landing = None;
                Ok((Loaded::Absent, Lookup::Miss))
            }
        }
    }

    /// Forgets a session that ended or changed, and cancels loads of it that are in flight.
    pub(super) fn forget(&self, ended: &Ended) {
        let in_step = self.in_step();
        self.found.remove(&Key::of(&ended.digest));
        // The digest that this process knows may be another one than the store's, after a rotation.
        if let Some(session) = self.index.take(ended.id)
            && session.digest != ended.digest
        {
            self.found.remove(&Key::of(&session.digest));
        }
        drop(in_step);
    }

    /// Forgets the session of a token, and cancels a load of it that is in flight.
    pub(super) fn forget_token(&self, digest: &Digest) {
        let in_step = self.in_step();
        if let Some((_, session)) = self.found.remove(&Key::of(digest)) {
            self.index.remove(&session);
        }
        drop(in_step);
    }

    /// Forgets everything, loads in flight included.
    pub(super) fn clear(&self) {
        let in_step = self.in_step();
        self.found.clear();
        self.absent.clear();
        self.index.clear();
        drop(in_step);
    }

    fn in_step(&self) -> MutexGuard<'_, ()> {
        self.in_step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions and how many unknown tokens are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.found.len(), self.absent.len())
    }
}

/// The first half of a token's digest. A cache of millions is made of its keys for a good part, and half of a SHA-256 is as
/// hard to hit as the shortest token is to guess; whoever hits it is still told apart by the whole digest in the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key([u8; 16]);

impl Key {
    fn of(digest: &Digest) -> Self {
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(half)
    }
}

/// The cached sessions by their ids. It holds pointers, not digests: those lie in the sessions.
#[derive(Debug)]
struct Index {
    shards: [Mutex<Shard>; 16],
    hasher: RandomState,
}

type Shard = HashSet<ById, ahash::RandomState>;

/// A session that is found by its id.
#[derive(Debug)]
struct ById(Arc<Session>);

impl Borrow<SessionId> for ById {
    fn borrow(&self) -> &SessionId {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl Default for Index {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Index {
    fn with<T>(&self, id: SessionId, change: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let shards = NonZeroUsize::new(self.shards.len())?;
        let hash = usize::try_from(self.hasher.hash_one(id) >> 32).unwrap_or(0);
        let shard = self.shards.get(hash % shards)?;
        // A poisoned shard is still a whole set: no code of ours can panic between two of its changes.
        Some(change(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Gives back the one whose place it takes.
    fn insert(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        self.with(session.id, |set| set.replace(ById(session))).flatten().map(|ById(replaced)| replaced)
    }

    fn take(&self, id: SessionId) -> Option<Arc<Session>> {
        self.with(id, |set| set.take(&id)).flatten().map(|ById(session)| session)
    }

    /// Removes this very object; another one for the same session stays.
    fn remove(&self, session: &Arc<Session>) {
        self.with(session.id, |set| {
            if set.get(&session.id).is_some_and(|ById(held)| Arc::ptr_eq(held, session)) {
                set.remove(&session.id);
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
    guard: Option<Guard<'a>>,
    landing: Option<Arc<Session>>,
    outdated: Option<Arc<Session>>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        let in_step = self.cache.in_step();
        if let Some(outdated) = &self.outdated {
            self.cache.index.remove(outdated);
        }
        if let Some(session) = self.landing.take() {
            // First into the index: a map that has no room for it drops it at once, from the index too.
            let replaced = self.cache.index.insert(session.clone());
            // Refused when the session was forgotten meanwhile. The caller began before that and may have the row. What was
            // loaded since then keeps its place.
            if guard.insert(session.clone()).is_err() {
                self.cache.index.remove(&session);
                if let Some(replaced) = replaced {
                    self.cache.index.insert(replaced);
                }
            }
        } else {
            drop(guard);
        }
        drop(in_step);
    }
}

/// Keeps the index in step with what the cache drops for want of room.
#[derive(Clone, Debug)]
struct Unindex(Arc<Index>);

impl Lifecycle<Key, Arc<Session>> for Unindex {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, session: Arc<Session>) {
        self.0.remove(&session);
    }
}

#[cfg(test)]
mod tests;
