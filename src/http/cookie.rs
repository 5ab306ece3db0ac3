//! Cookies: finding one in a request, taking it out, setting and clearing it (RFC 6265).

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderValue};

use crate::error::{Code, Problem};

/// The name of a cookie: an RFC 6265 token. It is compared exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(String);

impl CookieName {
    /// Checks a name.
    ///
    /// # Errors
    /// A sentence that says what a name may be.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(format!("{name:?} is no cookie name: letters, digits and any of !#$%&'*+-.^_`|~ are allowed."));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers take a cookie of this name only when it is `Secure`. They fold the case of the prefix.
    pub fn needs_secure(&self) -> bool {
        ["__Host-", "__Secure-"]
            .iter()
            .any(|prefix| self.0.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))
    }
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

/// Every value that a request gives to the cookie `name`, in order, without the quotes that a value may have.
pub(super) fn values<'h>(headers: &'h HeaderMap, name: &CookieName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(is_semicolon))
        .filter_map(|pair| value(pair, name.as_str().as_bytes()))
        .map(unquote)
}

/// Takes every cookie `name` out of a request. The others stay as they are, byte for byte; a request without the cookie
/// is not touched.
pub(super) fn remove(headers: &mut HeaderMap, name: &CookieName) {
    let name = name.as_str().as_bytes();
    let ours = |line: &HeaderValue| line.as_bytes().split(is_semicolon).any(|pair| value(pair, name).is_some());
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), more) = (lines.next(), lines.next().is_some()) else { return };
    if !more {
        // The common case keeps its place among the fields.
        if ours(first) {
            match without(first, name) {
                Some(rest) => headers.insert(COOKIE, rest),
                None => headers.remove(COOKIE),
            };
        }
    } else if headers.get_all(COOKIE).iter().any(ours) {
        let kept: Vec<_> = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|line| if ours(line) { without(line, name) } else { Some(line.clone()) })
            .collect();
        headers.remove(COOKIE);
        for line in kept {
            headers.append(COOKIE, line);
        }
    }
}

/// What is left of a line without the cookie `name`, if anything.
fn without(line: &HeaderValue, name: &[u8]) -> Option<HeaderValue> {
    let mut kept = Vec::new();
    for pair in line.as_bytes().split(is_semicolon) {
        if value(pair, name).is_none() {
            if kept.is_empty() {
                kept.reserve(line.len());
                kept.extend_from_slice(pair.trim_ascii_start());
            } else {
                kept.push(b';');
                kept.extend_from_slice(pair);
            }
        }
    }
    if kept.iter().all(|byte| matches!(byte, b';' | b' ' | b'\t')) {
        return None;
    }
    // A part of a valid value, cut at its semicolons, is a valid value; were it not, it had better not be forwarded.
    HeaderValue::try_from(kept).ok()
}

/// The value of a `name=value` pair, when it has this name.
fn value<'h>(pair: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let rest = pair.trim_ascii().strip_prefix(name)?.trim_ascii_start();
    rest.strip_prefix(b"=").map(<[u8]>::trim_ascii_start)
}

/// RFC 6265 section 4.1.1: a value may stand in double quotes.
fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

const fn is_semicolon(byte: &u8) -> bool {
    *byte == b';'
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
mod tests {
    use super::*;

    const SESSION: Attributes =
        Attributes { secure: true, same_site: SameSite::Lax, max_age: Some(Duration::from_secs(60)) };

    fn name(name: &str) -> CookieName {
        CookieName::parse(name).unwrap()
    }

    #[test]
    fn a_cookie_is_set_with_all_its_attributes() {
        let header = set_cookie(&name("__Host-session"), "tok", &SESSION).unwrap();
        assert_eq!(header, "__Host-session=tok; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=60");
        let plain = Attributes { secure: false, same_site: SameSite::Strict, max_age: None };
        assert_eq!(set_cookie(&name("s"), "tok", &plain).unwrap(), "s=tok; Path=/; HttpOnly; SameSite=Strict");
        let open = Attributes { same_site: SameSite::None, max_age: Some(Duration::from_millis(100)), ..SESSION };
        assert_eq!(
            set_cookie(&name("s"), "tok", &open).unwrap(),
            "s=tok; Path=/; HttpOnly; Secure; SameSite=None; Max-Age=1"
        );
    }

    #[test]
    fn a_cookie_is_cleared_with_the_attributes_it_was_set_with() {
        for attributes in [SESSION, Attributes { secure: false, same_site: SameSite::Strict, max_age: None }] {
            let set = set_cookie(&name("s"), "", &Attributes { max_age: None, ..attributes }).unwrap();
            let clear = clear_cookie(&name("s"), &attributes).unwrap();
            assert_eq!(clear.to_str().unwrap(), format!("{}; Max-Age=0", set.to_str().unwrap()));
        }
    }

    #[test]
    fn a_token_does_not_show_when_the_header_is_printed() {
        let header = set_cookie(&name("s"), "very-secret", &SESSION).unwrap();
        assert!(!format!("{header:?}").contains("secret"));
    }

    #[test]
    fn a_value_cannot_smuggle_an_attribute() {
        for value in ["a; Domain=evil.example", "a\r\nSet-Cookie: b=c", "a b", "a,b", "\"a\"", "t\u{f6}k"] {
            assert_eq!(set_cookie(&name("s"), value, &SESSION).unwrap_err().code, Code::Internal, "{value}");
        }
    }

    #[test]
    fn a_name_is_a_token() {
        for bad in ["", "a b", "a=b", "a;b", "a,b", "\"a\"", "n\u{e4}me", "a\t"] {
            assert!(CookieName::parse(bad).unwrap_err().contains("no cookie name"), "{bad}");
        }
        assert_eq!(name("__Host-session.id").as_str(), "__Host-session.id");
    }

    #[test]
    fn a_prefixed_name_and_same_site_none_need_secure() {
        let plain = Attributes { secure: false, ..SESSION };
        for prefixed in ["__Host-session", "__Secure-session", "__host-session"] {
            assert!(plain.check(&name(prefixed)).unwrap_err().contains(prefixed));
            assert_eq!(SESSION.check(&name(prefixed)), Ok(()));
        }
        assert_eq!(plain.check(&name("session__Host-")), Ok(()));
        let open = Attributes { same_site: SameSite::None, ..plain };
        assert!(open.check(&name("session")).unwrap_err().contains("SameSite=None"));
    }
}
