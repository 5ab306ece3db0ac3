//! The rows of nilva-session: tokens in clear, which are hashed on the way.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;

use super::{BATCH, Candidate, Common, Import};
use crate::cli::open::Failure;
use crate::config::Sources;
use crate::session::{EndReason, SessionId, State, SuspendReason, UserId};
use crate::store::foreign::{NILVA_SESSIONS, NilvaRow};

/// How the rows of nilva-session are taken over.
#[derive(Args, Debug)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    common: Common,
}

/// What nilva-session writes into `detail`, and the only thing it writes there.
const USER_AGENT_CHANGED: &str = "User suspended; because user agent changed!";

pub(super) async fn run(sources: &Sources, asked: Asked) -> Result<ExitCode, Failure> {
    let mut import = Import::open(sources, asked.common, "nilva", &[NILVA_SESSIONS]).await?;
    let mut after = String::new();
    loop {
        let rows = import.foreign.nilva(&import.users, &after, BATCH).await?;
        let Some(last) = rows.last() else { return Ok(import.report()) };
        super::advance(&mut after, &last.place, NILVA_SESSIONS)?;
        let mut batch = Vec::with_capacity(rows.len());
        for row in rows {
            import.counts.read += 1;
            // Django lets such a user in nowhere; nilva-session forgot to look.
            if !row.user_active {
                import.counts.user_disabled += 1;
            } else if let Some(candidate) = candidate(row) {
                batch.push(candidate);
            } else {
                import.counts.unreadable += 1;
            }
        }
        import.take(batch).await?;
    }
}

fn candidate(row: NilvaRow) -> Option<Candidate> {
    let state = state(&row);
    Some(Candidate {
        id: SessionId::parse(&row.id)?,
        user: UserId::parse(&row.user).ok()?,
        state,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_seen_at: row.last_seen_at,
        last_ip: row.last_ip.as_deref().and_then(address),
        user_agent: Some(row.user_agent),
        key: row.key,
    })
}

/// An inactive row was suspended for its User-Agent, when it says so; suspended by an administrator, who wrote something
/// else; or logged out, which writes nothing.
fn state(row: &NilvaRow) -> State {
    match row.detail.as_deref().map(str::trim) {
        _ if row.active => State::Active,
        Some(USER_AGENT_CHANGED) => State::Suspended(SuspendReason::UserAgentChanged),
        None | Some("") => State::Ended(EndReason::LoggedOut),
        Some(_) => State::Suspended(SuspendReason::SuspendedByAdmin),
    }
}

/// PostgreSQL prints an `inet` with the length of its network.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
