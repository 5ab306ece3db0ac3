//! Access token and refresh token of a session whose user holds JSON Web Tokens, and the keys to verify them with.

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Call;
use crate::clock::Timestamp;
use crate::config::{Config, SigningSettings};
use crate::error::{Code, Problem};
use crate::jwt::{SigningKey, key_set as written};
use crate::session::SessionId;

/// For whom an access token is.
#[derive(Debug)]
pub(super) struct Granted<'a> {
    /// The session.
    pub(super) id: SessionId,
    /// Its user.
    pub(super) user: &'a str,
    /// When the session expires.
    pub(super) expires_at: Option<Timestamp>,
}

/// The answer that brings both tokens.
#[derive(Debug, Serialize)]
pub(super) struct Pair<'a> {
    id: String,
    pub(super) access_token: String,
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: i64,
    refresh_token: &'a str,
    /// When the session expires, and with it the refresh token.
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evicted: Option<Vec<String>>,
}

impl<'a> Pair<'a> {
    /// A fresh access token beside this refresh token.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] without a signing key.
    pub(super) fn new(
        call: &Call<'_>,
        granted: &Granted<'_>,
        refresh_token: &'a str,
        evicted: Option<Vec<String>>,
    ) -> Result<Self, Problem> {
        let key = signing_key(call, "format")?;
        let until = call.now.plus(call.config.jwt.access_lifetime);
        let until = granted.expires_at.map_or(until, |at| at.min(until));
        let [issued_at, expires_at] = [call.now, until].map(|at| at.as_millis().div_euclid(1000));
        let access_token = access_token(key, call.config, granted, issued_at, expires_at)?;
        Ok(Self {
            id: granted.id.to_string(),
            access_token,
            token_type: "Bearer",
            expires_in: expires_at.saturating_sub(issued_at),
            refresh_token,
            expires_at: granted.expires_at.map(|at| at.to_string()),
            evicted,
        })
    }
}

fn access_token(
    key: &SigningKey,
    config: &Config,
    granted: &Granted<'_>,
    issued_at: i64,
    expires_at: i64,
) -> Result<String, Problem> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "an access token could not be made");
        Problem::new(Code::Internal)
    };
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| failed(&error))?;
    let rules = &config.jwt.rules;
    let mut claims = Map::new();
    if let Some(issuer) = rules.issuers.first() {
        claims.insert("iss".to_owned(), issuer.as_str().into());
    }
    if let Some(audience) = rules.audiences.first() {
        claims.insert("aud".to_owned(), audience.as_str().into());
    }
    claims.insert("sub".to_owned(), granted.user.into());
    if let Some(name) = &rules.user_claim {
        claims.insert(name.clone(), granted.user.into());
    }
    claims.insert(rules.session_claim.clone(), granted.id.to_string().into());
    claims.insert("token_type".to_owned(), "access".into());
    claims.insert("iat".to_owned(), issued_at.into());
    claims.insert("exp".to_owned(), expires_at.into());
    claims.insert("jti".to_owned(), Uuid::from_bytes(random).simple().to_string().into());
    key.sign(&Value::Object(claims)).map_err(|error| failed(&error))
}

/// The key that signs.
///
/// # Errors
/// [`Code::InvalidRequest`] when there is none, with the field of the call that asks for it.
pub(super) fn signing_key<'a>(call: &Call<'a>, field: &'static str) -> Result<&'a SigningKey, Problem> {
    let missing = || Problem::invalid(field, "Signed tokens need signing.key in the settings, and there is none.");
    call.config.signing.as_ref().map(|signing| signing.key.as_ref()).ok_or_else(missing)
}

/// `GET /_sessions/.well-known/jwks.json`: the public keys of the gateway. Everybody may keep them for a while.
///
/// # Errors
/// [`Code::NotFound`] without a signing key.
pub(super) fn key_set(call: &Call<'_>) -> Result<Response<Bytes>, Problem> {
    super::query::Query::parse(call.query, &[])?;
    let missing = || Problem::with_detail(Code::NotFound, "The gateway has no signing key.");
    let keys = call.config.signing.as_ref().map(SigningSettings::public).ok_or_else(missing)?;
    let mut response = Response::new(Bytes::from(written(keys)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}
