//! The database of an application, read so that its sessions can go on here. Nothing is ever written to it.
//!
//! These are the tables of others: nilva-session's, Django's and django-single-session's, as their migrations make them, in
//! SQLite and in PostgreSQL. Both are asked the same statements but for times and UUIDs, and answer in text.

mod ask;

use zeroize::Zeroizing;

use self::ask::{Answer, Database};
use crate::clock::Timestamp;

/// Why an application's database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// Its address cannot be meant. The sentence does not contain it: it may hold a password.
    #[error("--from: {0}")]
    Address(String),
    /// It is away, or does not answer what it is asked.
    #[error("the application's database cannot be read")]
    Unreadable(#[source] super::Source),
    /// A value that such a table never has.
    #[error("the application's table {table} has a row whose {column} cannot be read")]
    Value {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}

/// An application's database.
#[derive(Debug)]
pub struct Foreign(Database);

/// Where an application keeps its users.
#[derive(Clone, Debug)]
pub struct Users {
    /// The table, perhaps with its schema.
    pub table: String,
    /// The column that the gateway knows users by.
    pub column: String,
}

/// A row of nilva-session's `user_session`, with its user.
#[derive(Debug)]
pub struct NilvaRow {
    /// `id` as the database has it: where the next page begins.
    pub place: String,
    /// `id`: a UUID, as text.
    pub id: String,
    /// What the gateway knows the user by.
    pub user: String,
    /// Whether the user may log in.
    pub user_active: bool,
    /// `key`: the token, in clear.
    pub key: Zeroizing<String>,
    /// `expire_at`.
    pub expires_at: Option<Timestamp>,
    /// `is_active`.
    pub active: bool,
    /// `detail`.
    pub detail: Option<String>,
    /// `last_online`.
    pub last_seen_at: Timestamp,
    /// `last_ip`.
    pub last_ip: Option<String>,
    /// `user_agent`.
    pub user_agent: String,
    /// `created_at`.
    pub created_at: Timestamp,
}

/// A row of Django's `django_session`.
#[derive(Debug)]
pub struct DjangoRow {
    /// `session_key`: the value of the cookie, in clear.
    pub key: Zeroizing<String>,
    /// `session_data`: encoded and signed.
    pub data: String,
    /// `expire_date`.
    pub expires_at: Timestamp,
    /// The id of its user by django-single-session's link, where there is one.
    pub linked_user: Option<String>,
}

/// A user of Django.
#[derive(Debug)]
pub struct DjangoUser {
    /// The primary key, as sessions name it.
    pub id: String,
    /// What the gateway knows the user by.
    pub name: String,
    /// Whether the user may log in.
    pub active: bool,
    /// The password's hash.
    pub password: Zeroizing<String>,
}

/// The table of nilva-session.
pub const NILVA_SESSIONS: &str = "user_session";
/// The table of Django's sessions in the database.
pub const DJANGO_SESSIONS: &str = "django_session";
/// The table of django-single-session.
pub const LINKS: &str = "single_session_usersession";

impl Foreign {
    /// Opens `sqlite:PATH` or `postgres://…`, for reading alone.
    ///
    /// # Errors
    /// [`ForeignError::Address`] and [`ForeignError::Unreadable`].
    pub async fn open(url: &str) -> Result<Self, ForeignError> {
        Database::open(url).await.map(Self)
    }

    /// Whether there is such a table, perhaps named with its schema.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn has(&self, table: &str) -> Result<bool, ForeignError> {
        self.0.has(table).await
    }

    /// The sessions of nilva-session that come after the place `after`, in the order of their ids, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn nilva(&self, users: &Users, after: &str, limit: usize) -> Result<Vec<NilvaRow>, ForeignError> {
        let db = &self.0;
        let sql = format!(
            "SELECT CAST(s.id AS text), CAST(u.{user} AS text), CASE WHEN u.is_active THEN '1' ELSE '0' END, s.key, \
             {expires}, CASE WHEN s.is_active THEN '1' ELSE '0' END, s.detail, {seen}, CAST(s.last_ip AS text), \
             s.user_agent, {created} \
             FROM {NILVA_SESSIONS} s JOIN {table} u ON u.id = s.user_id \
             WHERE s.id > {after} ORDER BY s.id LIMIT {limit}",
            user = quoted(&users.column),
            table = quoted(&users.table),
            expires = db.millis("s.expire_at"),
            seen = db.millis("s.last_online"),
            created = db.millis("s.created_at"),
            after = db.uuid("$1"),
        );
        let row = |mut row: Answer| {
            let place = row.required("id")?;
            Ok(NilvaRow {
                id: db.id_text(place.clone()),
                place,
                user: db.id_text(row.required("user_id")?),
                user_active: row.flag(),
                key: Zeroizing::new(row.required("key")?),
                expires_at: row.moment_or_none("expire_at")?,
                active: row.flag(),
                detail: row.text(),
                last_seen_at: row.moment("last_online")?,
                last_ip: row.text(),
                user_agent: row.text().unwrap_or_default(),
                created_at: row.moment("created_at")?,
            })
        };
        db.rows(NILVA_SESSIONS, &sql, &[&db.after(after)]).await?.into_iter().map(row).collect()
    }

    /// Django's sessions whose keys come after `after`, in the order of their keys, at most `limit`; with the links of
    /// django-single-session when `linked`.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn django(&self, linked: bool, after: &str, limit: usize) -> Result<Vec<DjangoRow>, ForeignError> {
        let db = &self.0;
        let (user, join) = if linked {
            ("CAST(l.user_id AS text)", format!("LEFT JOIN {LINKS} l ON l.session_id = s.session_key"))
        } else {
            ("NULL", String::new())
        };
        let sql = format!(
            "SELECT s.session_key, s.session_data, {expires}, {user} FROM {DJANGO_SESSIONS} s {join} \
             WHERE s.session_key > $1 ORDER BY s.session_key LIMIT {limit}",
            expires = db.millis("s.expire_date"),
        );
        let row = |mut row: Answer| {
            Ok(DjangoRow {
                key: Zeroizing::new(row.required("session_key")?),
                data: row.text().unwrap_or_default(),
                expires_at: row.moment("expire_date")?,
                linked_user: row.text().map(|id| db.id_text(id)),
            })
        };
        db.rows(DJANGO_SESSIONS, &sql, &[after]).await?.into_iter().map(row).collect()
    }

    /// All users of Django.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn django_users(&self, users: &Users) -> Result<Vec<DjangoUser>, ForeignError> {
        // SQLite takes a quoted name that is no column for a text, unless the table is named with it: all users would be one.
        let sql = format!(
            "SELECT CAST(u.id AS text), CAST(u.{user} AS text), CASE WHEN u.is_active THEN '1' ELSE '0' END, u.password \
             FROM {table} u",
            user = quoted(&users.column),
            table = quoted(&users.table),
        );
        let row = |mut row: Answer| {
            Ok(DjangoUser {
                id: self.0.id_text(row.required("id")?),
                name: self.0.id_text(row.required("name")?),
                active: row.flag(),
                password: Zeroizing::new(row.text().unwrap_or_default()),
            })
        };
        self.0.rows("of users", &sql, &[]).await?.into_iter().map(row).collect()
    }
}

/// A name as SQL takes it literally, each of its parts.
fn quoted(name: &str) -> String {
    name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_a_statement() {
        assert_eq!(quoted("auth_user"), "\"auth_user\"");
        assert_eq!(quoted("app.users"), "\"app\".\"users\"");
        assert_eq!(quoted("x\" u; DROP TABLE x; --"), "\"x\"\" u; DROP TABLE x; --\"");
    }
}
