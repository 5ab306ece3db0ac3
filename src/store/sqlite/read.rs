//! What the readers are asked.

use std::net::IpAddr;
use std::str::FromStr as _;

use rusqlite::types::{self, FromSql};
use rusqlite::{Connection, Error, OptionalExtension as _, Row, named_params};

use super::fresh::fresh;
use crate::clock::Timestamp;
use crate::session::{Record, SessionId, UserId};
use crate::store::{Found, Name, Position, StoreError, schema};
use crate::token::Digest;

macro_rules! select {
    ($more:literal, $($rest:expr),+) => {
        concat!(
            "SELECT s.id, s.token_hash, s.user_id, s.roles, s.name, s.email, s.claims, s.state, s.state_reason, \
             s.created_at, s.expires_at, s.last_seen_at, s.last_ip, s.user_agent, s.bound_ip, s.ended_at, s.ended_by, \
             s.format, s.slide_ms, s.device, u.enabled, u.not_before",
            $more,
            " FROM sessions s JOIN users u ON u.id = s.user_id ",
            $($rest),+
        )
    };
}

/// Any sessions; what follows is the condition.
pub(super) const SELECT: &str = select!("", "");

/// By the session's token, or by one that was rotated away; a token is never in both places.
const FIND: &str = concat!(
    select!(", NULL AS usable_until", "WHERE s.token_hash = ?1"),
    " UNION ALL ",
    select!(", r.usable_until", "JOIN retired_tokens r ON r.session_id = s.id WHERE r.token_hash = ?1"),
    " LIMIT 1"
);

const BY_ID: &str = select!("", "WHERE s.id = ?1");

/// The schema's version; 0 for an empty database.
pub(super) fn version(db: &Connection) -> Result<u32, StoreError> {
    let known = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version')";
    if !db.query_row(known, [], |row| row.get::<_, bool>(0))? {
        return Ok(0);
    }
    Ok(db.query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))?)
}

pub(super) fn find(db: &Connection, digest: &Digest) -> Result<Option<Found>, StoreError> {
    let mut statement = db.prepare_cached(FIND)?;
    let found = statement
        .query_row([digest.as_bytes()], |columns| Ok((row(columns)?, columns.get::<_, Option<i64>>("usable_until")?)));
    let Some((row, usable_until)) = found.optional()? else { return Ok(None) };
    Ok(Some(Found { record: Record::try_from(row)?, retired: usable_until.map(Timestamp::from_millis) }))
}

pub(super) fn get(db: &Connection, id: SessionId) -> Result<Option<Record>, StoreError> {
    let mut statement = db.prepare_cached(BY_ID)?;
    let found = statement.query_row([id.as_uuid().as_bytes()], row).optional()?;
    Ok(found.map(Record::try_from).transpose()?)
}

pub(super) fn look_up(db: &Connection, names: &[Name]) -> Result<Vec<Option<Record>>, StoreError> {
    let mut by_token = db.prepare_cached(select!("", "WHERE s.token_hash = ?1"))?;
    let mut by_id = db.prepare_cached(BY_ID)?;
    let look_up = names.iter().map(|name| {
        let found = match name {
            Name::Token(digest) => by_token.query_row([digest.as_bytes()], row),
            Name::Id(id) => by_id.query_row([id.as_uuid().as_bytes()], row),
        };
        match found {
            Ok(row) => Ok(Record::try_from(row).ok()),
            Err(error) if error == Error::QueryReturnedNoRows || is_of_the_row(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    look_up.collect()
}

/// Whether it is what a row holds that cannot be read.
const fn is_of_the_row(error: &Error) -> bool {
    matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..)
    )
}

pub(super) fn list_live(
    db: &Connection,
    user: &UserId,
    after: Option<Position>,
    limit: u32,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Vec<Record>, StoreError> {
    let after = after.unwrap_or(Position::FIRST);
    let mut statement = db.prepare_cached(select!(
        "",
        "WHERE s.user_id = :user AND ",
        fresh!("s.", "active", ":now", ":idle_since"),
        " AND (u.not_before IS NULL OR s.created_at >= u.not_before) \
         AND (s.created_at, s.id) < (:created_at, :id) \
         ORDER BY s.created_at DESC, s.id DESC LIMIT :limit"
    ))?;
    let rows = statement.query_map(
        named_params! {
            ":user": user.as_str(),
            ":now": now.as_millis(),
            ":idle_since": idle_since.map_or(i64::MIN, Timestamp::as_millis),
            ":created_at": after.created_at.as_millis(),
            ":id": after.id.as_uuid().as_bytes(),
            ":limit": limit,
        },
        row,
    )?;
    rows.map(|row| Ok(Record::try_from(row?)?)).collect()
}

/// The columns of [`SELECT`], in their order.
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<schema::Row> {
    let mut columns = Columns { row, next: 0 };
    let columns = &mut columns;
    Ok(schema::Row {
        id: uuid::Uuid::from_bytes(columns.take()?),
        token_hash: columns.take()?,
        user_id: columns.take()?,
        roles: columns.take::<String>()?.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect(),
        name: columns.take()?,
        email: columns.take()?,
        claims: columns.take()?,
        state: columns.take()?,
        state_reason: columns.take()?,
        created_at: Timestamp::from_millis(columns.take()?),
        expires_at: columns.time()?,
        last_seen_at: Timestamp::from_millis(columns.take()?),
        last_ip: columns.address()?,
        user_agent: columns.take()?,
        bound_ip: columns.address()?,
        ended_at: columns.time()?,
        ended_by: columns.take()?,
        format: columns.take()?,
        slide_ms: columns.take()?,
        device: columns.take()?,
        user_enabled: columns.take()?,
        not_before: columns.time()?,
    })
}

/// Reads a row from left to right. To look each column up by its name would take longer than the query.
struct Columns<'row, 'statement> {
    row: &'row Row<'statement>,
    next: usize,
}

impl Columns<'_, '_> {
    fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let column = self.next;
        self.next += 1;
        self.row.get(column)
    }

    fn time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    fn address(&mut self) -> rusqlite::Result<Option<IpAddr>> {
        self.take::<Option<String>>()?.map(parse_address).transpose()
    }
}

pub(super) fn address(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<IpAddr>> {
    row.get::<_, Option<String>>(column)?.map(parse_address).transpose()
}

fn parse_address(text: String) -> rusqlite::Result<IpAddr> {
    IpAddr::from_str(&text).map_err(|error| Error::FromSqlConversionFailure(0, types::Type::Text, Box::new(error)))
}
