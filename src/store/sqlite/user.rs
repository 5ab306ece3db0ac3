//! Users, and what becomes of one session by an administrator's hand.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::fresh::fresh;
use super::write::{self, Entry};
use super::{limit, read, search};
use crate::clock::Timestamp;
use crate::session::{EndReason, Phase, SessionId, State, SuspendReason, UserId};
use crate::store::schema::{self, kind};
use crate::store::{By, Ended, Guard, Limit, Reactivated, StoreError, Suspended, User, UserChange, UserSettings};

fn settings(db: &Connection, user: &UserId) -> Result<Option<UserSettings>, StoreError> {
    let settings = |row: &Row<'_>| {
        Ok(UserSettings {
            enabled: row.get(0)?,
            max_sessions: row.get(1)?,
            audit_keep: row.get(2)?,
            not_before: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        })
    };
    let mut statement =
        db.prepare_cached("SELECT enabled, max_sessions, audit_keep, not_before FROM users WHERE id = ?1")?;
    Ok(statement.query_row([user.as_str()], settings).optional()?)
}

fn count_live(
    db: &Connection,
    user: &UserId,
    not_before: Option<Timestamp>,
    (now, idle_since): (Timestamp, Option<Timestamp>),
    but: Option<SessionId>,
) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached(concat!(
        "SELECT count(*) FROM sessions WHERE user_id = :user AND ",
        fresh!("", "active", ":now", ":idle_since"),
        " AND created_at >= :not_before AND id IS NOT :but",
    ))?;
    let given = named_params! {
        ":user": user.as_str(),
        ":now": now.as_millis(),
        ":idle_since": idle_since.map_or(i64::MIN, Timestamp::as_millis),
        ":not_before": not_before.map_or(i64::MIN, Timestamp::as_millis),
        ":but": but.map(|id| id.as_uuid().into_bytes()),
    };
    Ok(statement.query_row(given, |row| row.get::<_, i64>(0))?.unsigned_abs())
}

pub(super) fn user(
    db: &Connection,
    user: &UserId,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Option<User>, StoreError> {
    let Some(settings) = settings(db, user)? else { return Ok(None) };
    let live_sessions = count_live(db, user, settings.not_before, (now, idle_since), None)?;
    Ok(Some(User { id: user.clone(), settings, live_sessions }))
}

pub(super) fn set_user(
    db: &Connection,
    user: &UserId,
    new: &UserSettings,
    guard: &Guard,
    by: &By,
) -> Result<UserChange, StoreError> {
    if search::is_protected(db, user, guard, by)? {
        return Ok(UserChange::Protected);
    }
    let old = settings(db, user)?.unwrap_or_default();
    db.prepare_cached(
        "INSERT INTO users (id, enabled, max_sessions, audit_keep, not_before) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (id) DO UPDATE SET enabled = ?2, max_sessions = ?3, audit_keep = ?4, not_before = ?5",
    )?
    .execute(params![
        user.as_str(),
        new.enabled,
        schema::number(new.max_sessions),
        schema::number(new.audit_keep),
        new.not_before.map(Timestamp::as_millis),
    ])?;
    // What an earlier moment cut off without touching the rows stays dead when that moment is taken back.
    let before = old.not_before.max(new.not_before);
    let of_user = |before, reason| {
        search::end(db, "user_id = :id", Value::Text(user.as_str().to_owned()), before, (reason, kind::ENDED), by)
    };
    let ended = match (new.enabled, before) {
        (false, _) => of_user(None, EndReason::UserDisabled)?,
        (true, Some(before)) => of_user(Some(before), EndReason::EndedByAdmin)?,
        (true, None) => Vec::new(),
    };
    let changed = old != *new;
    if changed {
        let entry = Entry::of(kind::USER_CHANGED, by, schema::user_detail(&old, new).to_string());
        Entry { user: Some(user.as_str().to_owned()), ..entry }.insert(db)?;
    }
    Ok(UserChange::Done { changed, ended })
}

pub(super) fn suspend(
    db: &Connection,
    id: SessionId,
    guard: &Guard,
    reason: SuspendReason,
    by: &By,
    entry: Entry,
) -> Result<Suspended, StoreError> {
    let Some(record) = read::get(db, id)? else { return Ok(Suspended::NotFound) };
    if search::is_protected(db, &record.principal.user, guard, by)? {
        return Ok(Suspended::Protected);
    }
    match record.state {
        State::Ended(_) => Ok(Suspended::Over),
        State::Suspended(_) => Ok(Suspended::Already),
        State::Active => Ok(write::suspend(db, id, reason, entry, None)?.map_or(Suspended::Over, Suspended::Done)),
    }
}

pub(super) fn reactivate(
    db: &Connection,
    id: SessionId,
    allowed: Limit,
    guard: &Guard,
    by: &By,
) -> Result<Reactivated, StoreError> {
    let Some(record) = read::get(db, id)? else { return Ok(Reactivated::NotFound) };
    let principal = &record.principal;
    if guard.keeps(&principal.roles) || search::is_protected(db, &principal.user, guard, by)? {
        return Ok(Reactivated::Protected);
    }
    match record.phase(by.now, by.idle_since) {
        Phase::Ended => return Ok(Reactivated::Over),
        Phase::Expired => return Ok(Reactivated::Expired),
        Phase::Active => return Ok(Reactivated::NotSuspended),
        Phase::Suspended => {}
    }
    let user = &record.principal.user;
    let settings = settings(db, user)?.unwrap_or_default();
    let mut unused = Vec::new();
    if let Some(limit) = allowed.resolve(settings.max_sessions) {
        let live = count_live(db, user, settings.not_before, (by.now, by.idle_since), Some(id))?;
        if live >= u64::from(limit.get()) {
            return Ok(Reactivated::OverLimit { limit });
        }
        unused = limit::end_unused(db, user, by)?;
    }
    db.prepare_cached(
        "UPDATE sessions SET state = 'active', state_reason = NULL WHERE id = ?1 AND state = 'suspended'",
    )?
    .execute([id.as_uuid().as_bytes()])?;
    let entry = Entry::of(kind::REACTIVATED, by, "{}".to_owned());
    Entry { session: Some(id.as_uuid()), user: Some(user.as_str().to_owned()), ..entry }.insert(db)?;
    Ok(Reactivated::Done { active: Ended { id, digest: record.digest, reason: None }, unused })
}
