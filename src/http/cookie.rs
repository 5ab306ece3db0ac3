//! Cookies: finding one in a request, taking it out, setting and clearing it (RFC 6265).

use std::fmt::{self, Write as _};
use std::iter;
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use crate::error::{Code, Problem};

/// The name of a cookie: an RFC 6265 token. It is compared exactly.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieName {
    name: String,
    /// How far the search for the name may go on from a place where it is not, by the byte that stands where its last
    /// one would (Horspool's algorithm).
    skips: Box<[u8; 256]>,
}

impl CookieName {
    /// Checks a name.
    ///
    /// # Errors
    /// A sentence that says what a name may be.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(format!("{name:?} is no cookie name: letters, digits and any of !#$%&'*+-.^_`|~ are allowed."));
        }
        let reach = |distance: usize| u8::try_from(distance).unwrap_or(u8::MAX);
        let mut skips = Box::new([reach(name.len()); 256]);
        for (distance, byte) in (1..name.len()).rev().zip(name.bytes()) {
            if let Some(skip) = skips.get_mut(usize::from(byte)) {
                *skip = reach(distance);
            }
        }
        Ok(Self { name: name.to_owned(), skips })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Where the name first stands in `line`.
    fn find(&self, line: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let window = line.get(at..at + self.name.len())?;
            if window == self.name.as_bytes() {
                return Some(at);
            }
            at += usize::from(*self.skips.get(usize::from(*window.last()?))?);
        }
    }

    /// Whether browsers take a cookie of this name only when it is `Secure`. They fold the case of the prefix.
    pub fn needs_secure(&self) -> bool {
        ["__Host-", "__Secure-"]
            .iter()
            .any(|prefix| self.name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))
    }
}

impl fmt::Debug for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CookieName").field(&self.name).finish()
    }
}

/// The longest that browsers keep a cookie.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

/// How long a browser keeps the cookie of a session that ends after `left`; `None` is never.
pub fn max_age(left: Option<Duration>) -> Duration {
    left.map_or(LONGEST, |left| left.min(LONGEST))
}

/// Which requests from other sites carry the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Only a person's following of a link.
    Lax,
    /// None.
    Strict,
    /// All of them.
    None,
}

impl SameSite {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// The attributes of a cookie of ours. `Path=/` and `HttpOnly` are not to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Sent over TLS only.
    pub secure: bool,
    /// Sent with requests from other sites.
    pub same_site: SameSite,
    /// How long the browser keeps it; `None` until the browser is closed.
    pub max_age: Option<Duration>,
}

impl Attributes {
    /// Whether browsers take a cookie of this name with these attributes.
    ///
    /// # Errors
    /// A sentence that says what is in the way.
    pub fn check(&self, name: &CookieName) -> Result<(), String> {
        match self {
            Self { secure: true, .. } => Ok(()),
            Self { .. } if name.needs_secure() => {
                Err(format!("The cookie {} must be Secure: its prefix says so.", name.as_str()))
            }
            Self { same_site: SameSite::None, .. } => {
                Err(format!("The cookie {} must be Secure, because it is SameSite=None.", name.as_str()))
            }
            Self { .. } => Ok(()),
        }
    }
}

/// The `Set-Cookie` that gives the browser a cookie.
///
/// # Errors
/// `internal` for a value that no cookie can have; the tokens that we make always can.
pub fn set_cookie(name: &CookieName, value: &str, attributes: &Attributes) -> Result<HeaderValue, Problem> {
    if !value.bytes().all(is_cookie_octet) {
        return Err(Problem::new(Code::Internal));
    }
    // A cookie that lives for less than a second still has to live.
    let max_age = attributes.max_age.map(|age| age.as_secs() + u64::from(age.subsec_nanos() > 0));
    render(name, value, attributes, max_age)
}

/// The `Set-Cookie` that takes the cookie away again. It repeats every attribute: a browser ignores it otherwise (it
/// keeps a `__Host-` cookie whose deletion is not `Secure`).
///
/// # Errors
/// `internal`, which a checked name rules out.
pub fn clear_cookie(name: &CookieName, attributes: &Attributes) -> Result<HeaderValue, Problem> {
    render(name, "", attributes, Some(0))
}

fn render(
    name: &CookieName,
    value: &str,
    attributes: &Attributes,
    max_age: Option<u64>,
) -> Result<HeaderValue, Problem> {
    let mut text = format!("{}={value}; Path=/; HttpOnly", name.as_str());
    if attributes.secure {
        text.push_str("; Secure");
    }
    text.push_str("; SameSite=");
    text.push_str(attributes.same_site.as_str());
    if let Some(seconds) = max_age {
        write!(text, "; Max-Age={seconds}").map_err(|_| Problem::new(Code::Internal))?;
    }
    let mut header = HeaderValue::try_from(text).map_err(|_| Problem::new(Code::Internal))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Puts a `Set-Cookie` of ours for the cookie `name` into a response, in the place of any that the application wrote for
/// it: which of two a browser keeps is a matter of their order and their paths. The application's other cookies stay.
pub fn put(headers: &mut HeaderMap, name: &CookieName, line: HeaderValue) {
    let is_ours = |line: &HeaderValue| {
        let given = line.as_bytes().split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or_default();
        given.trim_ascii() == name.as_str().as_bytes()
    };
    if headers.get_all(SET_COOKIE).iter().any(is_ours) {
        let others: Vec<_> = headers.get_all(SET_COOKIE).iter().filter(|line| !is_ours(line)).cloned().collect();
        headers.remove(SET_COOKIE);
        for other in others {
            headers.append(SET_COOKIE, other);
        }
    }
    headers.append(SET_COOKIE, line);
}

/// Every value that a request gives to the cookie `name`, in order, without the quotes that a value may have.
pub(super) fn values<'h>(headers: &'h HeaderMap, name: &CookieName) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(COOKIE).iter().flat_map(|line| pairs(line.as_bytes(), name)).map(|pair| unquote(pair.value))
}

/// Whether a response gives the browser a cookie `name`. Taking it away does not count.
pub fn is_set(name: &CookieName, response: &HeaderMap) -> bool {
    response.get_all(SET_COOKIE).iter().any(|line| {
        let mut parts = line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let pair = parts.next().unwrap_or_default();
        let at = pair.iter().position(|byte| *byte == b'=');
        let Some((given, value)) = at.and_then(|at| pair.split_at_checked(at)) else { return false };
        let value = unquote(value.get(1..).unwrap_or_default().trim_ascii());
        given.trim_ascii() == name.as_str().as_bytes() && !value.is_empty() && !parts.any(is_max_age_over)
    })
}

/// `Max-Age=0` or less: the cookie is gone as soon as it comes (RFC 6265 section 5.2.2).
fn is_max_age_over(attribute: &[u8]) -> bool {
    let Some((name, value)) = attribute.split_at_checked(b"max-age=".len()) else { return false };
    name.eq_ignore_ascii_case(b"max-age=") && (value == b"0" || value.starts_with(b"-"))
}

/// Joins the `Cookie` fields of a request that came over HTTP/2, where a client may cut the field at its semicolons, into
/// the one that HTTP/1.1 knows (RFC 9113 section 8.2.3).
pub fn join(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // What stood in fields stands in a field.
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Takes every cookie `name` out of a request. The others stay as they are, byte for byte; a request without the cookie
/// is not touched.
pub(super) fn remove(headers: &mut HeaderMap, name: &CookieName) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), more) = (lines.next(), lines.next().is_some()) else { return };
    if !more {
        // The common case keeps its place among the fields.
        match cut(first, name) {
            Cut::Untouched => {}
            Cut::Rest(rest) => {
                headers.insert(COOKIE, rest);
            }
            Cut::Nothing => {
                headers.remove(COOKIE);
            }
        }
    } else if headers.get_all(COOKIE).iter().any(|line| pairs(line.as_bytes(), name).next().is_some()) {
        let kept: Vec<_> = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|line| match cut(line, name) {
                Cut::Untouched => Some(line.clone()),
                Cut::Rest(rest) => Some(rest),
                Cut::Nothing => None,
            })
            .collect();
        headers.remove(COOKIE);
        for line in kept {
            headers.append(COOKIE, line);
        }
    }
}

/// What is left of a line from which a cookie was cut.
enum Cut {
    /// The cookie is not in it.
    Untouched,
    /// These other cookies.
    Rest(HeaderValue),
    /// Nothing.
    Nothing,
}

fn cut(line: &HeaderValue, name: &CookieName) -> Cut {
    let line = line.as_bytes();
    let mut kept = Vec::new();
    let mut keep = |piece: &[u8]| match piece {
        _ if !kept.is_empty() => kept.extend_from_slice(piece),
        [] => {}
        _ => {
            kept.reserve_exact(line.len());
            kept.extend_from_slice(piece.trim_ascii_start());
        }
    };
    let mut done = None;
    for pair in pairs(line, name) {
        keep(line.get(done.unwrap_or(0)..pair.start).unwrap_or_default());
        // With the semicolon behind it, so that the one before it serves what follows.
        done = Some(pair.end + 1);
    }
    let Some(done) = done else { return Cut::Untouched };
    match line.get(done..) {
        Some(tail) => keep(tail),
        // It was the last one: the semicolon before it goes instead.
        None => {
            kept.pop();
        }
    }
    if kept.iter().all(|byte| matches!(byte, b';' | b' ' | b'\t')) {
        return Cut::Nothing;
    }
    // A part of a valid value, cut at its semicolons, is a valid value; were it not, it had better not be forwarded.
    HeaderValue::try_from(kept).map_or(Cut::Nothing, Cut::Rest)
}

/// A `name=value` pair in a Cookie line.
struct Pair<'h> {
    /// Where it begins: behind the semicolon before it.
    start: usize,
    /// Where it ends: at the semicolon behind it, or at the end of the line.
    end: usize,
    value: &'h [u8],
}

/// The pairs of a line that have this name, with or without blanks around it.
///
/// It searches for the name and then looks at what is around it, since that passes over the cookies of others many times
/// faster than cutting the line at its semicolons. Neither a semicolon nor a blank is part of a name, so no occurrence
/// that begins a pair can overlap another one.
fn pairs<'h>(line: &'h [u8], name: &CookieName) -> impl Iterator<Item = Pair<'h>> {
    let mut from = 0;
    iter::from_fn(move || {
        loop {
            let at = from + name.find(line.get(from..)?)?;
            from = at + name.name.len();
            let (before, after) = (line.get(..at)?.trim_ascii_end(), line.get(from..)?);
            if !matches!(before, [] | [.., b';']) {
                continue;
            }
            let len = after.iter().position(|byte| *byte == b';').unwrap_or(after.len());
            if let Some(value) = after.get(..len)?.trim_ascii_start().strip_prefix(b"=") {
                from += len;
                return Some(Pair { start: before.len(), end: from, value: value.trim_ascii() });
            }
        }
    })
}

/// RFC 6265 section 4.1.1: a value may stand in double quotes.
fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// RFC 9110 section 5.6.2.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// RFC 6265 section 4.1.1.
const fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

#[cfg(test)]
mod tests;
