//! What both stores have in common: the schema's version and migrations, the words in its columns, and the way from a
//! row to a [`Record`].

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use super::{StoreError, UserSettings};
use crate::clock::Timestamp;
use crate::session::{Actor, EndReason, Format, Principal, Record, Role, SessionId, State, SuspendReason, UserId};
use crate::token::Digest;
use crate::user_agent::Device;

/// The SQLite migrations; the n-th makes version n.
pub(super) const SQLITE: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_sessions.sql"),
    include_str!("../../migrations/sqlite/0002_rotation.sql"),
    include_str!("../../migrations/sqlite/0003_notify.sql"),
    include_str!("../../migrations/sqlite/0004_retention.sql"),
    include_str!("../../migrations/sqlite/0005_admin.sql"),
];
/// The PostgreSQL migrations; the n-th makes version n.
pub(super) const POSTGRES: &[&str] = &[
    include_str!("../../migrations/postgres/0001_sessions.sql"),
    include_str!("../../migrations/postgres/0002_rotation.sql"),
    include_str!("../../migrations/postgres/0003_notify.sql"),
    include_str!("../../migrations/postgres/0004_retention.sql"),
    include_str!("../../migrations/postgres/0005_admin.sql"),
];

/// The version that this program needs.
pub(super) const VERSION: u32 = 5;

const _: () = assert!(SQLITE.len() == VERSION as usize && POSTGRES.len() == VERSION as usize);

/// How long a migration may take. It rewrites tables where it must, so the limit of an ordinary call does not fit; it
/// only keeps a store that hangs from hanging its caller for ever.
pub(super) const MIGRATION_LIMIT: Duration = Duration::from_secs(600);

/// How long a batch of imported sessions may take.
pub(super) const IMPORT_LIMIT: Duration = Duration::from_secs(60);

/// Refuses a schema that this program does not know yet.
pub(super) fn refuse_newer(found: u32) -> Result<(), StoreError> {
    if found > VERSION {
        return Err(StoreError::Schema(format!(
            "the database's schema is version {found}, this program needs {VERSION}; a newer session-gateway has \
             migrated it, run that one"
        )));
    }
    Ok(())
}

/// Refuses any schema but the one that this program needs.
pub(super) fn require_current(found: u32) -> Result<(), StoreError> {
    refuse_newer(found)?;
    if found < VERSION {
        return Err(StoreError::Schema(format!(
            "the database's schema is version {found}, this program needs {VERSION}; run `session-gateway migrate` or \
             set store.migrate = true"
        )));
    }
    Ok(())
}

/// The kinds of events that the store writes by itself, in the transaction of the change they tell of.
pub(super) mod kind {
    pub(in crate::store) const CREATED: &str = "session_created";
    pub(in crate::store) const ENDED: &str = "session_ended";
    pub(in crate::store) const EVICTED: &str = "session_evicted";
    pub(in crate::store) const SUSPENDED: &str = "session_suspended";
    pub(in crate::store) const ROTATED: &str = "session_rotated";
    pub(in crate::store) const REUSED: &str = "token_reused";
    pub(in crate::store) const REACTIVATED: &str = "session_reactivated";
    pub(in crate::store) const USER_CHANGED: &str = "user_changed";
}

/// Text as both stores can keep it. PostgreSQL has no U+0000 in text; it becomes U+FFFD in both, so that a hostile
/// header is a curious character in a list and not a failing statement.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// [`storable`], for text that may be absent.
pub(super) fn storable_opt(text: Option<&str>) -> Option<Cow<'_, str>> {
    text.map(storable)
}

/// An actor as stored.
pub(super) fn actor(actor: &Actor) -> String {
    storable(&actor.to_string()).into_owned()
}

/// The claims of a session as JSON text. An escaped U+0000 is harmless in both stores: they keep the text as it is.
pub(super) fn claims(principal: &Principal) -> Option<String> {
    principal.claims.as_ref().map(|claims| serde_json::Value::Object(claims.clone()).to_string())
}

/// A device as JSON text.
pub(super) fn device(device: Option<&Device>) -> Result<Option<String>, StoreError> {
    device.map(|device| serde_json::to_string(device).map_err(|error| StoreError::Failed(Box::new(error)))).transpose()
}

/// How long a session may go unused, as stored; what no calendar holds is for ever.
pub(super) fn slide(slide: Option<Duration>) -> Option<i64> {
    slide.and_then(|slide| i64::try_from(slide.as_millis()).ok())
}

/// The detail of an event about a session that ended or was suspended.
pub(super) fn reason_detail(reason: &str) -> String {
    serde_json::json!({ "reason": reason }).to_string()
}

/// A new random key.
pub(super) fn new_secret() -> Result<[u8; 32], StoreError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| StoreError::Failed(Box::new(error)))?;
    Ok(secret)
}

/// The key in a `value` column of `secrets`.
pub(super) fn secret(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|error| StoreError::Failed(Box::new(error)))
}

/// The detail of an event about a user whose settings were changed.
pub(super) fn user_detail(old: &UserSettings, new: &UserSettings) -> serde_json::Value {
    let shown = |settings: &UserSettings| {
        serde_json::json!({
            "enabled": settings.enabled,
            "max_sessions": settings.max_sessions,
            "audit_keep": settings.audit_keep,
            "not_before": settings.not_before.map(|time| time.to_string()),
        })
    };
    serde_json::json!({ "old": shown(old), "new": shown(new) })
}

/// A number of the `users` table as stored; beyond what its column holds it is as good as the most that it does.
pub(super) fn number(value: Option<u32>) -> Option<i32> {
    value.map(|value| i32::try_from(value).unwrap_or(i32::MAX))
}

/// A piece of text as a pattern that finds it anywhere, for `LIKE … ESCAPE '\\'`.
pub(super) fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in storable(text).chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// The detail of an event about a session that gave way to another.
pub(super) fn gave_way_detail(reason: EndReason, to: SessionId) -> String {
    serde_json::json!({ "reason": reason.name(), "for": to.to_string() }).to_string()
}

/// A row of `sessions`, joined with its user, as either store reads it.
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) token_hash: Vec<u8>,
    pub(super) user_id: String,
    pub(super) roles: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) claims: Option<String>,
    pub(super) state: String,
    pub(super) state_reason: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) last_seen_at: Timestamp,
    pub(super) last_ip: Option<IpAddr>,
    pub(super) user_agent: Option<String>,
    pub(super) bound_ip: Option<IpAddr>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) ended_by: Option<String>,
    pub(super) user_enabled: bool,
    pub(super) not_before: Option<Timestamp>,
    pub(super) format: String,
    pub(super) slide_ms: Option<i64>,
    pub(super) device: Option<String>,
}

/// A value in the table that is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("the column {column} of session {id} holds a value that this program does not know")]
pub(super) struct Unreadable {
    column: &'static str,
    id: SessionId,
    #[source]
    source: Option<serde_json::Error>,
}

impl From<Unreadable> for StoreError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Failed(Box::new(unreadable))
    }
}

/// The digest in a `token_hash` column.
pub(super) fn digest(id: SessionId, bytes: &[u8]) -> Result<Digest, Unreadable> {
    let bytes = bytes.try_into().map_err(|_| Unreadable { column: "token_hash", id, source: None })?;
    Ok(Digest::from_bytes(bytes))
}

/// The reason in a `state_reason` column of an ended session.
pub(super) fn end_reason(id: SessionId, name: &str) -> Result<EndReason, Unreadable> {
    EndReason::from_name(name).ok_or(Unreadable { column: "state_reason", id, source: None })
}

impl TryFrom<Row> for Record {
    type Error = Unreadable;

    fn try_from(row: Row) -> Result<Self, Unreadable> {
        let id = SessionId::from_uuid(row.id);
        let unreadable = |column| Unreadable { column, id, source: None };
        let roles = row.roles.iter().map(|role| Role::parse(role)).collect::<Result<_, _>>();
        let claims = row.claims.as_deref().map(serde_json::from_str).transpose();
        let device = row.device.as_deref().map(serde_json::from_str).transpose();
        let mut record = Self {
            id,
            digest: digest(id, &row.token_hash)?,
            principal: Principal {
                user: UserId::parse(&row.user_id).map_err(|_| unreadable("user_id"))?,
                roles: roles.map_err(|_| unreadable("roles"))?,
                name: row.name,
                email: row.email,
                claims: claims.map_err(|source| Unreadable { column: "claims", id, source: Some(source) })?,
            },
            state: state(&row.state, row.state_reason.as_deref()).ok_or_else(|| unreadable("state"))?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_seen_at: row.last_seen_at,
            last_ip: row.last_ip,
            user_agent: row.user_agent,
            bound_ip: row.bound_ip,
            ended_at: row.ended_at,
            ended_by: row.ended_by,
            user_enabled: row.user_enabled,
            format: Format::from_name(&row.format).ok_or_else(|| unreadable("format"))?,
            slide: row.slide_ms.and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis),
            device: device.map_err(|source| Unreadable { column: "device", id, source: Some(source) })?,
        };
        // All sessions of a user from before that moment were ended at once, without touching their rows.
        if let Some(not_before) = row.not_before
            && record.created_at < not_before
            && !matches!(record.state, State::Ended(_))
        {
            record.state = State::Ended(EndReason::EndedByAdmin);
            record.ended_at = Some(not_before);
        }
        Ok(record)
    }
}

fn state(state: &str, reason: Option<&str>) -> Option<State> {
    match (state, reason) {
        ("active", None) => Some(State::Active),
        ("suspended", Some(reason)) => SuspendReason::from_name(reason).map(State::Suspended),
        ("ended", Some(reason)) => EndReason::from_name(reason).map(State::Ended),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_does_not_fit_is_refused_with_what_to_do() {
        assert!(require_current(VERSION).is_ok());
        let older = require_current(0).unwrap_err().to_string();
        assert!(older.contains("is version 0") && older.contains("session-gateway migrate"), "{older}");
        let newer = require_current(VERSION + 1).unwrap_err().to_string();
        assert!(newer.contains("newer session-gateway"), "{newer}");
        assert!(refuse_newer(0).is_ok());
    }

    #[test]
    fn a_nul_in_text_becomes_a_replacement_character() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert!(matches!(storable("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn a_search_text_stands_for_itself() {
        assert_eq!(pattern("50%_a\\b"), "%50\\%\\_a\\\\b%");
    }

    #[test]
    fn a_state_without_its_reason_is_unreadable() {
        assert_eq!(state("active", None), Some(State::Active));
        assert_eq!(state("ended", Some("evicted")), Some(State::Ended(EndReason::Evicted)));
        for (name, reason) in [("ended", None), ("ended", Some("bored")), ("active", Some("evicted")), ("", None)] {
            assert_eq!(state(name, reason), None, "{name} {reason:?}");
        }
    }
}
