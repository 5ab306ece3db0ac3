//! `POST /_sessions/refresh`: a new access token and a new refresh token for an old refresh token.
//!
//! A refresh token is its session's opaque token, so it is found, judged by the same policies as a request, and rotated like
//! one: whoever comes with a replaced one ends the session.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Response, StatusCode};
use serde_json::Value;

use super::pair::{self, Granted, Pair};
use super::{Call, json, own};
use crate::clock::Moment;
use crate::error::{Code, Problem};
use crate::http::fields::{self, Media};
use crate::jwt;
use crate::policy::{self, Facts};
use crate::session::{Actor, Format, Session, UserId};
use crate::token::{self, Digest, Shape};

/// The largest body.
pub(super) const MAX_BODY: usize = 16 * 1024;
const FIELD: &str = "refresh_token";

/// Gives out new tokens for the session of a refresh token.
///
/// # Errors
/// [`Code::InvalidRequest`] with the field at fault; what a request with this session would be refused for;
/// [`Code::InvalidToken`] for a token that is no refresh token; [`Code::AlreadyRotated`] for one that was replaced within
/// `jwt.refresh_grace`.
pub(super) async fn refresh(
    call: &Call<'_>,
    headers: &HeaderMap,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Response<Bytes>, Problem> {
    super::query::Query::parse(call.query, &[])?;
    if !matches!(Media::of(headers), Media::Json) {
        return Err(Problem::new(Code::UnsupportedMediaType));
    }
    let token = parse(&read(MAX_BODY).await?)?;
    pair::signing_key(call, FIELD)?;
    let (session, user) = holder(call, headers, &token).await?;
    call.rates.rotate(session.id, call.uptime)?;
    let grace = call.config.jwt.refresh_grace.unwrap_or_default();
    let digest = Digest::of(token.as_bytes());
    let successor = call.sessions.rotate(session.id, digest, grace, Actor::User(user.clone()), call.now).await?;
    let granted = Granted { id: session.id, user: user.as_str(), expires_at: session.over_at() };
    json(StatusCode::OK, &Pair::new(call, &granted, successor.reveal(), None)?)
}

/// The session of a refresh token, and its user, if a request with this session would pass.
///
/// # Errors
/// As [`refresh`].
pub(super) async fn holder(
    call: &Call<'_>,
    headers: &HeaderMap,
    token: &str,
) -> Result<(Arc<Session>, UserId), Problem> {
    match token::shape(token.as_bytes()) {
        Shape::Plausible => {}
        Shape::Foreign if jwt::is_shaped(token.as_bytes()) => return Err(no_refresh_token()),
        Shape::Foreign => return Err(Problem::new(Code::UnknownToken)),
        Shape::Malformed => return Err(Problem::new(Code::MalformedToken)),
    }
    let now = Moment { wall: call.now, uptime: call.uptime };
    let user_agent = headers.get(USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
    let facts = Facts { user_agent, agent_memo: 0, client_ip: call.ip };
    let digest = Digest::of(token.as_bytes());
    let (found, _) = match call.sessions.recall(&digest, now) {
        Some(known) => known,
        None => {
            // Guessing here is bounded as it is in every other request.
            let exempt = call.config.server.trusted_proxies.trusts(Some(call.ip));
            if !exempt {
                call.rates.may_guess_token(call.ip, call.uptime)?;
            }
            let loaded = call.sessions.load(&digest, &facts, now).await;
            if !exempt && matches!(&loaded.0, Err(problem) if problem.code.is_of_no_session()) {
                call.rates.guessed_token(call.ip, call.uptime);
            }
            loaded
        }
    };
    let session = found?;
    if session.format != Format::Jwt {
        return Err(no_refresh_token());
    }
    let permit = match policy::check(session.clone(), &facts, &call.sessions.rules(), now.wall) {
        Ok(permit) => permit,
        Err(refusal) => call.sessions.settle(refusal, &session, &facts, headers, now).await?,
    };
    let (session, user) = own::caller(&permit)?;
    call.sessions.touch(session, call.ip, call.now);
    Ok((session.clone(), user))
}

fn no_refresh_token() -> Problem {
    Problem::with_detail(Code::InvalidToken, "This token is no refresh token.")
}

/// The one field of the body.
fn parse(body: &[u8]) -> Result<zeroize::Zeroizing<String>, Problem> {
    let Some(Value::Object(mut fields)) = fields::json_document(body) else {
        return Err(Problem::invalid("body", "The body must be a JSON object, without a key that stands twice."));
    };
    let token = match fields.remove(FIELD) {
        Some(Value::String(token)) => zeroize::Zeroizing::new(token),
        Some(_) => return Err(Problem::invalid(FIELD, "The refresh token must be a text.")),
        None => return Err(Problem::invalid(FIELD, "The refresh token is missing.")),
    };
    match fields.keys().next() {
        Some(unknown) => Err(Problem::invalid(unknown.clone(), "This field is unknown; known is: refresh_token.")),
        None => Ok(token),
    }
}
