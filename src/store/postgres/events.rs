//! Reading the audit log, and the keys that the gateways of one database share.

use deadpool_postgres::Object;
use tokio_postgres::Row;

use super::call::Trouble;
use super::search::Values;
use super::value::Time;
use crate::session::SessionId;
use crate::store::{EventFilter, EventPosition, EventRow, schema};

pub(super) async fn events(
    client: &Object,
    filter: &EventFilter,
    after: Option<EventPosition>,
    limit: u32,
) -> Result<Vec<EventRow>, Trouble> {
    let EventFilter { user, session, kind, actor, network, since, until } = filter;
    let mut values = Values::default();
    let after = after.unwrap_or(EventPosition::FIRST);
    let mut all = vec![format!("(at, id) < ({}, {})", values.add(Time(after.at)), values.add(after.id))];
    all.extend(user.as_ref().map(|user| format!("user_id = {}", values.add(user.as_str().to_owned()))));
    all.extend(session.map(|session| format!("session_id = {}", values.add(session.as_uuid()))));
    all.extend(kind.as_ref().map(|kind| format!("kind = {}", values.add(schema::storable(kind).into_owned()))));
    all.extend(actor.as_ref().map(|actor| format!("actor = {}", values.add(schema::storable(actor).into_owned()))));
    all.extend(network.map(|network| values.within(&["ip"], network)));
    all.extend(since.map(|since| format!("at >= {}", values.add(Time(since)))));
    all.extend(until.map(|until| format!("at < {}", values.add(Time(until)))));
    let sql = format!(
        "SELECT id, at, kind, session_id, user_id, actor, ip, user_agent, detail FROM events WHERE {} \
         ORDER BY at DESC, id DESC LIMIT {limit}",
        all.join(" AND ")
    );
    let rows = client.query(&sql, &values.given()).await?;
    rows.iter().map(event).collect()
}

fn event(row: &Row) -> Result<EventRow, Trouble> {
    Ok(EventRow {
        id: row.try_get("id")?,
        at: row.try_get::<_, Time>("at")?.0,
        kind: row.try_get("kind")?,
        session: row.try_get::<_, Option<_>>("session_id")?.map(SessionId::from_uuid),
        user: row.try_get("user_id")?,
        actor: row.try_get("actor")?,
        ip: row.try_get("ip")?,
        user_agent: row.try_get("user_agent")?,
        detail: row.try_get("detail")?,
    })
}

pub(super) async fn secret(client: &Object, name: &str) -> Result<[u8; 32], Trouble> {
    let fresh = schema::new_secret().map_err(Trouble::Store)?;
    let insert = "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    client.execute(insert, &[&name, &fresh.as_slice()]).await?;
    // In a statement of its own, which sees the one that was there first.
    let row = client.query_one("SELECT value FROM secrets WHERE name = $1", &[&name]).await?;
    schema::secret(row.try_get(0)?).map_err(Trouble::Store)
}
