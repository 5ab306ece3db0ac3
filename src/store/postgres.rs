//! The shared store: a PostgreSQL database that several gateways use at the same time.
//!
//! Each call takes a connection from the pool, is one transaction, and ends within a deadline that counts everything: the
//! wait for a connection, connecting, and the answer.
//!
//! # Locks
//! A creation locks its user's row first and so waits for other creations of that user; so does whatever depends on the
//! user's settings or changes them, a reactivation among it. Every statement that changes
//! several sessions locks them in the order of their ids, and no transaction has two such statements, so that no two of
//! them can wait for each other.
//!
//! # Cancel safety
//! Dropping an unfinished transaction queues a ROLLBACK ahead of anything that the connection is used for next. A
//! connection that has let a call run into its deadline, or broke, does not go back to the pool.

mod admin;
mod call;
mod connect;
mod create;
mod end;
mod events;
mod fresh;
mod import;
mod limit;
mod listen;
mod migrate;
mod poll;
mod read;
mod rotate;
mod search;
mod sweep;
mod user;
mod value;
mod write;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deadpool_postgres::Pool;

use self::connect::Connector;
pub use self::connect::SecretUrl;
pub(super) use self::connect::read_only;
pub(super) use self::listen::Listener;
pub(super) use self::poll::Poller;
use super::schema::{self, IMPORT_LIMIT, MIGRATION_LIMIT};
use super::{
    Creation, Ended, Ending, Event, Found, Hearing, Imported, ImportedSession, Migrated, Name, NewSession, Notify,
    Offender, Position, Rotated, Rotation, StoreError, Sweep, Swept, Touch, Which,
};
use crate::clock::Timestamp;
use crate::session::{Actor, Record, SessionId, SuspendReason, UserId};
use crate::token::Digest;
use crate::user_agent::Device;

/// How many rows one call of a sweep removes.
pub(super) const SWEEP_BATCH: u32 = 500;

/// How the PostgreSQL store is reached.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database?sslmode=…`; `postgres:///database?host=/run/postgresql` for a socket.
    ///
    /// `sslmode` is `disable`, `prefer`, `require`, `verify-ca` or `verify-full`. Wherever TLS is used, the server's
    /// certificate and name are verified: `require` and `verify-ca` mean here what `verify-full` means. `prefer` goes
    /// without TLS only when the server has none. Without `sslmode`, sockets and this machine's loopback addresses go
    /// without TLS, and everything else as `prefer`.
    pub url: SecretUrl,
    /// The most connections that are open at a time.
    pub pool_size: NonZeroU32,
    /// How long connecting may take, TLS and authentication included.
    pub connect_timeout: Duration,
    /// How long a call may take, the wait for a connection included. The server is told the same limit for statements,
    /// for locks and for transactions that nothing is heard of.
    pub timeout: Duration,
    /// Certificates (PEM) of the authorities that may vouch for the server, instead of the system's. `sslrootcert` in
    /// the URL says the same; this one counts.
    pub ca_file: Option<PathBuf>,
    /// How the changes of others are heard of. But for [`Notify::Listen`], the own ones are not told either.
    pub notify: Notify,
}

/// A PostgreSQL database as a store.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    connector: Arc<Connector>,
    /// By what the notifications of this process are known; random.
    sender: Arc<str>,
    timeout: Duration,
    /// How many calls may wait for a connection.
    queue: usize,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("pool", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Postgres {
    pub(super) fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        const WAITING_PER_CONNECTION: usize = 64;

        let sender = sender()?;
        let (connector, pool) = connect::pool(settings, &sender)?;
        let queue = pool.status().max_size.saturating_mul(WAITING_PER_CONNECTION);
        Ok(Self { pool, connector: Arc::new(connector), sender, timeout: settings.timeout, queue })
    }

    /// What hears of others' changes by asking.
    pub(super) fn poller(&self, hearing: Hearing) -> Poller {
        // The server ends a statement, and a transaction that hears nothing from us, after the timeout each; and a call that
        // takes longer than it in all has its connection closed.
        let longest_transaction = self.timeout.saturating_mul(3);
        Poller::new(self.clone(), hearing.poll_interval, longest_transaction)
    }

    /// What hears of others' changes by being told.
    pub(super) fn listener(&self) -> Listener {
        Listener::new(self.clone())
    }

    /// The time by the database's clock.
    pub(super) async fn clock(&self) -> Result<Timestamp, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let read = call.bounded(read::clock(&client)).await;
        call.settle(client, read)
    }

    /// Sends a notification that only this process heeds, to see whether it arrives.
    async fn notify_self(&self) -> Result<(), StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let sent = call.bounded(listen::send_test(&client, &self.sender)).await;
        call.settle(client, sent)
    }

    pub(super) async fn migrate(&self) -> Result<Migrated, StoreError> {
        // With the ordinary limit, so that a store that is down is not waited for.
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(migrate::version(&client)).await;
        let from = call.settle(client, found)?;
        schema::refuse_newer(from)?;
        if from == schema::VERSION {
            return Ok(Migrated { from, to: from });
        }
        let (call, mut client) = self.begin(MIGRATION_LIMIT).await?;
        let migrated = call.bounded(migrate::migrate(&mut client)).await;
        call.settle(client, migrated)
    }

    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(migrate::version(&client)).await;
        schema::require_current(call.settle(client, found)?)
    }

    pub(super) async fn find(&self, digest: &Digest) -> Result<Option<Found>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(read::find(&client, digest)).await;
        call.settle(client, found)
    }

    pub(super) async fn get(&self, id: SessionId) -> Result<Option<Record>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(read::get(&client, id)).await;
        call.settle(client, found)
    }

    pub(super) async fn look_up(&self, names: Vec<Name>) -> Result<Vec<Option<Record>>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let found = call.bounded(read::look_up(&client, &names)).await;
        call.settle(client, found)
    }

    pub(super) async fn list_live(
        &self,
        user: &UserId,
        after: Option<Position>,
        limit: u32,
        now: Timestamp,
        idle_since: Option<Timestamp>,
    ) -> Result<Vec<Record>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let listed = call.bounded(read::list_live(&client, user, after, limit, now, idle_since)).await;
        call.settle(client, listed)
    }

    pub(super) async fn create(&self, new: NewSession) -> Result<Creation, StoreError> {
        let (call, mut client) = self.begin(self.timeout).await?;
        let created = call.bounded(create::create(&mut client, &new)).await;
        call.settle(client, created)
    }

    pub(super) async fn import(&self, sessions: Vec<ImportedSession>) -> Result<Vec<Imported>, StoreError> {
        let (call, mut client) = self.begin(IMPORT_LIMIT).await?;
        let imported = call.bounded(import::import(&mut client, &sessions)).await;
        call.settle(client, imported)
    }

    pub(super) async fn bind(
        &self,
        id: SessionId,
        user_agent: &str,
        device: &Device,
        ip: IpAddr,
    ) -> Result<(), StoreError> {
        let device = schema::device(Some(device))?;
        let (call, client) = self.begin(self.timeout).await?;
        let bound = call.bounded(write::bind(&client, id, user_agent, device.as_deref(), ip)).await;
        call.settle(client, bound)
    }

    pub(super) async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let rotated = call.bounded(rotate::rotate(&client, &rotation)).await;
        call.settle(client, rotated)
    }

    pub(super) async fn end_reused(
        &self,
        digest: &Digest,
        offender: Offender<'_>,
        now: Timestamp,
    ) -> Result<Option<Ended>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let ended = call.bounded(rotate::end_reused(&client, digest, offender, now)).await;
        call.settle(client, ended)
    }

    pub(super) async fn suspend(
        &self,
        id: SessionId,
        reason: SuspendReason,
        actor: &Actor,
        offender: Option<Offender<'_>>,
        now: Timestamp,
    ) -> Result<Option<Ended>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let suspended = call.bounded(write::suspend(&client, id, reason, actor, offender, now, Some(now))).await;
        call.settle(client, suspended)
    }

    pub(super) async fn end(&self, which: Which<'_>, ending: Ending<'_>) -> Result<Vec<Ended>, StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let ended = call.bounded(end::end(&client, which, ending)).await;
        call.settle(client, ended)
    }

    pub(super) async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        if touches.is_empty() {
            return Ok(());
        }
        let (call, client) = self.begin(self.timeout).await?;
        let touched = call.bounded(write::touch(&client, touches)).await;
        call.settle(client, touched)
    }

    pub(super) async fn record(&self, event: Event) -> Result<(), StoreError> {
        let (call, client) = self.begin(self.timeout).await?;
        let recorded = call.bounded(write::record(&client, &event)).await;
        call.settle(client, recorded)
    }

    pub(super) async fn sweep(&self, sweep: Sweep) -> Result<Swept, StoreError> {
        let (call, mut client) = self.begin(self.timeout).await?;
        let swept = call.bounded(sweep::sweep(&mut client, &sweep)).await;
        call.settle(client, swept)
    }
}

/// A name for the notifications of this process that no other has.
fn sender() -> Result<Arc<str>, StoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| StoreError::Failed(Box::new(error)))?;
    Ok(URL_SAFE_NO_PAD.encode(random).into())
}
