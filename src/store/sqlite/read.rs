//! What the readers are asked.

use std::net::IpAddr;
use std::str::FromStr as _;

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, types};

use super::fresh::fresh;
use crate::clock::Timestamp;
use crate::session::{Record, SessionId, UserId};
use crate::store::{Found, Position, StoreError, schema};
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
    let mut statement = db.prepare_cached(select!("", "WHERE s.id = ?1"))?;
    let found = statement.query_row([id.as_uuid().as_bytes()], row).optional()?;
    Ok(found.map(Record::try_from).transpose()?)
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

pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<schema::Row> {
    let time = |column| row.get(column).map(Timestamp::from_millis);
    let time_opt = |column| row.get(column).map(|millis: Option<i64>| millis.map(Timestamp::from_millis));
    let roles: String = row.get("roles")?;
    Ok(schema::Row {
        id: uuid::Uuid::from_bytes(row.get("id")?),
        token_hash: row.get("token_hash")?,
        user_id: row.get("user_id")?,
        roles: roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect(),
        name: row.get("name")?,
        email: row.get("email")?,
        claims: row.get("claims")?,
        state: row.get("state")?,
        state_reason: row.get("state_reason")?,
        created_at: time("created_at")?,
        expires_at: time_opt("expires_at")?,
        last_seen_at: time("last_seen_at")?,
        last_ip: address(row, "last_ip")?,
        user_agent: row.get("user_agent")?,
        bound_ip: address(row, "bound_ip")?,
        ended_at: time_opt("ended_at")?,
        ended_by: row.get("ended_by")?,
        user_enabled: row.get("enabled")?,
        format: row.get("format")?,
        slide_ms: row.get("slide_ms")?,
        device: row.get("device")?,
        not_before: time_opt("not_before")?,
    })
}

pub(super) fn address(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<IpAddr>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| {
        IpAddr::from_str(&text)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, types::Type::Text, Box::new(error)))
    })
    .transpose()
}
