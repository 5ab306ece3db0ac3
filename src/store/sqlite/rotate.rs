//! Another token for a session, and what follows when the old one is used too late.

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::write::{self, Doomed, Entry};
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason, SessionId};
use crate::store::schema::{self, kind};
use crate::store::{Ended, Ending, Offender, Rotated, Rotation, StoreError};
use crate::token::Digest;

pub(super) fn rotate(db: &Connection, rotation: &Rotation) -> Result<Rotated, StoreError> {
    let Rotation { id, from, to, grace, actor, now } = rotation;
    let user: Option<String> = db
        .prepare_cached(
            "UPDATE sessions SET token_hash = ?3 WHERE id = ?1 AND token_hash = ?2 AND state = 'active' \
             RETURNING user_id",
        )?
        .query_row(params![id.as_uuid().as_bytes(), from.as_bytes(), to.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(user) = user else {
        let retired = db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM retired_tokens WHERE token_hash = ?1 AND session_id = ?2)")?
            .query_row(params![from.as_bytes(), id.as_uuid().as_bytes()], |row| row.get(0))?;
        return Ok(if retired { Rotated::Already } else { Rotated::Gone });
    };
    db.prepare_cached("INSERT INTO retired_tokens (token_hash, session_id, usable_until) VALUES (?1, ?2, ?3)")?
        .execute(params![from.as_bytes(), id.as_uuid().as_bytes(), now.plus(*grace).as_millis()])?;
    let entry = Entry {
        session: Some(id.as_uuid()),
        user: Some(user),
        actor: schema::actor(actor),
        ..Entry::new(kind::ROTATED, *now, "{}".to_owned())
    };
    entry.insert(db)?;
    Ok(Rotated::Done)
}

pub(super) fn end_reused(
    db: &Connection,
    digest: &Digest,
    offender: Offender<'_>,
    now: Timestamp,
) -> Result<Option<Ended>, StoreError> {
    let found = db
        .prepare_cached(
            "SELECT s.id, s.user_id FROM retired_tokens r JOIN sessions s ON s.id = r.session_id \
             WHERE r.token_hash = ?1 AND r.usable_until <= ?2 AND s.state <> 'ended'",
        )?
        .query_row(params![digest.as_bytes(), now.as_millis()], |row| Ok((row.get(0)?, row.get(1)?)));
    let Some((id, user)): Option<([u8; 16], String)> = found.optional()? else { return Ok(None) };
    let id = Uuid::from_bytes(id);
    let entry = Entry {
        session: Some(id),
        user: Some(user),
        actor: schema::actor(&Actor::Policy),
        ip: Some(offender.ip),
        user_agent: Some(offender.user_agent.to_owned()),
        ..Entry::new(kind::REUSED, now, "{}".to_owned())
    };
    entry.insert(db)?;
    let ending = Ending { reason: EndReason::TokenReused, current: None, actor: &Actor::Policy, now };
    let ended = write::end(db, &Doomed::One(SessionId::from_uuid(id)), ending)?;
    Ok(ended.into_iter().next())
}
