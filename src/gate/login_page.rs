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

use http::header::{COOKIE, HeaderMap, HeaderValue, LOCATION};
use http::{Method, Response, Uri};

use super::route::{self, Match};
use crate::config::Upstream;
use crate::http::target::canonical;
use crate::policy::{Auth, Permit};

/// Whether a request asks for the login page, with cookies and without a session.
///
/// A route with `auth = "off"` is none of it: whether there is a session was not asked there.
pub(super) fn is_asked_for(
    place: &Match<'_>,
    permit: &Permit,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> bool {
    place.auth == Auth::Optional
        && permit.session().is_none()
        && matches!(*method, Method::GET | Method::HEAD)
        && headers.contains_key(COOKIE)
        && is_login_page(place.upstream, path)
        // A login that shows in a GET, such as the way back from a single sign-on, needs its cookies.
        && route::watched(place.upstream, method, path).is_none()
}

/// Whether the answer of the login page at `path` leads to a part of the application that needs a session, which the browser
/// does not have. `hosts` are the names under which the application may know this site.
pub(super) fn leads_in_a_circle<B>(
    upstream: &Upstream,
    path: &str,
    hosts: [Option<&HeaderValue>; 2],
    response: &Response<B>,
) -> bool {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return false;
    }
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    location.and_then(|location| path_of(location, path, hosts)).is_some_and(|there| {
        let there = canonical(&there);
        there.is_ok_and(|there| route::needs_session(upstream, &Method::GET, &there))
    })
}

/// The path that a `Location` names, if it is one of this site (RFC 3986 section 4.2).
fn path_of(location: &str, base: &str, hosts: [Option<&HeaderValue>; 2]) -> Option<String> {
    // A relative reference such as `inside` parses as well, as a host without a scheme.
    if let Ok(uri) = location.parse::<Uri>()
        && let (Some(_), Some(authority)) = (uri.scheme(), uri.authority())
    {
        let mut own = hosts.into_iter().flatten().map(HeaderValue::as_bytes);
        return own.any(|own| own.eq_ignore_ascii_case(authority.as_str().as_bytes())).then(|| uri.path().to_owned());
    }
    let path = location.split(['?', '#']).next().unwrap_or_default();
    if path.starts_with("//") || path.is_empty() || path.contains(':') {
        return None;
    }
    if path.starts_with('/') {
        return Some(path.to_owned());
    }
    let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
    Some(format!("{directory}/{path}"))
}

/// Whether a redirect in the answer to the login at `path` leads back to the login page: the application's way of saying
/// that the name or the password is wrong.
pub(super) fn leads_back<B>(upstream: &Upstream, path: &str, response: &Response<B>) -> bool {
    if !response.status().is_redirection() {
        return false;
    }
    let Some(location) = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()) else {
        return false;
    };
    let there = match location.parse::<Uri>() {
        // Whatever the host is called: behind other proxies the application may know this site by any name.
        Ok(uri) if uri.scheme().is_some() && uri.authority().is_some() => Some(uri.path().to_owned()),
        // `?error` alone is the page itself.
        _ if location.starts_with(['?', '#']) => Some(path.to_owned()),
        _ => path_of(location, path, [None, None]),
    };
    let plain = |path: &str| canonical(path).map(|path| path.trim_end_matches('/').to_owned());
    there.and_then(|there| plain(&there).ok()).is_some_and(|there| {
        let pages = upstream.login_page.as_ref().map(|page| page.path());
        pages.into_iter().chain([path]).any(|page| plain(page).is_ok_and(|page| page == there))
    })
}

fn is_login_page(upstream: &Upstream, path: &str) -> bool {
    upstream.logins.iter().any(|login| login.hook.path == path)
        || upstream.login_page.as_ref().is_some_and(|page| page.path() == path)
}
