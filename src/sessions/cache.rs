//! The sessions and unknown tokens that this process remembers, and who may put what there.
//!
//! Found sessions lie in one sharded map keyed by token digest; unknown tokens in a second, smaller one, so that a flood
//! of guesses cannot push a session out. A set of the same sessions by their ids leads back from what the store calls them.
//!
//! # Several names of one session
//! A session is held under the digest of its token, and, where a request names it otherwise, under the
//! [`Digest::of_id`] of its id. Those other names (verified JSON Web Tokens, tokens that were rotated away) are aliases: facts
//! about a token that no revocation changes, since they lead to the session, and the session is judged on every request.
//!
//! # Race: a load against a revocation
//! A load that began before a revocation must not put its row into the cache after it. What is forgotten is therefore
//! written down, and a load that ends looks whether its session was forgotten since it began ([`Forgotten`]); that needs
//! no more than the session's id, which is all that another gateway tells. Besides, [`Cache::forget`] uses `remove`, which takes
//! away the placeholder of a load in flight too; `remove_if` and `retain` look at finished entries only and must not be
//! used there. Requests that were already waiting for that load look again when it ends, find nothing, and load anew.
//!
//! # The index says what the map says
//! A lock is held wherever both change: when a load ends, when something is forgotten, when all is. A hit takes no part in
//! it. Only an outdated entry whose load is in flight stands in the index alone, so that forgetting its session by id finds
//! the placeholder; it goes when the load ends. What is held under its id needs no index.

mod forgotten;
mod index;
mod key;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::Lifecycle;
use quick_cache::sync::{EntryAction, EntryResult};

use self::forgotten::Forgotten;
use self::index::Index;
use self::key::Key;
use crate::clock::{Timestamp, Uptime};
use crate::error::Problem;
use crate::metrics::Lookup;
use crate::session::{Session, SessionId, UserId};
use crate::store::Ended;
use crate::token::Digest;

type Found = quick_cache::sync::Cache<Key, Arc<Session>, quick_cache::UnitWeighter, ahash::RandomState, Unindex>;
type Aliases = quick_cache::sync::Cache<Digest, Alias, quick_cache::UnitWeighter, ahash::RandomState>;
type Absent = quick_cache::sync::Cache<Digest, Uptime, quick_cache::UnitWeighter, ahash::RandomState>;

type Guard<'a> =
    quick_cache::sync::PlaceholderGuard<'a, Key, Arc<Session>, quick_cache::UnitWeighter, ahash::RandomState, Unindex>;

/// What this process remembers of the store.
#[derive(Debug)]
pub(super) struct Cache {
    found: Found,
    aliases: Aliases,
    absent: Absent,
    index: Arc<Index>,
    in_step: Mutex<Forgotten>,
    ttl: Duration,
    negative_ttl: Option<Duration>,
}

/// What a token says that is not a session's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    /// The session that it stands for.
    pub(super) id: SessionId,
    /// From when on it is not good any more.
    pub(super) until: Timestamp,
    /// What it is.
    pub(super) kind: AliasKind,
}

/// What an [`Alias`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AliasKind {
    /// A token that was rotated away.
    Retired,
    /// A JSON Web Token that was found good, and whose user is the session's.
    Signed,
}

/// What a load brought back.
#[derive(Debug)]
pub(super) enum Loaded {
    /// A session, in whatever state.
    Found(Arc<Session>),
    /// Another name of a session.
    Alias(Alias),
    /// There is no such token.
    Absent,
}

impl Cache {
    /// A cache of at most `capacity` sessions, rounded up to whole shards, as many aliases, and a tenth as many unknown
    /// tokens.
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
        // They are few where tokens are opaque, so no room is kept for them.
        let aliases = Aliases::with(
            100,
            capacity as u64,
            quick_cache::UnitWeighter,
            hasher(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Self { found, aliases, absent, index, in_step: Mutex::default(), ttl, negative_ttl }
    }

    /// The session of a token when it is in the cache, however old.
    pub(super) fn peek(&self, digest: &Digest) -> Option<Arc<Session>> {
        self.found.get(&Key::of(digest)).filter(|session| session.digest == *digest)
    }

    /// What the token stands for, when it is known to be no session's own. It may be over.
    pub(super) fn alias(&self, digest: &Digest) -> Option<Alias> {
        self.aliases.get(digest)
    }

    /// Remembers what a signed token stands for, if the keys are `still` those that it was verified with.
    ///
    /// # Race: a verdict against a change of the keys
    /// Keys change first and verdicts are forgotten afterwards, under the lock under which `still` is asked here. A verdict
    /// of the old keys is therefore not written down, or forgotten.
    pub(super) fn remember_signed(
        &self,
        digest: Digest,
        id: SessionId,
        until: Timestamp,
        still: impl FnOnce() -> bool,
    ) {
        let in_step = self.in_step();
        if still() {
            self.aliases.insert(digest, Alias { id, until, kind: AliasKind::Signed });
        }
        drop(in_step);
    }

    /// Forgets what every signed token stands for. The sessions stay.
    pub(super) fn forget_signed(&self) {
        let in_step = self.in_step();
        self.aliases.retain(|_, alias| alias.kind != AliasKind::Signed);
        drop(in_step);
    }

    /// Whether the token was found unknown a moment ago.
    pub(super) fn is_absent(&self, digest: &Digest, now: Uptime) -> bool {
        self.absent.get(digest).is_some_and(|until| now < until)
    }

    /// Whether the cache may answer with this session without asking the store.
    pub(super) fn is_fresh(&self, session: &Session, now: Uptime) -> bool {
        now.since(session.confirmed_at()) < self.ttl
    }

    /// Whether it is time to confirm this session in the background, so that no request has to wait when its time is over: at
    /// half to three quarters of the time, each at a moment of its own. Sessions that were read at once, as after a restart, would
    /// all be asked about at once too, and their requests would wait for that.
    pub(super) fn is_due(&self, session: &Session, now: Uptime) -> bool {
        let [.., last] = session.id.as_uuid().into_bytes();
        let spread = f32::from(last) / 1024.0;
        now.since(session.confirmed_at()) >= self.ttl.mul_f32(0.5 + spread)
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
        // The one that loaded before us may have found something else than a session; it wrote that down before it let us in.
        if self.is_absent(digest, now) {
            return Ok((Loaded::Absent, Lookup::Coalesced));
        }
        if let Some(alias) = self.alias(digest) {
            return Ok((Loaded::Alias(alias), Lookup::Coalesced));
        }
        let mut loading = Loading {
            cache: self,
            guard: Some(guard),
            landing: outdated.clone(),
            outdated: outdated.clone(),
            began: self.in_step().now(),
        };
        match load(outdated).await? {
            Loaded::Found(session) => {
                loading.landing = Some(session.clone());
                Ok((Loaded::Found(session), Lookup::Miss))
            }
            Loaded::Alias(alias) => {
                self.aliases.insert(*digest, alias);
                loading.landing = None;
                Ok((Loaded::Alias(alias), Lookup::Miss))
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
        let mut in_step = self.in_step();
        self.found.remove(&Key::of(&ended.digest));
        self.forget_in_step(ended.id, &mut in_step);
    }

    /// The same for a session of which only the id is known.
    pub(super) fn forget_id(&self, id: SessionId) {
        self.forget_in_step(id, &mut self.in_step());
    }

    /// Forgets the sessions of a user. It looks at every session there is, so it is for rare cases. Whose the loads in flight
    /// are shows when they end, so none of them lands.
    pub(super) fn forget_user(&self, user: &UserId) {
        // Before the look at what is there: a load that ends in between has landed, and is found, or does not land.
        self.in_step().push_unknown();
        let of_user = self.found.iter().filter(|(_, session)| session.identity.user_text() == user.as_str());
        let ids: Vec<SessionId> = of_user.map(|(_, session)| session.id).collect();
        for id in ids {
            self.forget_id(id);
        }
    }

    fn forget_in_step(&self, id: SessionId, forgotten: &mut Forgotten) {
        forgotten.push(id);
        // The digest that this process knows may be another one than the store's, after a rotation.
        if let Some(session) = self.index.take(id) {
            self.found.remove(&Key::of(&session.digest));
        }
        self.found.remove(&Key::of(&Digest::of_id(id.as_uuid().as_bytes())));
    }

    /// Forgets the session of a token, and cancels a load of it that is in flight.
    pub(super) fn forget_token(&self, digest: &Digest) {
        let in_step = self.in_step();
        if let Some((_, session)) = self.found.remove(&Key::of(digest)) {
            self.index.remove(&session);
        }
        drop(in_step);
    }

    /// Forgets this very reading of a session, unless another has taken its place or is on its way.
    pub(super) fn forget_this(&self, session: &Arc<Session>) {
        let in_step = self.in_step();
        let key = Key::of(&session.digest);
        if self.found.remove_if(&key, |held| Arc::ptr_eq(held, session)).is_some() {
            self.index.remove(session);
        }
        drop(in_step);
    }

    /// Forgets everything, loads in flight included.
    pub(super) fn clear(&self) {
        let mut in_step = self.in_step();
        // What goes on without being asked for (an open stream) is in doubt too.
        in_step.push_unknown();
        self.found.clear();
        self.aliases.clear();
        self.absent.clear();
        self.index.clear();
        drop(in_step);
    }

    fn in_step(&self) -> MutexGuard<'_, Forgotten> {
        self.in_step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions and how many unknown tokens are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.found.len(), self.absent.len())
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
    /// How far [`Forgotten`] had come when it began.
    began: u64,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        let in_step = self.cache.in_step();
        if let Some(outdated) = &self.outdated {
            self.cache.index.remove(outdated);
        }
        // A row that was read before its session was forgotten is for the caller alone, who began before that too.
        let landing = self.landing.take().filter(|session| !in_step.since(self.began, session.id));
        if let Some(session) = landing {
            if is_by_id(&session) {
                // Refused when the session was forgotten meanwhile.
                let _ = guard.insert(session);
                return;
            }
            // First into the index: a map that has no room for it drops it at once, from the index too.
            let replaced = self.cache.index.insert(session.clone());
            // Refused as well when its token was forgotten. What was loaded since then keeps its place.
            match (guard.insert(session.clone()), replaced) {
                // Another token of the same session: it was rotated on another gateway, and this is heard of here before the
                // notification of it. Whichever of the two is the old one, it must not stay behind without an index.
                (Ok(()), Some(replaced)) if replaced.digest != session.digest => {
                    self.cache.found.remove(&Key::of(&replaced.digest));
                }
                (Ok(()), _) => {}
                (Err(_), replaced) => {
                    self.cache.index.remove(&session);
                    if let Some(replaced) = replaced {
                        self.cache.index.insert(replaced);
                    }
                }
            }
        } else {
            drop(guard);
        }
        drop(in_step);
    }
}

/// Whether a session is held under its id and not under a token's digest.
fn is_by_id(session: &Session) -> bool {
    session.digest == Digest::of_id(session.id.as_uuid().as_bytes())
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
