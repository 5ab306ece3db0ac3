//! Users: what is known of them, what an administrator may say, and logging them out everywhere.

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::show::{AdminCount, UserRow};
use super::{Caller, named};
use crate::api::query::Query;
use crate::api::{Call, body, json};
use crate::clock::Timestamp;
use crate::error::{Code, Problem};
use crate::session::{EndReason, UserId};
use crate::store::{Filter, UserSettings};

/// `GET /users/{user}`
pub(super) async fn show(call: &Call<'_>, user: Option<UserId>) -> Result<Response<Bytes>, Problem> {
    let user = named(user, &Query::parse(call.query, &["user"])?)?;
    let missing = || Problem::with_detail(Code::NotFound, "This user never had a session, nor settings of their own.");
    let user = call.sessions.user(user, call.now).await?.ok_or_else(missing)?;
    json(StatusCode::OK, &UserRow::new(&user, None))
}

/// `PUT /users/{user}`
pub(super) async fn set(
    call: &Call<'_>,
    caller: &Caller<'_>,
    user: Option<UserId>,
    headers: &HeaderMap,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Response<Bytes>, Problem> {
    let user = named(user, &Query::parse(call.query, &["user"])?)?;
    let settings = parse(body::object(headers, read).await?, call.now)?;
    let change = call.sessions.set_user(user.clone(), settings, caller.guard.clone(), caller.by.clone()).await;
    let ended = caller.noted(call, Some(&user), change).await?;
    let user = call.sessions.user(user, call.now).await?.ok_or_else(|| Problem::new(Code::Internal))?;
    json(StatusCode::OK, &UserRow::new(&user, Some(ended)))
}

/// What is not there is as in a user of whom nothing was said.
fn parse(mut fields: Map<String, Value>, now: Timestamp) -> Result<UserSettings, Problem> {
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
    let enabled = match take("enabled") {
        None => true,
        Some(Value::Bool(enabled)) => enabled,
        Some(_) => return Err(Problem::invalid("enabled", "The value must be true or false.")),
    };
    let settings = UserSettings {
        enabled,
        max_sessions: take("max_sessions").map(|value| number("max_sessions", &value)).transpose()?,
        audit_keep: take("audit_keep").map(|value| number("audit_keep", &value)).transpose()?,
        not_before: take("not_before").map(|value| moment(&value, now)).transpose()?,
    };
    match fields.keys().next() {
        None => Ok(settings),
        Some(unknown) => {
            let known = "enabled, max_sessions, audit_keep, not_before";
            Err(Problem::invalid(unknown.clone(), format!("This field is unknown; known are: {known}.")))
        }
    }
}

fn number(field: &'static str, value: &Value) -> Result<u32, Problem> {
    let number = value.as_u64().and_then(|number| i32::try_from(number).ok());
    number
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| Problem::invalid(field, "The value must be a whole number from 0 to 2147483647."))
}

fn moment(value: &Value, now: Timestamp) -> Result<Timestamp, Problem> {
    let wrong = |why| Problem::invalid("not_before", why);
    let time = value.as_str().and_then(Timestamp::parse);
    let time = time.ok_or_else(|| wrong("The value must be a time such as \"2026-11-20T17:34:39Z\"."))?;
    // A session of a later moment than now could be created, and would be dead at once.
    if time > now { Err(wrong("The value must not lie in the future.")) } else { Ok(time) }
}

/// `POST /users/{user}/logout`
pub(super) async fn log_out(
    call: &Call<'_>,
    caller: &Caller<'_>,
    user: Option<UserId>,
) -> Result<Response<Bytes>, Problem> {
    let user = named(user, &Query::parse(call.query, &["user"])?)?;
    let filter = Filter { user: Some(user.clone()), ..Filter::default() };
    let ended = end(call, caller, &user, filter).await;
    let ended = caller.noted(call, Some(&user), ended).await?;
    json(StatusCode::OK, &AdminCount { dry_run: false, ended, skipped: 0 })
}

/// Ends sessions of one user.
///
/// # Errors
/// [`Code::ProtectedUser`] when any of them is out of the caller's reach.
pub(super) async fn end(call: &Call<'_>, caller: &Caller<'_>, user: &UserId, filter: Filter) -> Result<u64, Problem> {
    caller.require_unprotected(user)?;
    let by = caller.by.clone();
    let count = call.sessions.end_matching(filter, caller.guard.clone(), EndReason::EndedByAdmin, by).await?;
    if count.skipped > 0 { Err(Problem::new(Code::ProtectedUser)) } else { Ok(count.matching) }
}
