//! Which application a request is for, and what that part of it asks for.

use http::Method;

use crate::config::{Config, Hook, Login, OnReject, PasswordChange, Route, RoutePath, Upstream};
use crate::error::{Code, Problem};
use crate::http::target::under;
use crate::http::{Host, Target};
use crate::policy::Auth;

/// The prefix of the gateway's own endpoints, on every host.
pub(super) const BUILT_IN: &str = "/_sessions";

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// The gateway's own endpoints.
    BuiltIn,
    /// An application.
    Upstream(Match<'a>),
}

/// One part of one application.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match<'a> {
    /// The application's place in the configuration.
    pub(super) index: usize,
    /// The application.
    pub(super) upstream: &'a Upstream,
    /// Whether a session is needed.
    pub(super) auth: Auth,
    /// The roles of which one is needed.
    pub(super) roles: &'a [Box<str>],
    /// What a browser without a session gets.
    pub(super) on_reject: OnReject,
}

/// What the gateway takes note of when this request succeeds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watched<'a> {
    /// A login.
    Login(&'a Login),
    /// A logout.
    Logout(&'a Hook),
    /// A password change.
    PasswordChanged(&'a PasswordChange),
}

/// Finds what a request is for.
///
/// # Errors
/// [`Code::NotFound`] when no application answers for the host; [`Code::InvalidRequest`] when the path means different
/// parts of an application depending on how it is read.
pub(super) fn find<'a>(
    config: &'a Config,
    host: Option<&Host<'_>>,
    method: &Method,
    target: &Target,
) -> Result<Place<'a>, Problem> {
    if is_built_in(config, target.path()) {
        return Ok(Place::BuiltIn);
    }
    let (index, upstream) = application(config, host)
        .ok_or_else(|| Problem::with_detail(Code::NotFound, "No application answers for this host."))?;
    let (route, login) = part(upstream, method, target.path());
    // Another part of the application under another reading (without `;parameters`, with escapes decoded) means that
    // what is checked here is not what is served there.
    let agreed = target.agrees(|reading| {
        let (other_route, other_login) = part(upstream, method, reading);
        !is_built_in(config, reading) && login == other_login && same(route, other_route)
    });
    if !agreed {
        return Err(Problem::invalid("target", "The path can be read in ways that lead to different places."));
    }
    let found = match route {
        Some(route) => Match { index, upstream, auth: route.auth, roles: &route.roles, on_reject: route.on_reject },
        None => Match { index, upstream, auth: Auth::Required, roles: &[], on_reject: OnReject::Auto },
    };
    // Nobody can log in where a session is needed to reach the login page.
    Ok(Place::Upstream(if login { Match { auth: Auth::Optional, roles: &[], ..found } } else { found }))
}

/// Whether a path belongs to the same part of the application as the canonical one.
pub(super) fn leads_to_the_same(upstream: &Upstream, method: &Method, canonical: &str, path: &str) -> bool {
    let ((route, login), (other_route, other_login)) =
        (part(upstream, method, canonical), part(upstream, method, path));
    login == other_login && same(route, other_route)
}

/// Whether the gateway answers a path itself, on every host.
fn is_built_in(config: &Config, path: &str) -> bool {
    under(path, BUILT_IN) || config.compat.as_ref().is_some_and(|compat| compat.has(path))
}

/// The most exact host pattern wins: a name, then a wildcard, then every host; among equals the first in the file.
fn application<'a>(config: &'a Config, host: Option<&Host<'_>>) -> Option<(usize, &'a Upstream)> {
    let mut all = config.upstreams.iter().enumerate();
    if let Some(host) = host {
        for wildcard in [false, true] {
            let matches = |(_, upstream): &(usize, &Upstream)| {
                upstream.hosts.iter().any(|pattern| pattern.is_wildcard() == wildcard && pattern.matches(host))
            };
            if let Some(found) = all.clone().find(matches) {
                return Some(found);
            }
        }
    }
    all.find(|(_, upstream)| upstream.hosts.is_empty())
}

/// The first route that matches, and whether this is a login: the page that is shown, or its form. Other methods on its
/// path are nobody's login, and need what their route says.
fn part<'a>(upstream: &'a Upstream, method: &Method, path: &str) -> (Option<&'a Route>, bool) {
    let route = upstream.routes.iter().find(|route| {
        (route.methods.is_empty() || route.methods.contains(method))
            && match &route.path {
                RoutePath::Prefix(prefix) => under(path, prefix),
                RoutePath::Exact(exact) => path == exact,
            }
    });
    let shown = matches!(*method, Method::GET | Method::HEAD);
    (route, upstream.logins.iter().any(|login| login.hook.path == path && (shown || login.hook.method == *method)))
}

fn same(a: Option<&Route>, b: Option<&Route>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => std::ptr::eq(a, b),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The place of the route that matches in the order of the file, and whether this is a login.
pub(super) fn position(upstream: &Upstream, method: &Method, path: &str) -> (Option<usize>, bool) {
    let (found, login) = part(upstream, method, path);
    let position = found.and_then(|found| upstream.routes.iter().position(|route| std::ptr::eq(route, found)));
    (position, login)
}

/// Whether a canonical path leads to a part of the application that nobody sees without a session.
pub(super) fn needs_session(upstream: &Upstream, method: &Method, path: &str) -> bool {
    let (route, login) = part(upstream, method, path);
    !login && route.is_none_or(|route| route.auth == Auth::Required)
}

/// What the gateway takes note of when this request succeeds.
pub(super) fn watched<'a>(upstream: &'a Upstream, method: &Method, path: &str) -> Option<Watched<'a>> {
    let is = |hook: &&Hook| hook.path == path && hook.method == *method;
    upstream
        .logins
        .iter()
        .find(|login| is(&&login.hook))
        .map(Watched::Login)
        .or_else(|| upstream.logouts.iter().find(is).map(Watched::Logout))
        .or_else(|| upstream.password_changes.iter().find(|change| is(&&change.hook)).map(Watched::PasswordChanged))
}
