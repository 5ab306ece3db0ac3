//! The database file: how it is created, locked and opened.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{SqliteSettings, search};
use crate::clock;
use crate::store::StoreError;

/// Only the gateway's own user may read it: it names people, their addresses and devices.
const MODE: u32 = 0o600;

/// The database file of a store, opened by each of its threads.
pub(super) struct DatabaseFile {
    path: PathBuf,
    exclusive: bool,
    timeout: Duration,
    /// The lock file once it is locked; the operating system gives the lock back with the last descriptor. Also keeps the
    /// threads from opening the file at the same time: only one of them can switch a new file to WAL.
    hold: Mutex<Option<File>>,
    /// How many connections the writer has had.
    writers: AtomicU64,
}

/// Why nothing can be done with the file. Shared by all the calls that it fails.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It cannot be opened.
    Unopened(Arc<OpenError>),
    /// Another gateway has it.
    InUse(String),
    /// A transaction could not be begun or committed.
    Broken(Arc<rusqlite::Error>),
    /// Another process was in a transaction for too long.
    Busy(Duration),
}

/// The file that cannot be opened, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the database file {}", path.display())]
pub(super) struct OpenError {
    path: PathBuf,
    #[source]
    source: OpenCause,
}

#[derive(Debug, thiserror::Error)]
enum OpenCause {
    #[error(transparent)]
    System(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl From<&Failure> for StoreError {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Unopened(error) => Self::Unreachable(Box::new(Arc::clone(error))),
            Failure::InUse(sentence) => Self::InUse(sentence.clone()),
            Failure::Broken(error) => Self::Failed(Box::new(Arc::clone(error))),
            Failure::Busy(waited) => Self::Timeout(*waited),
        }
    }
}

impl DatabaseFile {
    pub(super) fn new(settings: &SqliteSettings) -> Self {
        Self {
            path: settings.path.clone(),
            exclusive: settings.exclusive,
            timeout: settings.timeout,
            hold: Mutex::new(None),
            writers: AtomicU64::new(0),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many connections the writer has had: what one of them counts means nothing to the next.
    pub(super) fn writers(&self) -> u64 {
        self.writers.load(Ordering::Relaxed)
    }

    /// A new connection for the writer.
    pub(super) fn connect_writer(&self) -> Result<Connection, Failure> {
        self.writers.fetch_add(1, Ordering::Relaxed);
        self.connect()
    }

    /// A new connection, after the file's lock is ours if it has to be.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        // Nothing panics under this lock; were it poisoned, what it guards would still be whole.
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        self.claim_once(&mut hold)?;
        self.open().map_err(|source| self.unopened(source))
    }

    /// Makes the file's lock ours if it has to be.
    pub(super) fn claim(&self) -> Result<(), Failure> {
        self.claim_once(&mut self.hold.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn claim_once(&self, hold: &mut Option<File>) -> Result<(), Failure> {
        if self.exclusive && hold.is_none() {
            *hold = Some(self.lock()?);
        }
        Ok(())
    }

    /// Sorts an error of a whole transaction.
    pub(super) fn broken(&self, error: rusqlite::Error) -> Failure {
        if is_busy(&error) { Failure::Busy(self.timeout) } else { Failure::Broken(Arc::new(error)) }
    }

    fn unopened(&self, source: OpenCause) -> Failure {
        Failure::Unopened(Arc::new(OpenError { path: self.path.clone(), source }))
    }

    /// Takes the lock on `<path>.lock`. It is not on the database file itself, because SQLite's own locks are given up
    /// when any descriptor of that file is closed.
    fn lock(&self) -> Result<File, Failure> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let file = create(Path::new(&path)).map_err(|error| self.unopened(error.into()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Failure::InUse(format!(
                "the database file {} is in use by another gateway: stop that one, or give this one a file of its own \
                 (store.url); several gateways share sessions through PostgreSQL",
                self.path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(self.unopened(error.into())),
        }
    }

    fn open(&self) -> Result<Connection, OpenCause> {
        self.create_once()?;
        let db = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE,
        )?;
        db.busy_timeout(self.timeout)?;
        keep_statements(&db)?;
        search::install(&db)?;
        self.switch_to_wal(&db)?;
        // FULL syncs the log at every commit. With NORMAL, the usual companion of WAL, a power cut could take back
        // commits, and with them revocations that have already been reported as done.
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        Ok(db)
    }

    /// Creates the file, which SQLite would make readable for everybody; its -wal and -shm files take the mode of this one.
    ///
    /// A file that is there is not opened: closing it again would give up the locks of every connection that this process
    /// has to it, and another process that then closes the file would take itself for the last one and delete the log.
    fn create_once(&self) -> io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Switching a file to WAL fails at once, without regard to the busy timeout, while another process has it open.
    fn switch_to_wal(&self, db: &Connection) -> Result<(), OpenCause> {
        const PAUSE: Duration = Duration::from_millis(5);

        let began = clock::monotonic();
        loop {
            let switched = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
            match switched {
                Ok(mode) if mode == "wal" => return Ok(()),
                Ok(_) => return Err(io::Error::other("its file system does not support WAL").into()),
                Err(error) if is_busy(&error) && began.elapsed() < self.timeout => thread::sleep(PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Lets statements that were prepared once be used again as they are.
///
/// By default the plan of most of ours depends on what is bound to it, and so each use makes it anew, which takes several times as
/// long as to run it. A plan for any value is as good: which index is right never hangs on the value here.
pub(super) fn keep_statements(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
