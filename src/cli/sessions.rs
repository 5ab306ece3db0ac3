//! `sessions`: list, show, create, and end them, on the store itself. Gateways that run hear of it from the store.

mod change;
mod create;

use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::open::{self, Failure};
use super::show::{self, Moment};
use super::table::{self, Table};
use super::{EXIT_REFUSED, complain};
use crate::config::Sources;
use crate::session::{Phase, Record, Role, SessionId, UserId};
use crate::store::{Filter, Position, Store};

/// What is to be done with sessions.
#[derive(Debug, Subcommand)]
pub(super) enum Asked {
    /// List sessions of all users, newest created first.
    List(Wanted),
    /// Show one session.
    Show(One),
    /// Create a session and print its token, this once.
    Create(create::Asked),
    /// End sessions. They do not come back.
    Revoke(Several),
    /// End all sessions of a user.
    RevokeUser(OfUser),
    /// Suspend a session until it is reactivated.
    Suspend(One),
    /// Make a suspended session active again.
    Reactivate(One),
}

/// Which sessions to list.
#[derive(Args, Debug)]
pub(super) struct Wanted {
    /// Those of this user.
    #[arg(long, value_parser = user)]
    user: Option<UserId>,
    /// Those that are this now: active, suspended, ended or expired.
    #[arg(long, value_parser = phase)]
    state: Option<Phase>,
    /// Those last used from, or bound to, this address or network.
    #[arg(long, value_name = "ADDR", value_parser = network)]
    ip: Option<IpNet>,
    /// Those whose User-Agent contains this.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    user_agent: Option<String>,
    /// Those with this role.
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// One session.
#[derive(Args, Debug)]
pub(super) struct One {
    /// The session's id.
    #[arg(value_parser = id)]
    id: SessionId,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Some sessions.
#[derive(Args, Debug)]
pub(super) struct Several {
    /// Their ids.
    #[arg(required = true, value_name = "ID", value_parser = id)]
    ids: Vec<SessionId>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// All sessions of one user.
#[derive(Args, Debug)]
pub(super) struct OfUser {
    /// The user's id.
    #[arg(value_parser = user, allow_hyphen_values = true)]
    user: UserId,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(sources: &Sources, asked: Asked) -> Result<ExitCode, Failure> {
    let (config, store) = open::settings_and_store(sources).await?;
    let moment = Moment::now(&config, &store).await?;
    match asked {
        Asked::List(wanted) => list(&store, wanted, moment).await,
        Asked::Show(one) => show_one(&store, &one, moment).await,
        Asked::Create(asked) => create::run(&config, &store, asked, moment).await,
        Asked::Revoke(several) => change::revoke(&store, several, moment).await,
        Asked::RevokeUser(of) => change::revoke_user(&store, &of, moment).await,
        Asked::Suspend(one) => change::suspend(&store, &one, moment).await,
        Asked::Reactivate(one) => change::reactivate(&config, &store, &one, moment).await,
    }
}

async fn list(store: &Store, wanted: Wanted, moment: Moment) -> Result<ExitCode, Failure> {
    let Wanted { user, state, ip, user_agent, role, limit, json } = wanted;
    let filter = Filter { user, phase: state, network: ip, user_agent, role, ..Filter::default() };
    let (found, more) = search(store, &filter, limit, moment).await?;
    if json {
        let sessions: Vec<Value> = found.iter().map(|record| show::document(record, moment)).collect();
        table::json(&json!({ "sessions": sessions, "more": more }));
    } else if !found.is_empty() {
        rows(&found, moment).print();
    }
    if more {
        complain(&format!("there are more than these {limit}; --limit shows more"));
    }
    Ok(found_or_not(!found.is_empty(), "no session is like that"))
}

/// The first `limit` sessions, and whether there are more.
async fn search(store: &Store, filter: &Filter, limit: usize, moment: Moment) -> Result<(Vec<Record>, bool), Failure> {
    /// What is asked for at a time.
    const PAGE: usize = 500;

    let mut found: Vec<Record> = Vec::new();
    loop {
        let after = found.last().map(|last| Position { created_at: last.created_at, id: last.id });
        // One more than is shown tells whether there are more.
        let wanted = limit.saturating_add(1).saturating_sub(found.len()).min(PAGE);
        let count = u32::try_from(wanted).unwrap_or(u32::MAX);
        let page = store.search(filter, after, count, moment.at, moment.idle_since).await?;
        let ended = page.len() < wanted;
        found.extend(page);
        if ended || found.len() > limit {
            let more = found.len() > limit;
            found.truncate(limit);
            return Ok((found, more));
        }
    }
}

fn rows(records: &[Record], moment: Moment) -> Table {
    let mut table = Table::new(&["ID", "USER", "STATE", "CREATED", "LAST SEEN", "LAST IP", "DEVICE"]);
    for record in records {
        table.row([
            record.id.to_string(),
            record.principal.user.as_str().to_owned(),
            show::state_in_words(record, moment),
            table::short(record.created_at),
            table::short(record.last_seen_at),
            record.last_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            show::device(record).map(|device| show::device_in_words(&device)).unwrap_or_default(),
        ]);
    }
    table
}

async fn show_one(store: &Store, one: &One, moment: Moment) -> Result<ExitCode, Failure> {
    let record = get(store, one.id).await?;
    if one.json {
        table::json(&show::document(&record, moment));
    } else {
        table::list(&show::lines(&record, moment));
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(store: &Store, id: SessionId) -> Result<Record, Failure> {
    store.get(id).await?.ok_or_else(|| nobody_knows(id))
}

fn nobody_knows(id: SessionId) -> Failure {
    Failure::Refused(format!(
        "there is no session {id}: the id is wrong, or its row has been removed after it was over"
    ))
}

fn found_or_not(found: bool, sentence: &str) -> ExitCode {
    if found {
        return ExitCode::SUCCESS;
    }
    complain(sentence);
    ExitCode::from(EXIT_REFUSED)
}

fn user(text: &str) -> Result<UserId, &'static str> {
    UserId::parse(text)
}

fn role(text: &str) -> Result<Role, &'static str> {
    Role::parse(text)
}

fn phase(text: &str) -> Result<Phase, String> {
    Phase::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Phase::ALL.iter().map(|phase| phase.name()).collect();
        format!("is one of {}", names.join(", "))
    })
}

fn id(text: &str) -> Result<SessionId, &'static str> {
    SessionId::parse(text).ok_or("a session's id is a UUID, as `sessions list` shows it")
}

/// An address, or a network such as 192.0.2.0/24.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
    address.or_else(|_| text.parse()).map_err(|_| "is neither an address nor a network such as 192.0.2.0/24")
}
