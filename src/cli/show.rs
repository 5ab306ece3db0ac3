//! Sessions as the operator sees them. Never a token or its digest.

use serde_json::{Value, json};

use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::session::{Phase, Record, State};
use crate::store::{Store, StoreError};
use crate::user_agent::{ClientHints, Device};

/// The time at which sessions are looked at, and since when a session must have been used not to be idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) idle_since: Option<Timestamp>,
}

impl Moment {
    /// This moment under these settings.
    pub(super) fn new(config: &Config, at: Timestamp) -> Self {
        Self { at, idle_since: config.rules.idle_timeout.map(|timeout| at.minus(timeout)) }
    }

    /// Now by the clock that all gateways of the store go by.
    pub(super) async fn now(config: &Config, store: &Store) -> Result<Self, StoreError> {
        Ok(Self::new(config, store.clock().await?.unwrap_or_else(clock::wall)))
    }
}

/// What a session is called by what it is now, and why it is so.
pub(super) fn state(record: &Record, now: Moment) -> (&'static str, Option<&'static str>) {
    let phase = record.phase(now.at, now.idle_since);
    let reason = match record.state {
        State::Suspended(reason) if phase == Phase::Suspended => Some(reason.name()),
        State::Ended(reason) => Some(reason.name()),
        State::Active | State::Suspended(_) => None,
    };
    (phase.name(), reason)
}

/// A state with its reason, for people.
pub(super) fn state_in_words(record: &Record, now: Moment) -> String {
    match state(record, now) {
        (state, Some(reason)) => format!("{state} ({reason})"),
        (state, None) => state.to_owned(),
    }
}

/// Everything about a session, for people.
pub(super) fn lines(record: &Record, now: Moment) -> Vec<(&'static str, Option<String>)> {
    let principal = &record.principal;
    let roles: Vec<&str> = principal.roles.iter().map(|role| role.as_str()).collect();
    let disabled = if record.user_enabled { "" } else { " (disabled)" };
    let device = device(record).map(|device| device_in_words(&device));
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
        ("expires", Some(limit(record.over_at()))),
        ("slides", record.slide.map(|slide| format!("over when unused for {}", humantime::format_duration(slide)))),
        ("last seen", Some(record.last_seen_at.to_string())),
        ("last ip", record.last_ip.map(|ip| ip.to_string())),
        ("bound ip", record.bound_ip.map(|ip| ip.to_string())),
        ("bound to", record.user_agent.clone()),
        ("device", device),
        ("ended", ended),
    ]
}

/// Everything about a session, for programs.
pub(super) fn document(record: &Record, now: Moment) -> Value {
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
        "expires_at": record.over_at().map(|at| at.to_string()),
        "ends_at": record.expires_at.map(|at| at.to_string()),
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

/// A device in few words; what is not known is left out.
pub(super) fn device_in_words(device: &Device) -> String {
    let known = [Some(device.browser.as_str()), Some(device.os.as_str()), device.model.as_deref()];
    known.into_iter().flatten().filter(|word| *word != "Other").collect::<Vec<_>>().join(", ")
}

/// What the User-Agent says, if it is known.
pub(super) fn device(record: &Record) -> Option<Device> {
    record
        .device
        .clone()
        .or_else(|| record.user_agent.as_deref().map(|agent| Device::of(agent, &ClientHints::default())))
}
