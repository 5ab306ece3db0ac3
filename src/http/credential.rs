//! The credential of a request: which of its parts counts, and how it is kept from the application.
//!
//! An `Authorization` with one of our schemes is used alone: a bad one is refused and never falls back to the cookie.
//! Another scheme is the application's, and then the session cookie counts. Nothing is ever taken from the query.
//! Whatever can be read in two ways (two `Authorization` fields, two session cookies that differ) is refused, since the
//! application or a proxy before us may read it the other way.

use std::fmt;

use http::header::{AUTHORIZATION, HeaderMap};

use super::cookie::{self, CookieName};
use crate::error::{Code, Problem};
use crate::token::{self, Shape};

/// Where credentials are looked for.
#[derive(Clone, Debug)]
pub struct Settings {
    schemes: Vec<String>,
    cookie: CookieName,
    /// The cookie that an application kept its own sessions in, before they were imported.
    former: Option<CookieName>,
    forward: bool,
}

impl Settings {
    /// Where to look: the schemes of `Authorization` that are ours (their case does not matter), and our cookie. With
    /// `forward` the application sees the credential; otherwise [`strip`] removes it.
    ///
    /// # Errors
    /// A sentence about the scheme that is none.
    pub fn new(schemes: Vec<String>, cookie: CookieName, forward: bool) -> Result<Self, String> {
        match schemes.iter().find(|scheme| scheme.is_empty() || !scheme.bytes().all(cookie::is_token_byte)) {
            Some(scheme) => Err(format!("{scheme:?} is no authorization scheme: it must be one word, such as Bearer.")),
            None => Ok(Self { schemes, cookie, former: None, forward }),
        }
    }

    /// The same, looking at another cookie where nothing of ours is there: that of an application whose sessions were
    /// imported. It stays the application's, which gets it.
    #[must_use]
    pub fn with_former_cookie(self, former: Option<CookieName>) -> Self {
        Self { former, ..self }
    }

    /// Whether this scheme of `Authorization` is one of ours.
    pub fn has_scheme(&self, scheme: &str) -> bool {
        self.schemes.iter().any(|ours| ours.eq_ignore_ascii_case(scheme))
    }

    /// The name of the session cookie.
    pub const fn cookie(&self) -> &CookieName {
        &self.cookie
    }

    /// The scheme under which a program best brings its token, if there is one.
    pub fn scheme(&self) -> Option<&str> {
        self.schemes.first().map(String::as_str)
    }

    /// What follows the scheme of an `Authorization` field, when the scheme is ours.
    fn credentials<'h>(&self, field: &'h [u8]) -> Option<&'h [u8]> {
        let field = field.trim_ascii();
        self.schemes.iter().find_map(|scheme| {
            let (head, rest) = field.split_at_checked(scheme.len())?;
            if !head.eq_ignore_ascii_case(scheme.as_bytes()) {
                return None;
            }
            match rest {
                // A tab is no separator (RFC 9110 section 11.4), but a lenient reader takes it for one: the credential
                // is ours, and malformed.
                [] | [b' ' | b'\t', ..] => Some(rest),
                _ => None,
            }
        })
    }
}

/// Where a credential was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The `Authorization` field: the client is a program, and no other site can make it send this.
    Header,
    /// The session cookie, which a browser sends by itself.
    Cookie,
}

/// A credential as it stands in the request. Its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Presented<'h> {
    /// Its bytes, borrowed from the headers.
    pub token: &'h [u8],
    /// Where it was found.
    pub source: Source,
    /// What it looks like; never [`Shape::Malformed`].
    pub shape: Shape,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("source", &self.source).field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// The credential of a request, if it has one.
///
/// # Errors
/// `malformed_token` for a credential that cannot be one, and `invalid_request` for two `Authorization` fields.
pub fn present<'h>(headers: &'h HeaderMap, settings: &Settings) -> Result<Option<Presented<'h>>, Problem> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    if let Some(field) = fields.next() {
        if fields.next().is_some() {
            return Err(Problem::invalid("Authorization", "The request has more than one Authorization field."));
        }
        if let Some(credentials) = settings.credentials(field.as_bytes()) {
            let spaces = credentials.iter().take_while(|byte| **byte == b' ').count();
            return judge(credentials.get(spaces..).unwrap_or_default(), Source::Header).map(Some);
        }
    }
    if let Some(token) = only_value(headers, &settings.cookie)? {
        return judge(token, Source::Cookie).map(Some);
    }
    let Some(former) = &settings.former else { return Ok(None) };
    let token = only_value(headers, former)?;
    // What cannot have been imported is the application's business alone.
    Ok(token.and_then(|token| judge(token, Source::Cookie).ok()).filter(|found| found.shape == Shape::Plausible))
}

/// The value of a cookie, which may stand there several times if it is always the same.
fn only_value<'h>(headers: &'h HeaderMap, name: &CookieName) -> Result<Option<&'h [u8]>, Problem> {
    let mut found: Option<&[u8]> = None;
    // An empty cookie is how applications clear one; it is no credential.
    for value in cookie::values(headers, name).filter(|value| !value.is_empty()) {
        match found {
            Some(first) if first != value => {
                return Err(Problem::with_detail(
                    Code::MalformedToken,
                    "The request has several session cookies with different values.",
                ));
            }
            Some(_) | None => found = Some(value),
        }
    }
    Ok(found)
}

fn judge(token: &[u8], source: Source) -> Result<Presented<'_>, Problem> {
    match token::shape(token) {
        Shape::Malformed => Err(Problem::new(Code::MalformedToken)),
        shape @ (Shape::Plausible | Shape::Foreign) => Ok(Presented { token, source, shape }),
    }
}

/// Removes our credentials, good and bad ones alike, so that the application never sees a session token. Its own
/// `Authorization` and its own cookies stay as they are. Allocates only when a cookie is cut out from between others.
pub fn strip(headers: &mut HeaderMap, settings: &Settings) {
    if settings.forward {
        return;
    }
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (first, more) = (fields.next(), fields.next().is_some());
    let is_ours = first.is_some_and(|field| settings.credentials(field.as_bytes()).is_some());
    if is_ours && !more {
        headers.remove(AUTHORIZATION);
    } else if more {
        let kept: Vec<_> = headers
            .get_all(AUTHORIZATION)
            .iter()
            .filter(|field| settings.credentials(field.as_bytes()).is_none())
            .cloned()
            .collect();
        headers.remove(AUTHORIZATION);
        for field in kept {
            headers.append(AUTHORIZATION, field);
        }
    }
    cookie::remove(headers, &settings.cookie);
}

#[cfg(test)]
mod tests;
