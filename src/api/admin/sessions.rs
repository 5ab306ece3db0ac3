//! Sessions of all users.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::Caller;
use super::show::{AdminCount, AdminPage, AdminRow, AdminSession};
use crate::api::cursor::List;
use crate::api::query::Query;
use crate::api::{Call, json};
use crate::error::{Code, Problem};
use crate::session::{EndReason, Phase, Record, Role, SessionId};
use crate::store::{Filter, Position};

/// The parameters that narrow a search.
const FILTER: [&str; 7] = ["user", "state", "ip", "user_agent", "role", "created_before", "created_after"];

const LONGEST_USER_AGENT: usize = 1000;

fn filter(query: &Query<'_>) -> Result<Filter, Problem> {
    let user = query.one("user")?.map(super::user_id).transpose()?;
    let wrong_state = || Problem::invalid("state", "The state must be active, suspended, ended or expired.");
    let phase = query.one("state")?.map(|name| Phase::from_name(name).ok_or_else(wrong_state)).transpose()?;
    let role = query
        .one("role")?
        .map(|name| Role::parse(name).map_err(|why| Problem::invalid("role", format!("The role {why}."))));
    let user_agent = match query.one("user_agent")? {
        Some("") => return Err(Problem::invalid("user_agent", "The value must not be empty.")),
        // Much longer ones SQLite refuses to look for, and that would be a store which fails.
        Some(text) if text.len() > LONGEST_USER_AGENT => {
            return Err(Problem::invalid("user_agent", "The value must not be longer than 1000 bytes."));
        }
        given => given.map(str::to_owned),
    };
    Ok(Filter {
        id: None,
        user,
        phase,
        network: query.network("ip")?,
        user_agent,
        role: role.transpose()?,
        created_before: query.time("created_before")?,
        created_after: query.time("created_after")?,
    })
}

/// `GET /sessions?…`
pub(super) async fn list(call: &Call<'_>, caller: &Caller<'_>) -> Result<Response<Bytes>, Problem> {
    let query = Query::parse(call.query, &[&FILTER[..], &["limit", "cursor"]].concat())?;
    let filter = filter(&query)?;
    let limit = query.limit()?;
    let list = List::new("admin/sessions", "", &query);
    let after = list.read(call, &query).await?;
    // One more than is shown tells whether there is a next page.
    let mut records = call.sessions.search(filter, after, limit + 1, call.now).await?;
    let more = records.len() > limit as usize;
    records.truncate(limit as usize);
    let next_cursor = match records.last().filter(|_| more) {
        Some(last) => Some(list.write(call, Position { created_at: last.created_at, id: last.id }).await?),
        None => None,
    };
    let sessions = records.iter().map(|record| row(call, caller, record)).collect();
    json(StatusCode::OK, &AdminPage { sessions, next_cursor })
}

fn row(call: &Call<'_>, caller: &Caller<'_>, record: &Record) -> AdminRow {
    AdminRow::new(record, caller.session.id, call.now, call.sessions.idle_since(call.now))
}

/// `GET /sessions/{id}`
pub(super) async fn show(call: &Call<'_>, caller: &Caller<'_>, id: SessionId) -> Result<Response<Bytes>, Problem> {
    Query::parse(call.query, &[])?;
    answer(call, caller, get(call, id).await?)
}

fn answer(call: &Call<'_>, caller: &Caller<'_>, record: Record) -> Result<Response<Bytes>, Problem> {
    let row = row(call, caller, &record);
    json(StatusCode::OK, &AdminSession { row, claims: record.principal.claims })
}

async fn get(call: &Call<'_>, id: SessionId) -> Result<Record, Problem> {
    let missing = || Problem::with_detail(Code::NotFound, "There is no session with this id.");
    call.sessions.get(id).await?.ok_or_else(missing)
}

/// `DELETE /sessions?…&dry_run=`
pub(super) async fn end_matching(call: &Call<'_>, caller: &Caller<'_>) -> Result<Response<Bytes>, Problem> {
    let query = Query::parse(call.query, &[&FILTER[..], &["all", "dry_run"]].concat())?;
    let (filter, all, dry_run) = (filter(&query)?, query.flag("all")?, query.flag("dry_run")?);
    match (filter == Filter::default(), all) {
        (true, false) => {
            return Err(Problem::invalid("all", "Say which sessions by a filter, or all=true for those of everybody."));
        }
        (false, true) => return Err(Problem::invalid("all", "Give a filter or all=true, not both.")),
        (true, true) | (false, false) => {}
    }
    let guard = caller.guard.clone();
    let count = if dry_run {
        call.sessions.count(filter, guard, call.now).await?
    } else {
        call.sessions.end_matching(filter, guard, EndReason::EndedByAdmin, caller.by.clone()).await?
    };
    if count.skipped > 0 && !dry_run {
        let detail = serde_json::json!({ "skipped": count.skipped });
        caller.refused(call, Code::ProtectedUser, None, detail).await;
    }
    json(StatusCode::OK, &AdminCount { dry_run, ended: count.matching, skipped: count.skipped })
}

/// `DELETE /sessions/{id}`
pub(super) async fn end_one(call: &Call<'_>, caller: &Caller<'_>, id: SessionId) -> Result<Response<Bytes>, Problem> {
    Query::parse(call.query, &[])?;
    let user = get(call, id).await?.principal.user;
    let filter = Filter { id: Some(id), ..Filter::default() };
    let ended = super::users::end(call, caller, &user, filter).await;
    let count = caller.noted(call, Some(&user), ended).await?;
    json(StatusCode::OK, &AdminCount { dry_run: false, ended: count, skipped: 0 })
}

/// `POST /sessions/{id}/suspend`
pub(super) async fn suspend(call: &Call<'_>, caller: &Caller<'_>, id: SessionId) -> Result<Response<Bytes>, Problem> {
    Query::parse(call.query, &[])?;
    let user = get(call, id).await?.principal.user;
    let suspended = call.sessions.suspend(id, caller.guard.clone(), caller.by.clone()).await;
    caller.noted(call, Some(&user), suspended).await?;
    answer(call, caller, get(call, id).await?)
}

/// `POST /sessions/{id}/reactivate`
pub(super) async fn reactivate(
    call: &Call<'_>,
    caller: &Caller<'_>,
    id: SessionId,
) -> Result<Response<Bytes>, Problem> {
    Query::parse(call.query, &[])?;
    // The roles of a session never change, so that the limit by role can be looked up before the change.
    let principal = get(call, id).await?.principal;
    let limit = call.config.max_sessions.for_roles(principal.roles.iter().map(Role::as_str));
    let reactivated = call.sessions.reactivate(id, limit, caller.guard.clone(), caller.by.clone()).await;
    caller.noted(call, Some(&principal.user), reactivated).await?;
    answer(call, caller, get(call, id).await?)
}
