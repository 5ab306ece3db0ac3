//! The gateway's SQLite file, opened beside it: what no call of the gateway can bring about (time that has passed, an
//! administrator's change) and what it wrote down.

use rusqlite::{Connection, Params};

use super::gateway::{Gateway, Issued};

/// A second connection to a gateway's database.
pub struct Database(Connection);

/// A line of the audit log.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: String,
    pub user: Option<String>,
    pub actor: String,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub detail: String,
}

impl Database {
    pub fn of(gateway: &Gateway) -> Self {
        let connection = Connection::open(gateway.directory.path().join("sessions.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        Self(connection)
    }

    /// Changes the row of a session that no request has used yet: the gateway has not cached it.
    pub fn change(&self, session: &Issued, assignments: &str) {
        let sql = format!("UPDATE sessions SET {assignments} WHERE lower(hex(id)) = ?1");
        assert_eq!(self.execute(&sql, [session.id.replace('-', "")]), 1, "{sql}");
    }

    /// A column of a session's row, as text.
    pub fn column(&self, session: &str, column: &str) -> Option<String> {
        let sql = format!("SELECT CAST({column} AS TEXT) FROM sessions WHERE lower(hex(id)) = ?1");
        self.0.query_row(&sql, [session.replace('-', "")], |row| row.get(0)).unwrap()
    }

    pub fn execute(&self, sql: &str, params: impl Params) -> usize {
        self.0.execute(sql, params).unwrap()
    }

    pub fn count(&self, condition: &str) -> u32 {
        let sql = format!("SELECT count(*) FROM sessions WHERE {condition}");
        self.0.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// The audit log's lines of this kind, oldest first.
    pub fn events(&self, kind: &str) -> Vec<Event> {
        let sql = "SELECT kind, user_id, actor, ip, user_agent, detail FROM events WHERE kind = ?1 ORDER BY id";
        let mut statement = self.0.prepare(sql).unwrap();
        let rows = statement.query_map([kind], |row| {
            Ok(Event {
                kind: row.get(0)?,
                user: row.get(1)?,
                actor: row.get(2)?,
                ip: row.get(3)?,
                user_agent: row.get(4)?,
                detail: row.get(5)?,
            })
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }
}
