//! Reading the audit log, and the gateway's own keys.

use rusqlite::{Connection, Row, params, types};
use uuid::Uuid;

use super::read;
use super::search::Values;
use crate::clock::Timestamp;
use crate::session::SessionId;
use crate::store::{EventFilter, EventPosition, EventRow, StoreError, schema};

pub(super) fn events(
    db: &Connection,
    filter: &EventFilter,
    after: Option<EventPosition>,
    limit: u32,
) -> Result<Vec<EventRow>, StoreError> {
    let EventFilter { user, session, kind, actor, network, since, until } = filter;
    let mut values = Values::default();
    let after = after.unwrap_or(EventPosition::FIRST);
    let mut all = vec![format!("(at, id) < ({}, {})", values.time(after.at), values.add(after.id))];
    all.extend(user.as_ref().map(|user| format!("user_id = {}", values.add(user.as_str().to_owned()))));
    all.extend(session.map(|session| format!("session_id = {}", values.id(session.as_uuid()))));
    all.extend(kind.as_ref().map(|kind| format!("kind = {}", values.add(kind.clone()))));
    all.extend(actor.as_ref().map(|actor| format!("actor = {}", values.add(schema::storable(actor).into_owned()))));
    all.extend(network.map(|network| values.within(&["ip"], network)));
    all.extend(since.map(|since| format!("at >= {}", values.time(since))));
    all.extend(until.map(|until| format!("at < {}", values.time(until))));
    let sql = format!(
        "SELECT id, at, kind, session_id, user_id, actor, ip, user_agent, detail FROM events WHERE {} \
         ORDER BY at DESC, id DESC LIMIT {limit}",
        all.join(" AND ")
    );
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map(values.given(), event)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn event(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let detail: String = row.get("detail")?;
    let detail = serde_json::from_str(&detail)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, types::Type::Text, Box::new(error)))?;
    Ok(EventRow {
        id: row.get("id")?,
        at: Timestamp::from_millis(row.get("at")?),
        kind: row.get("kind")?,
        session: row.get::<_, Option<[u8; 16]>>("session_id")?.map(|id| SessionId::from_uuid(Uuid::from_bytes(id))),
        user: row.get("user_id")?,
        actor: row.get("actor")?,
        ip: read::address(row, "ip")?,
        user_agent: row.get("user_agent")?,
        detail,
    })
}

pub(super) fn secret(db: &Connection, name: &str) -> Result<[u8; 32], StoreError> {
    let fresh = schema::new_secret()?;
    db.execute(
        "INSERT INTO secrets (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
        params![name, fresh],
    )?;
    let kept: Vec<u8> = db.query_row("SELECT value FROM secrets WHERE name = ?1", [name], |row| row.get(0))?;
    schema::secret(&kept)
}
