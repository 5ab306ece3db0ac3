//! The gateway's own endpoints under `/_sessions`: what they are, who may call them, and what they answer.
//!
//! | call | by |
//! |---|---|
//! | `GET /_sessions`, `GET /_sessions/current` | session (`own`) |
//! | `DELETE /_sessions`, `/_sessions/current`, `/_sessions/{id}` | session (`own`) |
//! | `POST /_sessions/rotate` | session (`rotate`) |
//! | `POST /_sessions` | service key (`issue`) |
//! | everything under `/_sessions/admin` | session of an administrator (`admin`) |
//! | `POST /_sessions/refresh` | refresh token (`refresh`) |
//! | `GET /_sessions/.well-known/jwks.json` | anybody (`pair`) |
//!
//! `/_sessions/auth` is none of them: it is a question about another request, which `gate` answers.
//!
//! With `[compat]`, calls of another program stand beside them at the paths that they had there (`compat`).
//!
//! A call that comes with the session cookie and changes something must prove that it comes from a page of this very
//! origin (`csrf`): browsers send the cookie along with other sites' requests too.

mod admin;
mod body;
mod compat;
mod csrf;
pub mod cursor;
mod issue;
mod own;
mod pair;
mod query;
mod refresh;
mod rotate;
mod show;

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode, request};

pub use self::rotate::max_age;
use crate::clock::{Timestamp, Uptime};
use crate::config::Config;
use crate::error::{Code, Problem};
use crate::http::Scheme;
use crate::http::credential::{Presented, Source};
use crate::http::problem::Dialect;
use crate::http::target::under;
use crate::policy::{Auth, Permit};
use crate::rates::Rates;
use crate::session::SessionId;
use crate::sessions::Sessions;

/// What a call brings besides its headers and body.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The sessions.
    pub sessions: &'a Sessions,
    /// The settings in force.
    pub config: &'a Config,
    /// How often who may do what.
    pub rates: &'a Rates,
    /// The canonical path.
    pub path: &'a str,
    /// The query, as it came.
    pub query: &'a str,
    /// The host that the client asked for.
    pub host: Option<&'a HeaderValue>,
    /// How the client spoke to us, or to the trusted proxy in front.
    pub scheme: Scheme,
    /// The credential, if there is one.
    pub presented: Option<Presented<'a>>,
    /// The client's address.
    pub ip: IpAddr,
    /// When, by the wall clock …
    pub now: Timestamp,
    /// … and by the monotonic one.
    pub uptime: Uptime,
}

impl Call<'_> {
    /// Whether the credential came as a cookie, which a browser sends by itself.
    fn by_cookie(&self) -> bool {
        self.presented.is_some_and(|presented| presented.source == Source::Cookie)
    }
}

/// One endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    /// `/_sessions`
    Collection,
    /// `/_sessions/current`
    Current,
    /// `/_sessions/rotate`
    Rotate,
    /// `/_sessions/admin/…`
    Admin,
    /// `/_sessions/refresh`
    Refresh,
    /// `/_sessions/.well-known/jwks.json`
    KeySet,
    /// `/_sessions/{id}`
    One(SessionId),
    /// A call of another program, at the path that it had there.
    Compat(compat::Endpoint),
}

impl Endpoint {
    fn of(config: &Config, path: &str) -> Result<Self, Problem> {
        if let Some(compat) = &config.compat
            && compat.has(path)
        {
            return compat::Endpoint::of(compat, path).map(Self::Compat).ok_or_else(|| Problem::new(Code::NotFound));
        }
        match path.strip_prefix(OWN).unwrap_or(path) {
            "" => Ok(Self::Collection),
            "/current" => Ok(Self::Current),
            "/rotate" => Ok(Self::Rotate),
            _ if under(path, admin::PREFIX) => Ok(Self::Admin),
            "/refresh" => Ok(Self::Refresh),
            "/.well-known/jwks.json" => Ok(Self::KeySet),
            rest => {
                let id = rest.strip_prefix('/').filter(|id| !id.is_empty() && !id.contains('/'));
                let id = id.ok_or_else(|| Problem::new(Code::NotFound))?;
                let wrong = || Problem::invalid("id", "The id is no session id: it must be a UUID.");
                SessionId::parse(id).map(Self::One).ok_or_else(wrong)
            }
        }
    }

    const fn methods(self) -> &'static str {
        match self {
            Self::Collection => "GET, HEAD, POST, DELETE",
            Self::Current => "GET, HEAD, DELETE",
            Self::Rotate | Self::Refresh => "POST",
            Self::KeySet => "GET, HEAD",
            // Each of them has its own.
            Self::Admin => "GET, HEAD, POST, PUT, DELETE",
            Self::One(_) => "DELETE",
            Self::Compat(call) => call.methods(),
        }
    }
}

/// What a call needs: a session, but for those that bring a key or a token of another kind, and for what is public.
pub fn auth(config: &Config, method: &Method, path: &str) -> Auth {
    match Endpoint::of(config, path) {
        Ok(Endpoint::Collection | Endpoint::Refresh) if *method == Method::POST => Auth::Off,
        Ok(Endpoint::KeySet) if is_safe(method) => Auth::Off,
        Ok(Endpoint::Compat(call)) => call.auth(),
        Err(_) if !under(path, OWN) => Auth::Off,
        Ok(_) | Err(_) => Auth::Required,
    }
}

/// The words in which a refused call is told: ours, but where the call is another program's.
pub fn dialect(config: &Config, path: &str) -> Dialect {
    if under(path, OWN) { Dialect::Ours } else { config.dialect() }
}

/// Where the gateway's own calls are.
const OWN: &str = "/_sessions";

/// Answers a call. `admitted` is what the policy said of its session; `read` reads its body up to a bound.
///
/// # Errors
/// The problem to answer.
pub async fn answer(
    call: Call<'_>,
    admitted: Result<Permit, Problem>,
    request: &request::Parts,
    read: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Response<Bytes>, Problem> {
    // Who has no session learns nothing about what is here, not even which paths and methods there are.
    let permit = admitted?;
    let endpoint = Endpoint::of(call.config, call.path)?;
    let method = &request.method;
    // Where the session is not what opens the call, a cookie beside the key says nothing.
    if !is_safe(method) && permit.session().is_some() && call.by_cookie() {
        csrf::require_same_origin(&request.headers, call.scheme, call.host)?;
    }
    match (endpoint, method) {
        (Endpoint::Collection, &Method::POST) => issue::create(&call, &request.headers, read).await,
        (Endpoint::Collection, &Method::GET | &Method::HEAD) => own::list(&call, &permit).await,
        (Endpoint::Collection, &Method::DELETE) => own::end_several(&call, &permit).await,
        (Endpoint::Current, &Method::GET | &Method::HEAD) => own::current(&call, &permit).await,
        (Endpoint::Current, &Method::DELETE) => own::end_current(&call, &permit).await,
        (Endpoint::Rotate, &Method::POST) => rotate::rotate(&call, &permit).await,
        (Endpoint::Admin, _) => admin::answer(&call, &permit, request, read).await,
        (Endpoint::Refresh, &Method::POST) => refresh::refresh(&call, &request.headers, read).await,
        (Endpoint::KeySet, &Method::GET | &Method::HEAD) => pair::key_set(&call),
        (Endpoint::One(id), &Method::DELETE) => own::end_one(&call, &permit, id).await,
        (Endpoint::Compat(compat::Endpoint::Active), &Method::GET | &Method::HEAD) => {
            compat::list(&call, &permit).await
        }
        (Endpoint::Compat(compat::Endpoint::Active), &Method::DELETE) => compat::end(&call, &permit).await,
        (Endpoint::Compat(compat::Endpoint::Refresh { rotates }), &Method::POST) => {
            compat::refresh::exchange(&call, &request.headers, read, rotates).await
        }
        (Endpoint::Compat(compat::Endpoint::Blacklist), &Method::POST) => {
            compat::refresh::give_back(&call, &request.headers, read).await
        }
        (Endpoint::Compat(compat), &Method::OPTIONS) => compat::describe(compat),
        _ => Err(Problem { allow: Some(endpoint.methods()), ..Problem::new(Code::MethodNotAllowed) }),
    }
}

/// RFC 9110 section 9.2.1.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// A JSON answer that no cache keeps.
fn json(status: StatusCode, body: &impl serde::Serialize) -> Result<Response<Bytes>, Problem> {
    let body = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Problem::new(Code::Internal)
    })?;
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
