//! Looking sessions up: one statement for each kind of name.

use std::collections::HashMap;

use deadpool_postgres::{GenericClient, Object};
use tokio_postgres::Row;

use super::call::Trouble;
use super::fresh::fresh;
use super::value::Time;
use crate::clock::Timestamp;
use crate::session::{Record, SessionId, UserId};
use crate::store::{Found, Name, Position, schema};
use crate::token::Digest;

macro_rules! select {
    ($more:literal, $($rest:expr),+) => {
        concat!(
            "SELECT s.id, s.token_hash, s.user_id, s.roles, s.name, s.email, s.claims::text AS claims, s.state, \
             s.state_reason, s.created_at, s.expires_at, s.last_seen_at, s.last_ip, s.user_agent, s.bound_ip, \
             s.ended_at, s.ended_by, s.format, s.slide_ms, s.device::text AS device, u.enabled, u.not_before",
            $more,
            " FROM sessions s JOIN users u ON u.id = s.user_id ",
            $($rest),+
        )
    };
}

/// Any sessions; what follows is the condition.
pub(super) const SELECT: &str = select!("", "");

/// By the session's token, or by one that was rotated away. A token is never in both places.
const FIND: &str = concat!(
    select!(", NULL::timestamptz AS usable_until", "WHERE s.token_hash = $1"),
    " UNION ALL ",
    select!(", r.usable_until", "JOIN retired_tokens r ON r.session_id = s.id WHERE r.token_hash = $1"),
    " LIMIT 1"
);

pub(super) async fn find(client: &Object, digest: &Digest) -> Result<Option<Found>, Trouble> {
    let statement = client.prepare_cached(FIND).await?;
    let Some(row) = client.query_opt(&statement, &[&digest.as_bytes().as_slice()]).await? else { return Ok(None) };
    let retired = row.try_get::<_, Option<Time>>("usable_until")?.map(|time| time.0);
    Ok(Some(Found { record: record(&row)?, retired }))
}

pub(super) async fn clock(client: &Object) -> Result<Timestamp, Trouble> {
    // By its whole name: it is not looked for among the functions that others may have made.
    let statement = client.prepare_cached("SELECT session_gateway.database_time()").await?;
    Ok(client.query_one(&statement, &[]).await?.try_get::<_, Time>(0)?.0)
}

pub(super) async fn get(client: &impl GenericClient, id: SessionId) -> Result<Option<Record>, Trouble> {
    let statement = client.prepare_cached(select!("", "WHERE s.id = $1")).await?;
    let found = client.query_opt(&statement, &[&id.as_uuid()]).await?;
    found.as_ref().map(record).transpose()
}

pub(super) async fn look_up(client: &Object, names: &[Name]) -> Result<Vec<Option<Record>>, Trouble> {
    let (mut digests, mut ids) = (Vec::new(), Vec::new());
    for name in names {
        match name {
            Name::Token(digest) => digests.push(digest.as_bytes().as_slice()),
            Name::Id(id) => ids.push(id.as_uuid()),
        }
    }
    let mut found = HashMap::with_capacity(names.len());
    if !digests.is_empty() {
        let statement = client.prepare_cached(select!("", "WHERE s.token_hash = ANY ($1)")).await?;
        for row in client.query(&statement, &[&digests]).await? {
            if let Ok(record) = record(&row) {
                found.insert(Name::Token(record.digest), record);
            }
        }
    }
    if !ids.is_empty() {
        let statement = client.prepare_cached(select!("", "WHERE s.id = ANY ($1)")).await?;
        for row in client.query(&statement, &[&ids]).await? {
            if let Ok(record) = record(&row) {
                found.insert(Name::Id(record.id), record);
            }
        }
    }
    Ok(names.iter().map(|name| found.get(name).cloned()).collect())
}

pub(super) async fn list_live(
    client: &Object,
    user: &UserId,
    after: Option<Position>,
    limit: u32,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Vec<Record>, Trouble> {
    let after = after.unwrap_or(Position::FIRST);
    let statement = client
        .prepare_cached(select!(
            "",
            "WHERE s.user_id = $1 AND ",
            fresh!("s.", "active", "$2::timestamptz", "$3::timestamptz"),
            " AND (u.not_before IS NULL OR s.created_at >= u.not_before) AND (s.created_at, s.id) < ($4, $5) \
             ORDER BY s.created_at DESC, s.id DESC LIMIT $6"
        ))
        .await?;
    let rows = client
        .query(
            &statement,
            &[
                &user.as_str(),
                &Time(now),
                &Time(idle_since.unwrap_or(Timestamp::from_millis(i64::MIN))),
                &Time(after.created_at),
                &after.id.as_uuid(),
                &i64::from(limit),
            ],
        )
        .await?;
    rows.iter().map(record).collect()
}

pub(super) fn record(row: &Row) -> Result<Record, Trouble> {
    let time_opt = |column| Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<Time>>(column)?.map(|time| time.0));
    let time = |column| Ok::<_, tokio_postgres::Error>(row.try_get::<_, Time>(column)?.0);
    let row = schema::Row {
        id: row.try_get("id")?,
        token_hash: row.try_get("token_hash")?,
        user_id: row.try_get("user_id")?,
        roles: row.try_get("roles")?,
        name: row.try_get("name")?,
        email: row.try_get("email")?,
        claims: row.try_get("claims")?,
        state: row.try_get("state")?,
        state_reason: row.try_get("state_reason")?,
        created_at: time("created_at")?,
        expires_at: time_opt("expires_at")?,
        last_seen_at: time("last_seen_at")?,
        last_ip: row.try_get("last_ip")?,
        user_agent: row.try_get("user_agent")?,
        bound_ip: row.try_get("bound_ip")?,
        ended_at: time_opt("ended_at")?,
        ended_by: row.try_get("ended_by")?,
        user_enabled: row.try_get("enabled")?,
        not_before: time_opt("not_before")?,
        format: row.try_get("format")?,
        slide_ms: row.try_get("slide_ms")?,
        device: row.try_get("device")?,
    };
    Ok(Record::try_from(row)?)
}
