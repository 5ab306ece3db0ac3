//! Changes to sessions that go on, and the audit log: one statement each.

use std::net::IpAddr;

use deadpool_postgres::{GenericClient, Object};

use super::call::Trouble;
use super::value::Time;
use crate::clock::Timestamp;
use crate::session::{Actor, SessionId, SuspendReason};
use crate::store::schema::{self, kind};
use crate::store::{Ended, Event, Offender, Touch};

pub(super) async fn bind(
    client: &Object,
    id: SessionId,
    user_agent: &str,
    device: Option<&str>,
    ip: IpAddr,
) -> Result<(), Trouble> {
    // The device goes with the User-Agent that it was read from.
    let statement = client
        .prepare_cached(
            "UPDATE sessions SET device = CASE WHEN user_agent IS NULL THEN $4::text::json ELSE device END, \
             user_agent = coalesce(user_agent, $2), bound_ip = coalesce(bound_ip, $3) \
             WHERE id = $1 AND state = 'active' AND (user_agent IS NULL OR bound_ip IS NULL)",
        )
        .await?;
    client.execute(&statement, &[&id.as_uuid(), &schema::storable(user_agent), &ip, &device]).await?;
    Ok(())
}

/// A reactivation after the moment `unless_after` stands against it.
pub(super) async fn suspend(
    client: &impl GenericClient,
    id: SessionId,
    reason: SuspendReason,
    actor: &Actor,
    offender: Option<Offender<'_>>,
    now: Timestamp,
    unless_after: Option<Timestamp>,
) -> Result<Option<Ended>, Trouble> {
    let statement = client
        .prepare_cached(
            "WITH suspended AS (UPDATE sessions SET state = 'suspended', state_reason = $2 \
                 WHERE id = $1 AND state = 'active' AND NOT EXISTS (SELECT FROM events e \
                     WHERE e.session_id = $1 AND e.at > $9::timestamptz AND e.kind = $10::text) RETURNING id, token_hash, user_id), \
             logged AS (INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
                 SELECT $3::timestamptz, $4::text, id, user_id, $5::text, $6::inet, $7::text, $8::text::json \
                 FROM suspended) \
             SELECT token_hash FROM suspended",
        )
        .await?;
    let row = client
        .query_opt(
            &statement,
            &[
                &id.as_uuid(),
                &reason.name(),
                &Time(now),
                &kind::SUSPENDED,
                &schema::actor(actor),
                &offender.map(|offender| offender.ip),
                &schema::storable_opt(offender.map(|offender| offender.user_agent)),
                &schema::reason_detail(reason.name()),
                &unless_after.map(Time),
                &kind::REACTIVATED,
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let digest = schema::digest(id, row.try_get("token_hash")?)?;
    Ok(Some(Ended { id, digest, reason: None }))
}

pub(super) async fn touch(client: &Object, touches: &[Touch]) -> Result<(), Trouble> {
    // Of several uses of one session the last counts: an UPDATE would take any one of them.
    let mut touches = touches.to_vec();
    touches.sort_unstable_by_key(|touch| (touch.id, std::cmp::Reverse(touch.at)));
    touches.dedup_by_key(|touch| touch.id);
    let ids: Vec<_> = touches.iter().map(|touch| touch.id.as_uuid()).collect();
    let times: Vec<_> = touches.iter().map(|touch| Time(touch.at)).collect();
    let addresses: Vec<_> = touches.iter().map(|touch| touch.ip).collect();

    let statement = client
        .prepare_cached(
            "WITH touched AS (SELECT s.id, t.at, t.ip \
                 FROM unnest($1::uuid[], $2::timestamptz[], $3::inet[]) AS t (id, at, ip) \
                 JOIN sessions s ON s.id = t.id WHERE s.state = 'active' AND s.last_seen_at < t.at \
                 ORDER BY s.id FOR NO KEY UPDATE OF s) \
             UPDATE sessions s SET last_seen_at = t.at, last_ip = t.ip FROM touched t \
             WHERE s.id = t.id AND s.state = 'active' AND s.last_seen_at < t.at",
        )
        .await?;
    client.execute(&statement, &[&ids, &times, &addresses]).await?;
    Ok(())
}

pub(super) async fn record(client: &impl GenericClient, event: &Event) -> Result<(), Trouble> {
    let statement = client
        .prepare_cached(
            "INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json)",
        )
        .await?;
    client
        .execute(
            &statement,
            &[
                &Time(event.at),
                &event.kind,
                &event.session.map(SessionId::as_uuid),
                &event.user.as_ref().map(|user| user.as_str()),
                &schema::actor(&event.actor),
                &event.ip,
                &schema::storable_opt(event.user_agent.as_deref()),
                &event.detail.to_string(),
            ],
        )
        .await?;
    Ok(())
}
