//! What the writer is asked. Each function runs inside the writer's transaction, with nobody else writing.

use std::net::IpAddr;

use rusqlite::{Connection, Row, named_params, params};
use uuid::Uuid;

use super::fresh::{fresh, unused};
use super::read;
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason, SessionId, SuspendReason, UserId};
use crate::store::schema::{self, kind};
use crate::store::{By, Creation, Ended, Ending, Event, Migrated, NewSession, OnExceed, StoreError, Touch, Which};

pub(super) fn migrate(db: &Connection) -> Result<Migrated, StoreError> {
    let from = read::version(db)?;
    schema::refuse_newer(from)?;
    for (to, script) in (1_u32..).zip(schema::SQLITE).filter(|(to, _)| *to > from) {
        db.execute_batch(script)?;
        db.execute("DELETE FROM schema_version", [])?;
        db.execute("INSERT INTO schema_version (version) VALUES (?1)", [to])?;
    }
    Ok(Migrated { from, to: schema::VERSION })
}

pub(super) fn create(db: &Connection, new: &NewSession) -> Result<Creation, StoreError> {
    let user = new.principal.user.as_str();
    db.prepare_cached("INSERT INTO users (id) VALUES (?1) ON CONFLICT (id) DO NOTHING")?.execute([user])?;
    let (enabled, max_sessions, not_before): (bool, Option<u32>, Option<i64>) = db
        .prepare_cached("SELECT enabled, max_sessions, not_before FROM users WHERE id = ?1")?
        .query_row([user], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if !enabled {
        return Ok(Creation::UserDisabled);
    }

    let mut leaving = Vec::new();
    if let Some(limit) = new.limit.resolve(max_sessions) {
        let live = live_sessions(db, new, not_before)?;
        let max = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let excess = (live.len() + 1).saturating_sub(max);
        if excess > 0 && new.limit.on_exceed == OnExceed::RejectNew {
            // Nothing has been changed: a user with live sessions had a row already.
            return Ok(Creation::TooMany { limit });
        }
        leaving.extend(live.into_iter().take(excess).map(|id| (id, EndReason::Evicted)));
        let unused = unused_sessions(db, &new.principal.user, new.now, new.limit.idle_since)?;
        leaving.extend(unused.into_iter().map(|id| (id, EndReason::Unused)));
    }

    let mut ended = Vec::new();
    if let Some(replaced) = new.replaces {
        ended.extend(end_for(db, replaced, new, EndReason::Replaced)?);
    }
    for (id, reason) in leaving {
        ended.extend(end_for(db, id, new, reason)?);
    }
    // Where the clock was set back behind the moment that cut the user's sessions off, the new one is not born dead.
    insert(db, new, not_before.map_or(new.now, |cut| new.now.max(Timestamp::from_millis(cut))))?;
    Ok(Creation::Created { ended })
}

/// The user's live sessions but for the one to be replaced, those first that give way first.
fn live_sessions(db: &Connection, new: &NewSession, not_before: Option<i64>) -> Result<Vec<SessionId>, StoreError> {
    let order = match new.limit.on_exceed {
        OnExceed::EvictOldest | OnExceed::RejectNew => "created_at, id",
        OnExceed::EvictLeastRecent => "last_seen_at, id",
    };
    let live = fresh!("", "active", ":now", ":idle_since");
    let mut statement = db.prepare_cached(&format!(
        "SELECT id FROM sessions WHERE user_id = :user AND {live} AND created_at >= :not_before AND id IS NOT :replaced ORDER BY {order}"
    ))?;
    let rows = statement.query_map(
        named_params! {
            ":user": new.principal.user.as_str(),
            ":now": new.now.as_millis(),
            ":idle_since": new.limit.idle_since.map_or(i64::MIN, Timestamp::as_millis),
            ":not_before": not_before.unwrap_or(i64::MIN),
            ":replaced": new.replaces.map(|id| id.as_uuid().into_bytes()),
        },
        |row| Ok(SessionId::from_uuid(Uuid::from_bytes(row.get(0)?))),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The user's sessions that hold no place because they were not used. Whoever counts places ends them: a use of theirs may
/// be on its way here, and after it they would live beside the one that took their place.
pub(super) fn unused_sessions(
    db: &Connection,
    user: &UserId,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Vec<SessionId>, StoreError> {
    let mut statement = db.prepare_cached(concat!(
        "SELECT id FROM sessions WHERE user_id = :user AND ",
        unused!(":now", ":idle_since")
    ))?;
    let given = named_params! {
        ":user": user.as_str(),
        ":now": now.as_millis(),
        ":idle_since": idle_since.map_or(i64::MIN, Timestamp::as_millis),
    };
    let rows = statement.query_map(given, |row| Ok(SessionId::from_uuid(Uuid::from_bytes(row.get(0)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ends one session because the new one comes.
fn end_for(db: &Connection, id: SessionId, new: &NewSession, reason: EndReason) -> Result<Option<Ended>, StoreError> {
    let kind = if reason == EndReason::Evicted { kind::EVICTED } else { kind::ENDED };
    let actor = if reason == EndReason::Replaced { &new.actor } else { &Actor::Policy };
    let ending = Ending { reason, current: None, actor, now: new.now };
    let mut statement = db.prepare_cached(&format!("{END} AND id = :id {RETURNING}"))?;
    let mut rows = statement.query_map(
        named_params! {
            ":reason": reason.name(), ":current": None::<[u8; 16]>, ":now": new.now.as_millis(),
            ":actor": schema::actor(actor), ":id": id.as_uuid().as_bytes(),
        },
        gone,
    )?;
    let Some(gone) = rows.next().transpose()? else { return Ok(None) };
    gone.log(db, &ending, kind, schema::gave_way_detail(reason, new.id))?;
    Ok(Some(gone.ended()?))
}

fn insert(db: &Connection, new: &NewSession, born: Timestamp) -> Result<(), StoreError> {
    let principal = &new.principal;
    let roles: Vec<&str> = principal.roles.iter().map(|role| role.as_str()).collect();
    let user_agent = schema::storable_opt(new.user_agent.as_deref());
    let ip = new.ip.map(|ip| ip.to_string());
    db.prepare_cached(
        "INSERT INTO sessions (id, token_hash, user_id, roles, name, email, claims, created_at, expires_at, \
         last_seen_at, last_ip, user_agent, bound_ip, format, slide_ms, device) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?8, ?10, ?11, ?10, ?12, ?13, ?14)",
    )?
    .execute(params![
        new.id.as_uuid().as_bytes(),
        new.digest.as_bytes(),
        principal.user.as_str(),
        roles.join(","),
        schema::storable_opt(principal.name.as_deref()),
        schema::storable_opt(principal.email.as_deref()),
        schema::claims(principal),
        born.as_millis(),
        new.expires_at.map(Timestamp::as_millis),
        ip,
        user_agent,
        new.format.name(),
        schema::slide(new.slide),
        schema::device(new.device.as_ref())?,
    ])?;
    let entry = Entry {
        session: Some(new.id.as_uuid()),
        user: Some(principal.user.as_str().to_owned()),
        actor: schema::actor(&new.actor),
        ip: new.ip,
        user_agent: new.user_agent.clone(),
        ..Entry::new(kind::CREATED, new.now, "{}".to_owned())
    };
    entry.insert(db)
}

pub(super) fn bind(
    db: &Connection,
    id: SessionId,
    user_agent: &str,
    device: Option<&str>,
    ip: IpAddr,
) -> Result<(), StoreError> {
    // The device goes with the User-Agent that it was read from.
    db.prepare_cached(
        "UPDATE sessions SET device = CASE WHEN user_agent IS NULL THEN ?4 ELSE device END, \
         user_agent = coalesce(user_agent, ?2), bound_ip = coalesce(bound_ip, ?3) \
         WHERE id = ?1 AND state = 'active' AND (user_agent IS NULL OR bound_ip IS NULL)",
    )?
    .execute(params![id.as_uuid().as_bytes(), user_agent, ip.to_string(), device])?;
    Ok(())
}

/// A reactivation after the moment `unless_after` stands against it.
pub(super) fn suspend(
    db: &Connection,
    id: SessionId,
    reason: SuspendReason,
    entry: Entry,
    unless_after: Option<Timestamp>,
) -> Result<Option<Ended>, StoreError> {
    let mut statement = db.prepare_cached(
        "UPDATE sessions SET state = 'suspended', state_reason = ?2 WHERE id = ?1 AND state = 'active' \
             AND NOT EXISTS (SELECT 1 FROM events e WHERE e.session_id = ?1 AND e.at > ?3 AND e.kind = ?4) \
         RETURNING id, token_hash, user_id, state_reason",
    )?;
    let mut rows = statement.query_map(
        params![id.as_uuid().as_bytes(), reason.name(), unless_after.map(Timestamp::as_millis), kind::REACTIVATED],
        gone,
    )?;
    let Some(gone) = rows.next().transpose()? else { return Ok(None) };
    let digest = schema::digest(id, &gone.token_hash)?;
    Entry { session: Some(gone.id), user: Some(gone.user_id), ..entry }.insert(db)?;
    Ok(Some(Ended { id, digest, reason: None }))
}

/// [`Which`], owned.
pub(super) enum Doomed {
    One(SessionId),
    OwnedBy(UserId, Vec<SessionId>),
    AllBut(UserId, Option<SessionId>),
}

impl From<Which<'_>> for Doomed {
    fn from(which: Which<'_>) -> Self {
        match which {
            Which::One(id) => Self::One(id),
            Which::OwnedBy(user, ids) => Self::OwnedBy(user.clone(), ids.to_vec()),
            Which::AllBut(user, spared) => Self::AllBut(user.clone(), Some(spared)),
            Which::AllOf(user) => Self::AllBut(user.clone(), None),
        }
    }
}

/// Ends what is not ended yet; the rest of the condition follows.
pub(super) const END: &str = "UPDATE sessions SET state = 'ended', \
     state_reason = CASE WHEN id IS :current THEN 'logged_out' ELSE :reason END, ended_at = :now, ended_by = :actor \
     WHERE state <> 'ended'";
pub(super) const RETURNING: &str = "RETURNING id, token_hash, user_id, state_reason";

pub(super) fn end(db: &Connection, doomed: &Doomed, ending: Ending<'_>) -> Result<Vec<Ended>, StoreError> {
    let reason = ending.reason.name();
    let current = ending.current.map(|id| id.as_uuid().into_bytes());
    let now = ending.now.as_millis();
    let actor = schema::actor(ending.actor);
    let mut gone_rows: Vec<Gone> = Vec::new();
    let mut run = |condition: &str, id: Option<SessionId>, user: Option<&UserId>| {
        let id = id.map(|id| id.as_uuid().into_bytes());
        let mut statement = db.prepare_cached(&format!("{END} AND {condition} {RETURNING}"))?;
        let given = named_params! {
            ":reason": reason, ":current": current, ":now": now, ":actor": actor,
            ":id": id, ":user": user.map(UserId::as_str),
        };
        gone_rows.extend(statement.query_map(given, gone)?.collect::<Result<Vec<_>, _>>()?);
        Ok::<_, StoreError>(())
    };
    match doomed {
        Doomed::One(id) => run("id = :id AND :user IS NULL", Some(*id), None)?,
        Doomed::OwnedBy(user, ids) => {
            for id in ids {
                run("id = :id AND user_id = :user", Some(*id), Some(user))?;
            }
        }
        Doomed::AllBut(user, spared) => run("user_id = :user AND id IS NOT :id", *spared, Some(user))?,
    }
    let mut ended = Vec::with_capacity(gone_rows.len());
    for gone in gone_rows {
        gone.log(db, &ending, kind::ENDED, schema::reason_detail(&gone.reason))?;
        ended.push(gone.ended()?);
    }
    Ok(ended)
}

/// What [`RETURNING`] gives of a session whose state was just changed.
pub(super) struct Gone {
    pub(super) id: Uuid,
    token_hash: Vec<u8>,
    pub(super) user_id: String,
    reason: String,
}

pub(super) fn gone(row: &Row<'_>) -> rusqlite::Result<Gone> {
    Ok(Gone { id: Uuid::from_bytes(row.get(0)?), token_hash: row.get(1)?, user_id: row.get(2)?, reason: row.get(3)? })
}

impl Gone {
    fn log(&self, db: &Connection, ending: &Ending<'_>, kind: &'static str, detail: String) -> Result<(), StoreError> {
        let entry = Entry {
            session: Some(self.id),
            user: Some(self.user_id.clone()),
            actor: schema::actor(ending.actor),
            ..Entry::new(kind, ending.now, detail)
        };
        entry.insert(db)
    }

    pub(super) fn ended(&self) -> Result<Ended, StoreError> {
        let id = SessionId::from_uuid(self.id);
        let digest = schema::digest(id, &self.token_hash)?;
        Ok(Ended { id, digest, reason: Some(schema::end_reason(id, &self.reason)?) })
    }
}

pub(super) fn touch(db: &Connection, touches: &[Touch]) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "UPDATE sessions SET last_seen_at = ?2, last_ip = ?3 \
         WHERE id = ?1 AND state = 'active' AND last_seen_at < ?2",
    )?;
    for touch in touches {
        statement.execute(params![touch.id.as_uuid().as_bytes(), touch.at.as_millis(), touch.ip.to_string()])?;
    }
    Ok(())
}

/// A row of `events`.
pub(super) struct Entry {
    pub(super) kind: &'static str,
    pub(super) at: Timestamp,
    pub(super) session: Option<Uuid>,
    pub(super) user: Option<String>,
    pub(super) actor: String,
    pub(super) ip: Option<IpAddr>,
    pub(super) user_agent: Option<String>,
    pub(super) detail: String,
}

impl Entry {
    pub(super) const fn new(kind: &'static str, at: Timestamp, detail: String) -> Self {
        Self { kind, at, session: None, user: None, actor: String::new(), ip: None, user_agent: None, detail }
    }

    /// What an administrator or another outsider does.
    pub(super) fn of(kind: &'static str, by: &By, detail: String) -> Self {
        let user_agent = by.user_agent.clone();
        Self { actor: schema::actor(&by.actor), ip: by.ip, user_agent, ..Self::new(kind, by.now, detail) }
    }

    pub(super) fn insert(&self, db: &Connection) -> Result<(), StoreError> {
        db.prepare_cached(
            "INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            self.at.as_millis(),
            self.kind,
            self.session.map(Uuid::into_bytes),
            self.user,
            self.actor,
            self.ip.map(|ip| ip.to_string()),
            schema::storable_opt(self.user_agent.as_deref()),
            self.detail,
        ])?;
        Ok(())
    }
}

impl From<Event> for Entry {
    fn from(event: Event) -> Self {
        Self {
            kind: event.kind,
            at: event.at,
            session: event.session.map(SessionId::as_uuid),
            user: event.user.map(|user| user.as_str().to_owned()),
            actor: schema::actor(&event.actor),
            ip: event.ip,
            user_agent: event.user_agent,
            detail: event.detail.to_string(),
        }
    }
}
