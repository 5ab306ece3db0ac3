//! What administrators see and change: sessions of all users, users, and the audit log.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::{Concerned, Sessions};
use crate::clock::{self, Timestamp, Uptime};
use crate::error::{Code, Problem, causes};
use crate::metrics::StoreCall;
use crate::session::{EndReason, Record, SessionId, SuspendReason, UserId};
use crate::store::{
    By, Count, Event, EventFilter, EventPosition, EventRow, Filter, Guard, Limit, Position, Reactivated, StoreError,
    Suspended, User, UserChange, UserSettings,
};

/// How long a search waits for others to end.
const LONGEST_TURN: Duration = Duration::from_secs(5);

impl Sessions {
    /// Sessions of all users, newest created first.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when the store cannot be asked.
    pub async fn search(
        &self,
        filter: Filter,
        after: Option<Position>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Record>, Problem> {
        let sessions = self.clone();
        let idle_since = self.idle_since(now);
        self.look(async move { sessions.inner.store.search(&filter, after, limit, now, idle_since).await }).await
    }

    /// What [`Sessions::end_matching`] would do.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when the store cannot be asked.
    pub async fn count(&self, filter: Filter, guard: Guard, now: Timestamp) -> Result<Count, Problem> {
        let sessions = self.clone();
        let idle_since = self.idle_since(now);
        self.look(async move { sessions.inner.store.count(&filter, &guard, now, idle_since).await }).await
    }

    /// Ends the sessions that the filter is about, in batches, and says how many: those that ended, and those that the
    /// guard kept. Each is refused by this instance from the moment its batch is through.
    ///
    /// Cancel safety: a batch that has begun happens, with its effect on the cache; no more begin.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when the store cannot be asked. The batches before that have happened.
    pub async fn end_matching(
        &self,
        filter: Filter,
        guard: Guard,
        reason: EndReason,
        by: By,
    ) -> Result<Count, Problem> {
        let by = self.completed(by);
        let mut count = Count::default();
        let mut after = None;
        loop {
            let (sessions, filter, guard, by) = (self.clone(), filter.clone(), guard.clone(), by.clone());
            let concerned = filter.user.clone().map_or(Concerned::Anybody, Concerned::User);
            // As with a search, that it takes too long says nothing about the store.
            let batch = self.change_or(StoreCall::End, Self::look_failed, concerned, async move {
                let batch = sessions.inner.store.end_batch(&filter, &guard, reason, &by, after).await?;
                sessions.forget(&batch.ended);
                Ok((batch.ended.len(), batch.skipped, batch.next))
            });
            let (ended, skipped, next) = batch.await?;
            count.matching += ended as u64;
            count.skipped += skipped;
            after = next;
            if after.is_none() {
                return Ok(count);
            }
        }
    }

    /// Suspends a session.
    ///
    /// Cancel safety: once begun, the change and its effect on the cache happen even when this is dropped.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::ProtectedUser`]; [`Code::Conflict`] when it is not active; [`Code::StoreUnavailable`].
    pub async fn suspend(&self, id: SessionId, guard: Guard, by: By) -> Result<(), Problem> {
        const REASON: SuspendReason = SuspendReason::SuspendedByAdmin;

        let (sessions, by) = (self.clone(), self.completed(by));
        let suspended = self.change(StoreCall::End, Concerned::Sessions(vec![id]), async move {
            let suspended = sessions.inner.store.suspend_guarded(id, &guard, REASON, &by).await?;
            if let Suspended::Done(ended) = suspended {
                sessions.inner.metrics.suspended(REASON);
                sessions.forget(&[ended]);
            }
            Ok(suspended)
        });
        match suspended.await? {
            Suspended::Done(_) => Ok(()),
            Suspended::Already => Err(Problem::with_detail(Code::Conflict, "The session is suspended already.")),
            Suspended::Over => Err(Problem::with_detail(Code::Conflict, "The session has ended.")),
            Suspended::Protected => Err(Problem::new(Code::ProtectedUser)),
            Suspended::NotFound => Err(no_session()),
        }
    }

    /// Makes a suspended session active again, where `max_by_policy` is what the policy says for its user's roles.
    ///
    /// Cancel safety: once begun, the change and its effect on the cache happen even when this is dropped.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::ProtectedUser`]; [`Code::TooManySessions`] when the user has no place for it; [`Code::Conflict`] when it is not
    /// suspended or its time is over; [`Code::StoreUnavailable`].
    pub async fn reactivate(
        &self,
        id: SessionId,
        max_by_policy: Option<NonZeroU32>,
        guard: Guard,
        by: By,
    ) -> Result<(), Problem> {
        let (sessions, by) = (self.clone(), self.completed(by));
        let on_exceed = self.inner.settings.load().on_exceed;
        let limit = Limit { by_call: None, by_policy: max_by_policy, on_exceed, idle_since: by.idle_since };
        let reactivated = self.change(StoreCall::Other, Concerned::Sessions(vec![id]), async move {
            let reactivated = sessions.inner.store.reactivate(id, limit, &guard, &by).await?;
            if let Reactivated::Done { active, unused } = &reactivated {
                sessions.forget(&[*active]);
                sessions.forget(unused);
            }
            Ok(reactivated)
        });
        let conflict = |why| Err(Problem::with_detail(Code::Conflict, why));
        match reactivated.await? {
            Reactivated::Done { .. } => Ok(()),
            Reactivated::NotSuspended => conflict("The session is active."),
            Reactivated::Expired => conflict("The session has expired, or was not used for too long."),
            Reactivated::Over => conflict("The session has ended; it cannot come back."),
            Reactivated::OverLimit { limit } => Err(Problem::with_detail(
                Code::TooManySessions,
                format!("The user has {limit} other live session(s), as many as the policy allows."),
            )),
            Reactivated::Protected => Err(Problem::new(Code::ProtectedUser)),
            Reactivated::NotFound => Err(no_session()),
        }
    }

    /// A user; `None` for one of whom the store has never heard.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when the store cannot be asked.
    pub async fn user(&self, user: UserId, now: Timestamp) -> Result<Option<User>, Problem> {
        let sessions = self.clone();
        let idle_since = self.idle_since(now);
        self.look(async move { sessions.inner.store.user(&user, now, idle_since).await }).await
    }

    /// Replaces a user's settings, and says how many sessions ended by it.
    ///
    /// Cancel safety: once begun, the change and its effect on the cache happen even when this is dropped.
    ///
    /// # Errors
    /// [`Code::ProtectedUser`]; [`Code::StoreUnavailable`] when the store cannot be asked.
    pub async fn set_user(&self, user: UserId, settings: UserSettings, guard: Guard, by: By) -> Result<usize, Problem> {
        let (sessions, by) = (self.clone(), self.completed(by));
        let change = self.change(StoreCall::Other, Concerned::User(user.clone()), async move {
            let change = sessions.inner.store.set_user(&user, settings, &guard, &by).await?;
            if let UserChange::Done { ended, .. } = &change {
                sessions.forget(ended);
            }
            Ok(change)
        });
        match change.await? {
            UserChange::Done { ended, .. } => Ok(ended.len()),
            UserChange::Protected => Err(Problem::new(Code::ProtectedUser)),
        }
    }

    /// Lines of the audit log, newest first.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when the store cannot be asked.
    pub async fn events(
        &self,
        filter: EventFilter,
        after: Option<EventPosition>,
        limit: u32,
    ) -> Result<Vec<EventRow>, Problem> {
        let sessions = self.clone();
        self.look(async move { sessions.inner.store.events(&filter, after, limit).await }).await
    }

    /// The key that authenticates the cursors of all gateways on this store.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`] when the store cannot be asked.
    pub async fn cursor_key(&self) -> Result<[u8; 32], Problem> {
        if let Some(key) = self.inner.cursor_key.get() {
            return Ok(*key);
        }
        let sessions = self.clone();
        let key = self.run(StoreCall::Other, async move { sessions.inner.store.secret("cursor").await }).await?;
        Ok(*self.inner.cursor_key.get_or_init(|| key))
    }

    /// Writes down that an administrator's call was refused: at most once a minute for each session, so that a program
    /// that repeats itself fills neither the audit log nor the log. The access log and the metrics have every refusal.
    pub async fn record_refusal(&self, session: SessionId, event: Event) {
        if self.inner.refusals.is_due(session, clock::uptime()) {
            tracing::warn!(actor = %event.actor, detail = %event.detail, "an administrator's call was refused");
            // Nothing depends on it; a store that is away has its own lines.
            let _ = self.record(event).await;
        }
    }

    /// Runs a search, one at a time: each may read everything, and requests that look for their sessions must not wait behind
    /// several. What it may read has no bound, so that it takes too long says nothing about whether requests find
    /// their sessions: the store is not taken for lost, or whoever may look could have everything forgotten, for all.
    async fn look<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, Problem> {
        let sessions = self.clone();
        self.run_or(StoreCall::List, Self::look_failed, async move {
            let turn = timeout(LONGEST_TURN, sessions.inner.searches.lock());
            let _turn = turn.await.map_err(|_| StoreError::Timeout(LONGEST_TURN))?;
            call.await
        })
        .await
    }

    fn look_failed(&self, error: &StoreError) -> Problem {
        if !matches!(error, StoreError::Timeout(_)) {
            return self.failed(error);
        }
        self.inner.metrics.store_errors.increment();
        tracing::warn!(error = causes(error), "an administrator's call was given up");
        let sentence = "The call took longer than store.timeout. Narrow it: by user, or by time.";
        Problem::with_detail(Code::StoreUnavailable, sentence)
    }

    fn completed(&self, by: By) -> By {
        By { idle_since: self.idle_since(by.now), ..by }
    }
}

fn no_session() -> Problem {
    Problem::with_detail(Code::NotFound, "There is no session with this id.")
}

/// When which session was last refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    last: Mutex<HashMap<SessionId, Uptime>>,
}

impl Refusals {
    const PERIOD: Duration = Duration::from_secs(60);
    /// So many sessions at most are written down in a period.
    const KEPT: usize = 1000;

    fn is_due(&self, session: SessionId, now: Uptime) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(&session).is_some_and(|then| now.since(*then) < Self::PERIOD) {
            return false;
        }
        if last.len() >= Self::KEPT {
            last.retain(|_, then| now.since(*then) < Self::PERIOD);
        }
        let room = last.len() < Self::KEPT;
        if room {
            last.insert(session, now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_written_down_once_a_minute_and_so_many_at_most() {
        let refusals = Refusals::default();
        let id = |number: u128| SessionId::from_uuid(uuid::Uuid::from_u128(number));
        let at = |millis: u64| Uptime::from_micros(millis * 1000);
        assert!(refusals.is_due(id(0), at(0)));
        assert!(!refusals.is_due(id(0), at(59_999)));
        assert!(refusals.is_due(id(0), at(60_000)));
        let more = (1..5000).filter(|number| refusals.is_due(id(*number), at(60_000))).count();
        assert_eq!(more, Refusals::KEPT - 1);
        assert!(refusals.is_due(id(7000), at(120_000)), "there is room again");
    }
}
