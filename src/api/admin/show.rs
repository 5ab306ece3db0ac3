//! What administrators see. Never a token or its digest.

use serde::Serialize;

use crate::api::show::Row;
use crate::clock::Timestamp;
use crate::session::{Record, SessionId, State};
use crate::store::{EventRow, User};

/// A session.
#[derive(Debug, Serialize)]
pub(super) struct AdminRow {
    #[serde(flatten)]
    row: Row,
    user: String,
    roles: Vec<String>,
    name: Option<String>,
    email: Option<String>,
    state: &'static str,
    reason: Option<&'static str>,
    bound_ip: Option<String>,
    ended_at: Option<String>,
    ended_by: Option<String>,
}

impl AdminRow {
    /// The session as it is at `now`, where those last used before `idle_since` are idle.
    pub(super) fn new(record: &Record, current: SessionId, now: Timestamp, idle_since: Option<Timestamp>) -> Self {
        let principal = &record.principal;
        Self {
            row: Row::new(record, current),
            user: principal.user.as_str().to_owned(),
            roles: principal.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            name: principal.name.clone(),
            email: principal.email.clone(),
            state: record.phase(now, idle_since).name(),
            reason: match record.state {
                State::Active => None,
                State::Suspended(reason) => Some(reason.name()),
                State::Ended(reason) => Some(reason.name()),
            },
            bound_ip: record.bound_ip.map(|ip| ip.to_string()),
            ended_at: record.ended_at.map(|at| at.to_string()),
            ended_by: record.ended_by.clone(),
        }
    }
}

/// A session by itself, with what its creator kept with it.
#[derive(Debug, Serialize)]
pub(super) struct AdminSession {
    #[serde(flatten)]
    pub(super) row: AdminRow,
    pub(super) claims: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A page of sessions.
#[derive(Debug, Serialize)]
pub(super) struct AdminPage {
    pub(super) sessions: Vec<AdminRow>,
    pub(super) next_cursor: Option<String>,
}

/// How many sessions were ended, or would be.
#[derive(Debug, Serialize)]
pub(super) struct AdminCount {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) dry_run: bool,
    pub(super) ended: u64,
    pub(super) skipped: u64,
}

/// A user.
#[derive(Debug, Serialize)]
pub(super) struct UserRow {
    user: String,
    enabled: bool,
    max_sessions: Option<u32>,
    audit_keep: Option<u32>,
    not_before: Option<String>,
    live_sessions: u64,
    /// How many sessions a change has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<usize>,
}

impl UserRow {
    pub(super) fn new(user: &User, ended: Option<usize>) -> Self {
        Self {
            user: user.id.as_str().to_owned(),
            enabled: user.settings.enabled,
            max_sessions: user.settings.max_sessions,
            audit_keep: user.settings.audit_keep,
            not_before: user.settings.not_before.map(|time| time.to_string()),
            live_sessions: user.live_sessions,
            ended,
        }
    }
}

/// A line of the audit log.
#[derive(Debug, Serialize)]
pub(super) struct EventLine {
    id: i64,
    at: String,
    kind: String,
    session: Option<String>,
    user: Option<String>,
    actor: String,
    ip: Option<String>,
    user_agent: Option<String>,
    detail: serde_json::Value,
}

impl From<EventRow> for EventLine {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id,
            at: row.at.to_string(),
            kind: row.kind,
            session: row.session.map(|id| id.to_string()),
            user: row.user,
            actor: row.actor,
            ip: row.ip.map(|ip| ip.to_string()),
            user_agent: row.user_agent,
            detail: row.detail,
        }
    }
}

/// A page of the audit log.
#[derive(Debug, Serialize)]
pub(super) struct EventPage {
    pub(super) events: Vec<EventLine>,
    pub(super) next_cursor: Option<String>,
}
