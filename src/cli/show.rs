//! Sessions as the operator sees them. Never a token or its digest.

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::session::{Record, State};
use crate::user_agent::Device;

/// What a session's state is called, and why it is so. "Expired" follows from the time.
pub(super) fn state(record: &Record, now: Timestamp) -> (&'static str, Option<&'static str>) {
    match record.state {
        State::Active if record.expires_at.is_some_and(|at| at <= now) => ("expired", None),
        State::Active => ("active", None),
        State::Suspended(reason) => ("suspended", Some(reason.name())),
        State::Ended(reason) => ("ended", Some(reason.name())),
    }
}

/// A state with its reason, for people.
pub(super) fn state_in_words(record: &Record, now: Timestamp) -> String {
    match state(record, now) {
        (state, Some(reason)) => format!("{state} ({reason})"),
        (state, None) => state.to_owned(),
    }
}

/// Everything about a session, for people.
pub(super) fn lines(record: &Record, now: Timestamp) -> Vec<(&'static str, Option<String>)> {
    let principal = &record.principal;
    let roles: Vec<&str> = principal.roles.iter().map(|role| role.as_str()).collect();
    let disabled = if record.user_enabled { "" } else { " (disabled)" };
    let device = device(record).map(|device| format!("{}, {}", device.browser, device.os));
    let ended = record.ended_at.map(|at| match &record.ended_by {
        Some(by) => format!("{at} by {by}"),
        None => at.to_string(),
    });
    let limit = |limit: Option<Timestamp>| limit.map_or_else(|| "never".to_owned(), |at| at.to_string());
    vec![
        ("id", Some(record.id.to_string())),
        ("user", Some(format!("{}{disabled}", principal.user.as_str()))),
        ("roles", (!roles.is_empty()).then(|| roles.join(", "))),
        ("name", principal.name.clone()),
        ("email", principal.email.clone()),
        ("claims", principal.claims.clone().map(|claims| Value::Object(claims).to_string())),
        ("state", Some(state_in_words(record, now))),
        ("created", Some(record.created_at.to_string())),
        ("expires", Some(limit(record.expires_at))),
        ("unused for", record.slide.map(|slide| format!("at most {}", humantime::format_duration(slide)))),
        ("last seen", Some(record.last_seen_at.to_string())),
        ("last ip", record.last_ip.map(|ip| ip.to_string())),
        ("bound ip", record.bound_ip.map(|ip| ip.to_string())),
        ("bound to", record.user_agent.clone()),
        ("device", device),
        ("ended", ended),
    ]
}

/// Everything about a session, for programs.
pub(super) fn document(record: &Record, now: Timestamp) -> Value {
    let principal = &record.principal;
    let (state, reason) = state(record, now);
    json!({
        "id": record.id.to_string(),
        "user": principal.user.as_str(),
        "user_enabled": record.user_enabled,
        "roles": principal.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "name": principal.name,
        "email": principal.email,
        "claims": principal.claims,
        "state": state,
        "reason": reason,
        "format": record.format.name(),
        "created_at": record.created_at.to_string(),
        "expires_at": record.expires_at.map(|at| at.to_string()),
        "slide_seconds": record.slide.map(|slide| slide.as_secs()),
        "last_seen_at": record.last_seen_at.to_string(),
        "last_ip": record.last_ip,
        "bound_ip": record.bound_ip,
        "user_agent": record.user_agent,
        "device": device(record),
        "ended_at": record.ended_at.map(|at| at.to_string()),
        "ended_by": record.ended_by,
    })
}

fn device(record: &Record) -> Option<Device> {
    record.device.clone().or_else(|| record.user_agent.as_deref().map(Device::of))
}
