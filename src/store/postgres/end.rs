//! Ending sessions: one statement that ends them, writes the audit log and says which they were.

use deadpool_postgres::Object;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::call::Trouble;
use super::value::Time;
use crate::session::SessionId;
use crate::store::schema::{self, kind};
use crate::store::{Ended, Ending, Which};

/// `$1` current session, `$2` reason, `$3` now, `$4` actor, `$5` kind of event.
macro_rules! end {
    ($which:literal) => {
        concat!(
            "WITH doomed AS (SELECT id FROM sessions WHERE state <> 'ended' AND ", $which, " ORDER BY id FOR UPDATE), \
             ended AS (UPDATE sessions s SET state = 'ended', \
                 state_reason = CASE WHEN s.id = $1::uuid THEN 'logged_out' ELSE $2::text END, \
                 ended_at = $3::timestamptz, ended_by = $4::text \
                 FROM doomed d WHERE s.id = d.id AND s.state <> 'ended' \
                 RETURNING s.id, s.token_hash, s.user_id, s.state_reason), \
             logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, detail) \
                 SELECT $3::timestamptz, $5::text, id, user_id, $4::text, json_build_object('reason', state_reason) \
                 FROM ended) \
             SELECT id, token_hash, state_reason FROM ended"
        )
    };
}

pub(super) async fn end(client: &Object, which: Which<'_>, ending: Ending<'_>) -> Result<Vec<Ended>, Trouble> {
    let current = ending.current.map(SessionId::as_uuid);
    let reason = ending.reason.name();
    let now = Time(ending.now);
    let actor = schema::actor(ending.actor);
    let (user, one, many): (&str, Uuid, Vec<Uuid>);
    let mut given: Vec<&(dyn ToSql + Sync)> = vec![&current, &reason, &now, &actor, &kind::ENDED];
    let sql = match which {
        Which::One(id) => {
            one = id.as_uuid();
            given.push(&one);
            end!("id = $6")
        }
        Which::OwnedBy(owner, ids) => {
            user = owner.as_str();
            many = ids.iter().map(|id| id.as_uuid()).collect();
            given.extend([&user as &(dyn ToSql + Sync), &many]);
            end!("user_id = $6 AND id = ANY ($7)")
        }
        Which::AllBut(owner, spared) => {
            user = owner.as_str();
            one = spared.as_uuid();
            given.extend([&user as &(dyn ToSql + Sync), &one]);
            end!("user_id = $6 AND id <> $7")
        }
        Which::AllOf(owner) => {
            user = owner.as_str();
            given.push(&user);
            end!("user_id = $6")
        }
    };
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &given).await?;
    rows.iter().map(ended).collect()
}

/// A session that a statement says it has ended.
pub(super) fn ended(row: &Row) -> Result<Ended, Trouble> {
    let id = SessionId::from_uuid(row.try_get("id")?);
    let digest = schema::digest(id, row.try_get("token_hash")?)?;
    let reason = schema::end_reason(id, row.try_get("state_reason")?)?;
    Ok(Ended { id, digest, reason: Some(reason) })
}
