//! Another token for a session, and what follows when the old one is used too late: one statement each.

use deadpool_postgres::Object;

use super::call::Trouble;
use super::end;
use super::value::Time;
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason};
use crate::store::schema::{self, kind};
use crate::store::{Ended, Offender, Rotated, Rotation};
use crate::token::Digest;

/// `$1` session, `$2` old token, `$3` new token, `$4` now, `$5` end of the grace, `$6` kind of event, `$7` actor.
const ROTATE: &str = "WITH rotated AS (UPDATE sessions SET token_hash = $3 \
     WHERE id = $1 AND token_hash = $2 AND state = 'active' RETURNING id, user_id), \
     retired AS (INSERT INTO retired_tokens (token_hash, session_id, usable_until) \
         SELECT $2, id, $5 FROM rotated), \
     logged AS (INSERT INTO events (at, kind, session_id, user_id, actor) \
         SELECT $4::timestamptz, $6::text, id, user_id, $7::text FROM rotated) \
     SELECT EXISTS (SELECT FROM rotated) AS done";

/// Asked in a statement of its own: of two rotations at once the second one waits for the first, and then still sees the
/// tables as they were when it began.
const IS_RETIRED: &str = "SELECT EXISTS (SELECT FROM retired_tokens WHERE token_hash = $1 AND session_id = $2)";

pub(super) async fn rotate(client: &Object, rotation: &Rotation) -> Result<Rotated, Trouble> {
    let Rotation { id, from, to, grace, actor, now } = rotation;
    let (id, from, to) = (id.as_uuid(), from.as_bytes().as_slice(), to.as_bytes().as_slice());
    let statement = client.prepare_cached(ROTATE).await?;
    let row = client
        .query_one(
            &statement,
            &[&id, &from, &to, &Time(*now), &Time(now.plus(*grace)), &kind::ROTATED, &schema::actor(actor)],
        )
        .await?;
    if row.try_get("done")? {
        return Ok(Rotated::Done);
    }
    let statement = client.prepare_cached(IS_RETIRED).await?;
    let retired = client.query_one(&statement, &[&from, &id]).await?.try_get(0)?;
    Ok(if retired { Rotated::Already } else { Rotated::Gone })
}

/// `$1` old token, `$2` now, `$3` actor, `$4` kind of the end, `$5` kind of the reuse, `$6` address, `$7` User-Agent, `$8`
/// reason.
const END_REUSED: &str = "WITH doomed AS (SELECT s.id FROM retired_tokens r JOIN sessions s ON s.id = r.session_id \
         WHERE r.token_hash = $1 AND r.usable_until <= $2::timestamptz AND s.state <> 'ended' FOR UPDATE OF s), \
     ended AS (UPDATE sessions s SET state = 'ended', state_reason = $8::text, ended_at = $2::timestamptz, \
         ended_by = $3::text FROM doomed d WHERE s.id = d.id AND s.state <> 'ended' \
         RETURNING s.id, s.token_hash, s.user_id, s.state_reason), \
     logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
         SELECT $2::timestamptz, k.kind, e.id, e.user_id, $3::text, k.ip, k.user_agent, \
         json_build_object('reason', $8::text) FROM ended e, (VALUES ($5::text, $6::inet, $7::text), \
             ($4::text, NULL, NULL)) AS k (kind, ip, user_agent)) \
     SELECT id, token_hash, state_reason FROM ended";

pub(super) async fn end_reused(
    client: &Object,
    digest: &Digest,
    offender: Offender<'_>,
    now: Timestamp,
) -> Result<Option<Ended>, Trouble> {
    let statement = client.prepare_cached(END_REUSED).await?;
    let row = client
        .query_opt(
            &statement,
            &[
                &digest.as_bytes().as_slice(),
                &Time(now),
                &schema::actor(&Actor::Policy),
                &kind::ENDED,
                &kind::REUSED,
                &offender.ip,
                &schema::storable(offender.user_agent),
                &EndReason::TokenReused.name(),
            ],
        )
        .await?;
    row.as_ref().map(end::ended).transpose()
}
