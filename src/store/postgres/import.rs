//! Taking over sessions that began elsewhere: one transaction for many of them.

use deadpool_postgres::Object;
use futures_util::future::try_join_all;
use tokio_postgres::{Statement, Transaction};

use super::call::Trouble;
use super::value::Time;
use crate::session::Format;
use crate::store::schema::{self, kind};
use crate::store::{Imported, ImportedSession};
use crate::user_agent::{ClientHints, Device};

const ADD_USERS: &str = "INSERT INTO users (id) SELECT DISTINCT id FROM unnest($1::text[]) AS given (id) ORDER BY id \
     ON CONFLICT (id) DO NOTHING";
/// Whoever disables one of them meanwhile waits, and then ends what was imported.
const LOCK_USERS: &str = "SELECT id, enabled FROM users WHERE id = ANY ($1) ORDER BY id FOR UPDATE";

const INSERT: &str = "WITH created AS (INSERT INTO sessions (id, token_hash, user_id, roles, name, email, claims, state, \
         state_reason, created_at, expires_at, last_seen_at, last_ip, user_agent, ended_at, ended_by, format, device) \
         VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
         $18::text::json) ON CONFLICT DO NOTHING RETURNING id) \
     INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
     SELECT $19, $20, id, $3, $21, $13, $14, $22::text::json FROM created";

pub(super) async fn import(client: &mut Object, sessions: &[ImportedSession]) -> Result<Vec<Imported>, Trouble> {
    let users: Vec<&str> = sessions.iter().map(|session| session.principal.user.as_str()).collect();
    let add = client.prepare_cached(ADD_USERS).await?;
    let lock = client.prepare_cached(LOCK_USERS).await?;
    let insert = client.prepare_cached(INSERT).await?;

    let transaction = client.transaction().await?;
    transaction.execute(&add, &[&users]).await?;
    let mut disabled = Vec::new();
    for row in transaction.query(&lock, &[&users]).await? {
        if !row.try_get::<_, bool>("enabled")? {
            disabled.push(row.try_get::<_, String>("id")?);
        }
    }
    // They travel together, and are run in this order.
    let imported = try_join_all(sessions.iter().map(async |session| {
        if disabled.iter().any(|id| id == session.principal.user.as_str()) {
            return Ok(Imported::UserDisabled);
        }
        one(&transaction, &insert, session).await
    }))
    .await?;
    transaction.commit().await?;
    Ok(imported)
}

async fn one(transaction: &Transaction<'_>, insert: &Statement, new: &ImportedSession) -> Result<Imported, Trouble> {
    let principal = &new.principal;
    let roles: Vec<&str> = principal.roles.iter().map(|role| role.as_str()).collect();
    let (state, reason, ended_at) = new.state_columns();
    let device = new.user_agent.as_deref().map(|agent| Device::of(agent, &ClientHints::default()));
    let actor = schema::actor(&new.actor);
    let created = transaction
        .execute(
            insert,
            &[
                &new.id.as_uuid(),
                &new.digest.as_bytes().as_slice(),
                &principal.user.as_str(),
                &roles,
                &schema::storable_opt(principal.name.as_deref()),
                &schema::storable_opt(principal.email.as_deref()),
                &schema::claims(principal),
                &state,
                &reason,
                &Time(new.created_at),
                &new.expires_at.map(Time),
                &Time(new.last_seen_at),
                &new.last_ip,
                &schema::storable_opt(new.user_agent.as_deref()),
                &ended_at.map(Time),
                &ended_at.map(|_| actor.as_str()),
                &Format::Opaque.name(),
                &schema::device(device.as_ref()).map_err(Trouble::Store)?,
                &Time(new.now),
                &kind::CREATED,
                &actor,
                &new.detail(),
            ],
        )
        .await?;
    Ok(if created == 0 { Imported::Exists } else { Imported::Created })
}
