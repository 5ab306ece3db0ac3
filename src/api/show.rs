//! Sessions as their owners see them. Never a token or its digest.

use serde::Serialize;

use crate::session::{Record, SessionId};
use crate::user_agent::{ClientHints, Device};

/// One session in a list.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    id: String,
    current: bool,
    created_at: String,
    last_seen_at: String,
    expires_at: Option<String>,
    last_ip: Option<String>,
    user_agent: Option<String>,
    device: Device,
}

impl Row {
    pub(super) fn new(record: &Record, current: SessionId) -> Self {
        Self {
            id: record.id.to_string(),
            current: record.id == current,
            created_at: record.created_at.to_string(),
            last_seen_at: record.last_seen_at.to_string(),
            expires_at: record.over_at().map(|at| at.to_string()),
            last_ip: record.last_ip.map(|ip| ip.to_string()),
            user_agent: record.user_agent.clone(),
            device: device(record),
        }
    }
}

/// The device of a session; read anew for one from before devices were kept, or that was not used yet.
pub(super) fn device(record: &Record) -> Device {
    let read_anew = || Device::of(record.user_agent.as_deref().unwrap_or_default(), &ClientHints::default());
    record.device.clone().unwrap_or_else(read_anew)
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    pub(super) sessions: Vec<Row>,
    pub(super) next_cursor: Option<String>,
}

/// The session of the caller, with whom it belongs to.
#[derive(Debug, Serialize)]
pub(super) struct Current {
    #[serde(flatten)]
    row: Row,
    user: String,
    roles: Vec<String>,
    name: Option<String>,
    email: Option<String>,
    claims: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Current {
    pub(super) fn new(record: Record) -> Self {
        let row = Row::new(&record, record.id);
        let principal = record.principal;
        Self {
            row,
            user: principal.user.as_str().to_owned(),
            roles: principal.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            name: principal.name,
            email: principal.email,
            claims: principal.claims,
        }
    }
}

/// How many sessions were ended.
#[derive(Debug, Serialize)]
pub(super) struct Count {
    pub(super) ended: usize,
}
