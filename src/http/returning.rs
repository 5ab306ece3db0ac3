//! The way to the login and back: whether a refused client wants to be led there, and the address that brings it back to
//! where it was.
//!
//! What it is brought back to is always a path of this site. The value is made from the canonical target, which begins
//! with exactly one slash and has no backslash in its path, so that no browser takes it for another host.

use http::Method;
use http::header::{ACCEPT, HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::target::Target;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// Everything but the unreserved characters and the slash, so that neither `&` nor `#` ends the value.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Where people log in, and the parameter that carries where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPage {
    /// The location up to and including `name=`.
    before: String,
    /// The fragment of the location, if it has one.
    after: String,
}

impl LoginPage {
    /// A login page at `location`, a path of this site or an https URL, that takes the way back in `parameter`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with either.
    pub fn parse(location: &str, parameter: &str) -> Result<Self, String> {
        let absolute = location.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("https://"));
        if absolute {
            let host = http::Uri::try_from(location).ok().and_then(|uri| uri.authority().cloned());
            if host.is_none_or(|host| super::Host::parse(host.as_str().as_bytes()).is_err()) {
                return Err(format!("{location:?} is no URL with a host."));
            }
        } else if !is_local(location) {
            return Err(format!(
                "{location:?} is no login page: it must be a path such as /login, or a URL that begins with https://."
            ));
        }
        if !location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(format!("{location:?} has a character that must be percent-encoded."));
        }
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if parameter.is_empty() || !parameter.bytes().all(unreserved) {
            return Err(format!(
                "{parameter:?} is no name of a parameter: letters, digits, -, ., _ and ~ are allowed."
            ));
        }
        let (page, fragment) = match location.split_once('#') {
            Some((page, fragment)) => (page, Some(fragment)),
            None => (location, None),
        };
        let separator = match page.split_once('?') {
            None => "?",
            Some((_, query)) if query.split('&').any(|pair| pair.split('=').next() == Some(parameter)) => {
                return Err(format!("{location:?} has the parameter {parameter} already."));
            }
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        Ok(Self {
            before: format!("{page}{separator}{parameter}="),
            after: fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default(),
        })
    }

    /// The path of the login page; of a page elsewhere, nothing that is a path of this site.
    pub fn path(&self) -> &str {
        self.before.split('?').next().unwrap_or_default()
    }

    /// The `Location` that leads to the login page, and from there back to `target`.
    pub fn location(&self, target: &Target) -> String {
        let back = target.path_and_query().as_str();
        // A canonical target is local; this guards the browser against a change of that.
        let back = if is_local(back) { back } else { "/" };
        let mut location = String::with_capacity(self.before.len() + back.len() + self.after.len() + 32);
        location.push_str(&self.before);
        location.extend(utf8_percent_encode(back, VALUE));
        location.push_str(&self.after);
        location
    }
}

/// Whether a browser that is sent to `location` stays on this site: it begins with exactly one slash, and nothing in it
/// makes a second one of what follows (browsers read `\` as `/`, and drop tabs and line breaks).
pub fn is_local(location: &str) -> bool {
    let mut bytes = location.bytes();
    bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && !location.bytes().any(|byte| byte.is_ascii_control())
}

/// What a client can do with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// A person's navigation: a redirect to the login page helps.
    Browser,
    /// A program or a script on a page: a 401 that it can read helps.
    Program,
}

impl Appetite {
    /// Looks at the method and headers of a request. Fetch metadata, which a page cannot forge, is believed first.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        // A browser navigates with these only; in particular a preflight must not be redirected.
        if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
            return Self::Program;
        }
        if headers.contains_key(SEC_FETCH_MODE) {
            return if Self::is_script(headers) { Self::Program } else { Self::Browser };
        }
        if Self::is_script(headers) {
            return Self::Program;
        }
        let html =
            headers.get_all(ACCEPT).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).any(is_html);
        if html { Self::Browser } else { Self::Program }
    }

    /// Whether a script on a page is calling, which a redirect to a login page never helps.
    pub fn is_script(headers: &HeaderMap) -> bool {
        match headers.get(SEC_FETCH_MODE) {
            Some(mode) => mode != "navigate",
            None => headers
                .get(X_REQUESTED_WITH)
                .is_some_and(|with| with.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest")),
        }
    }
}

/// Whether a range of `Accept` asks for HTML. `*/*` is what programs send.
fn is_html(range: &[u8]) -> bool {
    let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(|media| media.eq_ignore_ascii_case(b"text/html")) && !parts.any(is_zero_weight)
}

/// `q=0`, `q=0.0` and so on: not wanted at all (RFC 9110 section 12.4.2).
fn is_zero_weight(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => weight.iter().all(|byte| matches!(byte, b'0' | b'.')),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
