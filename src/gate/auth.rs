//! Forward auth: a proxy that forwards requests itself asks here whether one may pass, and whose it is.
//!
//! The call is turned into the request that it is about, and that request is judged like any other: the same canonical
//! target, route, credential, session, policy and roles ([`locate`], [`admit`]). What the way through the
//! gateway would mend is refused here. Nothing is forwarded, and [`allowed`] alone says yes.
//!
//! The endpoint is recognised in the target as it came, before anything is resolved in it. Envoy appends the original's
//! path to it: were `/_sessions/auth/../current` canonicalised first, the answer to another call would let the request pass.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use http::{Response, Uri, request};

use super::body::ResponseBody;
use super::client::Client;
use super::exchange::{Exchange, Verdict};
use super::route::{self, Match, Place};
use super::{Located, admit, asked, assertion, locate, reject, tunnel};
use crate::error::{Code, Problem};
use crate::http::credential::{self, Presented};
use crate::http::problem::{Dialect, RequestContext};
use crate::http::{Host, Original, Scheme, Target, forwarding, original, websocket};
use crate::policy::Permit;

/// Answers 401 to a request without a session.
const ENDPOINT: &str = "/_sessions/auth";
/// What stands behind it where a browser is redirected to the login instead. It is no parameter: proxies put the
/// original's query there.
const REDIRECT: &str = "-redirect";

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question<'a> {
    /// Whether the proxy passes a redirect on.
    redirect: bool,
    /// The original's target, where it stands behind the endpoint.
    inner: Option<&'a str>,
}

/// Whether a request is such a call.
pub(super) fn is_asked(uri: &Uri) -> bool {
    uri.path().starts_with(ENDPOINT) && question(uri).is_some()
}

fn question(uri: &Uri) -> Option<Question<'_>> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(ENDPOINT)?;
    let (redirect, rest) = match rest.strip_prefix(REDIRECT) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    match rest.as_bytes() {
        [] | [b'?', ..] => Some(Question { redirect, inner: None }),
        [b'/', ..] => Some(Question { redirect, inner: Some(rest) }),
        _ => None,
    }
}

/// Answers a call.
pub(super) async fn answer(
    client: &Client,
    request: &mut request::Parts,
    exchange: &mut Exchange,
) -> (Response<ResponseBody>, Verdict) {
    // Whoever may say what the request is about and where it comes from could have any answer.
    if !client.trusted {
        return reject::with_problem(&Problem::new(Code::UntrustedProxy), &asked(request, false, Dialect::Ours));
    }
    let (redirect, original) = match read(request) {
        Ok(read) => read,
        Err(problem) => return reject::astray(&problem, &asked(request, false, Dialect::Ours)),
    };
    original.restore(request);
    exchange.concerns(request);
    let raw = request.uri.path().to_owned();
    let located = match locate(client, request).and_then(|located| unambiguous(located, request, &raw)) {
        Ok(located) => located,
        Err(problem) => return reject::with_problem(&problem, &asked(request, false, client.gate.config.dialect())),
    };
    let (located, place) = located;
    exchange.target = Some(located.target.path_and_query().clone());
    exchange.caller = Some(located.client_ip);

    let gate = &client.gate;
    let found = credential::present(&request.headers, &gate.config.token.credential);
    let presented = !matches!(found, Ok(None));
    let shown = found.as_ref().ok().copied().flatten();
    let opens = websocket::is_asked_for(&request.headers);
    let auth = if opens { tunnel::auth_of_opening(&place).unwrap_or(place.auth) } else { place.auth };
    let admitted = admit(gate, auth, found, &request.headers, located.client_ip, exchange).await;
    exchange.session = admitted.as_ref().ok().and_then(|permit| permit.session().cloned());
    let admitted = admitted
        .and_then(|permit| permit.require_role(place.roles))
        .and_then(|permit| original::without_identity(&request.headers, &gate.config.identity).map(|()| permit))
        .and_then(|permit| if opens { may_open(request, shown, permit, (&place, &located)) } else { Ok(permit) });
    match admitted {
        Ok(permit) => match assertion::of_request(gate, &place, &permit, &request.method, &located.target, exchange) {
            Ok(assertion) => (allowed(client, &permit, assertion.as_deref()), Verdict::Allowed),
            Err(problem) => reject::with_problem(&problem, &asked(request, presented, gate.config.dialect())),
        },
        Err(problem) => {
            let asked = asked(request, presented, gate.config.dialect());
            refused(&problem, &asked, redirect, &place, &located)
        }
    }
}

/// Reads what the call is about.
fn read(request: &request::Parts) -> Result<(bool, Original), Problem> {
    let asked = question(&request.uri).ok_or_else(|| Problem::new(Code::NotFound))?;
    if !forwarding::is_plainly_framed(&request.headers) {
        return Err(Problem::invalid("Transfer-Encoding", "The only transfer coding that is understood is chunked."));
    }
    let own_host = Host::of(request.version, &request.headers, request.uri.authority())?;
    let original = Original::read(&request.method, asked.inner, own_host, &request.headers)?;
    Ok((asked.redirect, original))
}

/// The part of an application that the request is for, if it is the same however the path is read.
///
/// The gateway forwards the canonical path that it judged; another proxy forwards the path as it came. So nothing may be
/// left to resolve in it, and its own spelling must lead to the same part as the canonical one.
fn unambiguous<'a>(
    located: Located<'a>,
    request: &request::Parts,
    raw: &str,
) -> Result<(Located<'a>, Match<'a>), Problem> {
    let place = match located.place {
        Place::Upstream(place) => place,
        // These calls are the gateway's to answer: no application has them.
        Place::BuiltIn => {
            return Err(Problem::with_detail(Code::NotFound, "Calls below /_sessions must be sent to the gateway."));
        }
    };
    if Target::has_dot_segments(raw) {
        return Err(Problem::invalid(
            "target",
            "The path has a dot segment, which the application may resolve otherwise.",
        ));
    }
    if !route::leads_to_the_same(place.upstream, &request.method, located.target.path(), raw) {
        return Err(Problem::invalid("target", "The path can be read in ways that lead to different places."));
    }
    Ok((located, place))
}

/// Whether a request that may pass may open the WebSocket that it asks for.
///
/// On its way through the gateway it would be made a plain request where none is opened. The proxy forwards it as it came.
fn may_open(
    request: &request::Parts,
    shown: Option<Presented<'_>>,
    permit: Permit,
    (place, located): (&Match<'_>, &Located<'_>),
) -> Result<Permit, Problem> {
    let is_watched = route::watched(place.upstream, &request.method, located.target.path()).is_some();
    if is_watched || tunnel::auth_of_opening(place).is_none() {
        return Err(Problem::invalid("Upgrade", "No WebSocket is opened here."));
    }
    let here = (located.scheme, located.host.as_ref());
    tunnel::check_origin(request, shown, &permit, (place, here), true).map(|()| permit)
}

/// The request may pass; whose it is, the proxy shall tell the application.
fn allowed(client: &Client, permit: &Permit, assertion: Option<&str>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(session) = permit.session() {
        client.gate.config.identity.add(headers, session);
    }
    if let Some(assertion) = assertion.and_then(|assertion| HeaderValue::from_str(assertion).ok()) {
        headers.insert(&client.gate.config.identity.assertion, assertion);
    }
    response
}

/// The request may not pass. Where a browser would be sent to the login, the location stands in the answer whatever its
/// status is: nginx takes no redirect for an answer, but can make one of it.
fn refused(
    problem: &Problem,
    request: &RequestContext<'_>,
    redirect: bool,
    place: &Match<'_>,
    located: &Located<'_>,
) -> (Response<ResponseBody>, Verdict) {
    let login = reject::login(problem, request, place, &located.target);
    let location =
        login.and_then(|login| HeaderValue::try_from(absolute(login, located.scheme, located.host.as_ref())).ok());
    match location {
        Some(location) if redirect => (reject::redirect(request.method, location), Verdict::Redirected),
        Some(location) => {
            let (mut response, verdict) = reject::with_problem(problem, request);
            response.headers_mut().insert(LOCATION, location);
            (response, verdict)
        }
        None => reject::with_problem(problem, request),
    }
}

/// Traefik would complete a path with the gateway's own address.
fn absolute(location: String, scheme: Scheme, host: Option<&HeaderValue>) -> String {
    match host.and_then(|host| host.to_str().ok()) {
        Some(host) if location.starts_with('/') => format!("{}://{host}{location}", scheme.as_str()),
        Some(_) | None => location,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(uri: &str) -> Option<(bool, Option<String>)> {
        let uri: Uri = uri.parse().unwrap();
        assert_eq!(is_asked(&uri), question(&uri).is_some());
        question(&uri).map(|question| (question.redirect, question.inner.map(str::to_owned)))
    }

    #[test]
    fn the_endpoint_is_recognised_before_anything_behind_it_is_resolved() {
        let inner = |inner: &str| Some(inner.to_owned());
        for (uri, expected) in [
            ("/_sessions/auth", Some((false, None))),
            ("/_sessions/auth?of=the&original", Some((false, None))),
            ("/_sessions/auth-redirect", Some((true, None))),
            ("/_sessions/auth-redirect?x", Some((true, None))),
            ("/_sessions/auth/", Some((false, inner("/")))),
            ("/_sessions/auth/a?b", Some((false, inner("/a?b")))),
            ("/_sessions/auth-redirect/a?b", Some((true, inner("/a?b")))),
            ("/_sessions/auth/../current", Some((false, inner("/../current")))),
            ("/_sessions/auth/../../x", Some((false, inner("/../../x")))),
            ("/_sessions/auth//x", Some((false, inner("//x")))),
            ("http://gw/_sessions/auth/x", Some((false, inner("/x")))),
            ("/_sessions/authx", None),
            ("/_sessions/auth-redirectx", None),
            ("/_sessions/auth;x", None),
            ("/_sessions//auth", None),
            ("/_SESSIONS/auth", None),
            ("/_sessions/%61uth", None),
            ("/x/../_sessions/auth", None),
            ("/", None),
            ("/_sessions", None),
        ] {
            assert_eq!(asks(uri), expected, "{uri}");
        }
    }
}
