//! Taking over sessions that began elsewhere.

use rusqlite::{Connection, params};

use super::write::Entry;
use crate::clock::Timestamp;
use crate::session::Format;
use crate::store::schema::{self, kind};
use crate::store::{Imported, ImportedSession, StoreError};
use crate::user_agent::{ClientHints, Device};

pub(super) fn import(db: &Connection, sessions: &[ImportedSession]) -> Result<Vec<Imported>, StoreError> {
    sessions.iter().map(|session| one(db, session)).collect()
}

fn one(db: &Connection, new: &ImportedSession) -> Result<Imported, StoreError> {
    let principal = &new.principal;
    let user = principal.user.as_str();
    db.prepare_cached("INSERT INTO users (id) VALUES (?1) ON CONFLICT (id) DO NOTHING")?.execute([user])?;
    let enabled: bool =
        db.prepare_cached("SELECT enabled FROM users WHERE id = ?1")?.query_row([user], |row| row.get(0))?;
    if !enabled {
        return Ok(Imported::UserDisabled);
    }
    let roles: Vec<&str> = principal.roles.iter().map(|role| role.as_str()).collect();
    let (state, reason, ended_at) = new.state_columns();
    let device = new.user_agent.as_deref().map(|agent| Device::of(agent, &ClientHints::default()));
    let created = db
        .prepare_cached(
            "INSERT INTO sessions (id, token_hash, user_id, roles, name, email, claims, state, state_reason, created_at, \
             expires_at, last_seen_at, last_ip, user_agent, ended_at, ended_by, format, device) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            new.id.as_uuid().as_bytes(),
            new.digest.as_bytes(),
            user,
            roles.join(","),
            schema::storable_opt(principal.name.as_deref()),
            schema::storable_opt(principal.email.as_deref()),
            schema::claims(principal),
            state,
            reason,
            new.created_at.as_millis(),
            new.expires_at.map(Timestamp::as_millis),
            new.last_seen_at.as_millis(),
            new.last_ip.map(|ip| ip.to_string()),
            schema::storable_opt(new.user_agent.as_deref()),
            ended_at.map(Timestamp::as_millis),
            ended_at.map(|_| schema::actor(&new.actor)),
            Format::Opaque.name(),
            schema::device(device.as_ref())?,
        ])?;
    if created == 0 {
        return Ok(Imported::Exists);
    }
    let entry = Entry {
        session: Some(new.id.as_uuid()),
        user: Some(user.to_owned()),
        actor: schema::actor(&new.actor),
        ip: new.last_ip,
        user_agent: new.user_agent.clone(),
        ..Entry::new(kind::CREATED, new.now, new.detail())
    };
    entry.insert(db)?;
    Ok(Imported::Created)
}
