//! Users, and what becomes of one session by an administrator's hand. Each change locks the user's row first.

use std::num::NonZeroU32;

use deadpool_postgres::{GenericClient, Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::call::Trouble;
use super::create::{ADD_USER, COUNT};
use super::fresh::unused;
use super::value::Time;
use super::{end, read, search, write};
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason, Phase, Record, SessionId, State, SuspendReason, UserId};
use crate::store::schema::{self, kind};
use crate::store::{By, Ended, Event, Guard, Limit, Offender, Reactivated, Suspended, User, UserChange, UserSettings};

const SETTINGS: &str = "SELECT enabled, max_sessions, audit_keep, not_before FROM users WHERE id = $1";
const LOCK: &str = "SELECT enabled, max_sessions, audit_keep, not_before FROM users WHERE id = $1 FOR UPDATE";
/// The user of a session.
const LOCK_BY_SESSION: &str = "SELECT u.enabled, u.max_sessions, u.audit_keep, u.not_before FROM users u \
     JOIN sessions s ON s.user_id = u.id WHERE s.id = $1 FOR UPDATE OF u";
const SET: &str = "UPDATE users SET enabled = $2, max_sessions = $3, audit_keep = $4, not_before = $5 WHERE id = $1";
/// `$1` user, `$2` created before that, or null for all, `$3` reason, `$4` now, `$5` actor, `$6` kind of event, `$7`
/// address, `$8` User-Agent.
const END: &str = "WITH doomed AS (SELECT id FROM sessions WHERE user_id = $1 AND state <> 'ended' \
         AND ($2::timestamptz IS NULL OR created_at < $2) ORDER BY id FOR UPDATE), \
     ended AS (UPDATE sessions s SET state = 'ended', state_reason = $3::text, ended_at = $4::timestamptz, \
         ended_by = $5::text FROM doomed d WHERE s.id = d.id AND s.state <> 'ended' \
         RETURNING s.id, s.token_hash, s.user_id, s.state_reason), \
     logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
         SELECT $4::timestamptz, $6::text, id, user_id, $5::text, $7::inet, $8::text, \
         json_build_object('reason', $3::text) FROM ended) \
     SELECT id, token_hash, state_reason FROM ended";

fn settings(row: &Row) -> Result<UserSettings, Trouble> {
    let number =
        |column| Ok::<_, Trouble>(row.try_get::<_, Option<i32>>(column)?.and_then(|number| u32::try_from(number).ok()));
    Ok(UserSettings {
        enabled: row.try_get("enabled")?,
        max_sessions: number("max_sessions")?,
        audit_keep: number("audit_keep")?,
        not_before: row.try_get::<_, Option<Time>>("not_before")?.map(|time| time.0),
    })
}

async fn count_live(
    client: &impl GenericClient,
    user: &UserId,
    not_before: Option<Timestamp>,
    (now, idle_since): (Timestamp, Option<Timestamp>),
    but: Option<SessionId>,
) -> Result<u64, Trouble> {
    let start = Timestamp::from_millis(i64::MIN);
    let statement = client.prepare_cached(COUNT).await?;
    let row = client
        .query_one(
            &statement,
            &[
                &user.as_str(),
                &Time(now),
                &Time(idle_since.unwrap_or(start)),
                &Time(not_before.unwrap_or(start)),
                &but.map(SessionId::as_uuid),
            ],
        )
        .await?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}

pub(super) async fn user(
    client: &Object,
    user: &UserId,
    now: Timestamp,
    idle_since: Option<Timestamp>,
) -> Result<Option<User>, Trouble> {
    let statement = client.prepare_cached(SETTINGS).await?;
    let Some(row) = client.query_opt(&statement, &[&user.as_str()]).await? else { return Ok(None) };
    let settings = settings(&row)?;
    let live_sessions = count_live(client, user, settings.not_before, (now, idle_since), None).await?;
    Ok(Some(User { id: user.clone(), settings, live_sessions }))
}

pub(super) async fn set_user(
    client: &mut Object,
    user: &UserId,
    new: UserSettings,
    guard: &Guard,
    by: &By,
) -> Result<UserChange, Trouble> {
    let transaction = client.transaction().await?;
    let add = transaction.prepare_cached(ADD_USER).await?;
    transaction.execute(&add, &[&user.as_str()]).await?;
    let lock = transaction.prepare_cached(LOCK).await?;
    let old = settings(&transaction.query_one(&lock, &[&user.as_str()]).await?)?;
    if search::is_protected(&transaction, user, guard, by).await? {
        transaction.rollback().await?;
        return Ok(UserChange::Protected);
    }
    let set = transaction.prepare_cached(SET).await?;
    let (max, keep) = (schema::number(new.max_sessions), schema::number(new.audit_keep));
    transaction.execute(&set, &[&user.as_str(), &new.enabled, &max, &keep, &new.not_before.map(Time)]).await?;
    let ended = cut_off(&transaction, user, &old, &new, by).await?;
    let changed = old != new;
    if changed {
        let event = Event {
            kind: kind::USER_CHANGED,
            at: by.now,
            session: None,
            user: Some(user.clone()),
            actor: by.actor.clone(),
            ip: by.ip,
            user_agent: by.user_agent.clone(),
            detail: schema::user_detail(&old, &new),
        };
        write::record(&transaction, &event).await?;
    }
    transaction.commit().await?;
    Ok(UserChange::Done { changed, ended })
}

/// Ends what the settings leave no room for.
async fn cut_off(
    transaction: &Transaction<'_>,
    user: &UserId,
    old: &UserSettings,
    new: &UserSettings,
    by: &By,
) -> Result<Vec<Ended>, Trouble> {
    // What an earlier moment cut off without touching the rows stays dead when that moment is taken back.
    let before = old.not_before.max(new.not_before);
    let (before, reason) = match (new.enabled, before) {
        (false, _) => (None, EndReason::UserDisabled),
        (true, Some(before)) => (Some(before), EndReason::EndedByAdmin),
        (true, None) => return Ok(Vec::new()),
    };
    let statement = transaction.prepare_cached(END).await?;
    let rows = transaction
        .query(
            &statement,
            &[
                &user.as_str(),
                &before.map(Time),
                &reason.name(),
                &Time(by.now),
                &schema::actor(&by.actor),
                &kind::ENDED,
                &by.ip,
                &schema::storable_opt(by.user_agent.as_deref()),
            ],
        )
        .await?;
    rows.iter().map(end::ended).collect()
}

/// A session and its user's settings, with the user's row locked.
async fn locked(transaction: &Transaction<'_>, id: SessionId) -> Result<Option<(Record, UserSettings)>, Trouble> {
    let lock = transaction.prepare_cached(LOCK_BY_SESSION).await?;
    let Some(row) = transaction.query_opt(&lock, &[&id.as_uuid()]).await? else { return Ok(None) };
    let settings = settings(&row)?;
    // In a statement of its own, which sees what was committed while this waited for the lock.
    Ok(read::get(transaction, id).await?.map(|record| (record, settings)))
}

pub(super) async fn suspend(
    client: &mut Object,
    id: SessionId,
    guard: &Guard,
    reason: SuspendReason,
    by: &By,
) -> Result<Suspended, Trouble> {
    let transaction = client.transaction().await?;
    let Some((record, _)) = locked(&transaction, id).await? else { return Ok(Suspended::NotFound) };
    if search::is_protected(&transaction, &record.principal.user, guard, by).await? {
        return Ok(Suspended::Protected);
    }
    match record.state {
        State::Ended(_) => return Ok(Suspended::Over),
        State::Suspended(_) => return Ok(Suspended::Already),
        State::Active => {}
    }
    let offender = by.ip.map(|ip| Offender { ip, user_agent: by.user_agent.as_deref().unwrap_or_default() });
    let suspended = write::suspend(&transaction, id, reason, &by.actor, offender, by.now, None).await?;
    transaction.commit().await?;
    // An end does not wait for the user's row: it may have come between.
    Ok(suspended.map_or(Suspended::Over, Suspended::Done))
}

/// `$1` user, `$2` now, `$3` idle since, `$4` reason, `$5` actor, `$6` kind of event.
const END_UNUSED: &str = concat!(
    "WITH doomed AS (SELECT id FROM sessions WHERE user_id = $1 AND ",
    unused!("$2::timestamptz", "$3::timestamptz"),
    " ORDER BY id FOR UPDATE), \
     ended AS (UPDATE sessions s SET state = 'ended', state_reason = $4::text, ended_at = $2::timestamptz, \
         ended_by = $5::text FROM doomed d WHERE s.id = d.id AND s.state <> 'ended' \
         RETURNING s.id, s.token_hash, s.user_id, s.state_reason), \
     logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, detail) \
         SELECT $2::timestamptz, $6::text, id, user_id, $5::text, json_build_object('reason', $4::text) FROM ended) \
     SELECT id, token_hash, state_reason FROM ended"
);

/// Ends the user's sessions that hold no place because they were not used: a use of theirs may be on its way here, and after
/// it they would live beside the one that took their place.
async fn end_unused(transaction: &Transaction<'_>, user: &UserId, by: &By) -> Result<Vec<Ended>, Trouble> {
    let statement = transaction.prepare_cached(END_UNUSED).await?;
    let idle_since = Time(by.idle_since.unwrap_or(Timestamp::from_millis(i64::MIN)));
    let (reason, actor) = (EndReason::Unused.name(), schema::actor(&Actor::Policy));
    let given: [&(dyn ToSql + Sync); 6] = [&user.as_str(), &Time(by.now), &idle_since, &reason, &actor, &kind::ENDED];
    let rows = transaction.query(&statement, &given).await?;
    rows.iter().map(end::ended).collect()
}

/// `$1` session, `$2` kind of event, `$3` now, `$4` actor, `$5` address, `$6` User-Agent.
const REACTIVATE: &str = "WITH active AS (UPDATE sessions SET state = 'active', state_reason = NULL \
         WHERE id = $1 AND state = 'suspended' RETURNING id, token_hash, user_id), \
     logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent) \
         SELECT $3::timestamptz, $2::text, id, user_id, $4::text, $5::inet, $6::text FROM active) \
     SELECT token_hash FROM active";

pub(super) async fn reactivate(
    client: &mut Object,
    id: SessionId,
    limit: Limit,
    guard: &Guard,
    by: &By,
) -> Result<Reactivated, Trouble> {
    let transaction = client.transaction().await?;
    let Some((record, settings)) = locked(&transaction, id).await? else { return Ok(Reactivated::NotFound) };
    let principal = &record.principal;
    if guard.keeps(&principal.roles) || search::is_protected(&transaction, &principal.user, guard, by).await? {
        return Ok(Reactivated::Protected);
    }
    match record.phase(by.now, by.idle_since) {
        Phase::Ended => return Ok(Reactivated::Over),
        Phase::Expired => return Ok(Reactivated::Expired),
        Phase::Active => return Ok(Reactivated::NotSuspended),
        Phase::Suspended => {}
    }
    let mut unused = Vec::new();
    if let Some(limit) = limit.resolve(settings.max_sessions) {
        let user = &record.principal.user;
        // First: what is written after the count would not be in it.
        unused = end_unused(&transaction, user, by).await?;
        let live = count_live(&transaction, user, settings.not_before, (by.now, by.idle_since), Some(id)).await?;
        if live >= u64::from(NonZeroU32::get(limit)) {
            return Ok(Reactivated::OverLimit { limit });
        }
    }
    let statement = transaction.prepare_cached(REACTIVATE).await?;
    let row = transaction
        .query_opt(
            &statement,
            &[
                &id.as_uuid(),
                &kind::REACTIVATED,
                &Time(by.now),
                &schema::actor(&by.actor),
                &by.ip,
                &schema::storable_opt(by.user_agent.as_deref()),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(Reactivated::Over) };
    let digest = schema::digest(id, row.try_get("token_hash")?)?;
    transaction.commit().await?;
    Ok(Reactivated::Done { active: Ended { id, digest, reason: None }, unused })
}
