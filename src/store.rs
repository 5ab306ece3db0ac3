//! The session store: one contract, kept by SQLite (the embedded default) and PostgreSQL (several gateways share one).
//!
//! All SQL of the gateway is below this module. Every call is one transaction, and every change is a conditional update
//! of single columns, so that nothing that has ended can come back. Absent (`Ok(None)`) and unknown (`Err`) stay apart:
//! a store that cannot be asked never looks like "no session".
//!
//! Cancel safety: a call that is dropped half-way has either happened whole or not at all; the store never sees half a
//! transaction.
//!
//! Every state change writes its line of the audit log in the same transaction. Evictions are put down to the policy,
//! everything else to the actor of the call.

mod contract;
mod filter;
pub mod foreign;
mod news;
mod postgres;
mod schema;
mod sqlite;
mod sweep;
mod user;

use std::net::IpAddr;
use std::time::Duration;

use self::news::Way;
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason, Record, SessionId, SuspendReason, UserId};
use crate::token::Digest;
use crate::user_agent::Device;

pub use self::contract::{
    Creation, Ended, Ending, Event, Found, Imported, ImportedSession, Limit, Name, NewSession, Offender, Position,
    Rotated, Rotation, Touch, Which,
};
pub use self::filter::{Batch, By, Count, EventFilter, EventPosition, EventRow, Filter, Guard, Matched};
pub use self::news::{Ear, Hearing, News, Notice, Notify};
pub use self::postgres::{PostgresSettings, SecretUrl};
pub use self::sqlite::SqliteSettings;
pub use self::sweep::{Retention, Stage, Sweep, Swept};
pub use self::user::{Crowd, Crowds, Reactivated, Suspended, User, UserChange, UserSettings};
pub use crate::policy::OnExceed;

/// Which store to open.
#[derive(Clone, Debug)]
pub enum Settings {
    /// A database file of our own.
    Sqlite(SqliteSettings),
    /// A PostgreSQL database.
    Postgres(PostgresSettings),
}

/// An open store. Cloning is cheap; all clones are the same store.
#[derive(Clone, Debug)]
pub enum Store {
    /// The embedded store.
    Sqlite(sqlite::Sqlite),
    /// A PostgreSQL database.
    Postgres(postgres::Postgres),
}

/// Why the store did not do what it was asked to. Whatever it is, nothing is known about the session.
///
/// A change that failed with [`StoreError::Unreachable`] or [`StoreError::Timeout`] may still have happened, or may yet
/// happen: the answer is what got lost. Asking again is safe, since every change is conditional.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, refused the connection, or broke off.
    #[error("the store cannot be reached")]
    Unreachable(#[source] Source),
    /// It did not answer in time.
    #[error("the store did not answer within {0:?}")]
    Timeout(Duration),
    /// More calls are waiting than its queue holds.
    #[error("too many calls are waiting for the store")]
    Overloaded,
    /// It answered with an error, or with a row that cannot be read.
    #[error("the store failed")]
    Failed(#[source] Source),
    /// Its schema is not the one this program needs; the sentence says what to do.
    #[error("{0}")]
    Schema(String),
    /// Another gateway holds the database file.
    #[error("{0}")]
    InUse(String),
    /// The settings cannot work. The sentence never contains the value: it may hold a password.
    #[error("{key}: {problem}")]
    Settings {
        /// The key in the configuration.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// The cause, if it is news.
        #[source]
        source: Option<Source>,
    },
}

/// The cause of a [`StoreError`].
pub type Source = Box<dyn std::error::Error + Send + Sync>;

macro_rules! delegate {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {
        impl Store {
            $($(#[$doc])*
            pub async fn $name(&self, $($arg: $type),*) -> Result<$ret, StoreError> {
                match self {
                    Self::Sqlite(store) => store.$name($($arg),*).await,
                    Self::Postgres(store) => store.$name($($arg),*).await,
                }
            })*
        }
    };
}

delegate! {
    /// Brings the schema up to date. Several gateways that start together do it once, one after the other.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when the schema is newer than this program.
    migrate() -> Migrated;

    /// Whether the store answers and its schema is the one that this program needs.
    ///
    /// # Errors
    /// [`StoreError::Schema`] names the versions and what to do.
    check() -> ();

    /// The session with this token digest, in whatever state; also by a token that was rotated away.
    ///
    /// # Errors
    /// When the store cannot be asked.
    find(digest: &Digest) -> Option<Found>;

    /// Creates a session under the user's limit, in one transaction that concurrent creations for the same user wait for.
    ///
    /// # Errors
    /// When the store cannot be asked; the session then was not created, or nobody knows its token.
    create(new: NewSession) -> Creation;

    /// Takes over sessions that began elsewhere, all in one transaction; says of each what became of it. Limits of sessions
    /// are not looked at: they hold from the user's next login on.
    ///
    /// # Errors
    /// When the store cannot be asked; importing them again is safe.
    import(sessions: Vec<ImportedSession>) -> Vec<Imported>;

    /// Binds an active session to the User-Agent and address of its first use, where it is not bound yet. The first of
    /// several callers wins; a value that is there stays.
    ///
    /// # Errors
    /// When the store cannot be asked.
    bind(id: SessionId, user_agent: &str, device: &Device, ip: IpAddr) -> ();

    /// Gives an active session another token. The old one stays usable for the grace, and is never forgotten while the
    /// session is there: who comes with it later gives a theft away.
    ///
    /// # Errors
    /// When the store cannot be asked; the rotation may have happened, and nobody then has the new token. The old one is
    /// good until its grace is over.
    rotate(rotation: Rotation) -> Rotated;

    /// Ends the session of a token that was rotated away and whose grace is over, and says which it was: two parties have
    /// had its token.
    ///
    /// # Errors
    /// When the store cannot be asked.
    end_reused(digest: &Digest, offender: Offender<'_>, now: Timestamp) -> Option<Ended>;

    /// Suspends an active session for something that happened at `now`, which may be a while ago. `None` when it is not active
    /// any more, or was reactivated since then: whoever did so knew better.
    ///
    /// # Errors
    /// When the store cannot be asked.
    suspend(id: SessionId, reason: SuspendReason, actor: &Actor, offender: Option<Offender<'_>>, now: Timestamp) -> Option<Ended>;

    /// Ends the sessions that are not ended yet, active and suspended ones alike, and says which.
    ///
    /// # Errors
    /// When the store cannot be asked. Either all of them have ended then or none; ending them again is safe.
    end(which: Which<'_>, ending: Ending<'_>) -> Vec<Ended>;

    /// Writes down the last uses of live sessions: time and address, each only forward in time.
    ///
    /// # Errors
    /// When the store cannot be asked; the touches are then lost or may be given again.
    touch(touches: &[Touch]) -> ();

    /// The user's live sessions after `after`, newest created first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be asked.
    list_live(user: &UserId, after: Option<Position>, limit: u32, now: Timestamp, idle_since: Option<Timestamp>) -> Vec<Record>;

    /// One session by its id, in whatever state.
    ///
    /// # Errors
    /// When the store cannot be asked.
    get(id: SessionId) -> Option<Record>;

    /// Some sessions at once, in whatever state, in the order of their names. A token that was rotated away names none. A row
    /// that cannot be read does not take the others with it: it is none either, and who asks for it alone is told why.
    ///
    /// # Errors
    /// When the store cannot be asked.
    look_up(names: Vec<Name>) -> Vec<Option<Record>>;

    /// Appends a line to the audit log.
    ///
    /// # Errors
    /// When the store cannot be asked.
    record(event: Event) -> ();

    /// What is known about a user: its settings, and how many live sessions it has. `None` for one of whom the store has
    /// never heard.
    ///
    /// # Errors
    /// When the store cannot be asked.
    user(user: &UserId, now: Timestamp, idle_since: Option<Timestamp>) -> Option<User>;

    /// Replaces a user's settings, also of a user who never had a session. What a disabled user or a new `not_before`
    /// leaves no room for ends in the same transaction, and creations of that user wait for it: none slips through.
    ///
    /// # Errors
    /// When the store cannot be asked; asking again is safe.
    set_user(user: &UserId, settings: UserSettings, guard: &Guard, by: &By) -> UserChange;

    /// The sessions that the filter is about, of all users and in whatever state, newest created first, at most `limit`.
    ///
    /// Whatever the filter is, no page takes reading the whole table but one that searches User-Agents or roles, or on
    /// SQLite a network, and finds few: these read on from the newest session until the page is full.
    ///
    /// # Errors
    /// When the store cannot be asked.
    search(filter: &Filter, after: Option<Position>, limit: u32, now: Timestamp, idle_since: Option<Timestamp>) -> Vec<Record>;

    /// How many of the sessions that the filter is about are not ended yet, and how many of those the guard keeps: what
    /// [`Store::end_matching`] would do. It reads all of them.
    ///
    /// # Errors
    /// When the store cannot be asked.
    count(filter: &Filter, guard: &Guard, now: Timestamp, idle_since: Option<Timestamp>) -> Count;

    /// Ends those of the next 1,000 sessions that the filter is about, newest created first, which are not ended and which
    /// the guard does not keep. One transaction; the next batch begins where the answer says.
    ///
    /// # Errors
    /// When the store cannot be asked. Either all of the batch have ended then or none; ending them again is safe.
    end_batch(filter: &Filter, guard: &Guard, reason: EndReason, by: &By, after: Option<Position>) -> Batch;

    /// Suspends an active session unless the guard keeps it.
    ///
    /// # Errors
    /// When the store cannot be asked.
    suspend_guarded(id: SessionId, guard: &Guard, reason: SuspendReason, by: &By) -> Suspended;

    /// Makes a suspended session active again, if it has not expired, its user has a place for it, and the guard does not
    /// keep it: by its user, or by its own roles, which would protect the user again. It waits for
    /// creations of that user, and they for it.
    ///
    /// # Errors
    /// When the store cannot be asked.
    reactivate(id: SessionId, limit: Limit, guard: &Guard, by: &By) -> Reactivated;

    /// Of the next 1,000 users after `after`, in the order of their ids, those with more than one live session.
    ///
    /// # Errors
    /// When the store cannot be asked.
    crowds(after: Option<&UserId>, now: Timestamp, idle_since: Option<Timestamp>) -> Crowds;

    /// Evicts the live sessions of a user that are more than its limit, and says which. What is evicted first is what
    /// would have to go for a new session; where a new one would be refused, it is the oldest.
    ///
    /// # Errors
    /// When the store cannot be asked.
    evict_excess(user: &UserId, limit: Limit, now: Timestamp) -> Vec<Ended>;

    /// The lines of the audit log that the filter is about, newest first, at most `limit`. A line that is written during a
    /// walk through the pages with an older time than the page's, by a gateway with a slow clock, is not seen by that walk;
    /// no line is seen twice.
    ///
    /// # Errors
    /// When the store cannot be asked.
    events(filter: &EventFilter, after: Option<EventPosition>, limit: u32) -> Vec<EventRow>;

    /// The random key of that name, which all gateways of this database use alike. The first one that asks makes it.
    ///
    /// # Errors
    /// When the store cannot be asked, or the operating system has no randomness to give.
    secret(name: &str) -> [u8; 32];
    /// Removes some of what nobody needs any more, in one short transaction, and says where to go on. Of several gateways
    /// on one PostgreSQL only one does so at a time.
    ///
    /// # Errors
    /// When the store cannot be asked; asking again is safe.
    sweep(sweep: Sweep) -> Swept;
}

/// What [`Store::migrate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version found; 0 for an empty database.
    pub from: u32,
    /// The version now.
    pub to: u32,
}

impl Store {
    /// Ends every session that the filter is about and the guard does not keep, in batches of [`Store::end_batch`]: it is
    /// not one transaction, so that a million sessions are not locked at once. Sessions created meanwhile stay.
    ///
    /// # Errors
    /// When the store cannot be asked. The batches before that have happened; ending again goes on with the rest.
    pub async fn end_matching(
        &self,
        filter: &Filter,
        guard: &Guard,
        reason: EndReason,
        by: &By,
    ) -> Result<Matched, StoreError> {
        let mut matched = Matched::default();
        let mut after = None;
        loop {
            let batch = self.end_batch(filter, guard, reason, by, after).await?;
            matched.ended.extend(batch.ended);
            matched.skipped += batch.skipped;
            after = batch.next;
            if after.is_none() {
                return Ok(matched);
            }
        }
    }

    /// Opens the store, on the tokio runtime that all later calls are made from. PostgreSQL is not connected to yet, and
    /// an SQLite file is opened and locked at its first use, so that a store that is down does not keep the gateway from
    /// starting.
    ///
    /// # Errors
    /// When the settings themselves cannot work, for example an unreadable CA file.
    pub fn open(settings: &Settings) -> Result<Self, StoreError> {
        match settings {
            Settings::Sqlite(settings) => Ok(Self::Sqlite(sqlite::Sqlite::open(settings)?)),
            Settings::Postgres(settings) => Ok(Self::Postgres(postgres::Postgres::open(settings)?)),
        }
    }

    /// Makes the store this gateway's own where only one can have it. What else is in its way may still go away, and is told
    /// by the calls.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another gateway has it.
    pub fn claim(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.claim(),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// The time by the store's own clock, where it has one that all its gateways share.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(store) => store.clock().await.map(Some),
        }
    }

    /// How many rows one call of a sweep should remove: few enough that nobody who waits for the store notices.
    pub const fn sweep_batch(&self) -> u32 {
        match self {
            Self::Sqlite(_) => sqlite::SWEEP_BATCH,
            Self::Postgres(_) => postgres::SWEEP_BATCH,
        }
    }

    /// What hears of changes that others make; nothing is heard before it is attached. `None` when that is not wanted.
    pub fn ear(&self, hearing: Hearing) -> Option<Ear> {
        match (self, hearing.notify) {
            (_, Notify::Off) => None,
            (Self::Sqlite(store), Notify::Listen | Notify::Poll) => Some(Ear(Way::Watch(store.watcher(hearing)))),
            (Self::Postgres(store), Notify::Listen) => Some(Ear(Way::Listen(Box::new(store.listener())))),
            (Self::Postgres(store), Notify::Poll) => Some(Ear(Way::Poll(store.poller(hearing)))),
        }
    }

    /// The name of the kind of store, for logs and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }
}
