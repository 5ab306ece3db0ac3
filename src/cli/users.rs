//! `users`: what the store knows of a user beside the sessions, and changes of it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::open::{self, Failure};
use super::show::Moment;
use super::{table, when};
use crate::config::Sources;
use crate::session::{Actor, UserId};
use crate::store::{By, Guard, Store, User, UserChange, UserSettings};

/// What is to be done with users.
#[derive(Debug, Subcommand)]
pub(super) enum Asked {
    /// Show a user's settings and the number of live sessions.
    Show(One),
    /// Change a user's settings; those not named stay.
    Set(Change),
    /// Let a user have sessions again.
    Enable(One),
    /// End all sessions of a user, and allow no new ones.
    Disable(One),
}

/// One user.
#[derive(Args, Debug)]
pub(super) struct One {
    /// The user's id.
    #[arg(value_parser = UserId::parse, allow_hyphen_values = true)]
    user: UserId,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// New settings of a user.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["enabled", "max_sessions", "audit_keep", "not_before"])))]
pub(super) struct Change {
    #[command(flatten)]
    one: One,
    /// Whether the user may have sessions at all; false ends them all.
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// How many live sessions; 0 is unlimited, none is what the policy says.
    #[arg(long, value_name = "N|none", value_parser = number)]
    max_sessions: Option<Number>,
    /// How many lines of the audit log are kept; none is what the settings say.
    #[arg(long, value_name = "N|none", value_parser = number)]
    audit_keep: Option<Number>,
    /// End every session created before: 2026-11-20T16:30:00Z, now, how long ago (2h), or none.
    #[arg(long, value_name = "TIME|none")]
    not_before: Option<String>,
}

/// A number, or none.
#[derive(Clone, Copy, Debug)]
struct Number(Option<u32>);

fn number(text: &str) -> Result<Number, &'static str> {
    if text == "none" {
        return Ok(Number(None));
    }
    // What both stores can keep.
    let number = text.parse().ok().filter(|number| i32::try_from(*number).is_ok());
    number.map(|number| Number(Some(number))).ok_or("must be a whole number up to 2147483647, or none")
}

pub(super) async fn run(sources: &Sources, asked: Asked) -> Result<ExitCode, Failure> {
    let (config, store) = open::settings_and_store(sources).await?;
    let moment = Moment::now(&config, &store).await?;
    match asked {
        Asked::Show(one) => {
            let user = store.user(&one.user, moment.at, moment.idle_since).await?.ok_or_else(|| {
                Failure::Refused(format!("the user {} has never had a session here", one.user.as_str()))
            })?;
            print(&user, None, one.json);
            Ok(ExitCode::SUCCESS)
        }
        Asked::Set(change) => {
            let not_before = match change.not_before.as_deref() {
                None => None,
                Some("none") => Some(None),
                Some(text) => {
                    let wrong = |why| Failure::Usage(format!("--not-before: {why}"));
                    let at = when::parse(text, moment.at).map_err(wrong)?;
                    // Sessions could be created all the same, and would seem to be from then.
                    if at > moment.at {
                        return Err(wrong("must not lie in the future; to let nobody in, `users disable`".to_owned()));
                    }
                    Some(Some(at))
                }
            };
            set(&store, &change.one, moment, |settings| UserSettings {
                enabled: change.enabled.unwrap_or(settings.enabled),
                max_sessions: change.max_sessions.map_or(settings.max_sessions, |Number(given)| given),
                audit_keep: change.audit_keep.map_or(settings.audit_keep, |Number(given)| given),
                not_before: not_before.unwrap_or(settings.not_before),
            })
            .await
        }
        Asked::Enable(one) => set(&store, &one, moment, |settings| UserSettings { enabled: true, ..settings }).await,
        Asked::Disable(one) => set(&store, &one, moment, |settings| UserSettings { enabled: false, ..settings }).await,
    }
}

async fn set(
    store: &Store,
    one: &One,
    moment: Moment,
    change: impl FnOnce(UserSettings) -> UserSettings,
) -> Result<ExitCode, Failure> {
    let known = store.user(&one.user, moment.at, moment.idle_since).await?;
    let settings = change(known.map(|user| user.settings).unwrap_or_default());
    let by = By::new(Actor::Operator, moment.at, moment.idle_since);
    match store.set_user(&one.user, settings, &Guard::none(), &by).await? {
        UserChange::Done { ended, .. } => {
            if let Some(user) = store.user(&one.user, moment.at, moment.idle_since).await? {
                print(&user, Some(ended.len()), one.json);
            }
            Ok(ExitCode::SUCCESS)
        }
        // Nobody is kept from an operator, who could change the rows themselves.
        UserChange::Protected => Err(Failure::Refused(format!("the user {} is protected", one.user.as_str()))),
    }
}

fn print(user: &User, ended: Option<usize>, json: bool) {
    let User { id, settings, live_sessions } = user;
    let UserSettings { enabled, max_sessions, audit_keep, not_before } = settings;
    if json {
        let mut document = json!({
            "user": id.as_str(),
            "enabled": enabled,
            "max_sessions": max_sessions,
            "audit_keep": audit_keep,
            "not_before": not_before.map(|at| at.to_string()),
            "live_sessions": live_sessions,
        });
        if let (Some(fields), Some(ended)) = (document.as_object_mut(), ended) {
            fields.insert("ended".to_owned(), json!(ended));
        }
        table::json(&document);
        return;
    }
    let own = |number: &Option<u32>, otherwise: &str| number.map_or_else(|| otherwise.to_owned(), |n| n.to_string());
    let max = match max_sessions {
        Some(0) => "unlimited".to_owned(),
        other => own(other, "as the policy says"),
    };
    table::list(&[
        ("user", Some(id.as_str().to_owned())),
        ("enabled", Some(if *enabled { "yes" } else { "no" }.to_owned())),
        ("max sessions", Some(max)),
        ("audit keep", Some(own(audit_keep, "as the settings say"))),
        ("not before", not_before.map(|at| at.to_string())),
        ("live sessions", Some(live_sessions.to_string())),
        ("ended", ended.filter(|ended| *ended > 0).map(|ended| format!("{ended} session(s)"))),
    ]);
}
