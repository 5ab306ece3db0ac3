//! Creating a session under its user's limit, in four round trips: begin, lock, make room and insert, commit.

use deadpool_postgres::{Object, Transaction};
use futures_util::future::try_join;
use tokio_postgres::{Row, Statement};

use super::call::Trouble;
use super::end;
use super::fresh::{fresh, unused};
use super::value::Time;
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason};
use crate::store::schema::{self, kind};
use crate::store::{Creation, Ended, NewSession, OnExceed};

pub(super) const ADD_USER: &str = "INSERT INTO users (id) VALUES ($1) ON CONFLICT (id) DO NOTHING";
const LOCK_USER: &str = "SELECT enabled, max_sessions, not_before FROM users WHERE id = $1 FOR UPDATE";

/// The user's live sessions but for the one to be replaced. `$1` user, `$2` now, `$3` idle since, `$4` not before, `$5`
/// replaced.
macro_rules! live {
    () => {
        concat!(
            "FROM sessions WHERE user_id = $1 AND ",
            fresh!("", "active", "$2::timestamptz", "$3::timestamptz"),
            " AND created_at >= $4::timestamptz AND id IS DISTINCT FROM $5::uuid"
        )
    };
}

/// Ends the session to be replaced, and all live ones but the best `$6 - 1`; none of these where `$6` is null. Those that
/// hold no place because they were not used end too: a use of theirs may be on its way here, and after it they would live
/// beside the one that took their place.
///
/// `MATERIALIZED` is not for speed. A row that somebody else is just changing (a first use, a last use) is waited for, and
/// then checked again. With the `UNION ALL` folded into the join, PostgreSQL does not find the row's other half again and
/// passes it over without a word: one session more than allowed would stay.
macro_rules! make_room {
    ($order:literal) => {
        concat!(
            "WITH ranked AS (SELECT id, row_number() OVER (ORDER BY ", $order, " DESC, id DESC) AS place ", live!(), "), \
             leaving AS MATERIALIZED (SELECT $5::uuid AS id, 'replaced' AS reason UNION ALL \
                 SELECT id, 'evicted' FROM ranked WHERE place >= $6::bigint UNION ALL \
                 SELECT id, 'unused' FROM sessions WHERE $6::bigint IS NOT NULL AND user_id = $1 AND ",
            unused!("$2::timestamptz", "$3::timestamptz"), " AND id IS DISTINCT FROM $5::uuid), \
             doomed AS (SELECT s.id, l.reason FROM leaving l JOIN sessions s ON s.id = l.id \
                 WHERE s.state <> 'ended' ORDER BY s.id FOR UPDATE OF s), \
             ended AS (UPDATE sessions s SET state = 'ended', state_reason = d.reason, ended_at = $2::timestamptz, \
                 ended_by = CASE d.reason WHEN 'replaced' THEN $8::text ELSE $7::text END \
                 FROM doomed d WHERE s.id = d.id AND s.state <> 'ended' \
                 RETURNING s.id, s.token_hash, s.user_id, s.state_reason, s.ended_by), \
             logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, detail) \
                 SELECT $2::timestamptz, CASE state_reason WHEN 'evicted' THEN $9::text ELSE $10::text END, id, user_id, \
                 ended_by, json_strip_nulls(json_build_object('reason', state_reason, 'for', $11::uuid)) FROM ended) \
             SELECT id, token_hash, state_reason FROM ended"
        )
    };
}

pub(super) const COUNT: &str = concat!("SELECT count(*) ", live!());
pub(super) const KEEP_NEWEST: &str = make_room!("created_at");
pub(super) const KEEP_RECENT: &str = make_room!("last_seen_at");

const INSERT: &str = "WITH created AS (INSERT INTO sessions (id, token_hash, user_id, roles, name, email, claims, \
     created_at, expires_at, last_seen_at, last_ip, user_agent, bound_ip, format, slide_ms, device) \
     VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9, $8, $10, $11, $10, $14, $15, $16::text::json)) \
     INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent) \
     VALUES ($8, $12, $1, $3, $13, $10, $11)";

pub(super) async fn create(client: &mut Object, new: &NewSession) -> Result<Creation, Trouble> {
    let user = new.principal.user.as_str();
    let add = client.prepare_cached(ADD_USER).await?;
    let lock = client.prepare_cached(LOCK_USER).await?;
    let count = client.prepare_cached(COUNT).await?;
    let make_room = client
        .prepare_cached(match new.limit.on_exceed {
            OnExceed::EvictOldest | OnExceed::RejectNew => KEEP_NEWEST,
            OnExceed::EvictLeastRecent => KEEP_RECENT,
        })
        .await?;
    let insert = client.prepare_cached(INSERT).await?;

    let transaction = client.transaction().await?;
    // Statements are sent in the order in which their futures are first polled; these two travel together.
    let (_, row) = try_join(transaction.execute(&add, &[&user]), transaction.query_one(&lock, &[&user])).await?;
    if !row.try_get::<_, bool>("enabled")? {
        transaction.rollback().await?;
        return Ok(Creation::UserDisabled);
    }
    let by_user = row.try_get::<_, Option<i32>>("max_sessions")?.and_then(|max| u32::try_from(max).ok());
    let limit = new.limit.resolve(by_user);
    let live = Live::new(new, &row)?;
    let rejecting = limit.filter(|_| new.limit.on_exceed == OnExceed::RejectNew);
    if let Some(limit) = rejecting {
        let found: i64 = live.count(&transaction, &count).await?;
        if found >= i64::from(limit.get()) {
            transaction.rollback().await?;
            return Ok(Creation::TooMany { limit });
        }
    }
    // Where this gateway's clock is behind the one that cut the user's sessions off, the new one is not born dead.
    let born = Time(new.now).max(live.not_before);
    let room = live.make_room(&transaction, &make_room, limit.map(|limit| i64::from(limit.get())));
    let (rows, ()) = try_join(room, add_session(&transaction, &insert, new, born)).await?;
    let ended: Vec<Ended> = rows.iter().map(end::ended).collect::<Result<_, _>>()?;
    // A use that was written down after the count has brought a session back, and the new one would take its place.
    if let Some(limit) = rejecting
        && ended.iter().any(|ended| ended.reason == Some(EndReason::Evicted))
    {
        transaction.rollback().await?;
        return Ok(Creation::TooMany { limit });
    }
    transaction.commit().await?;
    Ok(Creation::Created { ended })
}

/// The values that say which sessions are live.
struct Live<'a> {
    new: &'a NewSession,
    idle_since: Time,
    not_before: Time,
}

impl<'a> Live<'a> {
    fn new(new: &'a NewSession, user: &Row) -> Result<Self, Trouble> {
        let start = Timestamp::from_millis(i64::MIN);
        Ok(Self {
            new,
            idle_since: Time(new.limit.idle_since.unwrap_or(start)),
            not_before: user.try_get::<_, Option<Time>>("not_before")?.unwrap_or(Time(start)),
        })
    }

    async fn count(&self, transaction: &Transaction<'_>, statement: &Statement) -> Result<i64, Trouble> {
        let replaced = self.new.replaces.map(|id| id.as_uuid());
        let user = self.new.principal.user.as_str();
        let row = transaction
            .query_one(statement, &[&user, &Time(self.new.now), &self.idle_since, &self.not_before, &replaced])
            .await?;
        Ok(row.try_get(0)?)
    }

    async fn make_room(
        &self,
        transaction: &Transaction<'_>,
        statement: &Statement,
        limit: Option<i64>,
    ) -> Result<Vec<Row>, Trouble> {
        let new = self.new;
        let replaced = new.replaces.map(|id| id.as_uuid());
        if limit.is_none() && replaced.is_none() {
            return Ok(Vec::new());
        }
        let rows = transaction
            .query(
                statement,
                &[
                    &new.principal.user.as_str(),
                    &Time(new.now),
                    &self.idle_since,
                    &self.not_before,
                    &replaced,
                    &limit,
                    &schema::actor(&Actor::Policy),
                    &schema::actor(&new.actor),
                    &kind::EVICTED,
                    &kind::ENDED,
                    &new.id.as_uuid(),
                ],
            )
            .await?;
        Ok(rows)
    }
}

async fn add_session(
    transaction: &Transaction<'_>,
    statement: &Statement,
    new: &NewSession,
    born: Time,
) -> Result<(), Trouble> {
    let principal = &new.principal;
    let roles: Vec<&str> = principal.roles.iter().map(|role| role.as_str()).collect();
    transaction
        .execute(
            statement,
            &[
                &new.id.as_uuid(),
                &new.digest.as_bytes().as_slice(),
                &principal.user.as_str(),
                &roles,
                &schema::storable_opt(principal.name.as_deref()),
                &schema::storable_opt(principal.email.as_deref()),
                &schema::claims(principal),
                &born,
                &new.expires_at.map(Time),
                &new.ip,
                &schema::storable_opt(new.user_agent.as_deref()),
                &kind::CREATED,
                &schema::actor(&new.actor),
                &new.format.name(),
                &schema::slide(new.slide),
                &schema::device(new.device.as_ref()).map_err(Trouble::Store)?,
            ],
        )
        .await?;
    Ok(())
}
