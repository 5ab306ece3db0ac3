//! From which site a browser says that a request comes (RFC 6454): scheme, host and port, compared as parsed and never as
//! prefixes of text.

use http::header::HeaderValue;

use super::client::Scheme;
use super::host::Host;

/// The origin of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteOrigin {
    scheme: String,
    host: String,
    /// `None` is a scheme's own port where there is none that everybody knows.
    port: Option<u16>,
}

impl SiteOrigin {
    /// Reads `https://app.example.org` or `https://app.example.org:8443`; the schemes of programs that show pages of their
    /// own (`capacitor://localhost`) as well. `null` is the origin of a page that has none, and never read as one.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be an origin such as \"https://app.example.org\", without a path";

        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let named = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !named {
            return Err(FORM);
        }
        let host = Host::parse(rest.as_bytes()).map_err(|_| FORM)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = host.port().or(match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        });
        Ok(Self { scheme, host: host.name().to_owned(), port })
    }

    /// Whether the value of an `Origin` field is this.
    pub fn is(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|text| Self::parse(text).as_ref() == Ok(self))
    }

    /// Whether the value of an `Origin` field is the origin of what is served over `scheme` as `host`.
    pub fn is_own(origin: &HeaderValue, scheme: Scheme, host: &HeaderValue) -> bool {
        let host = host.to_str().unwrap_or_default();
        Self::parse(&format!("{}://{host}", scheme.as_str())).is_ok_and(|own| own.is(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_the_same_when_scheme_host_and_port_are() {
        let site = SiteOrigin::parse("https://App.example.org").unwrap();
        for same in ["https://app.example.org", "HTTPS://app.example.org", "https://app.example.org:443"] {
            assert!(site.is(&HeaderValue::from_static(same)), "{same}");
        }
        for other in [
            "null",
            "",
            "https://",
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://app.example.org.evil.test",
            "https://app.example.org/",
            "https://evil.test/https://app.example.org",
            "https://user@app.example.org",
        ] {
            assert!(!site.is(&HeaderValue::from_static(other)), "{other}");
        }
    }

    #[test]
    fn programs_have_origins_too() {
        let program = SiteOrigin::parse("capacitor://localhost").unwrap();
        assert!(program.is(&HeaderValue::from_static("capacitor://localhost")));
        assert!(!program.is(&HeaderValue::from_static("http://localhost")));
    }

    #[test]
    fn what_is_no_origin_is_told() {
        for bad in ["null", "*", "app.example.org", "https://app.example.org/path", "https://", "1://a", "://a"] {
            assert!(SiteOrigin::parse(bad).is_err(), "{bad}");
        }
    }
}
