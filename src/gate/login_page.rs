//! The login page for a browser that the application alone takes for logged in.
//!
//! A session can end here (revoked, evicted, expired) while the application's own lives on in the browser's cookies. The
//! browser is then led to the login page, and many applications lead whom they know away from it: to a page that needs a
//! session, which leads to the login page. Browsers give up on such a circle, and its user could log in only after
//! deleting cookies.
//!
//! So an answer of the login page that closes the circle is not passed on. The page is asked for once more without
//! cookies, as by somebody who is not logged in, and that answer is passed on, whatever it is. Nothing else can be lost by
//! it: where the first answer led is known to be refused. The request is a GET or HEAD without a body, so that asking
//! twice is safe (RFC 9110 section 9.2.1).

use std::sync::Arc;

use http::header::{COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Method, Request, Response, Uri, Version};
use http_body::Body as _;

use super::body::RequestBody;
use super::client::Client;
use super::route::{self, Match};
use crate::config::Upstream;
use crate::http::target::canonical;
use crate::policy::{Auth, Permit};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A request for the login page, kept without its cookies.
pub(super) struct Kept<'a> {
    upstream: &'a Upstream,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// Keeps a request that is about to be sent, when it asks for the login page, comes with cookies and without a session.
///
/// A route with `auth = "off"` is none of it: whether there is a session was not asked there.
pub(super) fn keep<'a>(place: &Match<'a>, permit: &Permit, request: &Request<RequestBody>) -> Option<Kept<'a>> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let asks = place.auth == Auth::Optional
        && permit.session().is_none()
        && matches!(*method, Method::GET | Method::HEAD)
        && request.body().is_end_stream()
        && headers.contains_key(COOKIE)
        && is_login_page(place.upstream, uri.path())
        // A login that shows in a GET, such as the way back from a single sign-on, needs its cookies.
        && route::watched(place.upstream, method, uri.path()).is_none();
    asks.then(|| {
        let mut headers = headers.clone();
        headers.remove(COOKIE);
        Kept { upstream: place.upstream, method: method.clone(), uri: uri.clone(), headers }
    })
}

impl Kept<'_> {
    /// Whether this answer leads to a part of the application that needs a session, which the browser does not have.
    pub(super) fn leads_in_a_circle<B>(&self, response: &Response<B>) -> bool {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return false;
        }
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        location.and_then(|location| self.path_of(location)).is_some_and(|path| {
            let path = canonical(&path);
            path.is_ok_and(|path| route::needs_session(self.upstream, &Method::GET, &path))
        })
    }

    /// The request, as by a browser that has no cookies.
    pub(super) fn without_cookies(self, client: &Arc<Client>) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty(client.clone()));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers;
        request
    }

    /// The path that a `Location` names, if it is one of this site (RFC 3986 section 4.2).
    fn path_of(&self, location: &str) -> Option<String> {
        // A relative reference such as `inside` parses as well, as a host without a scheme.
        if let Ok(uri) = location.parse::<Uri>()
            && let (Some(_), Some(authority)) = (uri.scheme(), uri.authority())
        {
            let is_own = |name: &HeaderName| {
                let own = self.headers.get(name).map(HeaderValue::as_bytes);
                own.is_some_and(|own| own.eq_ignore_ascii_case(authority.as_str().as_bytes()))
            };
            return (is_own(&HOST) || is_own(&X_FORWARDED_HOST)).then(|| uri.path().to_owned());
        }
        let path = location.split(['?', '#']).next().unwrap_or_default();
        if path.starts_with("//") || path.is_empty() || path.contains(':') {
            return None;
        }
        if path.starts_with('/') {
            return Some(path.to_owned());
        }
        let directory = self.uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        Some(format!("{directory}/{path}"))
    }
}

fn is_login_page(upstream: &Upstream, path: &str) -> bool {
    upstream.logins.iter().any(|login| login.hook.path == path)
        || upstream.login_page.as_ref().is_some_and(|page| page.path() == path)
}
