//! The way to the application and back: headers made ours, the request sent, the response's headers made the client's.

use std::sync::Arc;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap};
use http::{Method, Response, StatusCode, request};
use http_body::Body as _;

use super::Located;
use super::assertion;
use super::body::{RequestBody, ResponseBody};
use super::client::Client;
use super::exchange::Exchange;
use super::interim::Medium;
use super::login_hook;
use super::login_page;
use super::route::{self, Match};
use super::tunnel;
use super::upstream::{self, Answering, Outgoing};
use crate::error::{Code, Problem};
use crate::http::credential;
use crate::http::forwarding::{self, BodyLength, Origin, RequestLine, Telling};
use crate::policy::Permit;

/// Forwards a request that the policy let pass.
///
/// # Errors
/// [`Code::InvalidRequest`] for a `Connection` that names too much, [`Code::UpstreamUnreachable`], [`Code::UpstreamUnavailable`],
/// [`Code::UpstreamTimeout`], and for a login those of creating a session.
pub(super) async fn to(
    client: &Arc<Client>,
    parts: &mut request::Parts,
    mut body: RequestBody,
    place: &Match<'_>,
    located: Located<'_>,
    permit: &Permit,
    exchange: &mut Exchange,
) -> Result<Response<ResponseBody>, Problem> {
    let Located { target, client_ip, scheme, host, .. } = located;
    let watched = route::watched(place.upstream, &parts.method, target.path());

    if watched.is_some() {
        // What is watched for is in a whole request and its answer.
        exchange.asked = None;
        exchange.ends_sessions = true;
        // What the answer is not to say, hints would.
        client.interim.begin(Medium::None);
    }

    // A login looks at the credential that the browser came with before it is taken away.
    let before = match watched {
        Some(watched) => {
            exchange.waited = true;
            let seen = (permit, &client.gate.config.token.credential);
            Some(Box::pin(login_hook::before(parts, &mut body, place.upstream, watched, seen)).await?)
        }
        None => None,
    };

    credential::strip(&mut parts.headers, &client.gate.config.token.credential);
    let seen_by_proxy;
    let origin = if client.trusted {
        seen_by_proxy = Origin::new(client_ip, scheme);
        &seen_by_proxy
    } else {
        &client.origin
    };
    let session = permit.session().map(Arc::as_ref);
    let assertion = assertion::of_request(&client.gate, place, permit, &parts.method, &target, exchange)?;
    let names = &client.gate.config.identity;
    let traced = exchange.goes_to(place.index);
    let (assertion, known) = (assertion.as_deref(), traced.as_ref().map(|traced| &traced.known));
    let telling = Telling { origin, host: host.as_ref(), names, session, assertion, known };
    let (addressed, names_address) = match &host {
        Some(host) if place.upstream.preserve_host => (host, false),
        // Also for an HTTP/1.0 client that named none.
        Some(_) | None => {
            let first = place.upstream.addresses.first().ok_or_else(|| Problem::new(Code::Internal))?;
            (&first.host, place.upstream.addresses.len() > 1)
        }
    };
    let line = RequestLine { method: &parts.method, target: target.path_and_query(), host: addressed };
    let length = if exchange.asked.is_some() { BodyLength::WebSocket } else { length(&body, &parts.headers) };
    let mut head = BytesMut::with_capacity(HEAD);
    forwarding::write_request_head(&mut head, line, &parts.headers, &telling, length)?;

    let asks_for_login = length == BodyLength::None
        && login_page::is_asked_for(place, permit, &parts.method, target.path(), &parts.headers);
    let outgoing = Outgoing::new(head, body, length).naming_address(names_address);
    let mut response = exchanged(client, place, &parts.method, outgoing, permit, exchange).await?;
    if asks_for_login
        && login_page::leads_in_a_circle(place.upstream, target.path(), [host.as_ref(), Some(addressed)], &response)
    {
        parts.headers.remove(COOKIE);
        let mut head = BytesMut::with_capacity(HEAD);
        forwarding::write_request_head(&mut head, line, &parts.headers, &telling, BodyLength::None)?;
        exchange.waited = true;
        let outgoing = Outgoing::bodiless(head).naming_address(names_address);
        // Its connection has a place among those that the application may have; the next one may have to wait for it.
        drop(response);
        response = Box::pin(exchanged(client, place, &parts.method, outgoing, permit, exchange)).await?;
    }
    match before {
        Some(before) => Box::pin(login_hook::after(client, before, response, client_ip, exchange)).await,
        None => Ok(response),
    }
}

async fn exchanged(
    client: &Client,
    place: &Match<'_>,
    method: &Method,
    outgoing: Outgoing,
    permit: &Permit,
    exchange: &mut Exchange,
) -> Result<Response<ResponseBody>, Problem> {
    let now = exchange.sent_upstream();
    let sent = upstream::send(client, place.index, method, outgoing, permit, now).await;
    exchange.answered_upstream();
    let (response, rest) = sent?;
    let rest = match rest {
        Answering::Alone(connection) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            return tunnel::consent(exchange, response, connection, place.upstream.websockets.idle_timeout);
        }
        rest @ (Answering::Alone(_) | Answering::Shared(_)) => rest,
    };
    // The length of a stream of events is never known, so others are not looked at.
    exchange.events = rest.remaining().is_none() && is_event_stream(response.headers());
    Ok(response.map(|()| ResponseBody::streaming(rest)))
}

/// Server-sent events: a response that goes on until somebody closes it.
fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// Room for the head of most requests.
const HEAD: usize = 1024;

/// How the body goes on to the application. An empty one whose length the client stated is stated again: some applications
/// insist on `Content-Length: 0` with a POST.
fn length(body: &RequestBody, headers: &HeaderMap) -> BodyLength {
    match body.size_hint().exact() {
        Some(0) if !headers.contains_key(CONTENT_LENGTH) => BodyLength::None,
        Some(length) => BodyLength::Exactly(length),
        None => BodyLength::Chunked,
    }
}
