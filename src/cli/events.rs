//! `events`: the audit log.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::open::{self, Failure};
use super::show::Moment;
use super::table::{self, Table};
use super::{EXIT_REFUSED, complain, when};
use crate::clock::Timestamp;
use crate::config::Sources;
use crate::session::{SessionId, UserId};
use crate::store::{EventFilter, EventPosition, EventRow, Store};

/// Which lines of the audit log, newest first.
#[derive(Args, Debug)]
pub(super) struct Asked {
    /// Those about this user.
    #[arg(long, value_parser = UserId::parse)]
    user: Option<UserId>,
    /// Those about this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Those of this kind, such as session_ended.
    #[arg(long)]
    kind: Option<String>,
    /// Those put down to this actor, as it is shown: operator, policy, user:ann, service:login, admin:root.
    #[arg(long)]
    actor: Option<String>,
    /// Those that came from this address or network.
    #[arg(long, value_name = "ADDR")]
    ip: Option<String>,
    /// Those of this moment or later: 2026-11-20T16:30:00Z, or how long ago: 90m, 14d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Those before this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(sources: &Sources, asked: Asked) -> Result<ExitCode, Failure> {
    let (config, store) = open::settings_and_store(sources).await?;
    let filter = filter(&asked, Moment::now(&config, &store).await?.at)?;
    let (found, more) = search(&store, &filter, asked.limit).await?;
    if asked.json {
        let events: Vec<Value> = found.iter().map(document).collect();
        table::json(&json!({ "events": events, "more": more }));
    } else if !found.is_empty() {
        rows(&found).print();
    }
    if more {
        complain(&format!("there are more than these {}; --limit shows more", asked.limit));
    }
    if found.is_empty() {
        complain("no event is like that");
        return Ok(ExitCode::from(EXIT_REFUSED));
    }
    Ok(ExitCode::SUCCESS)
}

fn filter(asked: &Asked, now: Timestamp) -> Result<EventFilter, Failure> {
    let moment = |option: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(|text| when::parse(text, now)).transpose();
        parsed.map_err(|why| Failure::Usage(format!("{option}: {why}")))
    };
    let session = asked
        .session
        .as_deref()
        .map(|id| SessionId::parse(id).ok_or_else(|| Failure::Usage("--session: a session's id is a UUID".to_owned())));
    let network = asked.ip.as_deref().map(|text| {
        let address = text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
        let wrong = |_| Failure::Usage("--ip: write an address, or a network such as 192.0.2.0/24".to_owned());
        address.or_else(|_| text.parse()).map_err(wrong)
    });
    Ok(EventFilter {
        user: asked.user.clone(),
        session: session.transpose()?,
        kind: asked.kind.clone(),
        actor: asked.actor.clone(),
        network: network.transpose()?,
        since: moment("--since", &asked.since)?,
        until: moment("--until", &asked.until)?,
    })
}

/// The first `limit` lines, and whether there are more.
async fn search(store: &Store, filter: &EventFilter, limit: usize) -> Result<(Vec<EventRow>, bool), Failure> {
    /// What is asked for at a time.
    const PAGE: usize = 500;

    let mut found: Vec<EventRow> = Vec::new();
    loop {
        let after = found.last().map(|last| EventPosition { at: last.at, id: last.id });
        // One more than is shown tells whether there are more.
        let wanted = limit.saturating_add(1).saturating_sub(found.len()).min(PAGE);
        let page = store.events(filter, after, u32::try_from(wanted).unwrap_or(u32::MAX)).await?;
        let ended = page.len() < wanted;
        found.extend(page);
        if ended || found.len() > limit {
            let more = found.len() > limit;
            found.truncate(limit);
            return Ok((found, more));
        }
    }
}

fn rows(events: &[EventRow]) -> Table {
    let mut table = Table::new(&["AT", "KIND", "USER", "SESSION", "ACTOR", "IP", "DETAIL"]);
    for event in events {
        table.row([
            table::short(event.at),
            event.kind.clone(),
            event.user.clone().unwrap_or_default(),
            event.session.map(|id| id.to_string()).unwrap_or_default(),
            event.actor.clone(),
            event.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            detail(&event.detail),
        ]);
    }
    table
}

/// More about an event, in one cell. Of a change only what is different now.
fn detail(detail: &Value) -> String {
    let Value::Object(fields) = detail else { return String::new() };
    let pair = |(name, value): (&String, &Value)| format!("{name}={}", plain(value));
    match (fields.get("old"), fields.get("new")) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let changed = new.iter().filter(|(name, value)| old.get(*name) != Some(*value));
            changed.map(pair).collect::<Vec<_>>().join(" ")
        }
        _ => fields.iter().map(pair).collect::<Vec<_>>().join(" "),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn document(event: &EventRow) -> Value {
    json!({
        "id": event.id,
        "at": event.at.to_string(),
        "kind": event.kind,
        "user": event.user,
        "session": event.session.map(|id| id.to_string()),
        "actor": event.actor,
        "ip": event.ip,
        "user_agent": event.user_agent,
        "detail": event.detail,
    })
}
