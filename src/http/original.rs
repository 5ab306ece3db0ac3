//! The request that a proxy asks about (forward auth), put together from what the proxy says of it.
//!
//! Each proxy says it in its own way: in `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri` (Traefik, Caddy), in
//! `X-Original-Method` and `X-Original-URI` or `X-Original-URL` (nginx), or in the call's own method, path and `Host`
//! (Envoy). Proxies pass the client's headers along, so any of these may be the client's where the proxy writes others.
//! That is why nothing is ranked: everything that is said has to be the same, and what nobody says is not assumed.
//!
//! Whether the one who asks may be believed is for the caller to know.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri, request};

use super::client::Scheme;
use super::host::Host;
use super::identity;
use crate::error::Problem;

const X_FORWARDED_METHOD: &str = "X-Forwarded-Method";
const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
const X_FORWARDED_HOST: &str = "X-Forwarded-Host";
const X_FORWARDED_URI: &str = "X-Forwarded-Uri";
const X_ORIGINAL_METHOD: &str = "X-Original-Method";
const X_ORIGINAL_URI: &str = "X-Original-URI";
const X_ORIGINAL_URL: &str = "X-Original-URL";

/// What proxies add to their calls by themselves, which is no identity even if it begins with the identity prefix.
const OF_PROXIES: [&str; 12] = [
    X_FORWARDED_METHOD,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    X_FORWARDED_URI,
    X_ORIGINAL_METHOD,
    X_ORIGINAL_URI,
    X_ORIGINAL_URL,
    "X-Forwarded-For",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    // Kubernetes' ingress-nginx, on behalf of oauth2-proxy.
    "X-Auth-Request-Redirect",
];

/// The request that a call is about.
#[derive(Debug)]
pub struct Original {
    method: Method,
    uri: Uri,
    scheme: Scheme,
    host: HeaderValue,
}

impl Original {
    /// Reads what a call says. `inner` is the part of the call's target that is the original's, where the call's method
    /// and `own_host` are the original's too.
    ///
    /// # Errors
    /// `invalid_request` on the header that is missing, repeated, unreadable, or says something else than another one.
    pub fn read(
        method: &Method,
        inner: Option<&str>,
        own_host: Option<Host<'_>>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let url = said(headers, X_ORIGINAL_URL, Url::parse)?;
        let part = |part: fn(Url<'_>) -> &[u8]| url.map(|(name, url)| (name, part(url)));

        let own_method = inner.map(|_| ("method", method.clone()));
        let methods = [own_method, said(headers, X_FORWARDED_METHOD, verb)?, said(headers, X_ORIGINAL_METHOD, verb)?];
        let method = agreed(methods, "method", "X-Forwarded-Method or X-Original-Method")?;

        let whole = |value| Ok(value);
        let own_target = inner.map(|inner| ("target", inner.as_bytes()));
        let forwarded_uri = said(headers, X_FORWARDED_URI, whole)?;
        let targets = [own_target, forwarded_uri, said(headers, X_ORIGINAL_URI, whole)?, part(|url| url.target)];
        let uri = target(agreed(targets, "target", "X-Forwarded-Uri, X-Original-URI or X-Original-URL")?)?;

        let url_host = url.map(|(name, url)| Ok::<_, Problem>((name, host(name, url.authority)?))).transpose()?;
        let own_host = own_host.filter(|_| inner.is_some()).map(|host| ("host", host));
        let forwarded_host = said(headers, X_FORWARDED_HOST, whole)?;
        let forwarded_host = forwarded_host.map(|(name, value)| Ok::<_, Problem>((name, host(name, value)?)));
        let host =
            agreed([own_host, forwarded_host.transpose()?, url_host], "host", "X-Forwarded-Host or X-Original-URL")?;
        let host = host.to_header_value(None).ok_or_else(|| Problem::invalid(X_FORWARDED_HOST, "It is no host."))?;

        let url_scheme = url.map(|(name, url)| (name, url.scheme));
        let scheme = agreed(
            [said(headers, X_FORWARDED_PROTO, scheme)?, url_scheme],
            "scheme",
            "X-Forwarded-Proto or X-Original-URL",
        )?;
        Ok(Self { method, uri, scheme, host })
    }

    /// Makes the call the request that it is about, with the client's own headers. What the proxy said of it is then what
    /// any trusted proxy says of a request that it forwards.
    pub fn restore(self, request: &mut request::Parts) {
        request.method = self.method;
        request.uri = self.uri;
        let scheme = HeaderValue::from_static(self.scheme.as_str());
        request.headers.insert(HeaderName::from_static("x-forwarded-proto"), scheme);
        request.headers.insert(HeaderName::from_static("x-forwarded-host"), self.host.clone());
        request.headers.insert(HOST, self.host);
    }
}

/// Refuses a call whose client sent identity headers. What goes to the application is the proxy's to write; it replaces
/// those that it was told of, in the one spelling that it was told of, and forwards the others.
///
/// # Errors
/// `invalid_request` on the header.
pub fn without_identity(headers: &HeaderMap, names: &identity::Names) -> Result<(), Problem> {
    let of_proxies = |name: &HeaderName| OF_PROXIES.iter().any(|known| known.eq_ignore_ascii_case(name.as_str()));
    match headers.keys().find(|name| names.claims(name) && !of_proxies(name)) {
        Some(name) => Err(Problem::invalid(
            name.as_str().to_owned(),
            "A client may not send a header that tells the app who it is.",
        )),
        None => Ok(()),
    }
}

/// What stands in a header that may be there once.
fn said<'h, T>(
    headers: &'h HeaderMap,
    name: &'static str,
    parse: impl FnOnce(&'h [u8]) -> Result<T, &'static str>,
) -> Result<Option<(&'static str, T)>, Problem> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(field), None) => {
            parse(field.as_bytes()).map(|value| Some((name, value))).map_err(|detail| Problem::invalid(name, detail))
        }
        (Some(_), Some(_)) => Err(Problem::invalid(name, "The call has this header more than once.")),
    }
}

/// What all say that say anything.
fn agreed<T: PartialEq>(
    sources: impl IntoIterator<Item = Option<(&'static str, T)>>,
    what: &str,
    names: &'static str,
) -> Result<T, Problem> {
    let mut sources = sources.into_iter().flatten();
    let Some((first, value)) = sources.next() else {
        return Err(Problem::invalid(names, format!("The {what} of the original request is missing: {names}.")));
    };
    match sources.find(|(_, other)| *other != value) {
        Some((name, _)) => Err(Problem::invalid(
            name,
            format!("{name} and {first} do not say the same {what} of the original request."),
        )),
        None => Ok(value),
    }
}

fn verb(value: &[u8]) -> Result<Method, &'static str> {
    Method::from_bytes(value).map_err(|_| "It is no method.")
}

/// Traefik names the scheme of a WebSocket as its URL has it.
fn scheme(value: &[u8]) -> Result<Scheme, &'static str> {
    let known = [("http", Scheme::Http), ("https", Scheme::Https), ("ws", Scheme::Http), ("wss", Scheme::Https)];
    let found = known.into_iter().find(|(name, _)| value.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, scheme)| scheme).ok_or("It is neither http nor https.")
}

fn host<'h>(name: &'static str, value: &'h [u8]) -> Result<Host<'h>, Problem> {
    Host::parse(value).map_err(|detail| Problem::invalid(name, detail))
}

/// Reads a target as a request line has it. A fragment would be cut off here, and may not be where the request goes.
fn target(value: &[u8]) -> Result<Uri, Problem> {
    let wrong = |detail| Err(Problem::invalid("target", detail));
    if value.first() != Some(&b'/') {
        return wrong("The request target must begin with a slash.");
    }
    if value.contains(&b'#') {
        return wrong("The request target has a #.");
    }
    match PathAndQuery::try_from(value) {
        Ok(target) => Ok(Uri::from(target)),
        Err(_) => wrong("The request target has a character that none has, or is too long."),
    }
}

/// The parts of an `X-Original-URL`, as a proxy puts it together from a scheme, the client's `Host` and the target.
#[derive(Clone, Copy)]
struct Url<'h> {
    scheme: Scheme,
    authority: &'h [u8],
    target: &'h [u8],
}

impl<'h> Url<'h> {
    /// Everything up to the first slash must be a host, and nothing but a host: a `?` in the client's `Host` would make the
    /// path a query.
    fn parse(value: &'h [u8]) -> Result<Self, &'static str> {
        const NONE: &str = "It is no URL with scheme, host and path.";
        let end = value.windows(3).position(|window| window == b"://").ok_or(NONE)?;
        let (name, rest) = value.split_at_checked(end).ok_or(NONE)?;
        let rest = rest.get(3..).ok_or(NONE)?;
        let slash = rest.iter().position(|byte| *byte == b'/').ok_or(NONE)?;
        let (authority, target) = rest.split_at_checked(slash).ok_or(NONE)?;
        Ok(Self { scheme: scheme(name)?, authority, target })
    }
}

#[cfg(test)]
mod tests;
