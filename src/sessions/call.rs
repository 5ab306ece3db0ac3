//! Calling the store: every call is a task of its own on the side runtime, and its failure is what the client is told.

use std::future::Future;

use super::Sessions;
use crate::clock;
use crate::error::{Code, Problem, causes};
use crate::metrics::StoreCall;
use crate::session::{SessionId, UserId};
use crate::store::StoreError;

/// Whose sessions a change is about.
#[derive(Clone, Debug)]
pub(super) enum Concerned {
    /// These.
    Sessions(Vec<SessionId>),
    /// Any of the user.
    User(UserId),
    /// Any there is.
    Anybody,
}

impl Sessions {
    /// Runs a store call as a task of the side runtime, times it, and turns its failure into what the client is told.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        kind: StoreCall,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.run_or(kind, Self::failed, call).await
    }

    /// [`Sessions::run`] with what is done about a failure.
    pub(super) async fn run_or<T: Send + 'static>(
        &self,
        kind: StoreCall,
        failed: fn(&Self, &StoreError) -> Problem,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, Problem> {
        if !self.inner.health.is_up() {
            return Err(Problem::new(Code::StoreUnavailable));
        }
        let sessions = self.clone();
        let task = self.inner.side.spawn(async move {
            let began = clock::uptime();
            let result = call.await;
            sessions.inner.metrics.store_call(kind, clock::uptime().since(began));
            result.map_err(|error| failed(&sessions, &error))
        });
        // The task is neither aborted nor does it panic; a runtime that is going down ends here too.
        task.await.unwrap_or_else(|_| Err(Problem::new(Code::Internal)))
    }

    /// [`Sessions::run`] for a call that changes something. When it fails without an answer, nobody knows whether the change
    /// was made, or will be when the server comes to it; what it concerns is then not served from memory any more.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        kind: StoreCall,
        concerned: Concerned,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.change_or(kind, Self::failed, concerned, call).await
    }

    /// [`Sessions::change`] with what is done about a failure.
    pub(super) async fn change_or<T: Send + 'static>(
        &self,
        kind: StoreCall,
        failed: fn(&Self, &StoreError) -> Problem,
        concerned: Concerned,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, Problem> {
        let sessions = self.clone();
        self.run_or(kind, failed, async move {
            let result = call.await;
            if matches!(result, Err(StoreError::Timeout(_) | StoreError::Unreachable(_))) {
                sessions.doubt(&concerned);
            }
            result
        })
        .await
    }

    fn doubt(&self, concerned: &Concerned) {
        self.inner.ears.doubt(clock::uptime());
        match concerned {
            Concerned::Sessions(ids) => ids.iter().for_each(|id| self.inner.cache.forget_id(*id)),
            Concerned::User(user) => self.inner.cache.forget_user(user),
            Concerned::Anybody => self.inner.cache.clear(),
        }
    }

    pub(super) fn failed(&self, error: &StoreError) -> Problem {
        self.inner.metrics.store_errors.increment();
        match error {
            StoreError::Unreachable(_) | StoreError::Timeout(_) | StoreError::Schema(_) | StoreError::InUse(_) => {
                if self.inner.health.lost() {
                    self.inner.metrics.store_up.set(0);
                    tracing::error!(error = causes(error), "the session store was lost");
                }
            }
            StoreError::Overloaded | StoreError::Failed(_) | StoreError::Settings { .. } => {
                tracing::error!(error = causes(error), "a store call failed");
            }
        }
        Problem::new(Code::StoreUnavailable)
    }
}
