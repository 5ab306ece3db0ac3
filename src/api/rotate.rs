//! `POST /_sessions/rotate`: the same session under a new token.

use std::time::Duration;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Response, StatusCode};
use serde::Serialize;

use super::own::caller;
use super::query::Query;
use super::{Call, json};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::error::{Code, Problem};
use crate::http::cookie;
use crate::policy::Permit;
use crate::session::{Actor, Session};
use crate::sessions::Sessions;
use crate::token::{Digest, Shape};

/// The answer.
#[derive(Debug, Serialize)]
struct Rotated<'a> {
    id: String,
    /// Not for a browser, which gets it as its cookie, out of the reach of scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    expires_at: Option<String>,
}

/// Gives the caller's session a new token. The old one stays good for `session.rotate_grace`.
///
/// # Errors
/// [`Code::RateLimited`] when the session had many; what [`crate::sessions::Sessions::rotate`] says.
pub(super) async fn rotate(call: &Call<'_>, permit: &Permit) -> Result<Response<Bytes>, Problem> {
    Query::parse(call.query, &[])?;
    let (session, user) = caller(permit)?;
    let presented = call.presented.ok_or_else(|| Problem::new(Code::MissingToken))?;
    if presented.shape != Shape::Plausible {
        let why = "A signed token is not rotated: POST /_sessions/refresh gets a new one for the refresh token.";
        return Err(Problem::with_detail(Code::Conflict, why));
    }
    call.rates.rotate(session.id, call.uptime)?;
    let from = Digest::of(presented.token);
    let grace = call.config.session.rotate_grace;
    let token = call.sessions.rotate(session.id, from, grace, Actor::User(user), call.now).await?;
    let body = Rotated {
        id: session.id.to_string(),
        token: (!call.by_cookie()).then(|| token.reveal()),
        expires_at: session.over_at().map(|at| at.to_string()),
    };
    let mut response = json(StatusCode::OK, &body)?;
    if call.by_cookie() {
        let settings = &call.config.token;
        let attributes = cookie::Attributes {
            max_age: max_age(call.sessions, call.config, session, call.now).await?,
            ..settings.cookie
        };
        let cookie = cookie::set_cookie(settings.credential.cookie(), token.reveal(), &attributes)?;
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// How long the browser is to keep the cookie: as long as it was told at the login. Whether somebody who was asked wanted to
/// be remembered shows in the length of the session, and who may not have wanted it is forgotten with the browser's window.
///
/// # Errors
/// [`Code::StoreUnavailable`] when it depends on what only the store knows, and that cannot be asked.
pub async fn max_age(
    sessions: &Sessions,
    config: &Config,
    session: &Session,
    now: Timestamp,
) -> Result<Option<Duration>, Problem> {
    let mut logins = config.upstreams.iter().flat_map(|upstream| &upstream.logins);
    if logins.any(|login| login.remember.is_some()) {
        let record = sessions.get(session.id).await?.ok_or_else(|| Problem::new(Code::UnknownToken))?;
        let lifetime = record.slide.or_else(|| record.expires_at.map(|end| end.since(record.created_at)));
        if lifetime != config.session.remember_lifetime {
            return Ok(None);
        }
    }
    Ok(Some(cookie::max_age(session.expires_at().map(|end| end.since(now)))))
}
