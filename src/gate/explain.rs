//! What a request would meet, told without anything being done: no session is touched, bound, suspended or ended, and
//! nothing is sent anywhere.
//!
//! It asks the very functions that a request goes through: the canonical target, the route, the credential, the policy, the
//! roles, the answer to a refusal and the identity headers. Only the store is asked directly, and what a request would
//! change there is told instead of done.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::BytesMut;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, HeaderValue, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response, Uri, Version, request};
use zeroize::Zeroizing;

use super::body::ResponseBody;
use super::route::{self, Match, Place, Watched};
use super::{Located, asked, auth, excuse, locate_from, reject};
use crate::api;
use crate::clock::{Moment, Timestamp};
use crate::config::{Config, Route};
use crate::error::{Code, Problem, causes};
use crate::http::Scheme;
use crate::http::credential::{self, Presented, Source};
use crate::http::problem::{Dialect, RequestContext};
use crate::keyring::KeyRing;
use crate::policy::{self, Auth, Facts, Permit, Refusal};
use crate::session::{EndReason, Record, Session, SessionId};
use crate::sessions::{is_reuse, same_user};
use crate::store::{Found, StoreError};
use crate::token::Digest;

/// A request that somebody wants to know about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its whole URL; without a host, a request that names none.
    pub url: &'a Uri,
    /// Its token, brought the way a program brings one.
    pub token: Option<&'a str>,
    /// Its User-Agent; `None` assumes that of the session.
    pub user_agent: Option<&'a str>,
    /// Its client address; `None` assumes the one that the session is bound to.
    pub ip: Option<IpAddr>,
}

/// Which session the store is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Sought<'a> {
    /// That of this token.
    Token(&'a Digest),
    /// The one that a signed token names.
    Session(SessionId),
}

/// What a request would meet.
#[derive(Debug)]
pub struct Explanation {
    /// The canonical path and query, as they are matched and forwarded.
    pub target: Option<String>,
    /// The canonical host.
    pub host: Option<String>,
    /// The client address that the policy was asked about.
    pub client_ip: IpAddr,
    /// The User-Agent that the policy was asked about.
    pub user_agent: String,
    /// What it is for.
    pub purpose: Option<Purpose>,
    /// Whether a session is needed there.
    pub auth: Option<Auth>,
    /// Where the token was found, when it was looked at.
    pub source: Option<Source>,
    /// The session of the token, as it is in the store.
    pub record: Option<Record>,
    /// When the store was asked, by its clock.
    pub asked_at: Option<Timestamp>,
    /// What the request would change.
    pub effect: Option<Effect>,
    /// Why the token is no good, where the request passes without one.
    pub excused: Option<Problem>,
    /// Why the store could not be asked.
    pub store_error: Option<String>,
    /// What becomes of it.
    pub decision: Decision,
}

/// What a request is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// The gateway's own endpoints.
    BuiltIn,
    /// An application.
    Application {
        /// Its name.
        name: String,
        /// Where it listens.
        authority: String,
        /// The route that matches, with its place in the file, counted from 1; `None` is what holds without one.
        route: Option<(usize, Route)>,
        /// Whether this is the login, which is reachable without a session.
        login: bool,
        /// Of which event the gateway takes note when the request succeeds.
        watched: Option<&'static str>,
    },
}

/// What a request would change in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The session would be suspended, for its User-Agent.
    Suspend,
    /// The session would be ended: its token was rotated away, and the grace is over.
    End,
    /// The session would be bound to this User-Agent and address.
    Bind,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It is forwarded with these identity headers.
    Forwarded(Vec<(String, String)>),
    /// The gateway answers it itself.
    Answered,
    /// It is refused.
    Refused {
        /// Why.
        problem: Problem,
        /// What a program gets.
        program: Answer,
        /// What a browser gets that somebody navigates.
        browser: Answer,
    },
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Where it leads.
    pub location: Option<String>,
    /// The challenge of a 401.
    pub challenge: Option<String>,
}

impl Answer {
    fn of(response: &Response<ResponseBody>) -> Self {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self { status: response.status().as_u16(), location: text(LOCATION), challenge: text(WWW_AUTHENTICATE) }
    }
}

/// Says what the request would meet. `keys` verify signed tokens; `find` asks the store for a session, and for the time by the clock that
/// its gateways go by.
pub async fn explain(
    config: &Config,
    question: Question<'_>,
    now: Moment,
    keys: Option<&KeyRing>,
    find: impl AsyncFnOnce(Sought<'_>) -> Result<(Option<Found>, Timestamp), StoreError>,
) -> Explanation {
    let mut explanation = Explanation {
        target: None,
        host: None,
        client_ip: question.ip.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ip| ip.to_canonical()),
        user_agent: question.user_agent.unwrap_or_default().to_owned(),
        purpose: None,
        auth: None,
        source: None,
        record: None,
        asked_at: None,
        effect: None,
        excused: None,
        store_error: None,
        decision: Decision::Answered,
    };
    let (request, transport) = match request(config, question) {
        Ok(request) => request,
        Err(problem) => {
            let (method, headers) = (question.method, &HeaderMap::new());
            let unsent = RequestContext { presented: false, dialect: config.dialect(), method, headers };
            return Explanation { decision: astray(problem, &unsent), ..explanation };
        }
    };
    // Recognised where a request's is.
    if auth::is_asked(&request.uri) {
        explanation.purpose = Some(Purpose::BuiltIn);
        if !config.server.trusted_proxies.trusts(Some(explanation.client_ip)) {
            explanation.decision = plainly(Problem::new(Code::UntrustedProxy), &asked(&request, false, Dialect::Ours));
        }
        return explanation;
    }
    let located = match locate_from(config, Some(explanation.client_ip), transport, &request) {
        Ok(located) => located,
        Err(problem) => {
            let asked = asked(&request, false, config.dialect());
            return Explanation { decision: astray(problem, &asked), ..explanation };
        }
    };
    explanation.target = Some(located.target.path_and_query().to_string());
    explanation.host = located.host.as_ref().and_then(|host| host.to_str().ok()).map(str::to_owned);
    let auth = match &located.place {
        Place::BuiltIn => api::auth(config, &request.method, located.target.path()),
        Place::Upstream(place) => place.auth,
    };
    explanation.auth = Some(auth);
    explanation.purpose = Some(purpose(&located, &request.method));

    let found = credential::present(&request.headers, &config.token.credential);
    let presented = !matches!(found, Ok(None));
    let checked = match found {
        Ok(Some(presented)) if auth != Auth::Off => {
            explanation.source = Some(presented.source);
            check(config, question, &presented, &mut explanation, now, keys, find).await
        }
        Err(problem) if auth != Auth::Off => Err(problem),
        Ok(_) | Err(_) => policy::anonymous(auth),
    };
    let problem = checked.as_ref().err().cloned();
    let admitted = excuse(auth, checked);
    explanation.excused = problem.filter(|_| admitted.is_ok());
    explanation.decision = decide(config, &request, &located, admitted, presented);
    explanation
}

/// The request itself, as a program would send it.
fn request(config: &Config, question: Question<'_>) -> Result<(request::Parts, Scheme), Problem> {
    let Question { method, url, token, user_agent, .. } = question;
    let unsendable = |field: &'static str| Problem::invalid(field, "This cannot be sent in a request.");
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method.clone();
    parts.uri = target.parse().map_err(|_| unsendable("target"))?;
    match url.authority() {
        Some(authority) => {
            let host = HeaderValue::try_from(authority.as_str()).map_err(|_| unsendable("Host"))?;
            parts.headers.insert(HOST, host);
        }
        // The only requests that may name none.
        None => parts.version = Version::HTTP_10,
    }
    if let Some(agent) = user_agent {
        let agent = HeaderValue::try_from(agent).map_err(|_| unsendable("User-Agent"))?;
        parts.headers.insert(USER_AGENT, agent);
    }
    if let Some(token) = token {
        let settings = &config.token.credential;
        let (name, text) = match settings.scheme() {
            Some(scheme) => (AUTHORIZATION, Zeroizing::new(format!("{scheme} {token}"))),
            None => (COOKIE, Zeroizing::new(format!("{}={token}", settings.cookie().as_str()))),
        };
        let value = HeaderValue::try_from(text.as_str()).map_err(|_| Problem::new(Code::MalformedToken))?;
        parts.headers.insert(name, value);
    }
    let https = url.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    Ok((parts, if https { Scheme::Https } else { Scheme::Http }))
}

fn purpose(located: &Located<'_>, method: &Method) -> Purpose {
    let Place::Upstream(place) = &located.place else { return Purpose::BuiltIn };
    let (position, login) = route::position(place.upstream, method, located.target.path());
    let route = position.and_then(|at| place.upstream.routes.get(at).map(|route| (at + 1, route.clone())));
    let watched = route::watched(place.upstream, method, located.target.path()).map(|watched| match watched {
        Watched::Login(_) => "login",
        Watched::Logout(_) => "logout",
        Watched::PasswordChanged(_) => "password_changed",
    });
    Purpose::Application {
        name: place.upstream.name.clone(),
        authority: place.upstream.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        route,
        login,
        watched,
    }
}

/// What the store and the policy say of a token. What a request would do about a refusal is noted as its effect.
async fn check(
    config: &Config,
    question: Question<'_>,
    presented: &Presented<'_>,
    explanation: &mut Explanation,
    now: Moment,
    keys: Option<&KeyRing>,
    find: impl AsyncFnOnce(Sought<'_>) -> Result<(Option<Found>, Timestamp), StoreError>,
) -> Result<Permit, Problem> {
    let digest = Digest::of(presented.token);
    let verified = match super::signed::signer(keys, presented)? {
        None => None,
        Some(keys) => Some(keys.judge(presented.token, now.wall).await?.verified),
    };
    let sought = verified.as_ref().map_or(Sought::Token(&digest), |verified| Sought::Session(verified.session));
    let (found, wall) = match find(sought).await {
        Ok((found, wall)) => (found.ok_or(Problem::new(Code::UnknownToken))?, wall),
        Err(error) => {
            explanation.store_error = Some(causes(&error));
            return Err(Problem::new(Code::StoreUnavailable));
        }
    };
    explanation.asked_at = Some(wall);
    let record = &*explanation.record.insert(found.record);
    if question.user_agent.is_none() {
        explanation.user_agent = record.user_agent.clone().unwrap_or_default();
    }
    if question.ip.is_none()
        && let Some(bound) = record.bound_ip
    {
        explanation.client_ip = bound.to_canonical();
    }
    super::signed::fits(record.format, verified.is_some())?;
    if found.retired.is_some_and(|until| is_reuse(record.state, until, wall)) {
        explanation.effect = Some(Effect::End);
        return Err(Refusal::Ended(EndReason::TokenReused).into());
    }
    // Zero stands for "no memo": this session object has none.
    let facts =
        Facts { user_agent: explanation.user_agent.as_bytes(), agent_memo: 0, client_ip: explanation.client_ip };
    let check = |record: &Record| {
        let agent = config.rules.fingerprint(record.user_agent.as_deref());
        let session = Session::new(record, digest, agent, now.uptime);
        policy::check(Arc::new(session), &facts, &config.rules, wall)
    };
    if let Some(verified) = &verified {
        same_user(verified, &Session::new(record, digest, None, now.uptime))?;
    }
    let mut checked = check(record);
    if matches!(checked, Err(Refusal::Unbound)) {
        explanation.effect = Some(Effect::Bind);
        let mut bound = record.clone();
        bound.user_agent.get_or_insert_with(|| explanation.user_agent.clone());
        bound.bound_ip.get_or_insert(explanation.client_ip);
        checked = check(&bound);
    }
    if matches!(checked, Err(Refusal::SuspendForUserAgent)) {
        explanation.effect = Some(Effect::Suspend);
    }
    checked.map_err(Problem::from)
}

fn decide(
    config: &Config,
    request: &request::Parts,
    located: &Located<'_>,
    admitted: Result<Permit, Problem>,
    presented: bool,
) -> Decision {
    match &located.place {
        Place::BuiltIn => match admitted {
            Ok(_) => Decision::Answered,
            Err(problem) => {
                let dialect = api::dialect(config, located.target.path());
                plainly(problem, &asked(request, presented, dialect))
            }
        },
        Place::Upstream(place) => match admitted.and_then(|permit| permit.require_role(place.roles)) {
            Ok(permit) => Decision::Forwarded(identity(config, &permit)),
            Err(problem) => {
                let asked = asked(request, presented, config.dialect());
                let program = refusal(&problem, &asked, place, located);
                let mut headers = request.headers.clone();
                headers.insert(ACCEPT, HeaderValue::from_static("text/html,*/*;q=0.8"));
                headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
                let browser = refusal(&problem, &RequestContext { headers: &headers, ..asked }, place, located);
                Decision::Refused { problem, program, browser }
            }
        },
    }
}

fn refusal(problem: &Problem, request: &RequestContext<'_>, place: &Match<'_>, located: &Located<'_>) -> Answer {
    Answer::of(&reject::for_session(problem, request, place, &located.target).0)
}

fn plainly(problem: Problem, request: &RequestContext<'_>) -> Decision {
    let answer = Answer::of(&reject::with_problem(&problem, request).0);
    Decision::Refused { problem, program: answer.clone(), browser: answer }
}

fn astray(problem: Problem, request: &RequestContext<'_>) -> Decision {
    let answer = Answer::of(&reject::astray(&problem, request).0);
    Decision::Refused { problem, program: answer.clone(), browser: answer }
}

/// The identity headers, from the lines that a request would get.
fn identity(config: &Config, permit: &Permit) -> Vec<(String, String)> {
    let Some(session) = permit.session() else { return Vec::new() };
    let mut lines = BytesMut::new();
    config.identity.write(&mut lines, session);
    let text = String::from_utf8_lossy(&lines).into_owned();
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
