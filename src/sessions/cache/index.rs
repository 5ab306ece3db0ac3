//! The way from a session's id to the entry under its token's digest.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::session::{Session, SessionId};

/// The cached sessions by their ids. It holds pointers, not digests: those lie in the sessions.
#[derive(Debug)]
pub(super) struct Index {
    shards: [Mutex<Shard>; 16],
    hasher: RandomState,
}

pub(super) type Shard = HashSet<ById, ahash::RandomState>;

/// A session that is found by its id.
#[derive(Debug)]
pub(super) struct ById(pub(super) Arc<Session>);

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
    pub(super) fn with<T>(&self, id: SessionId, change: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let shards = NonZeroUsize::new(self.shards.len())?;
        let hash = usize::try_from(self.hasher.hash_one(id) >> 32).unwrap_or(0);
        let shard = self.shards.get(hash % shards)?;
        // A poisoned shard is still a whole set: no code of ours can panic between two of its changes.
        Some(change(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Gives back the one whose place it takes.
    pub(super) fn insert(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        self.with(session.id, |set| set.replace(ById(session))).flatten().map(|ById(replaced)| replaced)
    }

    pub(super) fn take(&self, id: SessionId) -> Option<Arc<Session>> {
        self.with(id, |set| set.take(&id)).flatten().map(|ById(session)| session)
    }

    /// Removes this very object; another one for the same session stays.
    pub(super) fn remove(&self, session: &Arc<Session>) {
        self.with(session.id, |set| {
            if set.get(&session.id).is_some_and(|ById(held)| Arc::ptr_eq(held, session)) {
                set.remove(&session.id);
            }
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}
