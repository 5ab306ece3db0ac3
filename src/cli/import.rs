//! `import`: the sessions of an application go on here, with the tokens that their users hold already.
//!
//! The application's database is read and never written. Every batch is one transaction of our store, and what is there
//! already is left as it is, so an import that broke off is simply run again.

mod django;
mod nilva;
mod session_data;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::open::{self, Failure};
use super::show::Moment;
use super::{secret, table};
use crate::clock::Timestamp;
use crate::config::Sources;
use crate::session::{Actor, Principal, SessionId, State, UserId};
use crate::store::foreign::{Foreign, ForeignError, Users};
use crate::store::{Imported, ImportedSession, Store};
use crate::token::{self, Digest, Shape};

/// How many rows are read, and taken over in one transaction, at a time.
const BATCH: usize = 500;

/// Whose sessions.
#[derive(Debug, Subcommand)]
pub(super) enum Asked {
    /// Those of nilva-session: the table user_session. Clients go on with their tokens.
    Nilva(nilva::Asked),
    /// Those of Django in its database: the table django_session. The value of the cookie becomes the token.
    Django(django::Asked),
}

/// What every import is told.
#[derive(Args, Debug)]
struct Common {
    /// The application's database: sqlite:PATH or postgres://…, or where that stands: - (standard input), env:NAME,
    /// file:PATH. It is only read.
    #[arg(long, value_name = "URL")]
    from: String,
    /// The application's table of users, perhaps with its schema.
    #[arg(long, value_name = "TABLE", default_value = "auth_user")]
    user_table: String,
    /// The column of it that the gateway knows users by: what its logins name, such as username.
    #[arg(long, value_name = "COLUMN", default_value = "id")]
    user_column: String,
    /// Take the sessions for used just now, so that session.idle_timeout does not end them at once.
    #[arg(long)]
    as_seen_now: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl From<ForeignError> for Failure {
    fn from(error: ForeignError) -> Self {
        let sentence = crate::error::causes(&error);
        match error {
            ForeignError::Address(_) => Self::Usage(sentence),
            ForeignError::Unreadable(_) | ForeignError::Value { .. } => Self::Away(sentence),
        }
    }
}

pub(super) async fn run(sources: &Sources, asked: Asked) -> Result<ExitCode, Failure> {
    match asked {
        Asked::Nilva(asked) => nilva::run(sources, asked).await,
        Asked::Django(asked) => django::run(sources, asked).await,
    }
}

/// Goes on to the next page. A column of SQLite may hold what its type does not say, and bytes come after every text: the
/// same page would come again, for ever.
fn advance(after: &mut String, last: &str, table: &str) -> Result<(), Failure> {
    if after == last {
        return Err(Failure::Refused(format!(
            "--from: the table {table} has rows whose key is no text; they come last, and all others are taken over"
        )));
    }
    last.clone_into(after);
    Ok(())
}

/// An import under way.
struct Import {
    store: Store,
    foreign: Foreign,
    users: Users,
    origin: &'static str,
    common: Common,
    now: Timestamp,
    counts: Counts,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    read: u64,
    created: u64,
    /// There already.
    exists: u64,
    expired: u64,
    /// The user may not log in, there or here.
    user_disabled: u64,
    /// Nobody is logged in.
    anonymous: u64,
    /// The password was changed since.
    logged_out: u64,
    /// The signature is not that of the application.
    refused: u64,
    /// Not as such a row should be.
    unreadable: u64,
}

/// A row on its way.
struct Candidate {
    id: SessionId,
    user: UserId,
    key: zeroize::Zeroizing<String>,
    state: State,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_seen_at: Timestamp,
    last_ip: Option<std::net::IpAddr>,
    user_agent: Option<String>,
}

impl Import {
    /// Opens both databases. `tables` are those that must be there.
    async fn open(sources: &Sources, common: Common, origin: &'static str, tables: &[&str]) -> Result<Self, Failure> {
        let (config, store) = open::settings_and_store(sources).await?;
        let now = Moment::now(&config, &store).await?.at;
        let url = secret::read("--from", &common.from)?;
        let foreign = Foreign::open(&url).await?;
        for table in tables.iter().copied().chain([common.user_table.as_str()]) {
            if !foreign.has(table).await? {
                return Err(Failure::Refused(format!(
                    "--from: this database has no table {table}; is it the application's own? (--user-table names the \
                     table of users)"
                )));
            }
        }
        let users = Users { table: common.user_table.clone(), column: common.user_column.clone() };
        Ok(Self { store, foreign, users, origin, common, now, counts: Counts::default() })
    }

    /// Takes a batch over, or only looks what would become of it.
    async fn take(&mut self, batch: Vec<Candidate>) -> Result<(), Failure> {
        let mut sessions = Vec::with_capacity(batch.len());
        for candidate in batch {
            if candidate.expires_at.is_some_and(|at| at <= self.now) {
                self.counts.expired += 1;
            } else if token::shape(candidate.key.as_bytes()) != Shape::Plausible {
                // No request could ever bring it.
                self.counts.unreadable += 1;
            } else {
                sessions.push(self.session(candidate));
            }
        }
        let became =
            if self.common.dry_run { self.look(&sessions).await? } else { self.store.import(sessions).await? };
        for imported in became {
            match imported {
                Imported::Created => self.counts.created += 1,
                Imported::Exists => self.counts.exists += 1,
                Imported::UserDisabled => self.counts.user_disabled += 1,
            }
        }
        self.progress();
        Ok(())
    }

    fn session(&self, candidate: Candidate) -> ImportedSession {
        ImportedSession {
            id: candidate.id,
            digest: Digest::of(candidate.key.as_bytes()),
            principal: Principal::of(candidate.user),
            state: candidate.state,
            created_at: candidate.created_at,
            expires_at: candidate.expires_at,
            last_seen_at: if self.common.as_seen_now { self.now } else { candidate.last_seen_at },
            last_ip: candidate.last_ip,
            user_agent: candidate.user_agent,
            origin: self.origin,
            actor: Actor::Operator,
            now: self.now,
        }
    }

    async fn look(&self, sessions: &[ImportedSession]) -> Result<Vec<Imported>, Failure> {
        let mut became = Vec::with_capacity(sessions.len());
        for session in sessions {
            let known = self.store.get(session.id).await?;
            became.push(if known.is_some() { Imported::Exists } else { Imported::Created });
        }
        Ok(became)
    }

    /// One line that is written again and again, for somebody who watches.
    fn progress(&self) {
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let _ = write!(stderr, "\r{} rows read, {} sessions taken over", self.counts.read, self.counts.created);
        }
    }

    fn report(&self) -> ExitCode {
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let _ = write!(stderr, "\r\x1b[K");
        }
        let Counts { read, created, exists, expired, user_disabled, anonymous, logged_out, refused, unreadable } =
            self.counts;
        if self.common.json {
            table::json(&json!({
                "imported_from": self.origin,
                "dry_run": self.common.dry_run,
                "read": read,
                "created": created,
                "exists": exists,
                "expired": expired,
                "user_disabled": user_disabled,
                "anonymous": anonymous,
                "logged_out": logged_out,
                "refused": refused,
                "unreadable": unreadable,
            }));
            return ExitCode::SUCCESS;
        }
        let count = |number: u64, words: &'static str| {
            (words, (number > 0 || matches!(words, "rows read" | "created")).then(|| number.to_string()))
        };
        table::list(&[
            count(read, "rows read"),
            count(created, if self.common.dry_run { "would be created" } else { "created" }),
            count(exists, "there already, left alone"),
            count(expired, "expired"),
            count(user_disabled, "of disabled users"),
            count(anonymous, "of nobody"),
            count(logged_out, "ended by a changed password"),
            count(refused, "with a wrong signature"),
            count(unreadable, "not readable"),
        ]);
        ExitCode::SUCCESS
    }
}
