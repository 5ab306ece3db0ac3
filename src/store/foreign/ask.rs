//! One statement to an application's database, whichever it is; the answers are text.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params_from_iter};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::ForeignError;
use crate::clock::Timestamp;
use crate::store::postgres::read_only;
use crate::store::{SecretUrl, StoreError};

/// An open database.
pub(super) enum Database {
    /// A file.
    Sqlite(Mutex<Connection>),
    /// A PostgreSQL database.
    Postgres(Client),
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Postgres(_) => "Postgres",
        })
    }
}

/// A row: its columns are taken from left to right.
pub(super) struct Answer {
    table: &'static str,
    columns: std::vec::IntoIter<Option<String>>,
}

impl Answer {
    pub(super) fn text(&mut self) -> Option<String> {
        self.columns.next().flatten()
    }

    pub(super) fn flag(&mut self) -> bool {
        self.text().as_deref() == Some("1")
    }

    pub(super) fn required(&mut self, column: &'static str) -> Result<String, ForeignError> {
        self.text().ok_or(ForeignError::Value { table: self.table, column })
    }

    pub(super) fn moment_or_none(&mut self, column: &'static str) -> Result<Option<Timestamp>, ForeignError> {
        let millis = self.text().map(|millis| millis.parse().map(Timestamp::from_millis)).transpose();
        millis.map_err(|_| ForeignError::Value { table: self.table, column })
    }

    pub(super) fn moment(&mut self, column: &'static str) -> Result<Timestamp, ForeignError> {
        self.moment_or_none(column)?.ok_or(ForeignError::Value { table: self.table, column })
    }
}

/// How long may pass until the database is reached, and until another one lets go of the file.
const PATIENCE: Duration = Duration::from_secs(10);

impl Database {
    pub(super) async fn open(url: &str) -> Result<Self, ForeignError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let db = Connection::open_with_flags(path, flags).map_err(unreadable)?;
            db.busy_timeout(PATIENCE).map_err(unreadable)?;
            return Ok(Self::Sqlite(Mutex::new(db)));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return match read_only(&SecretUrl::new(url), PATIENCE).await {
                Ok(client) => Ok(Self::Postgres(client)),
                Err(StoreError::Settings { problem, .. }) => Err(ForeignError::Address(problem)),
                Err(error) => Err(ForeignError::Unreadable(Box::new(error))),
            };
        }
        Err(ForeignError::Address("must be sqlite:PATH or postgres://…".to_owned()))
    }

    pub(super) async fn has(&self, table: &str) -> Result<bool, ForeignError> {
        let (sql, name) = match self {
            Self::Sqlite(_) => ("SELECT name FROM sqlite_schema WHERE name = $1", table.to_owned()),
            Self::Postgres(_) => ("SELECT CAST(to_regclass($1) AS text)", super::quoted(table)),
        };
        Ok(self.rows("of tables", sql, &[&name]).await?.into_iter().any(|mut row| row.text().is_some()))
    }

    /// A column of times as milliseconds since the epoch. Django writes UTC into SQLite unless it is told not to use zones.
    pub(super) fn millis(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("CAST(CAST(round(unixepoch({column}, 'subsec') * 1000) AS INTEGER) AS text)"),
            Self::Postgres(_) => format!("CAST(CAST(floor(extract(epoch FROM {column}) * 1000) AS bigint) AS text)"),
        }
    }

    /// A parameter that is compared with a UUID.
    pub(super) fn uuid(&self, parameter: &str) -> String {
        match self {
            Self::Sqlite(_) => parameter.to_owned(),
            Self::Postgres(_) => format!("CAST(CAST({parameter} AS text) AS uuid)"),
        }
    }

    /// The value of that parameter; the empty text comes before every UUID but the nil one.
    pub(super) fn after(&self, place: &str) -> String {
        match self {
            Self::Postgres(_) if place.is_empty() => uuid::Uuid::nil().to_string(),
            Self::Sqlite(_) | Self::Postgres(_) => place.to_owned(),
        }
    }

    /// An id as the application prints it. Django keeps UUIDs in SQLite as 32 hexadecimal digits.
    pub(super) fn id_text(&self, id: String) -> String {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match self {
            Self::Sqlite(_) if id.len() == 32 && id.bytes().all(is_hex) => {
                uuid::Uuid::parse_str(&id).map_or(id, |uuid| uuid.hyphenated().to_string())
            }
            Self::Sqlite(_) | Self::Postgres(_) => id,
        }
    }

    /// Runs a statement about `table`, all of whose columns are text.
    pub(super) async fn rows(
        &self,
        table: &'static str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<Answer>, ForeignError> {
        match self {
            Self::Sqlite(db) => {
                let db = db.lock().unwrap_or_else(PoisonError::into_inner);
                let mut statement = db.prepare_cached(sql).map_err(unreadable)?;
                let columns = statement.column_count();
                let row = |row: &rusqlite::Row<'_>| {
                    (0..columns).map(|column| row.get(column)).collect::<Result<Vec<Option<String>>, _>>()
                };
                let rows = statement.query_map(params_from_iter(parameters), row).map_err(unreadable)?;
                rows.map(|row| row.map(|row| Answer { table, columns: row.into_iter() }).map_err(unreadable)).collect()
            }
            Self::Postgres(client) => {
                let parameters: Vec<&(dyn ToSql + Sync)> =
                    parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
                let rows = client.query(sql, &parameters).await.map_err(unreadable)?;
                let row = |row: &tokio_postgres::Row| {
                    let columns: Result<Vec<Option<String>>, _> = (0..row.len()).map(|at| row.try_get(at)).collect();
                    columns.map(|columns| Answer { table, columns: columns.into_iter() }).map_err(unreadable)
                };
                rows.iter().map(row).collect()
            }
        }
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> ForeignError {
    ForeignError::Unreadable(Box::new(error))
}
