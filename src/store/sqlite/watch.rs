//! What other processes write into the file.
//!
//! No other gateway does, its lock is ours; but the command line may, and an operator with a tool of his own. SQLite tells
//! whether another connection has committed anything (`PRAGMA data_version`), without a look at any table. It does not tell
//! what, so anything may have changed; that is rare here, and asking this store again costs little.
//!
//! The question is put to the writer's connection: to any other, the writer's own commits would be those of a stranger.

use std::time::Duration;

use rusqlite::Connection;
use tokio::time::sleep;

use super::Sqlite;
use crate::store::{News, Notice, StoreError};

/// Looks every so often whether another process has committed.
#[derive(Debug)]
pub(in crate::store) struct Watcher {
    sqlite: Sqlite,
    interval: Duration,
    seen: Option<Version>,
}

/// What changes when another connection commits: which connection is the writer's, and its count of such commits.
type Version = (u64, i64);

impl Watcher {
    pub(super) const fn new(sqlite: Sqlite, interval: Duration) -> Self {
        Self { sqlite, interval, seen: None }
    }

    pub(in crate::store) async fn attach(&mut self) -> Result<(), StoreError> {
        self.seen = Some(self.sqlite.foreign_version().await?);
        Ok(())
    }

    pub(in crate::store) async fn next(&mut self) -> Result<Notice, StoreError> {
        loop {
            sleep(self.interval).await;
            let version = self.sqlite.foreign_version().await?;
            if self.seen.replace(version) != Some(version) {
                return Ok(Notice { news: News::Anything, own: false, at: None });
            }
        }
    }
}

impl Sqlite {
    async fn foreign_version(&self) -> Result<Version, StoreError> {
        let file = self.file.clone();
        self.write(move |db: &Connection| {
            let commits = db.query_row("PRAGMA data_version", [], |row| row.get(0))?;
            Ok((file.writers(), commits))
        })
        .await
    }
}
