//! One call: its deadline, its connection, and what its errors mean.

use std::io;
use std::time::Duration;

use deadpool_postgres::{Object, PoolError};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;

use super::Postgres;
use crate::clock;
use crate::store::{StoreError, schema};

/// A call under way.
pub(super) struct Call {
    limit: Duration,
    deadline: Instant,
}

/// Why a call got no answer, before it is sorted.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server, or the connection to it.
    Database(tokio_postgres::Error),
    /// What a row holds.
    Unreadable(schema::Unreadable),
    /// The schema's version.
    Store(StoreError),
    /// The deadline.
    Late,
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<schema::Unreadable> for Trouble {
    fn from(unreadable: schema::Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl Postgres {
    /// Begins a call: takes a connection, and makes one if none is idle.
    pub(super) async fn begin(&self, limit: Duration) -> Result<(Call, Object), StoreError> {
        if self.pool.status().waiting >= self.queue {
            return Err(StoreError::Overloaded);
        }
        let deadline = Instant::from_std(clock::monotonic() + limit);
        match timeout_at(deadline, self.pool.get()).await {
            Ok(Ok(client)) => Ok((Call { limit, deadline }, client)),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => {
                // With every connection open and busy it is we who ask too much; the server may be in the best of health.
                // If it is not, the calls on those connections say so.
                let pool = self.pool.status();
                Err(if pool.size >= pool.max_size { StoreError::Overloaded } else { StoreError::Timeout(limit) })
            }
            // Only connecting can fail here, and whatever is the matter with that, the store is not reached.
            Ok(Err(PoolError::Backend(error))) => Err(StoreError::Unreachable(Box::new(error))),
            Ok(Err(error @ (PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)))) => {
                Err(StoreError::Failed(Box::new(error)))
            }
        }
    }
}

impl Call {
    /// Waits for `work` until the deadline.
    pub(super) async fn bounded<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        timeout_at(self.deadline, work).await.unwrap_or(Err(Trouble::Late))
    }

    /// Ends the call: sorts its error, and gives the connection back unless it is in doubt.
    pub(super) fn settle<T>(self, client: Object, result: Result<T, Trouble>) -> Result<T, StoreError> {
        result.map_err(|trouble| {
            let error = self.sort(trouble);
            if matches!(error, StoreError::Timeout(_) | StoreError::Unreachable(_)) {
                // Closes it. On a server that still listens, this also rolls back what the call has begun.
                drop(Object::take(client));
            }
            error
        })
    }

    fn sort(&self, trouble: Trouble) -> StoreError {
        let error = match trouble {
            Trouble::Late => return StoreError::Timeout(self.limit),
            Trouble::Unreadable(unreadable) => return unreadable.into(),
            Trouble::Store(error) => return error,
            Trouble::Database(error) => error,
        };
        match error.code() {
            // The limits that the server was given when we connected.
            Some(&SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE) => StoreError::Timeout(self.limit),
            Some(code) if breaks_off(code) => StoreError::Unreachable(Box::new(error)),
            Some(_) => StoreError::Failed(Box::new(error)),
            None if error.is_closed() || is_io(&error) => StoreError::Unreachable(Box::new(error)),
            None => StoreError::Failed(Box::new(error)),
        }
    }
}

/// Whether the server says with this code that it is going, or not the one to ask.
fn breaks_off(code: &SqlState) -> bool {
    /// Class 08: connection exceptions.
    const CONNECTION: &str = "08";

    code.code().starts_with(CONNECTION)
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            // A fail-over has made it a standby.
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(code)
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>())
}
