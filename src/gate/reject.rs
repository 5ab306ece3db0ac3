//! How a request that may not pass is answered: a problem for programs, the way to the login page for people.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};

use super::auth;
use super::body::ResponseBody;
use super::client::Client;
use super::exchange::{Exchange, Verdict};
use super::route::Match;
use crate::config::OnReject;
use crate::error::{Code, Fault, Problem};
use crate::http::Target;
use crate::http::problem::{self, RequestContext};
use crate::http::returning::Appetite;
use crate::http::trace_context::REQUEST_ID;

/// The answer to a refused request in the words that its client knows, and how it counts.
pub(super) fn with_problem(problem: &Problem, request: &RequestContext<'_>) -> (Response<ResponseBody>, Verdict) {
    let response = problem::respond(problem, request);
    (response.map(ResponseBody::whole), Verdict::Refused(problem.code))
}

/// The answer to a request that there is no room for, whatever it is about: neither its target nor its credential is looked at.
/// Without a body unless the client is to be told more than the status. It is in the access log and the figures as others are.
pub fn refuse<B>(client: Arc<Client>, request: Request<B>, problem: &Problem, told: bool) -> Response<ResponseBody> {
    let mut exchange = Exchange::begin(client.clone(), &request);
    let (mut parts, _unread) = request.into_parts();
    let config = &client.gate.config;
    if config.trace.is_on() {
        exchange.follow(&mut parts.headers, !auth::is_asked(&parts.uri));
    }
    let asked =
        RequestContext { presented: false, dialect: config.dialect(), method: &parts.method, headers: &parts.headers };
    let (mut response, verdict) = with_problem(problem, &asked);
    // Of an answer to HEAD a body would be sent too, on HTTP/2.
    if !told || exchange.is_head() {
        response = response.map(|_| ResponseBody::whole(Bytes::new()));
        response.headers_mut().remove(CONTENT_TYPE);
    }
    if let Some(id) = exchange.answered_id() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    exchange.verdict = verdict;
    exchange.status = response.status().as_u16();
    response.map(|body| body.ending(exchange))
}

/// The answer to a request that leads nowhere. When the request itself is at fault nothing else is read from its
/// connection: whoever wrote it may mean another end of it than we do.
pub(super) fn astray(problem: &Problem, request: &RequestContext<'_>) -> (Response<ResponseBody>, Verdict) {
    let (mut response, verdict) = with_problem(problem, request);
    if problem.code == Code::InvalidRequest {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    (response, verdict)
}

/// The answer to a request that was refused for want of a good session: the login page where that helps, else the problem.
pub(super) fn for_session(
    problem: &Problem,
    request: &RequestContext<'_>,
    place: &Match<'_>,
    target: &Target,
) -> (Response<ResponseBody>, Verdict) {
    match login(problem, request, place, target).map(HeaderValue::try_from) {
        Some(Ok(location)) => (redirect(request.method, location), Verdict::Redirected),
        Some(Err(_)) | None => with_problem(problem, request),
    }
}

/// The location of the login page, if a refused request shall be sent there.
pub(super) fn login(
    problem: &Problem,
    request: &RequestContext<'_>,
    place: &Match<'_>,
    target: &Target,
) -> Option<String> {
    let rule = problem.code.rule();
    // A store that is away is no reason to log in again, nor is a lacking role.
    let can_log_in = rule.fault == Fault::Client && rule.status == StatusCode::UNAUTHORIZED.as_u16();
    let wants_page = match place.on_reject {
        OnReject::Unauthorized => false,
        OnReject::Auto => Appetite::of(request.method, request.headers) == Appetite::Browser,
        // For everybody but scripts in a page, which cannot follow a person's way.
        OnReject::Login => !Appetite::is_script(request.headers),
    };
    place.upstream.login_page.as_ref().filter(|_| can_log_in && wants_page).map(|page| page.location(target))
}

/// A redirect of a client that used `method`.
pub(super) fn redirect(method: &Method, location: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::new()));
    // 303 turns a POST into the GET of the login page; 302 is what every client knows for the rest.
    *response.status_mut() = match *method {
        Method::GET | Method::HEAD => StatusCode::FOUND,
        _ => StatusCode::SEE_OTHER,
    };
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
