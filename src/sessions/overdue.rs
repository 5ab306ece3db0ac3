//! What happened to sessions and the store could not be told.
//!
//! A session that another User-Agent used is to be suspended, and one whose token came again after it was rotated away is to
//! end. When the store is away at that moment, the session must not go on as it was because the outage came between. So the
//! offence is remembered here and written down when the store is back, before anything of that session is served again.
//! Until then it is not in the cache either, and whoever uses it is told that nobody knows.
//!
//! What is here is lost when the process ends before the store is back; the log has a line of each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Circumstances, Concerned, Sessions};
use crate::clock::Timestamp;
use crate::error::{Code, Problem};
use crate::metrics::StoreCall;
use crate::session::{Actor, SessionId, SuspendReason};
use crate::store::Offender;
use crate::token::Digest;

/// The most that wait at once. Each takes a good token, so nobody makes them up.
const MOST: usize = 10_000;
/// The most that is kept of a User-Agent.
const LONGEST_AGENT: usize = 1024;
/// The most that are written down in one round of the task that writes last uses too.
const BATCH: usize = 500;

/// A use of a session by somebody who should not have its token.
#[derive(Clone, Debug)]
pub(super) struct Offence {
    deed: Deed,
    user_agent: String,
    ip: IpAddr,
    at: Timestamp,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// It was used by another User-Agent: it is suspended.
    OtherUserAgent,
    /// Its token of this digest was used after it was rotated away: it ends.
    Reuse(Digest),
}

impl Offence {
    pub(super) fn new(deed: Deed, circumstances: Circumstances) -> Self {
        let Circumstances { mut user_agent, ip, now } = circumstances;
        let end = (0..=LONGEST_AGENT).rev().find(|end| user_agent.is_char_boundary(*end));
        user_agent.truncate(end.filter(|_| user_agent.len() > LONGEST_AGENT).unwrap_or(user_agent.len()));
        Self { deed, user_agent, ip, at: now.wall }
    }
}

/// The offences that wait for the store.
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
    /// Does to a session what follows from an offence, now or as soon as the store can be told.
    ///
    /// Cancel safety: once begun, it happens even when this is dropped.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when the store cannot be told now.
    pub(super) async fn answer_for(&self, id: SessionId, offence: Offence) -> Result<(), Problem> {
        let sessions = self.clone();
        let written = self.inner.side.spawn(async move {
            let Err(problem) = sessions.write_down(id, offence.clone()).await else { return Ok(()) };
            // First written down here, then forgotten: a load that ends in between is forgotten with the rest, and one that
            // begins after it finds the offence.
            if sessions.inner.overdue.add(id, offence) {
                tracing::error!(session = %id, "the session store cannot be told of it; it will be as soon as it is back");
            } else {
                tracing::error!(session = %id, "nothing follows from it: the store cannot be told, and {MOST} others wait for it");
            }
            sessions.inner.cache.forget_id(id);
            Err(problem)
        });
        // The task is neither aborted nor does it panic; a runtime that is going down ends here too.
        written.await.unwrap_or_else(|_| Err(Problem::new(Code::Internal)))
    }

    /// Writes down what is overdue of this session, and says whether anything was.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when it still cannot be.
    pub(super) async fn catch_up_on(&self, id: SessionId) -> Result<bool, Problem> {
        let Some(offence) = self.inner.overdue.of(id) else { return Ok(false) };
        self.write_down(id, offence).await?;
        self.inner.overdue.remove(id);
        tracing::warn!(session = %id, "the session store was told of what happened while it was away");
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

    /// Nothing comes of it when the session has ended or is suspended already.
    async fn write_down(&self, id: SessionId, offence: Offence) -> Result<(), Problem> {
        const REASON: SuspendReason = SuspendReason::UserAgentChanged;

        let sessions = self.clone();
        self.change(StoreCall::End, Concerned::Sessions(vec![id]), async move {
            let (store, at) = (&sessions.inner.store, offence.at);
            let offender = Offender { ip: offence.ip, user_agent: &offence.user_agent };
            let gone = match offence.deed {
                Deed::OtherUserAgent => {
                    let suspended = store.suspend(id, REASON, &Actor::Policy, Some(offender), at).await?;
                    if suspended.is_some() {
                        sessions.inner.metrics.suspended(REASON);
                    }
                    suspended
                }
                Deed::Reuse(digest) => store.end_reused(&digest, offender, at).await?,
            };
            sessions.forget(gone.as_slice());
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Moment, Uptime};

    fn offence(at: i64) -> Offence {
        let now = Moment { wall: Timestamp::from_millis(at), uptime: Uptime::from_micros(1) };
        let circumstances = Circumstances { user_agent: "\u{fffd}".repeat(1000), ip: [192, 0, 2, 1].into(), now };
        Offence::new(Deed::OtherUserAgent, circumstances)
    }

    #[test]
    fn the_first_offence_counts_and_those_there_is_no_room_for_are_said_so() {
        let (overdue, id) = (Overdue::default(), SessionId::generate().unwrap());
        assert!(overdue.add(id, offence(1)) && overdue.add(id, offence(2)));
        let first = overdue.of(id).unwrap();
        assert_eq!((first.at, first.user_agent.len()), (Timestamp::from_millis(1), 1023));
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
