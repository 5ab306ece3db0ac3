//! Limits that come into force for sessions that are there already.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use super::fresh::fresh;
use super::{search, write};
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason, UserId};
use crate::store::schema::kind;
use crate::store::user::CROWDS;
use crate::store::{By, Crowd, Crowds, Ended, Limit, OnExceed, StoreError};

pub(super) fn crowds(
    db: &Connection,
    after: Option<&UserId>,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Crowds, StoreError> {
    // Users without a live session are there too, so that the last row says where the next page begins.
    let mut statement = db.prepare_cached(concat!(
        "SELECT u.id, count(s.id), group_concat(s.roles) FROM \
         (SELECT id, not_before FROM users WHERE id > :after ORDER BY id LIMIT :limit) u \
         LEFT JOIN sessions s ON s.user_id = u.id AND ",
        fresh!("s.", "active", ":now", ":idle_since"),
        " AND (u.not_before IS NULL OR s.created_at >= u.not_before) GROUP BY u.id ORDER BY u.id",
    ))?;
    let given = named_params! {
        // No id is empty, so that every one is after this.
        ":after": after.map_or("", UserId::as_str),
        ":limit": CROWDS,
        ":now": now.as_millis(),
        ":idle_since": idle_since.map_or(i64::MIN, Timestamp::as_millis),
    };
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(2)?));
    let rows: Vec<_> = statement.query_map(given, row)?.collect::<Result<_, _>>()?;
    let mut crowds = Crowds::default();
    for (user, _, roles) in rows.iter().filter(|(_, count, _)| *count > 1) {
        crowds.users.extend(Crowd::new(user, roles.as_deref().unwrap_or_default().split(',')));
    }
    if let Some((last, ..)) = rows.last().filter(|_| rows.len() == CROWDS as usize) {
        crowds.next = UserId::parse(last).ok();
    }
    Ok(crowds)
}

pub(super) fn evict_excess(
    db: &Connection,
    user: &UserId,
    limit: Limit,
    now: Timestamp,
) -> Result<Vec<Ended>, StoreError> {
    let settings: Option<(Option<u32>, Option<i64>)> = db
        .prepare_cached("SELECT max_sessions, not_before FROM users WHERE id = ?1")?
        .query_row([user.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((by_user, not_before)) = settings else { return Ok(Vec::new()) };
    let Some(max) = limit.resolve(by_user) else { return Ok(Vec::new()) };
    let order = match limit.on_exceed {
        OnExceed::EvictOldest | OnExceed::RejectNew => "created_at DESC, id DESC",
        OnExceed::EvictLeastRecent => "last_seen_at DESC, id DESC",
    };
    let live = fresh!("", "active", ":now", ":idle_since");
    let mut statement = db.prepare_cached(&format!(
        "SELECT id FROM sessions WHERE user_id = :user AND {live} \
         AND created_at >= :not_before ORDER BY {order} LIMIT -1 OFFSET :max"
    ))?;
    let given = named_params! {
        ":user": user.as_str(),
        ":now": now.as_millis(),
        ":idle_since": limit.idle_since.map_or(i64::MIN, Timestamp::as_millis),
        ":not_before": not_before.unwrap_or(i64::MIN),
        ":max": max.get(),
    };
    let excess: Vec<[u8; 16]> = statement.query_map(given, |row| row.get(0))?.collect::<Result<_, _>>()?;
    let by = By::new(Actor::Policy, now, limit.idle_since);
    let mut ended = Vec::new();
    for id in excess {
        let id = Value::Blob(id.to_vec());
        ended.extend(search::end(db, "id = :id", id, None, (EndReason::Evicted, kind::EVICTED), &by)?);
    }
    ended.extend(end_unused(db, user, &by)?);
    Ok(ended)
}

/// Ends the user's sessions that hold no place because they were not used ([`write::unused_sessions`]).
pub(super) fn end_unused(db: &Connection, user: &UserId, by: &By) -> Result<Vec<Ended>, StoreError> {
    let by = By::new(Actor::Policy, by.now, by.idle_since);
    let mut ended = Vec::new();
    for id in write::unused_sessions(db, user, by.now, by.idle_since)? {
        let id = Value::Blob(id.as_uuid().as_bytes().to_vec());
        ended.extend(search::end(db, "id = :id", id, None, (EndReason::Unused, kind::ENDED), &by)?);
    }
    Ok(ended)
}
