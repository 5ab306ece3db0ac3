//! The host that a request is for, in one canonical form: lower case, no trailing dot, the port apart.
//!
//! A request names its host exactly once, or as often as it likes with the same name (RFC 9112 section 3.2). Names are
//! compared after canonicalisation only, on both sides: a [`Host`] is canonical, and so is a [`HostPattern`].

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::Version;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::uri::Authority;

use crate::error::Problem;

/// A canonical host name with the port that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    name: Cow<'a, str>,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    /// The host of a request, from its Host field and from its absolute target when it has one. `None` only for an
    /// HTTP/1.0 request that names no host.
    ///
    /// # Errors
    /// `invalid_request` on the field `Host` when it is missing, repeated, not a host, or not that of the target.
    pub fn of(
        version: Version,
        headers: &'a HeaderMap,
        authority: Option<&'a Authority>,
    ) -> Result<Option<Self>, Problem> {
        let mut fields = headers.get_all(HOST).iter();
        let field = match (fields.next(), fields.next()) {
            (Some(field), None) => Some(Self::parse(field.as_bytes()).map_err(refused)?),
            (Some(_), Some(_)) => return Err(refused("The request has more than one Host field.")),
            (None, _) if version == Version::HTTP_11 => return Err(refused("The request has no Host field.")),
            (None, _) if version == Version::HTTP_2 && authority.is_none() => {
                return Err(refused("The request has neither :authority nor a Host field."));
            }
            (None, _) => None,
        };
        let Some(authority) = authority else { return Ok(field) };
        let named = Self::parse(authority.as_str().as_bytes()).map_err(refused)?;
        match field {
            Some(field) if field != named => {
                Err(refused("The Host field and the request target name different hosts."))
            }
            Some(_) | None => Ok(Some(named)),
        }
    }

    /// Reads `name`, `name:port`, `[IPv6]` or `[IPv6]:port`. A name that is canonical already is borrowed.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        let text = str::from_utf8(text).map_err(|_| "The host is not ASCII.")?;
        if let Some(rest) = text.strip_prefix('[') {
            let (inner, after) = rest.split_once(']').ok_or("The host has a bracket that is not closed.")?;
            let address: Ipv6Addr = inner.parse().map_err(|_| "The host is no IPv6 address.")?;
            let port = match after.strip_prefix(':') {
                Some(port) => self::port(port)?,
                None if after.is_empty() => None,
                None => return Err("The host has something behind its IPv6 address."),
            };
            return Ok(Self { name: Cow::Owned(format!("[{address}]")), port });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, self::port(port)?),
            None => (text, None),
        };
        Ok(Self { name: self::name(name)?, port })
    }

    /// The name, in lower case and without a trailing dot; an IPv6 address in its brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, when one was given.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The host as a header value. `given` is the field that it was read from: when that is canonical, nothing is built.
    pub fn to_header_value(&self, given: Option<&HeaderValue>) -> Option<HeaderValue> {
        if let Some(given) = given
            && self.is_written_as(given.as_bytes())
        {
            return Some(given.clone());
        }
        let text = match self.port {
            Some(port) => format!("{}:{port}", self.name),
            None => self.name.to_string(),
        };
        HeaderValue::try_from(text).ok()
    }

    fn is_written_as(&self, given: &[u8]) -> bool {
        match (given.strip_prefix(self.name.as_bytes()), self.port) {
            (Some([]), None) => true,
            (Some([b':', digits @ ..]), Some(port)) => {
                digits.first() != Some(&b'0') && std::str::from_utf8(digits).is_ok_and(|text| text.parse() == Ok(port))
            }
            _ => false,
        }
    }

    /// The same, independent of the request.
    pub fn into_owned(self) -> Host<'static> {
        Host { name: Cow::Owned(self.name.into_owned()), port: self.port }
    }
}

/// A host of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// The whole name, or for a wildcard the part that names must end in, with its leading dot.
    name: String,
    wildcard: bool,
}

impl HostPattern {
    /// Reads `app.example.com` or `*.example.com`.
    ///
    /// # Errors
    /// A sentence that says what a pattern may be.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("//") {
            return Err(format!("{text:?} is a URL; a host is a name alone, such as app.example.com."));
        }
        let (wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.contains('*') {
            return Err(format!("{text:?}: a * stands alone before the first dot, as in *.example.com."));
        }
        let host = Host::parse(rest.as_bytes()).map_err(|sentence| format!("{text:?}: {sentence}"))?;
        if host.port().is_some() || rest.ends_with(':') {
            return Err(format!("{text:?} has a port; hosts are matched by name, whatever the port."));
        }
        if wildcard && host.name().starts_with('[') {
            return Err(format!("{text:?}: an address has no names below it."));
        }
        Ok(Self { name: if wildcard { format!(".{}", host.name()) } else { host.name().to_owned() }, wildcard })
    }

    /// Whether it covers more than one name.
    pub const fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether a request for `host` is meant. A wildcard covers one or more labels before its name, and not the name
    /// itself.
    pub fn matches(&self, host: &Host<'_>) -> bool {
        if self.wildcard {
            // A canonical name never begins with a dot, so at least one label is before the suffix.
            host.name().ends_with(&self.name)
        } else {
            host.name() == self.name
        }
    }
}

fn refused(detail: &'static str) -> Problem {
    Problem::invalid("Host", detail)
}

/// Canonicalises a registered name or IPv4 address.
fn name(name: &str) -> Result<Cow<'_, str>, &'static str> {
    /// RFC 1035 section 2.3.4, as text.
    const LONGEST_NAME: usize = 253;

    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err("The host is empty.");
    }
    if name.len() > LONGEST_NAME {
        return Err("The host is too long.");
    }
    // Most are spelled canonically, and that is seen by looking at many bytes at once.
    let plain = |byte: u8| byte.is_ascii_lowercase() | byte.is_ascii_digit() | matches!(byte, b'-' | b'_' | b'.');
    let dots = || name.as_bytes().windows(2).fold(false, |found, two| found | (two == b".."));
    if name.bytes().fold(true, |all, byte| all & plain(byte)) && !name.starts_with('.') && !dots() {
        // A dot at the end was taken off above; a second one is an empty label.
        if !name.ends_with('.') {
            return Ok(Cow::Borrowed(name));
        }
    }
    let mut upper = false;
    let mut previous = b'.';
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            b'.' if previous != b'.' => {}
            b'.' => return Err("The host has an empty label."),
            b'@' => return Err("The host has user information."),
            _ => return Err("The host has a character that no name has."),
        }
        previous = byte;
    }
    if previous == b'.' {
        return Err("The host has an empty label.");
    }
    Ok(if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

/// Reads a port; none at all behind the colon is no port (RFC 3986 section 3.2.3).
fn port(digits: &str) -> Result<Option<u16>, &'static str> {
    if digits.is_empty() {
        return Ok(None);
    }
    let known = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().ok().filter(|port| *port != 0),
        false => None,
    };
    known.map(Some).ok_or("The host has a port that is none.")
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn host(text: &str) -> Host<'_> {
        Host::parse(text.as_bytes()).unwrap_or_else(|sentence| panic!("{text}: {sentence}"))
    }

    fn headers(hosts: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn a_host_is_lower_case_without_trailing_dot_and_its_port_apart() {
        for (text, name, port) in [
            ("a.example.com", "a.example.com", None),
            ("a.B.Example.COM", "a.b.example.com", None),
            ("a.example.com.", "a.example.com", None),
            ("A.example.com.:8080", "a.example.com", Some(8080)),
            ("localhost:", "localhost", None),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("my_service:0080", "my_service", Some(80)),
            ("[2001:DB8:0::1]", "[2001:db8::1]", None),
            ("[::1]:65535", "[::1]", Some(65535)),
        ] {
            let host = host(text);
            assert_eq!((host.name(), host.port()), (name, port), "{text}");
        }
    }

    #[test]
    fn a_canonical_name_is_borrowed() {
        assert!(matches!(host("a.example.com:80").name, Cow::Borrowed("a.example.com")));
        assert!(matches!(host("a.example.com.").name, Cow::Borrowed("a.example.com")));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = format!("{}.com", "a".repeat(250));
        for text in [
            "",
            ".",
            ":80",
            "a..b",
            ".a",
            "a..",
            "a b",
            " a",
            "user@a.example",
            "user:pass@a.example",
            "a@b:80",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a%2eb",
            "a,b",
            "a;b",
            "<a>",
            "b\u{fc}cher.example",
            "a:0",
            "a:65536",
            "a:+80",
            "a:8 0",
            "a:80:80",
            "a:http",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]]",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "[]",
            &long,
        ] {
            assert!(Host::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Host::parse(&[b'a', 0xff]).is_err());
        assert!(Host::parse(b"a\0b").is_err());
    }

    #[test]
    fn a_request_has_exactly_one_host_field() {
        let of = |version, hosts: &[&str]| {
            Host::of(version, &headers(hosts), None).map(|host| host.map(|host| host.name().to_owned()))
        };
        assert_eq!(of(Version::HTTP_11, &["A.example"]), Ok(Some("a.example".to_owned())));
        assert_eq!(of(Version::HTTP_10, &["A.example"]), Ok(Some("a.example".to_owned())));
        assert_eq!(of(Version::HTTP_10, &[]), Ok(None));
        for bad in [&[][..], &["a", "a"], &["a", "b"], &["a, b"], &[""], &["a@b"]] {
            let problem = of(Version::HTTP_11, bad).unwrap_err();
            assert_eq!(problem.code, crate::error::Code::InvalidRequest, "{bad:?}");
            assert_eq!(problem.field.as_deref(), Some("Host"), "{bad:?}");
        }
        assert!(of(Version::HTTP_10, &["a", "b"]).is_err());
    }

    #[test]
    fn the_host_field_and_an_absolute_target_must_agree() {
        let of = |hosts: &[&str], authority: &'static str| {
            let authority = Authority::from_static(authority);
            Host::of(Version::HTTP_11, &headers(hosts), Some(&authority)).map(|host| host.unwrap().into_owned())
        };
        assert_eq!(of(&["a.example"], "A.example.").unwrap(), host("a.example"));
        assert_eq!(of(&["a.example:81"], "a.example:81").unwrap(), host("a.example:81"));
        assert!(of(&["b.example"], "a.example").is_err());
        assert!(of(&["a.example:81"], "a.example:82").is_err());
        assert!(of(&["a.example"], "user@a.example").is_err());
        assert!(of(&[], "a.example").is_err());
        let authority = Authority::from_static("a.example");
        let none = HeaderMap::new();
        let old = Host::of(Version::HTTP_10, &none, Some(&authority)).unwrap();
        assert_eq!(old, Some(host("a.example")));
    }

    #[test]
    fn a_pattern_matches_in_any_case_and_whatever_the_port() {
        let pattern = HostPattern::parse("App.Example.com.").unwrap();
        for text in ["app.example.com", "APP.EXAMPLE.COM", "app.example.com.", "app.example.com:8443"] {
            assert!(pattern.matches(&host(text)), "{text}");
        }
        for text in ["example.com", "x.app.example.com", "app.example.com.evil.example", "appXexample.com"] {
            assert!(!pattern.matches(&host(text)), "{text}");
        }
        assert!(HostPattern::parse("[0:0::1]").unwrap().matches(&host("[::1]:80")));
    }

    #[test]
    fn a_wildcard_covers_one_or_more_labels() {
        let pattern = HostPattern::parse("*.Example.com").unwrap();
        for text in ["a.example.com", "a.b.example.com", "A.B.EXAMPLE.COM.:80"] {
            assert!(pattern.matches(&host(text)), "{text}");
        }
        for text in ["example.com", "badexample.com", "a.example.com.evil.example", "a.example.org"] {
            assert!(!pattern.matches(&host(text)), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused_with_a_sentence() {
        for (text, words) in [
            ("app.example.com:80", "port"),
            ("app.example.com:", "port"),
            ("https://app.example.com", "URL"),
            ("app.example.com/x", "no name has"),
            ("*", "*.example.com"),
            ("a.*.com", "*.example.com"),
            ("*x.com", "*.example.com"),
            ("*.*.com", "*.example.com"),
            ("*.", "empty"),
            ("", "empty"),
            ("*.[::1]", "address"),
            ("a b", "no name has"),
        ] {
            let sentence = HostPattern::parse(text).unwrap_err();
            assert!(sentence.contains(words) && sentence.contains(&format!("{text:?}")), "{text}: {sentence}");
        }
    }
}
