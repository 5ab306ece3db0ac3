//! The threads that own the connections.
//!
//! # Group commit
//! The writer takes everything that waits, up to a bound, into one transaction and syncs once for all of it. Each job runs
//! in a savepoint of its own, so that a failing one takes nothing of the others with it, and no answer is given before the
//! commit: what a caller has been told is on the disk.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::file::{DatabaseFile, Failure};
use crate::clock;
use crate::store::StoreError;

/// The most jobs that are committed together.
const GROUP: usize = 128;

/// Something to be done on a connection, and somebody who waits for the answer.
pub(super) trait Job: Send {
    /// Whether nobody waits any more.
    fn abandoned(&self) -> bool;
    /// Does it and keeps the answer; says whether it succeeded.
    fn run(&mut self, db: &Connection) -> bool;
    /// Gives the answer, or the failure that came between.
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

/// The [`Job`] of a closure.
pub(super) struct Task<T, W> {
    work: Option<W>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Task<T, W> {
    pub(super) const fn new(work: W, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { work: Some(work), result: None, reply }
    }
}

impl<T, W> Job for Task<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, db: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(db));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, failure: Option<&Failure>) {
        let result = match failure {
            Some(failure) => Some(Err(failure.into())),
            None => self.result,
        };
        if let Some(result) = result {
            // Nobody may be waiting any more; what is done is done.
            let _ = self.reply.send(result);
        }
    }
}

/// Starts the thread that writes. It ends when the queue's last sender is dropped.
pub(super) fn spawn_writer(jobs: Receiver<Box<dyn Job>>, file: Arc<DatabaseFile>) -> Result<(), StoreError> {
    spawn("store-writer", move || {
        let mut connection = None;
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP - 1));
            let failure = write_group(&mut connection, &file, &mut group).err();
            if failure.is_some() {
                // Closing it rolls back whatever is open; the next group begins with a fresh one.
                connection = None;
            }
            for job in group {
                job.answer(failure.as_ref());
            }
        }
    })
}

/// Runs the jobs in one transaction. On failure nothing of any of them remains.
fn write_group(
    connection: &mut Option<Connection>,
    file: &DatabaseFile,
    group: &mut [Box<dyn Job>],
) -> Result<(), Failure> {
    let db = match connection {
        Some(db) => db,
        None => connection.insert(file.connect_writer()?),
    };
    let broken = |error| file.broken(error);
    // IMMEDIATE, so that nothing read inside can be out of date when it is written.
    db.execute_batch("BEGIN IMMEDIATE").map_err(broken)?;
    for job in group {
        // Looked at only now: BEGIN may have waited for another process until nobody waits for us.
        if job.abandoned() {
            continue;
        }
        db.execute_batch("SAVEPOINT job").map_err(broken)?;
        if !job.run(db) {
            // A full disk, for one, ends the whole transaction at once; this then fails, and so does the group.
            db.execute_batch("ROLLBACK TO job").map_err(broken)?;
        }
        db.execute_batch("RELEASE job").map_err(broken)?;
    }
    db.execute_batch("COMMIT").map_err(broken)
}

/// Starts the threads that read. They end when the queue's last sender is dropped.
pub(super) fn spawn_readers(
    count: usize,
    jobs: Receiver<Box<dyn Job>>,
    file: &Arc<DatabaseFile>,
) -> Result<(), StoreError> {
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..count {
        let jobs = Arc::clone(&jobs);
        let file = Arc::clone(file);
        spawn("store-reader", move || {
            let mut connection = None;
            let given_up = Arc::new(AtomicU64::new(u64::MAX));
            // One idle reader waits for the next job while holding the lock, the others wait for the lock.
            while let Some(mut job) = next(&jobs) {
                if job.abandoned() {
                    continue;
                }
                given_up.store(clock::uptime().plus(file.timeout()).as_micros(), Ordering::Relaxed);
                let failure = read_one(&mut connection, &file, &given_up, job.as_mut()).err();
                job.answer(failure.as_ref());
            }
        })?;
    }
    Ok(())
}

fn next(jobs: &Mutex<Receiver<Box<dyn Job>>>) -> Option<Box<dyn Job>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// `given_up` is when nobody waits for the answer any more, in microseconds of uptime: a search in a large file is then broken
/// off, and not in the way of the next.
fn read_one(
    connection: &mut Option<Connection>,
    file: &DatabaseFile,
    given_up: &Arc<AtomicU64>,
    job: &mut dyn Job,
) -> Result<(), Failure> {
    /// Between two looks at the clock, in steps of SQLite's virtual machine: under a millisecond.
    const STEPS: i32 = 10_000;

    let db = match connection {
        Some(db) => db,
        None => {
            let mut db = file.connect()?;
            db.pragma_update(None, "query_only", true).map_err(|error| file.broken(error))?;
            let given_up = given_up.clone();
            let is_late = move || clock::uptime().as_micros() > given_up.load(Ordering::Relaxed);
            db.progress_handler(STEPS, Some(is_late)).map_err(|error| file.broken(error))?;
            connection.insert(db)
        }
    };
    if !job.run(db) {
        // Whatever the matter was, a fresh connection has nothing of it.
        *connection = None;
    }
    Ok(())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let spawned: io::Result<_> = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map(drop).map_err(|error| StoreError::Failed(Box::new(error)))
}
