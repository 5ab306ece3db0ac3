//! The one canonical request target, used for matching and for forwarding.
//!
//! A route that matched one spelling of a path while the application reads another is how most proxies were walked
//! around. So there is one spelling here (RFC 3986 section 6.2.2, with empty segments merged), whatever has no safe
//! canonical spelling is refused, and the upstream gets exactly the bytes that the router saw. What is left over,
//! characters that an application may or may not decode and `;parameters` that it may or may not drop, is offered as
//! further readings ([`Target::agrees`]): a request whose readings belong to different routes must be refused.
//!
//! A literal `#` never arrives here: the parser cuts a fragment off before there is a [`Uri`], so it is neither matched
//! nor forwarded.

mod path;

use std::borrow::Cow;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri};

use self::path::{Flaw, Found};
use crate::error::Problem;

/// A request target in its canonical form.
#[derive(Clone, Debug)]
pub struct Target {
    path_and_query: PathAndQuery,
    authority: Option<Authority>,
    parameters: bool,
    escapes: bool,
}

impl Target {
    /// Canonicalises the target of a request. A target that is canonical already is shared with `uri`, not copied.
    ///
    /// # Errors
    /// `invalid_request` on the field `target`, for every form that is not forwarded (`CONNECT`, `*`, other schemes)
    /// and for paths that two programs may read differently.
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self, Problem> {
        if *method == Method::CONNECT {
            return Err(refused("This gateway opens no tunnels with CONNECT."));
        }
        let authority = match (uri.scheme(), uri.authority()) {
            (None, None) => None,
            (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {
                Some(authority.clone())
            }
            (Some(_), Some(_)) => return Err(refused("An absolute request target must be of http or https.")),
            (None, Some(_)) | (Some(_), None) => return Err(refused("The request target must begin with a slash.")),
        };
        let Some(given) = uri.path_and_query() else {
            return Err(refused("The request target has no path."));
        };
        let path = given.path();
        if path == "*" {
            return Err(refused("The request target * is not forwarded."));
        }
        let found = path::scan(path.as_bytes())?;
        // The absolute form may leave the path out (`http://host?query`), and so does its `PathAndQuery`.
        if found.canonical && given.as_str().starts_with('/') {
            let Found { parameters, escapes, .. } = found;
            return Ok(Self { path_and_query: given.clone(), authority, parameters, escapes });
        }
        let mut whole = path::rewrite(path.as_bytes())?;
        let Found { parameters, escapes, .. } = path::scan(whole.as_bytes())?;
        if let Some(query) = given.query() {
            whole.push('?');
            whole.push_str(query);
        }
        let path_and_query = PathAndQuery::try_from(whole).map_err(|_| refused("The request target is too long."))?;
        Ok(Self { path_and_query, authority, parameters, escapes })
    }

    /// The canonical path. It begins with exactly one slash and has no dot segment.
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// Path and query, as they are forwarded. The query is as the client sent it, byte for byte.
    pub const fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    /// The authority of an absolute-form target, to be compared with the Host field.
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// Whether a segment of the path has `;parameters`, literal or with an encoded semicolon.
    pub const fn has_parameters(&self) -> bool {
        self.parameters
    }

    /// Whether ASCII characters of the path are percent-encoded, so that an application may read `%40` as `@`.
    pub const fn has_escapes(&self) -> bool {
        self.escapes
    }

    /// The path as an application reads it that drops `;parameters` from each segment.
    pub fn without_parameters(&self) -> Cow<'_, str> {
        if !self.parameters {
            return Cow::Borrowed(self.path());
        }
        let mut kept = String::with_capacity(self.path().len());
        let mut ends_in_slash = false;
        for segment in self.path().split('/') {
            let name = segment.split(';').next().unwrap_or_default();
            let name = name.split("%3B").next().unwrap_or_default();
            path::push_segment(&mut kept, name);
            ends_in_slash = name.is_empty();
        }
        if ends_in_slash {
            kept.push('/');
        }
        Cow::Owned(kept)
    }

    /// The path as an application reads it that decodes every escape of an ASCII character.
    pub fn decoded(&self) -> Cow<'_, str> {
        if self.escapes { Cow::Owned(path::decode_ascii(self.path())) } else { Cow::Borrowed(self.path()) }
    }

    /// Whether a path, as a request line has it, leaves anything to resolve: `.` and `..` segments, in any spelling.
    /// Programs differ in what they make of these, and in whether they merge slashes first.
    pub fn has_dot_segments(path: &str) -> bool {
        let plain = path.replace("%2e", ".").replace("%2E", ".");
        plain.split('/').any(|segment| segment == "." || segment == "..")
    }

    /// Whether `same` holds for every other way in which an application may read this path. Asked by the router with
    /// "does this path match the route that I chose?"; free for a path that has but one reading.
    pub fn agrees(&self, mut same: impl FnMut(&str) -> bool) -> bool {
        if !self.parameters && !self.escapes {
            return true;
        }
        let bare = self.without_parameters();
        same(&bare) && (!self.escapes || (same(&self.decoded()) && same(&path::decode_ascii(&bare))))
    }
}

/// Brings a path of the configuration into the form that request paths have, so that the two can be compared.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, &'static str> {
    if !path.starts_with('/') {
        return Err("A path must begin with a slash.");
    }
    if path.contains(['?', '#']) {
        return Err("A path has no query and no fragment.");
    }
    match path::scan(path.as_bytes()).map_err(Flaw::sentence)? {
        Found { canonical: true, .. } => Ok(Cow::Borrowed(path)),
        Found { .. } => path::rewrite(path.as_bytes()).map(Cow::Owned).map_err(Flaw::sentence),
    }
}

/// Whether `path` is `prefix` or below it, on segment boundaries: `/static` and `/static/` both cover `/static` and
/// `/static/x`, but not `/staticx`; `/` covers everything.
pub fn under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl From<Flaw> for Problem {
    fn from(flaw: Flaw) -> Self {
        refused(flaw.sentence())
    }
}

fn refused(detail: &'static str) -> Problem {
    Problem::invalid("target", detail)
}

#[cfg(test)]
mod tests;
