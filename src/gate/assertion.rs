//! The signed assertion of who is calling, for applications that want more than a header.
//!
//! One that names no part of the request is good for all requests of its session to its application, and is signed once for
//! the first half of its life. One that does is signed for every request.

use std::fmt;
use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode;
use serde::Serialize;
use uuid::Uuid;

use super::Gate;
use super::exchange::Exchange;
use super::route::Match;
use crate::clock::Timestamp;
use crate::config::{Assertion, SigningSettings};
use crate::error::{Code, Problem};
use crate::http::Target;
use crate::jwt::SigningKey;
use crate::metrics::SharedMetrics;
use crate::policy::Permit;
use crate::session::{Session, SessionId};

/// The most assertions that are kept, at some 700 bytes each.
const KEPT: usize = 50_000;

/// Makes assertions, and keeps those that may be used again.
pub struct Assertions {
    key: Option<Arc<SigningKey>>,
    kept: quick_cache::sync::Cache<(SessionId, usize), Kept>,
    metrics: Arc<SharedMetrics>,
}

#[derive(Clone)]
struct Kept {
    token: Arc<str>,
    /// Half of its life: whoever gets it has the other half to look at it.
    until: Timestamp,
}

impl fmt::Debug for Assertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertions").field("key", &self.key).field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

/// What an assertion is made for.
#[derive(Clone, Copy, Debug)]
struct Asserted<'a> {
    /// The application's place in the configuration.
    upstream: usize,
    /// The request's method.
    method: &'a Method,
    /// Its path, as the application gets it.
    path: &'a str,
}

/// The assertion that goes with a request, if its application gets one and somebody is calling.
///
/// # Errors
/// [`Code::Internal`] when it cannot be signed, which has no reason to happen.
#[inline]
pub(super) fn of_request(
    gate: &Gate,
    place: &Match<'_>,
    permit: &Permit,
    method: &Method,
    target: &Target,
    exchange: &Exchange,
) -> Result<Option<Arc<str>>, Problem> {
    let (Some(settings), Some(session)) = (&place.upstream.assertion, permit.session()) else { return Ok(None) };
    let request = Asserted { upstream: place.index, method, path: target.path() };
    gate.assertions.for_request(settings, session, request, gate.sessions.at(exchange.began).wall).map(Some)
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    sid: &'a str,
    roles: Vec<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    email: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    /// What keeps it from being taken for an access token.
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    htm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    htp: Option<&'a str>,
}

impl Assertions {
    /// Assertions signed with the gateway's key. Without one there are none.
    pub fn new(signing: Option<&SigningSettings>, metrics: Arc<SharedMetrics>) -> Self {
        Self { key: signing.map(|signing| signing.key.clone()), kept: quick_cache::sync::Cache::new(KEPT), metrics }
    }

    /// The assertion for a request at `now`.
    fn for_request(
        &self,
        settings: &Assertion,
        session: &Session,
        request: Asserted<'_>,
        now: Timestamp,
    ) -> Result<Arc<str>, Problem> {
        if settings.bind.is_any() {
            return self.sign(settings, session, request, now);
        }
        let key = (session.id, request.upstream);
        if let Some(kept) = self.kept.get(&key)
            && now < kept.until
        {
            return Ok(kept.token);
        }
        let token = self.sign(settings, session, request, now)?;
        self.kept.insert(key, Kept { token: token.clone(), until: now.plus(settings.lifetime / 2) });
        Ok(token)
    }

    fn sign(
        &self,
        settings: &Assertion,
        session: &Session,
        request: Asserted<'_>,
        now: Timestamp,
    ) -> Result<Arc<str>, Problem> {
        let failed = |why: &dyn fmt::Display| {
            tracing::error!(error = %why, "an assertion could not be made");
            Problem::new(Code::Internal)
        };
        let key = self.key.as_ref().ok_or_else(|| failed(&"there is no signing key"))?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| failed(&error))?;
        let identity = &session.identity;
        let [name, email] = [identity.name(), identity.email()].map(|value| percent_decode(value).decode_utf8_lossy());
        let roles = std::str::from_utf8(identity.roles()).unwrap_or_default();
        let claims = Claims {
            iss: &settings.issuer,
            aud: &settings.audience,
            sub: &identity.user_text(),
            sid: std::str::from_utf8(identity.session()).unwrap_or_default(),
            roles: roles.split(',').filter(|role| !role.is_empty()).collect(),
            name: &name,
            email: &email,
            iat: now.as_millis().div_euclid(1000),
            exp: now.plus(settings.lifetime).as_millis().div_euclid(1000),
            jti: Uuid::from_bytes(random).simple().to_string(),
            token_type: "assertion",
            htm: settings.bind.method.then(|| request.method.as_str()),
            htp: settings.bind.path.then_some(request.path),
        };
        let token = key.sign(&claims).map_err(|error| failed(&error))?;
        self.metrics.assertions.increment();
        Ok(token.into())
    }
}
