//! Suspensions that the store could not be told of.
//!
//! A session that another User-Agent used is to be suspended; when the store is away at that moment, the rightful User-Agent
//! must not find the session as it was because the outage came between. So the suspension is remembered here and written
//! down when the store is back, before anything is served from it. Until then the session is not in the cache either, and
//! whoever uses it is told that nobody knows.
//!
//! What is here is lost when the process ends before the store is back; the log has a line of each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Concerned, Sessions};
use crate::clock::Timestamp;
use crate::error::Problem;
use crate::metrics::StoreCall;
use crate::session::{Actor, SessionId, SuspendReason};
use crate::store::Offender;

/// The most that wait at once. Each takes a whole session's token, so that they are made up in no number.
const MOST: usize = 10_000;
/// The most that are written down in one round of the task that writes last uses too.
const BATCH: usize = 500;

/// A use of a session by another User-Agent.
#[derive(Clone, Debug)]
pub(super) struct Offence {
    pub(super) user_agent: String,
    pub(super) ip: IpAddr,
    pub(super) at: Timestamp,
}

/// The suspensions that wait for the store.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    waiting: Mutex<BTreeMap<SessionId, Offence>>,
    /// How many they are, so that a load while there are none takes no lock.
    count: AtomicUsize,
}

impl Overdue {
    /// Remembers one; the first offence of a session is the one that counts. Says whether there was room for it.
    fn add(&self, id: SessionId, offence: Offence) -> bool {
        let mut waiting = self.lock();
        let has_room = waiting.len() < MOST || waiting.contains_key(&id);
        if has_room {
            waiting.entry(id).or_insert(offence);
        }
        self.count.store(waiting.len(), Ordering::Release);
        has_room
    }

    /// The one of this session.
    fn of(&self, id: SessionId) -> Option<Offence> {
        if self.count() == 0 {
            return None;
        }
        self.lock().get(&id).cloned()
    }

    /// Whose they are, of so many as one round may take.
    fn some(&self) -> Vec<SessionId> {
        if self.count() == 0 {
            return Vec::new();
        }
        self.lock().keys().take(BATCH).copied().collect()
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn remove(&self, id: SessionId) {
        let mut waiting = self.lock();
        waiting.remove(&id);
        self.count.store(waiting.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Offence>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Suspends a session, now or as soon as the store can be told.
    ///
    /// Cancel safety: once begun, it happens even when this is dropped.
    pub(super) async fn suspend_for(&self, id: SessionId, offence: Offence) {
        let (sessions, offence_now) = (self.clone(), offence.clone());
        let written = self.inner.side.spawn(async move {
            if sessions.suspend_now(id, offence_now.clone()).await.is_ok() {
                return;
            }
            // First written down here, then forgotten: a load that ends in between is forgotten with the rest, and one that
            // begins after it finds the suspension.
            if sessions.inner.overdue.add(id, offence_now) {
                tracing::error!(session = %id, "the session store cannot be told of the suspension; it will be as soon as it is back");
            } else {
                tracing::error!(session = %id, "the session is not suspended: the store cannot be told, and {MOST} others wait for it");
            }
            sessions.inner.cache.forget_id(id);
        });
        // The task does not panic, and nothing is done with its answer.
        let _ = written.await;
    }

    /// Writes the suspension of this session down if it is overdue, and says whether it was.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`](crate::error::Code::StoreUnavailable) when it still cannot be.
    pub(super) async fn catch_up_on(&self, id: SessionId) -> Result<bool, Problem> {
        let Some(offence) = self.inner.overdue.of(id) else { return Ok(false) };
        self.suspend_now(id, offence).await?;
        self.inner.overdue.remove(id);
        tracing::warn!(session = %id, "the session store was told of an overdue suspension");
        Ok(true)
    }

    /// Writes down what is overdue, as far as the store answers.
    pub(super) async fn write_overdue(&self) {
        for id in self.inner.overdue.some() {
            // One that the store does not take stays, and its session is not served.
            if self.catch_up_on(id).await.is_err() && !self.inner.health.is_up() {
                return;
            }
        }
    }

    async fn suspend_now(&self, id: SessionId, offence: Offence) -> Result<(), Problem> {
        const REASON: SuspendReason = SuspendReason::UserAgentChanged;

        let sessions = self.clone();
        self.change(StoreCall::End, Concerned::Sessions(vec![id]), async move {
            let offender = Some(Offender { ip: offence.ip, user_agent: &offence.user_agent });
            // Of a session that has ended or is suspended already nothing is written.
            let suspended = sessions.inner.store.suspend(id, REASON, &Actor::Policy, offender, offence.at).await?;
            if let Some(suspended) = suspended {
                sessions.inner.metrics.suspended(REASON);
                sessions.forget(&[suspended]);
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offence(at: i64) -> Offence {
        Offence { user_agent: "thief/1.0".to_owned(), ip: [192, 0, 2, 1].into(), at: Timestamp::from_millis(at) }
    }

    #[test]
    fn the_first_offence_counts_and_those_there_is_no_room_for_are_said_so() {
        let (overdue, id) = (Overdue::default(), SessionId::generate().unwrap());
        assert!(overdue.add(id, offence(1)) && overdue.add(id, offence(2)));
        assert_eq!(overdue.of(id).unwrap().at, Timestamp::from_millis(1));
        for _ in 1..MOST {
            assert!(overdue.add(SessionId::generate().unwrap(), offence(3)));
        }
        let late = SessionId::generate().unwrap();
        assert!(!overdue.add(late, offence(4)) && overdue.add(id, offence(5)));
        assert!(overdue.of(late).is_none() && overdue.of(id).is_some());
        overdue.remove(id);
        assert!(overdue.of(id).is_none() && overdue.add(late, offence(6)));
        assert_eq!((overdue.count(), overdue.some().len()), (MOST, BATCH));
    }
}
