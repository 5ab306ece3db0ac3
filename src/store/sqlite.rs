//! The embedded store: one SQLite file, for a gateway that shares its sessions with no other.
//!
//! SQLite blocks, so it lives on threads of its own: one writes, two read, and bounded queues lead to them. Whatever waits
//! at the writer is committed together, which is what makes a synced commit affordable. A call that finds the queue full
//! is refused at once rather than left to wait for its timeout.

mod admin;
mod events;
mod file;
mod fresh;
mod import;
mod limit;
#[cfg(test)]
mod plans;
mod read;
mod rotate;
mod search;
mod sweep;
mod user;
mod watch;
mod worker;
mod write;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use self::file::{DatabaseFile, Failure};
pub(super) use self::watch::Watcher;
use self::worker::{Job, Task};
use super::schema::{self, IMPORT_LIMIT, MIGRATION_LIMIT};
use super::{
    Creation, Ended, Ending, Event, Found, Hearing, Imported, ImportedSession, Migrated, Name, NewSession, Offender,
    Position, Rotated, Rotation, StoreError, Sweep, Swept, Touch, Which,
};
use crate::clock::{self, Timestamp};
use crate::session::{Actor, Record, SessionId, SuspendReason, UserId};
use crate::token::Digest;
use crate::user_agent::Device;

/// How the embedded store is opened.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The database file; it is created when it does not exist.
    pub path: PathBuf,
    /// Whether to keep other gateways off the file, as the serving gateway must: its cache would not hear of their
    /// changes. The command line opens the file beside a running gateway, without this.
    pub exclusive: bool,
    /// How long a call may take, its waiting included. Also how long to wait for another process's transaction.
    pub timeout: Duration,
}

/// How many calls may wait for the writer, and how many for the readers.
const QUEUE: usize = 1024;
const READERS: usize = 2;
/// How many rows one call of a sweep removes: every other change waits for it.
pub(super) const SWEEP_BATCH: u32 = 25;

/// The embedded store. Its threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Sqlite {
    writer: SyncSender<Box<dyn Job>>,
    readers: SyncSender<Box<dyn Job>>,
    file: Arc<DatabaseFile>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.file.path()).finish_non_exhaustive()
    }
}

impl Sqlite {
    pub(super) fn open(settings: &SqliteSettings) -> Result<Self, StoreError> {
        let file = Arc::new(DatabaseFile::new(settings));
        let (writer, jobs) = sync_channel(QUEUE);
        worker::spawn_writer(jobs, Arc::clone(&file))?;
        let (readers, jobs) = sync_channel(QUEUE);
        worker::spawn_readers(READERS, jobs, &file)?;
        Ok(Self { writer, readers, file })
    }

    pub(super) async fn migrate(&self) -> Result<Migrated, StoreError> {
        let from = self.read(read::version).await?;
        schema::refuse_newer(from)?;
        if from == schema::VERSION {
            return Ok(Migrated { from, to: from });
        }
        self.ask(&self.writer, MIGRATION_LIMIT, write::migrate).await
    }

    pub(super) async fn check(&self) -> Result<(), StoreError> {
        schema::require_current(self.read(read::version).await?)?;
        // The writer does what it is asked one after the other: behind this, nothing is under way any more whose caller has
        // given up waiting.
        self.write(|_| Ok(())).await
    }

    /// Takes the file's lock, or says who has it. Who is just going away is waited for. Anything else that is in the way may
    /// be gone when the file is needed.
    pub(super) fn claim(&self) -> Result<(), StoreError> {
        const PATIENCE: Duration = Duration::from_secs(1);
        const PAUSE: Duration = Duration::from_millis(10);

        let began = clock::uptime();
        loop {
            match self.file.claim() {
                Err(Failure::InUse(_)) if clock::uptime().since(began) < PATIENCE => std::thread::sleep(PAUSE),
                Err(Failure::InUse(sentence)) => return Err(StoreError::InUse(sentence)),
                Ok(()) | Err(_) => return Ok(()),
            }
        }
    }

    /// What notices the commits of other processes.
    pub(super) fn watcher(&self, hearing: Hearing) -> Watcher {
        Watcher::new(self.clone(), hearing.poll_interval)
    }

    pub(super) async fn find(&self, digest: &Digest) -> Result<Option<Found>, StoreError> {
        let digest = *digest;
        self.read(move |db| read::find(db, &digest)).await
    }

    pub(super) async fn get(&self, id: SessionId) -> Result<Option<Record>, StoreError> {
        self.read(move |db| read::get(db, id)).await
    }

    pub(super) async fn look_up(&self, names: Vec<Name>) -> Result<Vec<Option<Record>>, StoreError> {
        self.read(move |db| read::look_up(db, &names)).await
    }

    pub(super) async fn list_live(
        &self,
        user: &UserId,
        after: Option<Position>,
        limit: u32,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Vec<Record>, StoreError> {
        let user = user.clone();
        self.read(move |db| read::list_live(db, &user, after, limit, now, idle_since)).await
    }

    pub(super) async fn create(&self, new: NewSession) -> Result<Creation, StoreError> {
        self.write(move |db| write::create(db, &new)).await
    }

    pub(super) async fn import(&self, sessions: Vec<ImportedSession>) -> Result<Vec<Imported>, StoreError> {
        self.ask(&self.writer, IMPORT_LIMIT, move |db| import::import(db, &sessions)).await
    }

    pub(super) async fn bind(
        &self,
        id: SessionId,
        user_agent: &str,
        device: &Device,
        ip: IpAddr,
    ) -> Result<(), StoreError> {
        let user_agent = schema::storable(user_agent).into_owned();
        let device = schema::device(Some(device))?;
        self.write(move |db| write::bind(db, id, &user_agent, device.as_deref(), ip)).await
    }

    pub(super) async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        self.write(move |db| rotate::rotate(db, &rotation)).await
    }

    pub(super) async fn end_reused(
        &self,
        digest: &Digest,
        offender: Offender<'_>,
        now: Timestamp,
    ) -> Result<Option<Ended>, StoreError> {
        let (digest, ip, user_agent) = (*digest, offender.ip, offender.user_agent.to_owned());
        self.write(move |db| rotate::end_reused(db, &digest, Offender { ip, user_agent: &user_agent }, now)).await
    }

    pub(super) async fn suspend(
        &self,
        id: SessionId,
        reason: SuspendReason,
        actor: &Actor,
        offender: Option<Offender<'_>>,
        now: Timestamp,
    ) -> Result<Option<Ended>, StoreError> {
        let entry = write::Entry {
            actor: schema::actor(actor),
            ip: offender.map(|offender| offender.ip),
            user_agent: offender.map(|offender| offender.user_agent.to_owned()),
            ..write::Entry::new(schema::kind::SUSPENDED, now, schema::reason_detail(reason.name()))
        };
        self.write(move |db| write::suspend(db, id, reason, entry, Some(now))).await
    }

    pub(super) async fn end(&self, which: Which<'_>, ending: Ending<'_>) -> Result<Vec<Ended>, StoreError> {
        let doomed = write::Doomed::from(which);
        let Ending { reason, current, actor, now } = ending;
        let actor = actor.clone();
        self.write(move |db| write::end(db, &doomed, Ending { reason, current, actor: &actor, now })).await
    }

    pub(super) async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        if touches.is_empty() {
            return Ok(());
        }
        let touches = touches.to_vec();
        self.write(move |db| write::touch(db, &touches)).await
    }

    pub(super) async fn record(&self, event: Event) -> Result<(), StoreError> {
        let entry = write::Entry::from(event);
        self.write(move |db| entry.insert(db)).await
    }

    pub(super) async fn sweep(&self, sweep: Sweep) -> Result<Swept, StoreError> {
        self.write(move |db| sweep::sweep(db, &sweep)).await
    }

    async fn read<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(&self.readers, self.file.timeout(), work).await
    }

    async fn write<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(&self.writer, self.file.timeout(), work).await
    }

    /// Hands `work` to a thread and waits for its answer. When this future is dropped before the thread has come to it,
    /// the work is not done at all; after that it is done whole.
    async fn ask<T, W>(&self, queue: &SyncSender<Box<dyn Job>>, limit: Duration, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        queue.try_send(Box::new(Task::new(work, reply))).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Unreachable("the store's thread is gone".into()),
        })?;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(gone)) => Err(StoreError::Failed(Box::new(gone))),
            Err(_elapsed) => Err(StoreError::Timeout(limit)),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(Box::new(error))
    }
}
