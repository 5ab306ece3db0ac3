//! Removing old rows, a bounded number in each transaction.
//!
//! Gateways that sweep at the same time would read the same rows: an advisory lock lets one of them do it, batch by
//! batch. Rows that a call is changing are passed over and found again by the next sweep; ended sessions and events are
//! changed by nobody.

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::call::Trouble;
use super::value::Time;
use crate::clock::Timestamp;
use crate::session::SessionId;
use crate::store::sweep::{Mark, Stage, Sweep, Swept, idle_millis};

/// The advisory lock of the gateway that sweeps. An arbitrary number, but for ever the same.
const LOCK: i64 = 0x5e55_1096_a7e3_a002;

const TAKE_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1) AS mine, database_time() AS now";

const ENDED: &str = "SELECT id FROM sessions WHERE state = 'ended' AND ended_at < $1 ORDER BY ended_at, id LIMIT $2 \
     FOR UPDATE SKIP LOCKED";
const EXPIRED: &str = "SELECT id FROM sessions WHERE state <> 'ended' AND expires_at < $1 ORDER BY expires_at LIMIT $2 \
     FOR UPDATE SKIP LOCKED";

/// A page of the sessions that are old enough to be over. `$1`, `$2` the page's start, `$3` cutoff, `$4` page size.
const OLD_PAGE: &str = "SELECT created_at AS at, id FROM sessions WHERE (created_at, id) > ($1, $2) AND created_at < $3 \
     ORDER BY created_at, id LIMIT $4";
/// Those of a page that went unused, or were ended by a word about their user. `$1` ids, `$2` cutoff, `$3` idle timeout.
const UNUSED: &str = "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.id = ANY ($1) AND s.state <> 'ended' \
     AND (s.last_seen_at < $2::timestamptz - least(s.slide_ms, $3::bigint) * interval '1 millisecond' \
         OR (u.not_before > s.created_at AND u.not_before < $2::timestamptz)) \
     FOR UPDATE OF s SKIP LOCKED";

/// A page of ended sessions, for their users. `$1`, `$2` the page's start, `$3` page size.
const ENDED_PAGE: &str = "SELECT ended_at AS at, id, user_id FROM sessions WHERE state = 'ended' \
     AND (ended_at, id) > ($1, $2) ORDER BY ended_at, id LIMIT $3";
/// What these users have too many of. `$1` users, `$2` how many stay where the user's row does not say, `$3` batch, `$4` what
/// ended later stays in any case.
const SURPLUS: &str = "SELECT s.id FROM users u CROSS JOIN LATERAL (SELECT id, ended_at FROM sessions \
         WHERE user_id = u.id AND state = 'ended' ORDER BY ended_at DESC, id DESC \
         OFFSET coalesce(u.audit_keep, $2::bigint)) s \
     WHERE u.id = ANY ($1) AND coalesce(u.audit_keep, $2::bigint) IS NOT NULL AND s.ended_at < $4 LIMIT $3";

/// `$1`, `$2` the page's start, `$3` cutoff, `$4` page size.
const EVENTS_PAGE: &str = "SELECT at, id, session_id FROM events WHERE (at, id) > ($1, $2) AND at < $3 \
     ORDER BY at, id LIMIT $4";
/// Those of these sessions that have not ended. Asked apart: as a part of the page's statement, the planner may read all
/// sessions for it.
const NOT_ENDED: &str = "SELECT id FROM sessions WHERE id = ANY ($1) AND state <> 'ended'";
const REMOVE_EVENTS: &str = "DELETE FROM events WHERE id = ANY ($1)";

/// `$1` sessions, `$2` the most.
const REMOVE_TOKENS: &str = "DELETE FROM retired_tokens WHERE token_hash = ANY (ARRAY(SELECT r.token_hash \
     FROM unnest($1::uuid[]) AS d (id) JOIN retired_tokens r ON r.session_id = d.id LIMIT $2))";
/// `$1` sessions, `$2` cutoff, or null for all that tell of a session, `$3` the most.
const REMOVE_EVENTS_OF: &str = "DELETE FROM events WHERE id = ANY (ARRAY(SELECT e.id \
     FROM unnest($1::uuid[]) AS d (id) JOIN events e ON e.session_id = d.id \
     WHERE e.at < $2::timestamptz OR ($2::timestamptz IS NULL AND substr(e.kind, 1, 8) = 'session_') LIMIT $3))";
const REMOVE: &str = "DELETE FROM sessions WHERE id = ANY ($1)";

pub(super) async fn sweep(client: &mut Object, sweep: &Sweep) -> Result<Swept, Trouble> {
    let lock = client.prepare_cached(TAKE_LOCK).await?;
    let transaction = client.transaction().await?;
    let row = transaction.query_one(&lock, &[&LOCK]).await?;
    if !row.try_get::<_, bool>("mine")? {
        transaction.rollback().await?;
        return Ok(Swept { busy: true, ..Swept::default() });
    }
    let Time(theirs) = row.try_get("now")?;
    let batch = Batch { transaction, sweep: Sweep { now: sweep.now.min(theirs), ..*sweep } };
    let swept = batch.run().await?;
    batch.transaction.commit().await?;
    Ok(swept)
}

/// One call under the lock.
struct Batch<'a> {
    transaction: Transaction<'a>,
    sweep: Sweep,
}

impl Batch<'_> {
    async fn run(&self) -> Result<Swept, Trouble> {
        let sweep = &self.sweep;
        match (sweep.stage, sweep.cutoff()) {
            (Stage::Surplus(from), _) => self.surplus(from).await,
            (_, None) => Ok(Swept { next: sweep.following(), ..Swept::default() }),
            (Stage::Ended, Some(cutoff)) => self.old(ENDED, cutoff).await,
            (Stage::Expired, Some(cutoff)) => self.old(EXPIRED, cutoff).await,
            (Stage::Unused(from), Some(cutoff)) => self.unused(from, cutoff).await,
            (Stage::Events(from), Some(cutoff)) => self.events(from, cutoff).await,
        }
    }

    async fn query(&self, sql: &str, given: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        let statement = self.transaction.prepare_cached(sql).await?;
        Ok(self.transaction.query(&statement, given).await?)
    }

    async fn execute(&self, sql: &str, given: &[&(dyn ToSql + Sync)]) -> Result<u64, Trouble> {
        let statement = self.transaction.prepare_cached(sql).await?;
        Ok(self.transaction.execute(&statement, given).await?)
    }

    fn batch(&self) -> i64 {
        i64::from(self.sweep.batch)
    }

    async fn old(&self, sql: &str, cutoff: Timestamp) -> Result<Swept, Trouble> {
        let rows = self.query(sql, &[&Time(cutoff), &self.batch()]).await?;
        self.remove(&ids(&rows)?, Some(cutoff)).await
    }

    async fn unused(&self, from: Mark<SessionId>, cutoff: Timestamp) -> Result<Swept, Trouble> {
        let page = self.query(OLD_PAGE, &[&Time(from.at), &from.id.as_uuid(), &Time(cutoff), &self.batch()]).await?;
        let idle = idle_millis(&self.sweep.retention);
        let over = self.query(UNUSED, &[&ids(&page)?, &Time(cutoff), &idle]).await?;
        let swept = self.remove(&ids(&over)?, Some(cutoff)).await?;
        self.next_page(swept, &page, |row| Ok(Stage::Unused(mark(row)?)))
    }

    async fn surplus(&self, from: Mark<SessionId>) -> Result<Swept, Trouble> {
        let page = self.query(ENDED_PAGE, &[&Time(from.at), &from.id.as_uuid(), &self.batch()]).await?;
        let mut users = page.iter().map(|row| row.try_get("user_id")).collect::<Result<Vec<&str>, _>>()?;
        users.sort_unstable();
        users.dedup();
        let keep = self.sweep.retention.keep_per_user.map(i64::from);
        let doomed = self.query(SURPLUS, &[&users, &keep, &self.batch(), &Time(self.sweep.settled())]).await?;
        let swept = self.remove(&ids(&doomed)?, None).await?;
        self.next_page(swept, &page, |row| Ok(Stage::Surplus(mark(row)?)))
    }

    async fn events(&self, from: Mark<i64>, cutoff: Timestamp) -> Result<Swept, Trouble> {
        let page = self.query(EVENTS_PAGE, &[&Time(from.at), &from.id, &Time(cutoff), &self.batch()]).await?;
        let mut told_of = Vec::with_capacity(page.len());
        for row in &page {
            told_of.extend(row.try_get::<_, Option<Uuid>>("session_id")?);
        }
        told_of.sort_unstable();
        told_of.dedup();
        let mut needed = ids(&self.query(NOT_ENDED, &[&told_of]).await?)?;
        needed.sort_unstable();
        let mut old: Vec<i64> = Vec::with_capacity(page.len());
        for row in &page {
            let session: Option<Uuid> = row.try_get("session_id")?;
            if session.is_none_or(|session| needed.binary_search(&session).is_err()) {
                old.push(row.try_get("id")?);
            }
        }
        let events = self.execute(REMOVE_EVENTS, &[&old]).await?;
        let swept = Swept { events, next: self.sweep.following(), ..Swept::default() };
        self.next_page(swept, &page, |row| {
            let Time(at) = row.try_get("at")?;
            Ok(Stage::Events(Mark { at, id: row.try_get("id")? }))
        })
    }

    /// Goes on after this page, or with the next stage after the last one, unless the page is to be looked at again.
    fn next_page(
        &self,
        mut swept: Swept,
        page: &[Row],
        after: impl FnOnce(&Row) -> Result<Stage, Trouble>,
    ) -> Result<Swept, Trouble> {
        if swept.next != Some(self.sweep.stage)
            && i64::try_from(page.len()).unwrap_or(i64::MAX) >= self.batch()
            && let Some(last) = page.last()
        {
            swept.next = Some(after(last)?);
        }
        Ok(swept)
    }

    /// Removes sessions, and before them what belongs to them: their events from before `cutoff`, or all that tell of a
    /// session. When there is more of that than one call may remove, the sessions stay for the next one.
    async fn remove(&self, ids: &[Uuid], cutoff: Option<Timestamp>) -> Result<Swept, Trouble> {
        let sweep = &self.sweep;
        if ids.is_empty() {
            return Ok(Swept { next: sweep.following(), ..Swept::default() });
        }
        let most = i64::from(sweep.children());
        let tokens = self.execute(REMOVE_TOKENS, &[&ids, &most]).await?;
        let events = self.execute(REMOVE_EVENTS_OF, &[&ids, &cutoff.map(Time), &most]).await?;
        let swept = Swept { tokens, events, next: Some(sweep.stage), ..Swept::default() };
        if tokens >= u64::from(sweep.children()) || events >= u64::from(sweep.children()) {
            return Ok(swept);
        }
        let sessions = self.execute(REMOVE, &[&ids]).await?;
        let full = i64::try_from(ids.len()).unwrap_or(i64::MAX) >= self.batch();
        Ok(Swept { sessions, next: if full { swept.next } else { sweep.following() }, ..swept })
    }
}

fn ids(rows: &[Row]) -> Result<Vec<Uuid>, Trouble> {
    Ok(rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?)
}

fn mark(row: &Row) -> Result<Mark<SessionId>, Trouble> {
    let Time(at) = row.try_get("at")?;
    Ok(Mark { at, id: SessionId::from_uuid(row.try_get("id")?) })
}
