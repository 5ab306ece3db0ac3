//! The calls of nilva-session 0.1.5 at the paths that they had in its project, for clients that know them there. What they
//! promised is kept, what went wrong in them is not; docs/compat.md has the list.

use std::cmp::Reverse;

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::query::Query;
use super::{Call, json as answer, own, show};
use crate::config::Compat;
use crate::error::Problem;
use crate::http::problem::nilva;
use crate::policy::{Auth, Permit};
use crate::session::{EndReason, Record};
use crate::sessions::OwnedWhich;
use crate::user_agent::Device;

/// The most rows of a list, which there has no pages.
const MOST_ROWS: u32 = 1000;

/// Where one of the calls is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `PREFIX/active`
    Active,
}

impl Endpoint {
    /// The call at a path, if there is one.
    pub(super) fn of(compat: &Compat, path: &str) -> Option<Self> {
        (path == &*compat.active).then_some(Self::Active)
    }

    pub(super) const fn methods(self) -> &'static str {
        match self {
            Self::Active => "GET, DELETE, HEAD, OPTIONS",
        }
    }

    pub(super) const fn auth(self) -> Auth {
        match self {
            Self::Active => Auth::Required,
        }
    }
}

/// One session, with the fields that it had there in their order, and two more.
#[derive(Debug, Serialize)]
struct Row {
    session_id: String,
    user_id: Value,
    user_agent_data: UserAgentData,
    last_online: String,
    last_ip: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    current: bool,
}

#[derive(Debug, Serialize)]
struct UserAgentData {
    os: String,
    device_brand: Option<String>,
    device_model: Option<String>,
    device_family: String,
    browser: String,
    is_mobile: bool,
    is_tablet: bool,
}

impl Row {
    fn new(record: Record) -> Self {
        Self {
            session_id: record.id.to_string(),
            user_id: user_id(record.principal.user.as_str()),
            user_agent_data: show::device(&record).into(),
            last_online: nilva::time(record.last_seen_at),
            last_ip: record.last_ip.map(|ip| ip.to_string()),
            created_at: nilva::time(record.created_at),
            expires_at: record.over_at().map(nilva::time),
            current: false,
        }
    }
}

impl From<Device> for UserAgentData {
    fn from(device: Device) -> Self {
        let Device { os, browser, brand, model, family, is_mobile, is_tablet } = device;
        Self { os, device_brand: brand, device_model: model, device_family: family, browser, is_mobile, is_tablet }
    }
}

/// The user's id as its project's clients know it: a number where it is one, as most keys of users are there.
fn user_id(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.into(),
        Ok(_) | Err(_) => text.into(),
    }
}

/// `GET PREFIX/active`: the caller's own live sessions, last used first. The caller's own was used now, and from here.
pub(super) async fn list(call: &Call<'_>, permit: &Permit) -> Result<Response<Bytes>, Problem> {
    let (session, user) = own::caller(permit)?;
    let mut records = call.sessions.list(user, None, MOST_ROWS, call.now).await?;
    for record in records.iter_mut().filter(|record| record.id == session.id) {
        record.last_seen_at = call.now.max(record.last_seen_at);
        record.last_ip = Some(call.ip);
    }
    records.sort_by_key(|record| Reverse((record.last_seen_at, record.id == session.id)));
    let row = |record: Record| Row { current: record.id == session.id, ..Row::new(record) };
    answer(StatusCode::OK, &records.into_iter().map(row).collect::<Vec<_>>())
}

/// `DELETE PREFIX/active?token_id=&token_id=&keep_current=`: those of these sessions that are the caller's own; without ids
/// all of them, or all but this one.
pub(super) async fn end(call: &Call<'_>, permit: &Permit) -> Result<Response<Bytes>, Problem> {
    const IDS: &str = "token_id";
    const KEEP: &str = "keep_current";

    let (session, user) = own::caller(permit)?;
    // A parameter that is not known is refused, since a misspelt one would end everything. `format` chooses a
    // representation in Django REST framework; there is none to choose for an answer without a body.
    let query = Query::parse(call.query, &[IDS, KEEP, "format"])?;
    let (ids, keep) = (query.ids(IDS)?, query.flag(KEEP)?);
    let (which, reason, own_too) = match (ids.is_empty(), keep) {
        (false, false) => {
            let own_too = ids.contains(&session.id);
            (OwnedWhich::OwnedBy(user.clone(), ids), EndReason::Revoked, own_too)
        }
        (true, true) => (OwnedWhich::AllBut(user.clone(), session.id), EndReason::LoggedOutElsewhere, false),
        (true, false) => (OwnedWhich::AllOf(user.clone()), EndReason::LoggedOutElsewhere, true),
        (false, true) => return Err(Problem::invalid(KEEP, "Give either keep_current or token_id.")),
    };
    own::end(call, which, reason, session, user).await?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if own_too {
        own::clear_cookie(call, &mut response)?;
    }
    Ok(response)
}

/// `OPTIONS PREFIX/active`
pub(super) fn describe() -> Result<Response<Bytes>, Problem> {
    let body = json!({
        "name": "List Destroy Active Sessions Api",
        "description": "",
        "renders": ["application/json"],
        "parses": ["application/json"],
    });
    let mut response = answer(StatusCode::OK, &body)?;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(Endpoint::Active.methods()));
    Ok(response)
}
