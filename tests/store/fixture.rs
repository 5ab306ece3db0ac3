//! A store to test, a way around it to look at its tables, and sessions to put in.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use rusqlite::types::ValueRef;
use session_gateway::clock::Timestamp;
use session_gateway::session::{Actor, EndReason, Format, Principal, Record, Role, SessionId, State, UserId};
use session_gateway::store::{
    By, Creation, Ended, Ending, Filter, Guard, Limit, NewSession, Notify, OnExceed, PostgresSettings, SecretUrl,
    Settings, SqliteSettings, Store, Which,
};
use session_gateway::token::Token;
use tempfile::TempDir;

use crate::support::postgres::{self, Database};

pub const UA: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A migrated store.
pub struct Fixture {
    pub store: Store,
    pub settings: Settings,
    pub place: Place,
}

pub enum Place {
    Sqlite(TempDir),
    Postgres(Database),
}

impl Fixture {
    pub async fn sqlite() -> Self {
        let fixture = Self::empty_sqlite();
        fixture.store.migrate().await.unwrap();
        fixture
    }

    pub async fn postgres() -> Self {
        let fixture = Self::empty_postgres();
        fixture.store.migrate().await.unwrap();
        fixture
    }

    pub fn empty_sqlite() -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("sessions.db");
        let settings = Settings::Sqlite(SqliteSettings { path, exclusive: false, timeout: TIMEOUT });
        Self { store: Store::open(&settings).unwrap(), settings, place: Place::Sqlite(place) }
    }

    pub fn empty_postgres() -> Self {
        let place = postgres::fresh_database();
        let settings = Settings::Postgres(postgres_settings(place.url()));
        Self { store: Store::open(&settings).unwrap(), settings, place: Place::Postgres(place) }
    }

    /// Another gateway on the same sessions.
    pub fn another(&self) -> Store {
        Store::open(&self.settings).unwrap()
    }

    /// Changes the tables behind the store's back. Says whether the database let it happen.
    pub async fn execute(&self, sql: &str) -> Result<(), String> {
        match &self.place {
            Place::Sqlite(directory) => {
                let db = rusqlite::Connection::open(directory.path().join("sessions.db")).unwrap();
                db.busy_timeout(TIMEOUT).unwrap();
                db.execute_batch(sql).map_err(|error| error.to_string())
            }
            Place::Postgres(database) => {
                let result = database.connect().await.batch_execute(sql).await;
                result.map_err(|error| error.as_db_error().map(ToString::to_string).unwrap_or_default())
            }
        }
    }

    /// A moment as a literal of the database.
    pub fn literal(&self, time: Timestamp) -> String {
        match self.place {
            Place::Sqlite(_) => time.as_millis().to_string(),
            Place::Postgres(_) => format!("'{time}'"),
        }
    }

    /// Every row of a table as text, in the order in which they were written where the table keeps that.
    pub async fn rows(&self, table: &str) -> Vec<String> {
        match &self.place {
            Place::Sqlite(directory) => {
                let db = rusqlite::Connection::open(directory.path().join("sessions.db")).unwrap();
                let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
                let columns = statement.column_count();
                let row = |row: &rusqlite::Row<'_>| {
                    let show = |column| match row.get_ref(column).unwrap() {
                        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                        other @ (ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_)) => format!("{other:?}"),
                    };
                    Ok((0..columns).map(show).collect::<Vec<_>>().join(","))
                };
                statement.query_map([], row).unwrap().map(Result::unwrap).collect()
            }
            Place::Postgres(database) => {
                let client = database.connect().await;
                let rows = client.query(&format!("SELECT t::text FROM {table} t"), &[]).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// The events of one kind as `user actor detail`.
    pub async fn events(&self, kind: &str) -> Vec<String> {
        let sql = format!("SELECT user_id, actor, detail FROM events WHERE kind = '{kind}' ORDER BY id");
        match &self.place {
            Place::Sqlite(directory) => {
                let db = rusqlite::Connection::open(directory.path().join("sessions.db")).unwrap();
                let mut statement = db.prepare(&sql).unwrap();
                let text = |row: &rusqlite::Row<'_>, column| row.get::<_, String>(column).unwrap();
                let line = |row: &rusqlite::Row<'_>| Ok(format!("{} {} {}", text(row, 0), text(row, 1), text(row, 2)));
                statement.query_map([], line).unwrap().map(Result::unwrap).map(squeeze).collect()
            }
            Place::Postgres(database) => {
                let sql = sql.replace("detail", "detail::text");
                let rows = database.connect().await.query(&sql, &[]).await.unwrap();
                let text = |row: &tokio_postgres::Row, column: usize| row.get::<_, String>(column);
                let line = |row| format!("{} {} {}", text(row, 0), text(row, 1), text(row, 2));
                rows.iter().map(line).map(squeeze).collect()
            }
        }
    }

    /// Creates a session that must succeed; the sessions that ended for it.
    pub async fn create(&self, new: NewSession) -> (SessionId, Vec<Ended>) {
        let id = new.id;
        match self.store.create(new).await.unwrap() {
            Creation::Created { ended } => (id, ended),
            refused @ (Creation::TooMany { .. } | Creation::UserDisabled) => panic!("{refused:?}"),
        }
    }

    /// Creates a session of `user` at a moment.
    pub async fn session(&self, user: &str, at: Timestamp) -> SessionId {
        self.create(new(user, at)).await.0
    }

    pub async fn get(&self, id: SessionId) -> Record {
        self.store.get(id).await.unwrap().unwrap()
    }

    pub async fn state(&self, id: SessionId) -> State {
        self.get(id).await.state
    }

    /// The ids that the user's list shows.
    pub async fn live(&self, user: &str, now: Timestamp) -> Vec<SessionId> {
        let listed = self.store.list_live(&self::user(user), None, 1000, now, None).await.unwrap();
        listed.iter().map(|record| record.id).collect()
    }

    /// The ids that a search finds.
    pub async fn found(&self, filter: &Filter, now: Timestamp) -> Vec<SessionId> {
        let found = self.store.search(filter, None, 1000, now, None).await.unwrap();
        found.iter().map(|record| record.id).collect()
    }

    pub async fn end(&self, which: Which<'_>, reason: EndReason, current: Option<SessionId>) -> Vec<Ended> {
        let actor = Actor::Service("login".to_owned());
        self.store.end(which, Ending { reason, current, actor: &actor, now: at(500) }).await.unwrap()
    }
}

/// JSON without spaces: one database writes them and the other does not.
fn squeeze(line: String) -> String {
    line.replace(" : ", ":").replace(": ", ":").replace(", ", ",")
}

pub fn postgres_settings(url: String) -> PostgresSettings {
    PostgresSettings {
        url: SecretUrl::new(url),
        pool_size: NonZeroU32::new(8).unwrap(),
        connect_timeout: TIMEOUT,
        timeout: TIMEOUT,
        ca_file: None,
        notify: Notify::Listen,
    }
}

/// So many seconds after the beginning of the test's world.
pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_763_656_204_000).plus(Duration::from_secs(seconds))
}

pub fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub fn role(name: &str) -> Role {
    Role::parse(name).unwrap()
}

/// A session of `user` with a role, created at a moment.
pub fn new_with_role(user: &str, role: &str, now: Timestamp) -> NewSession {
    let mut new = new(user, now);
    new.principal.roles.push(self::role(role));
    new
}

/// An administrator at a moment.
pub fn by(now: Timestamp) -> By {
    let admin = By::new(Actor::Admin(user("root")), now, None);
    By { ip: Some(ip("198.51.100.9")), user_agent: Some("console\0".to_owned()), ..admin }
}

/// Keeps the user `chief`, and everybody with a live session of the role `superuser`.
pub fn guard() -> Guard {
    Guard { users: [user("chief")].into(), roles: [role("superuser"), role("owner")].into() }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn max(limit: u32, on_exceed: OnExceed) -> Limit {
    Limit { by_call: None, by_policy: NonZeroU32::new(limit), on_exceed, idle_since: None }
}

/// A session of `user`, without limit, created at a moment.
pub fn new(user: &str, now: Timestamp) -> NewSession {
    new_with_token(user, now).0
}

pub fn new_with_token(user: &str, now: Timestamp) -> (NewSession, Token) {
    let token = Token::generate(32).unwrap();
    let new = NewSession {
        id: SessionId::generate().unwrap(),
        digest: token.digest(),
        principal: Principal::of(self::user(user)),
        now,
        expires_at: Some(now.plus(Duration::from_secs(1000))),
        user_agent: Some(UA.to_owned()),
        ip: Some(ip("192.0.2.1")),
        limit: max(0, OnExceed::EvictOldest),
        replaces: None,
        actor: Actor::Service("login".to_owned()),
        format: Format::Opaque,
        slide: None,
        device: None,
    };
    (new, token)
}

pub fn ids(ended: &[Ended]) -> Vec<SessionId> {
    let mut ids: Vec<_> = ended.iter().map(|ended| ended.id).collect();
    ids.sort();
    ids
}

pub fn sorted(mut ids: Vec<SessionId>) -> Vec<SessionId> {
    ids.sort();
    ids
}
