//! simplejwt's calls with a refresh token in their body, as nilva-session has them: one gets a new access token, the other
//! gives the refresh token back.

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::api::pair::{Granted, Pair};
use crate::api::refresh::{MAX_BODY, holder};
use crate::api::{Call, json as answer};
use crate::error::{Code, Problem};
use crate::http::fields::{self, Media};
use crate::http::problem::nilva::REFRESH;
use crate::session::{Actor, EndReason};
use crate::sessions::{OwnedEnding, OwnedWhich};
use crate::token::Digest;

/// The answer to an exchange.
#[derive(Debug, Serialize)]
struct Exchanged<'a> {
    access: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<&'a str>,
}

/// `POST` to `compat.refresh_path`: a new access token for the session of a refresh token, and with `compat.rotate_refresh` a
/// new refresh token as well.
///
/// # Errors
/// [`Code::InvalidToken`] about the refresh token, [`Code::InvalidRequest`] and [`Code::UnsupportedMediaType`] about the body.
pub(in crate::api) async fn exchange(
    call: &Call<'_>,
    headers: &HeaderMap,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
    rotates: bool,
) -> Result<Response<Bytes>, Problem> {
    let token = presented(headers, read).await?;
    let (session, user) = holder(call, headers, &token).await.map_err(told)?;
    call.rates.rotate(session.id, call.uptime)?;
    let successor = if rotates {
        let grace = call.config.jwt.refresh_grace.unwrap_or_default();
        let (from, actor) = (Digest::of(token.as_bytes()), Actor::User(user.clone()));
        Some(call.sessions.rotate(session.id, from, grace, actor, call.now).await.map_err(told)?)
    } else {
        None
    };
    let granted = Granted { id: session.id, user: user.as_str(), expires_at: session.over_at() };
    let refresh = successor.as_ref().map(crate::token::Token::reveal);
    let pair = Pair::new(call, &granted, refresh.unwrap_or(&token), None)?;
    answer(StatusCode::OK, &Exchanged { access: &pair.access_token, refresh })
}

/// `POST` to `compat.blacklist_path`: the session of a refresh token ends, for its access tokens too, at once.
///
/// # Errors
/// As [`exchange`].
pub(in crate::api) async fn give_back(
    call: &Call<'_>,
    headers: &HeaderMap,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Response<Bytes>, Problem> {
    let token = presented(headers, read).await?;
    let (session, user) = holder(call, headers, &token).await.map_err(told)?;
    let ending = OwnedEnding {
        reason: EndReason::LoggedOut,
        current: Some(session.id),
        actor: Actor::User(user),
        now: call.now,
    };
    call.sessions.end(OwnedWhich::One(session.id), ending).await?;
    answer(StatusCode::OK, &json!({}))
}

/// The refresh token of the body. Other fields say nothing, as there.
async fn presented(
    headers: &HeaderMap,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Zeroizing<String>, Problem> {
    if !matches!(Media::of(headers), Media::Json) {
        return Err(Problem::new(Code::UnsupportedMediaType));
    }
    match fields::json_document(&read(MAX_BODY).await?) {
        Some(Value::Object(mut fields)) => match fields.remove(REFRESH) {
            Some(Value::String(token)) if token.is_empty() => {
                Err(Problem::invalid(REFRESH, "This field may not be blank."))
            }
            Some(Value::String(token)) => Ok(Zeroizing::new(token)),
            Some(Value::Null) => Err(Problem::invalid(REFRESH, "This field may not be null.")),
            Some(_) => Err(Problem::invalid(REFRESH, "Not a valid string.")),
            None => Err(Problem::invalid(REFRESH, "This field is required.")),
        },
        Some(_) | None => {
            Err(Problem::invalid("body", "The body must be a JSON object, without a key that stands twice."))
        }
    }
}

/// What is wrong with a refresh token, in the sentences of simplejwt. Whatever it is, its client has to log in again.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever is no fault of the token is told as it is")]
fn told(problem: Problem) -> Problem {
    let sentence = match problem.code {
        Code::SessionRevoked | Code::SessionSuspended | Code::SessionEvicted | Code::AlreadyRotated => {
            "Token is blacklisted"
        }
        Code::SessionExpired | Code::SessionIdle | Code::TokenExpired => "Token is expired",
        Code::UnknownToken | Code::MalformedToken | Code::InvalidToken => "Token is invalid",
        Code::UserDisabled => "No active account found for the given token.",
        // Another address, a store that is away: no fault of the token.
        _ => return problem,
    };
    let told = Problem { field: Some(REFRESH.into()), ..Problem::with_detail(Code::InvalidToken, sentence) };
    Problem { reason: problem.reason, ..told }
}
