//! The way to the application and back: headers made ours, the request sent, the response's headers made the client's.

use std::sync::Arc;

use http::header::{HOST, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::Located;
use super::body::{RequestBody, ResponseBody};
use super::client::Client;
use super::exchange::Exchange;
use super::login_hook;
use super::login_page;
use super::route::{self, Match};
use super::upstream;
use crate::config::Upstream;
use crate::error::{Code, Problem};
use crate::http::forwarding::{self, Origin, Telling};
use crate::http::{credential, target::Target};
use crate::policy::Permit;

/// Forwards a request that the policy let pass.
///
/// # Errors
/// [`Code::UpstreamUnreachable`], [`Code::UpstreamTimeout`], and for a login those of creating a session.
pub(super) async fn to(
    client: &Arc<Client>,
    request: Request<Incoming>,
    place: &Match<'_>,
    located: Located<'_>,
    permit: &Permit,
    exchange: &mut Exchange,
) -> Result<Response<ResponseBody>, Problem> {
    let Located { target, client_ip, scheme, host, .. } = located;
    let watched = route::watched(place.upstream, request.method(), target.path());
    let mut request = request.map(|body| RequestBody::new(body, client.clone()));

    // A login looks at the credential that the browser came with before it is taken away.
    let before = match watched {
        Some(watched) => Some(Box::pin(login_hook::before(&mut request, place.upstream, watched, permit)).await?),
        None => None,
    };

    let headers = request.headers_mut();
    credential::strip(headers, &client.gate.config.token.credential);
    let seen_by_proxy;
    let origin = if client.trusted {
        seen_by_proxy = Origin::new(client_ip, scheme);
        &seen_by_proxy
    } else {
        &client.origin
    };
    let session = permit.session().map(Arc::as_ref);
    let names = &client.gate.config.identity;
    forwarding::to_upstream(headers, &Telling { origin, host: host.as_ref(), names, session });
    address(headers, place.upstream, host)?;
    *request.uri_mut() = uri(target);
    // Each side speaks its own version (RFC 9110 section 2.5): ours is 1.1 on both.
    *request.version_mut() = Version::HTTP_11;

    let kept = login_page::keep(place, permit, &request);
    let mut response = exchanged(client, place.index, request, permit, exchange).await?;
    if let Some(kept) = kept
        && kept.leads_in_a_circle(&response)
    {
        let request = kept.without_cookies(client);
        response = exchanged(client, place.index, request, permit, exchange).await?;
    }
    match before {
        Some(before) => Box::pin(login_hook::after(client, before, response, client_ip, exchange)).await,
        None => Ok(response),
    }
}

async fn exchanged(
    client: &Client,
    upstream: usize,
    request: Request<RequestBody>,
    permit: &Permit,
    exchange: &mut Exchange,
) -> Result<Response<ResponseBody>, Problem> {
    exchange.sent_upstream();
    let sent = upstream::send(client, upstream, request, permit).await;
    exchange.answered_upstream();
    let (response, line) = sent?;
    // Upgrades are not forwarded, so an application that switches protocols answers a question nobody asked.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Problem::with_detail(Code::UpstreamUnreachable, "The application switched protocols unasked."));
    }
    let mut response = response.map(|body| ResponseBody::streaming(body, line));
    *response.version_mut() = Version::HTTP_11;
    forwarding::to_client(response.headers_mut());
    Ok(response)
}

/// Sets `Host`: the client's, or the application's own address. An HTTP/1.0 client may have named none.
fn address(headers: &mut HeaderMap, upstream: &Upstream, host: Option<HeaderValue>) -> Result<(), Problem> {
    let host = match host {
        Some(host) if upstream.preserve_host => host,
        Some(_) | None => {
            HeaderValue::try_from(upstream.authority.as_str()).map_err(|_| Problem::new(Code::Internal))?
        }
    };
    headers.insert(HOST, host);
    Ok(())
}

/// The canonical target in origin form.
fn uri(target: Target) -> Uri {
    let path_and_query: PathAndQuery = target.into_path_and_query();
    Uri::from(path_and_query)
}
