//! The life of a request, read top to bottom.
//!
//! [`handle`] is what a connection calls: it turns whatever happens, a panic included, into a response and remembers the
//! exchange for the log. `pass` is the main line: canonical target, route, credential, session, policy, identity, and on
//! to the application. It is one function that calls functions; nothing between two of its lines can be configured away.

mod assertion;
mod auth;
pub mod body;
pub mod client;
mod current;
mod exchange;
pub mod explain;
mod forward;
mod guessing;
mod interim;
mod login_hook;
mod login_page;
mod reject;
mod route;
mod signed;
pub mod streams;
pub mod tunnel;
mod upstream;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, Version, request};

pub use self::assertion::Assertions;
use self::body::{Incoming, RequestBody, ResponseBody};
use self::client::Client;
pub use self::current::Current;
use self::exchange::{Exchange, Verdict};
pub use self::guessing::{UNHURRIED, Unhurried};
pub use self::interim::Medium;
pub use self::reject::refuse;
use self::route::Place;
pub use self::streams::Streams;
use self::tunnel::Tunnel;
pub use self::upstream::{Pool, Upstreams};
use crate::api;
use crate::config::Config;
use crate::deadline::Deadlines;
use crate::error::{Code, Level, Problem};
use crate::http::cookie;
use crate::http::credential::{self, Presented};
use crate::http::forwarding;
use crate::http::method;
use crate::http::problem::{Dialect, RequestContext};
use crate::http::trace_context::REQUEST_ID;
use crate::http::{Caller, Host, Scheme, Target};
use crate::keyring::KeyRing;
use crate::log::access::AccessBuffer;
use crate::metrics::{Counter, SharedMetrics, WorkerMetrics};
use crate::policy::{self, Auth, Facts, Notes, Permit};
use crate::rates::Rates;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::token::Digest;
use crate::traces::Recorder;

/// All that one worker needs to serve requests. Nothing in it is written by another worker.
#[derive(Debug)]
pub struct Gate {
    /// The settings in force.
    pub config: Arc<Config>,
    /// The sessions.
    pub sessions: Sessions,
    /// The keys of signed tokens; `None` when none are accepted.
    pub keys: Option<KeyRing>,
    /// The assertions that were signed for applications.
    pub assertions: Arc<Assertions>,
    /// How often who may do what.
    pub rates: Arc<Rates>,
    /// The worker's connections to applications.
    pub pool: Pool,
    /// What the worker's requests have left open.
    pub streams: Arc<Streams>,
    /// The worker's limits of time.
    pub deadlines: Arc<Deadlines>,
    /// The worker's figures.
    pub metrics: Arc<WorkerMetrics>,
    /// The figures that all workers share.
    pub shared: Arc<SharedMetrics>,
    /// The worker's part of the access log.
    pub access: Option<Arc<AccessBuffer>>,
    /// The worker's part of the traces.
    pub traces: Arc<Recorder>,
    /// The key under which sessions remember a User-Agent that was found good.
    pub memo: ahash::RandomState,
    /// How many times the settings were put in place before.
    pub generation: u64,
}

/// Serves one request. It always has an answer.
///
/// Cancel safety: dropped when the client goes away; the connection to the application is then closed, and what the store
/// was asked for still happens.
pub async fn handle(client: Arc<Client>, request: Request<Incoming>) -> Response<ResponseBody> {
    let mut exchange = Exchange::begin(client.clone(), &request);
    let (mut parts, body) = request.into_parts();
    if client.gate.config.trace.is_on() {
        // A proxy that asks about a request has an id for it, or none, and tells the application what it likes.
        exchange.follow(&mut parts.headers, !auth::is_asked(&parts.uri));
    }
    let body = RequestBody::new(body, client.clone());
    let (mut response, verdict) = {
        // It is large, so it stays where it is made.
        let passed = pin!(pass(&client, &mut parts, body, &mut exchange));
        guarded(passed, &client.gate.shared.panics).await
    };
    if let Verdict::Refused(code) = verdict {
        note(code, &exchange);
    }
    exchange.verdict = verdict;
    exchange.status = response.status().as_u16();
    if verdict == Verdict::Refused(Code::RateLimited) && !client.trusted {
        response.extensions_mut().insert(Unhurried);
    }
    if let Some(id) = exchange.answered_id() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if let Some(opened) = exchange.opened.take() {
        client.lifeline.hand_over(Tunnel::new(*opened, exchange));
        return response;
    }
    // Over HTTP/1.1 no content is sent in answer to HEAD (RFC 9110 section 9.3.2), over HTTP/2 it would be.
    let bare = exchange.is_head() && parts.version == Version::HTTP_2;
    response.map(|body| if bare { body.without_content() } else { body }.ending(exchange))
}

/// An answer, come what may: a bug that panics costs the one request that met it, and not the others on its worker.
async fn guarded(
    answer: impl Future<Output = (Response<ResponseBody>, Verdict)>,
    panics: &Counter,
) -> (Response<ResponseBody>, Verdict) {
    // What the request was doing is dropped with it; what is shared between requests is behind locks that ignore poison.
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        // The panic's own message went to the log through the panic hook.
        panics.increment();
        let (method, headers) = (&Method::GET, &HeaderMap::new());
        let unknown = RequestContext { presented: false, dialect: Dialect::Ours, method, headers };
        reject::with_problem(&Problem::new(Code::Internal), &unknown)
    })
}

/// The main line.
///
/// Futures of rare ways are boxed, and what is large goes by reference: this future is moved a few times for every request,
/// and would be thousands of bytes long otherwise.
async fn pass(
    client: &Arc<Client>,
    request: &mut request::Parts,
    body: RequestBody,
    exchange: &mut Exchange,
) -> (Response<ResponseBody>, Verdict) {
    let gate = &client.gate;
    if request.version == Version::HTTP_2 {
        cookie::join(&mut request.headers);
    }
    // Looked for in the target as it came: what stands behind the endpoint may be the target of another request.
    if auth::is_asked(&request.uri) {
        return Box::pin(auth::answer(client, request, exchange)).await;
    }
    let located = match locate(client, request) {
        Ok(located) => located,
        Err(problem) => return reject::astray(&problem, &asked(request, false, gate.config.dialect())),
    };
    exchange.target = Some(located.target.path_and_query().clone());
    exchange.caller = Some(located.client_ip);
    if let Err(problem) = tunnel::note(request, exchange) {
        return reject::astray(&problem, &asked(request, false, gate.config.dialect()));
    }

    let auth = match &located.place {
        Place::BuiltIn => api::auth(&gate.config, &request.method, located.target.path()),
        Place::Upstream(place) => tunnel::auth(place, exchange),
    };
    let found = credential::present(&request.headers, &gate.config.token.credential);
    let presented = !matches!(found, Ok(None));
    let shown = found.as_ref().ok().copied().flatten();
    let admitted = admit(gate, auth, found, &request.headers, located.client_ip, exchange).await;
    exchange.session = admitted.as_ref().ok().and_then(|permit| permit.session().cloned());

    match located.place {
        Place::BuiltIn => {
            let call = api::Call {
                sessions: &gate.sessions,
                config: &gate.config,
                rates: &gate.rates,
                path: located.target.path(),
                query: located.target.path_and_query().query().unwrap_or_default(),
                host: located.host.as_ref(),
                scheme: located.scheme,
                presented: shown,
                ip: located.client_ip,
                now: gate.sessions.at(exchange.began).wall,
                uptime: exchange.began.uptime,
            };
            let answered = api::answer(call, admitted, request, async |bound| body.read_whole(bound).await);
            match Box::pin(answered).await {
                Ok(response) => (response.map(ResponseBody::whole), Verdict::Answered),
                Err(problem) => {
                    let dialect = api::dialect(&gate.config, located.target.path());
                    reject::with_problem(&problem, &asked(request, presented, dialect))
                }
            }
        }
        Place::Upstream(place) => {
            let permit = match admitted.and_then(|permit| permit.require_role(place.roles)) {
                Ok(permit) => permit,
                Err(problem) => {
                    let asked = asked(request, presented, gate.config.dialect());
                    return reject::for_session(&problem, &asked, &place, &located.target);
                }
            };
            let here = (located.scheme, located.host.as_ref());
            let opens = exchange.asked.is_some();
            if let Err(problem) = tunnel::check_origin(request, shown, &permit, (&place, here), opens) {
                return reject::with_problem(&problem, &asked(request, presented, gate.config.dialect()));
            }
            match forward::to(client, request, body, &place, located, &permit, exchange).await {
                Ok(response) if permit.session().is_some() => (response, Verdict::Forwarded),
                Ok(response) => (response, Verdict::Anonymous),
                Err(problem) => reject::with_problem(&problem, &asked(request, presented, gate.config.dialect())),
            }
        }
    }
}

/// What the answer to a refused request depends on besides the refusal.
const fn asked(request: &request::Parts, presented: bool, dialect: Dialect) -> RequestContext<'_> {
    RequestContext { presented, dialect, method: &request.method, headers: &request.headers }
}

/// What a request is for and from whom, in canonical form. Nothing later looks at the raw forms again.
#[derive(Debug)]
struct Located<'a> {
    target: Target,
    place: Place<'a>,
    client_ip: IpAddr,
    scheme: Scheme,
    /// The host that the client asked for, as a trusted proxy or the request itself names it.
    host: Option<HeaderValue>,
}

fn locate<'a>(client: &'a Client, request: &request::Parts) -> Result<Located<'a>, Problem> {
    locate_from(&client.gate.config, client.peer, client.transport, request)
}

/// The same for a request that came from `peer` over `transport`.
fn locate_from<'a>(
    config: &'a Config,
    peer: Option<IpAddr>,
    transport: Scheme,
    request: &request::Parts,
) -> Result<Located<'a>, Problem> {
    method::require_admissible(&request.method)?;
    if !forwarding::is_plainly_framed(&request.headers) {
        return Err(Problem::invalid("Transfer-Encoding", "The only transfer coding that is understood is chunked."));
    }
    let target = Target::parse(&request.method, &request.uri)?;
    let own = Host::of(request.version, &request.headers, target.authority())?;
    let caller = Caller::resolve(peer, transport, &request.headers, &config.server.trusted_proxies);
    let host = caller.host.or(own);
    let place = route::find(config, host.as_ref(), &request.method, &target)?;
    let host = host.and_then(|host| host.to_header_value(request.headers.get(HOST)));
    Ok(Located { target, place, client_ip: caller.ip, scheme: caller.scheme, host })
}

/// From a request's credential to the permit to pass.
///
/// # Errors
/// The problem to answer. On a route that does not need a session, only a store that cannot be asked is one.
async fn admit(
    gate: &Gate,
    auth: Auth,
    found: Result<Option<Presented<'_>>, Problem>,
    headers: &HeaderMap,
    client_ip: IpAddr,
    exchange: &mut Exchange,
) -> Result<Permit, Problem> {
    if auth == Auth::Off {
        return policy::anonymous(auth);
    }
    let checked = match found {
        Ok(None) => return policy::anonymous(auth),
        Ok(Some(presented)) => check(gate, &presented, headers, client_ip, exchange).await,
        Err(problem) => guessing::refused(gate, client_ip, exchange, problem),
    };
    excuse(auth, checked)
}

/// What a route makes of the verdict on the credential that came.
fn excuse(auth: Auth, checked: Result<Permit, Problem>) -> Result<Permit, Problem> {
    match checked {
        // A dead token makes a request nobody's where nobody may pass. A store that cannot be asked does not: nobody
        // knows whose it is.
        Err(problem) if auth == Auth::Optional && problem.code.rule().status == UNAUTHORIZED => policy::anonymous(auth),
        other => other,
    }
}

const UNAUTHORIZED: u16 = 401;

async fn check(
    gate: &Gate,
    presented: &Presented<'_>,
    headers: &HeaderMap,
    client_ip: IpAddr,
    exchange: &mut Exchange,
) -> Result<Permit, Problem> {
    let now = gate.sessions.at(exchange.began);
    // Before anything is waited for: others may be put in place meanwhile.
    let rules = gate.sessions.rules();
    let signer = match signed::signer(gate.keys.as_ref(), presented) {
        Ok(signer) => signer,
        Err(problem) => return guessing::refused(gate, client_ip, exchange, problem),
    };
    let user_agent = headers.get(USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
    // Zero stands for "no memo".
    let agent_memo = gate.memo.hash_one(user_agent) | 1;
    let facts = Facts { user_agent, agent_memo, client_ip };

    let digest = Digest::of(presented.token);
    let (found, how) = match gate.sessions.recall(&digest, now) {
        Some(known) => known,
        None => {
            guessing::may(gate, client_ip, exchange)?;
            exchange.waited = true;
            let loaded = match signer {
                None => Box::pin(gate.sessions.load(&digest, &facts, now)).await,
                Some(keys) => Box::pin(gate.sessions.load_signed(&digest, presented.token, keys, now)).await,
            };
            if matches!(&loaded.0, Err(problem) if problem.code.is_of_no_session()) {
                gate.rates.guessed_token(client_ip, now.uptime);
            }
            loaded
        }
    };
    gate.metrics.looked_up(how);
    let session = found?;
    signed::fits(session.format, signer.is_some())?;
    let permit = match policy::check(session.clone(), &facts, &rules, now.wall) {
        Ok(permit) => permit,
        Err(refusal) => {
            exchange.waited = true;
            Box::pin(gate.sessions.settle(refusal, &session, &facts, headers, now)).await?
        }
    };
    if let Some(session) = permit.session() {
        gate.sessions.touch(session, client_ip, now.wall);
        mention(permit.notes(), session, client_ip);
    }
    Ok(permit)
}

/// Logs what a policy with `on_change = "log"` let pass.
fn mention(notes: Notes, session: &Session, client: IpAddr) {
    if notes.user_agent_changed {
        tracing::warn!(session = %session.id, %client, "another User-Agent uses this session");
    }
    if notes.ip_changed {
        tracing::warn!(session = %session.id, %client, "another client address uses this session");
    }
}

/// Logs a refusal as loudly as its code says. The access log has its line anyway.
fn note(problem: Code, exchange: &Exchange) {
    let rule = problem.rule();
    let target = exchange.target.as_ref().map_or("", |target| target.path());
    match rule.level {
        Level::Debug => tracing::debug!(code = rule.name, target, "refused"),
        Level::Warn => tracing::warn!(code = rule.name, target, "refused"),
        Level::Error => tracing::error!(code = rule.name, target, "refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_and_is_counted_and_the_next_request_is_served() {
        let panics = Counter::default();
        let bug = async {
            tokio::task::yield_now().await;
            panic!("a bug");
        };
        let (response, verdict) = guarded(bug, &panics).await;
        assert_eq!(
            (response.status(), verdict),
            (http::StatusCode::INTERNAL_SERVER_ERROR, Verdict::Refused(Code::Internal))
        );

        let fine = async { (Response::new(ResponseBody::whole(bytes::Bytes::new())), Verdict::Answered) };
        let (response, verdict) = guarded(fine, &panics).await;
        assert_eq!((response.status(), verdict), (http::StatusCode::OK, Verdict::Answered));
        assert_eq!(panics.get(), 1);
    }
}
