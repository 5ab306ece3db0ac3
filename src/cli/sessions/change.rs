//! Ending, suspending and reactivating sessions.

use std::process::ExitCode;

use serde_json::json;

use super::{OfUser, One, Several, found_or_not, get, nobody_knows};
use crate::cli::open::Failure;
use crate::cli::show::{self, Moment};
use crate::cli::{EXIT_REFUSED, complain, say, table};
use crate::config::Config;
use crate::session::{Actor, EndReason, Role, SessionId, State, SuspendReason};
use crate::store::{By, Ending, Guard, Limit, OnExceed, Reactivated, Store, Suspended, Which};

/// What the operator is to the store.
fn by(moment: Moment) -> By {
    By::new(Actor::Operator, moment.at, moment.idle_since)
}

const fn ending(actor: &Actor, moment: Moment) -> Ending<'_> {
    Ending { reason: EndReason::EndedByAdmin, current: None, actor, now: moment.at }
}

pub(super) async fn revoke(store: &Store, several: Several, moment: Moment) -> Result<ExitCode, Failure> {
    let (mut ended, mut over, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for id in several.ids {
        // An id that is given twice has ended the first time.
        let gone = store.end(Which::One(id), ending(&Actor::Operator, moment)).await?;
        match (gone.is_empty(), store.get(id).await?) {
            (false, _) => ended.push(id),
            (true, Some(record)) if matches!(record.state, State::Ended(_)) => over.push(id),
            (true, _) => unknown.push(id),
        }
    }
    let texts = |ids: &[SessionId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    if several.json {
        table::json(&json!({ "ended": texts(&ended), "over_already": texts(&over), "not_found": texts(&unknown) }));
    } else {
        ended.iter().for_each(|id| say(&format!("{id} ended")));
        over.iter().for_each(|id| say(&format!("{id} had ended already")));
    }
    for id in &unknown {
        complain(&format!("there is no session {id}"));
    }
    Ok(if unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_REFUSED) })
}

pub(super) async fn revoke_user(store: &Store, of: &OfUser, moment: Moment) -> Result<ExitCode, Failure> {
    let ended = store.end(Which::AllOf(&of.user), ending(&Actor::Operator, moment)).await?;
    if of.json {
        let ids: Vec<_> = ended.iter().map(|session| session.id.to_string()).collect();
        table::json(&json!({ "user": of.user.as_str(), "ended": ids }));
    } else if !ended.is_empty() {
        say(&format!("{} session(s) ended", ended.len()));
    }
    Ok(found_or_not(!ended.is_empty(), &format!("the user {} has no session to end", of.user.as_str())))
}

pub(super) async fn suspend(store: &Store, one: &One, moment: Moment) -> Result<ExitCode, Failure> {
    let became = store.suspend_guarded(one.id, &Guard::none(), SuspendReason::SuspendedByAdmin, &by(moment)).await?;
    match became {
        Suspended::Done(_) => done(store, one, moment, "suspended").await,
        Suspended::Already => done(store, one, moment, "was suspended already").await,
        Suspended::Over => Err(Failure::Refused(format!("the session {} is over", one.id))),
        Suspended::NotFound => Err(nobody_knows(one.id)),
        // Nobody is kept from an operator, who could change the rows themselves.
        Suspended::Protected => Err(Failure::Refused(format!("the user of session {} is protected", one.id))),
    }
}

pub(super) async fn reactivate(config: &Config, store: &Store, one: &One, moment: Moment) -> Result<ExitCode, Failure> {
    let record = get(store, one.id).await?;
    let limit = Limit {
        by_call: None,
        by_policy: config.max_sessions.for_roles(record.principal.roles.iter().map(Role::as_str)),
        on_exceed: OnExceed::RejectNew,
        idle_since: moment.idle_since,
    };
    let refused = |why: &str| Err(Failure::Refused(format!("the session {} {why}", one.id)));
    match store.reactivate(one.id, limit, &Guard::none(), &by(moment)).await? {
        Reactivated::Done { .. } => done(store, one, moment, "active again").await,
        Reactivated::NotSuspended => done(store, one, moment, "was not suspended").await,
        Reactivated::Expired => refused("has expired"),
        Reactivated::Over => refused("has ended, and ended sessions do not come back"),
        Reactivated::OverLimit { limit } => {
            refused(&format!("finds no place: its user has {limit} live session(s), as many as allowed; end one first"))
        }
        Reactivated::Protected => refused("is of a protected user"),
        Reactivated::NotFound => Err(nobody_knows(one.id)),
    }
}

async fn done(store: &Store, one: &One, moment: Moment, words: &str) -> Result<ExitCode, Failure> {
    if one.json {
        table::json(&show::document(&get(store, one.id).await?, moment));
    } else {
        say(&format!("{} {words}", one.id));
    }
    Ok(ExitCode::SUCCESS)
}
