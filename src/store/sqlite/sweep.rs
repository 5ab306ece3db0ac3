//! Removing old rows. The writer is everybody's, so a batch is small.

use rusqlite::{Connection, Params, params};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::store::sweep::{Mark, Stage, Sweep, Swept, idle_millis};

type Id = [u8; 16];

pub(super) fn sweep(db: &Connection, sweep: &Sweep) -> Result<Swept, StoreError> {
    let done = Swept { next: sweep.following(), ..Swept::default() };
    match (sweep.stage, sweep.cutoff()) {
        (Stage::Surplus(from), _) => surplus(db, sweep, from),
        (_, None) => Ok(done),
        (Stage::Ended, Some(cutoff)) => {
            const OLD: &str = "SELECT id FROM sessions WHERE state = 'ended' AND ended_at < ?1 \
                 ORDER BY ended_at, id LIMIT ?2";
            let ids = ids(db, OLD, params![cutoff.as_millis(), sweep.batch])?;
            remove(db, sweep, &ids, Some(cutoff), sweep.stage)
        }
        (Stage::Expired, Some(cutoff)) => {
            const OLD: &str = "SELECT id FROM sessions WHERE state <> 'ended' AND expires_at IS NOT NULL \
                 AND expires_at < ?1 ORDER BY expires_at LIMIT ?2";
            let ids = ids(db, OLD, params![cutoff.as_millis(), sweep.batch])?;
            remove(db, sweep, &ids, Some(cutoff), sweep.stage)
        }
        (Stage::Unused(from), Some(cutoff)) => unused(db, sweep, from, cutoff),
        (Stage::Events(from), Some(cutoff)) => events(db, sweep, from, cutoff),
    }
}

fn ids(db: &Connection, sql: &str, given: impl Params) -> Result<Vec<Id>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(given, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Looks through a page of the sessions that are old enough to be over.
fn unused(db: &Connection, sweep: &Sweep, from: Mark<SessionId>, cutoff: Timestamp) -> Result<Swept, StoreError> {
    let mut page = db.prepare_cached(
        "SELECT s.created_at, s.id, s.state <> 'ended' \
             AND (s.last_seen_at < ?3 - min(coalesce(s.slide_ms, ?4), coalesce(?4, s.slide_ms)) \
                 OR (u.not_before > s.created_at AND u.not_before < ?3)) \
         FROM sessions s JOIN users u ON u.id = s.user_id \
         WHERE (s.created_at, s.id) > (?1, ?2) AND s.created_at < ?3 ORDER BY s.created_at, s.id LIMIT ?5",
    )?;
    let rows = page.query_map(
        params![
            from.at.as_millis(),
            from.id.as_uuid().as_bytes(),
            cutoff.as_millis(),
            idle_millis(&sweep.retention),
            sweep.batch
        ],
        |row| Ok((mark(row.get(0)?, row.get(1)?), row.get::<_, Option<bool>>(2)?.unwrap_or(false))),
    )?;
    let page: Vec<(Mark<SessionId>, bool)> = rows.collect::<Result<_, _>>()?;
    let over: Vec<Id> = page.iter().filter(|(_, over)| *over).map(|(mark, _)| mark.id.as_uuid().into_bytes()).collect();
    let mut swept = remove(db, sweep, &over, Some(cutoff), sweep.stage)?;
    if swept.next != Some(sweep.stage) {
        swept.next = next_page(sweep, page.len(), page.last().map(|(mark, _)| Stage::Unused(*mark)));
    }
    Ok(swept)
}

/// Looks at the users of a page of ended sessions.
fn surplus(db: &Connection, sweep: &Sweep, from: Mark<SessionId>) -> Result<Swept, StoreError> {
    let mut page = db.prepare_cached(
        "SELECT ended_at, id, user_id FROM sessions WHERE state = 'ended' AND (ended_at, id) > (?1, ?2) \
         ORDER BY ended_at, id LIMIT ?3",
    )?;
    let rows = page
        .query_map(params![from.at.as_millis(), from.id.as_uuid().as_bytes(), sweep.batch], |row| {
            Ok((mark(row.get(0)?, row.get(1)?), row.get::<_, String>(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let (found, last) = (rows.len(), rows.last().map(|(mark, _)| Stage::Surplus(*mark)));
    let mut users: Vec<String> = rows.into_iter().map(|(_, user)| user).collect();
    users.sort_unstable();
    users.dedup();

    let mut keep = db.prepare_cached("SELECT coalesce(audit_keep, ?2) FROM users WHERE id = ?1")?;
    let mut doomed: Vec<Id> = Vec::new();
    for user in users {
        let keep: Option<u32> = keep.query_row(params![user, sweep.retention.keep_per_user], |row| row.get(0))?;
        let Some(keep) = keep else { continue };
        // `state = 'ended'` is what the index says of its rows.
        const TOO_MANY: &str = "SELECT id FROM (SELECT id, ended_at FROM sessions WHERE user_id = ?1 AND state = 'ended' \
             ORDER BY ended_at DESC, id DESC LIMIT -1 OFFSET ?2) WHERE ended_at < ?4 LIMIT ?3";
        let room = u64::from(sweep.batch).saturating_sub(count(doomed.len()));
        if room == 0 {
            break;
        }
        doomed.extend(ids(
            db,
            TOO_MANY,
            params![user, keep, i64::try_from(room).unwrap_or(i64::MAX), sweep.settled().as_millis()],
        )?);
    }
    let mut swept = remove(db, sweep, &doomed, None, sweep.stage)?;
    if swept.next != Some(sweep.stage) {
        swept.next = next_page(sweep, found, last);
    }
    Ok(swept)
}

fn events(db: &Connection, sweep: &Sweep, from: Mark<i64>, cutoff: Timestamp) -> Result<Swept, StoreError> {
    let mut page = db.prepare_cached(
        "SELECT e.at, e.id, EXISTS (SELECT 1 FROM sessions s WHERE s.id = e.session_id AND s.state <> 'ended') \
         FROM events e WHERE (e.at, e.id) > (?1, ?2) AND e.at < ?3 ORDER BY e.at, e.id LIMIT ?4",
    )?;
    let rows = page.query_map(params![from.at.as_millis(), from.id, cutoff.as_millis(), sweep.batch], |row| {
        Ok((Mark { at: Timestamp::from_millis(row.get(0)?), id: row.get::<_, i64>(1)? }, row.get::<_, bool>(2)?))
    })?;
    let page: Vec<(Mark<i64>, bool)> = rows.collect::<Result<_, _>>()?;
    let mut delete = db.prepare_cached("DELETE FROM events WHERE id = ?1")?;
    let mut swept = Swept::default();
    for (mark, _) in page.iter().filter(|(_, needed)| !needed) {
        swept.events += count(delete.execute([mark.id])?);
    }
    swept.next = next_page(sweep, page.len(), page.last().map(|(mark, _)| Stage::Events(*mark)));
    Ok(swept)
}

/// Where to go on after a page of so many rows.
fn next_page(sweep: &Sweep, rows: usize, last: Option<Stage>) -> Option<Stage> {
    if count(rows) < u64::from(sweep.batch) { sweep.following() } else { last }
}

/// Removes sessions, and before them what belongs to them: their events from before `cutoff`, or all that tell of a
/// session. When there is more of that than one call may remove, the sessions stay for the next one.
fn remove(
    db: &Connection,
    sweep: &Sweep,
    ids: &[Id],
    cutoff: Option<Timestamp>,
    again: Stage,
) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let mut left = sweep.children();
    let mut tokens = db.prepare_cached(
        "DELETE FROM retired_tokens WHERE rowid IN (SELECT rowid FROM retired_tokens WHERE session_id = ?1 LIMIT ?2)",
    )?;
    let mut events = db.prepare_cached(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE session_id = ?1 \
             AND (at < ?2 OR (?2 IS NULL AND substr(kind, 1, 8) = 'session_')) LIMIT ?3)",
    )?;
    let mut session = db.prepare_cached("DELETE FROM sessions WHERE id = ?1")?;
    for id in ids {
        let removed = tokens.execute(params![id, left])?;
        swept.tokens += count(removed);
        left = left.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX));
        let removed = events.execute(params![id, cutoff.map(Timestamp::as_millis), left])?;
        swept.events += count(removed);
        left = left.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX));
        if left == 0 {
            swept.next = Some(again);
            return Ok(swept);
        }
        swept.sessions += count(session.execute([id])?);
    }
    let full = count(ids.len()) >= u64::from(sweep.batch);
    swept.next = if full { Some(again) } else { sweep.following() };
    Ok(swept)
}

fn mark(at: i64, id: Id) -> Mark<SessionId> {
    Mark { at: Timestamp::from_millis(at), id: SessionId::from_uuid(Uuid::from_bytes(id)) }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
