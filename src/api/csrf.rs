//! The proof that a call with the session cookie comes from a page of this origin and not of another site.

use http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};

use crate::error::{Code, Problem};
use crate::http::{Scheme, SiteOrigin};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Requires `Sec-Fetch-Site: same-origin`, or from browsers that do not send it an `Origin` equal to our own. `same-site`
/// is not enough: a sibling subdomain may belong to somebody else.
///
/// # Errors
/// [`Code::Csrf`] without such a proof.
pub(super) fn require_same_origin(
    headers: &HeaderMap,
    scheme: Scheme,
    host: Option<&HeaderValue>,
) -> Result<(), Problem> {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let proven = match (sites.next(), sites.next()) {
        (Some(site), None) => site == "same-origin",
        (Some(_), Some(_)) => false,
        (None, _) => {
            let mut origins = headers.get_all(ORIGIN).iter();
            match (origins.next(), origins.next(), host) {
                (Some(origin), None, Some(host)) => SiteOrigin::is_own(origin, scheme, host),
                _ => false,
            }
        }
    };
    if proven { Ok(()) } else { Err(Problem::new(Code::Csrf)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let host = HeaderValue::from_static("app.example.org");
        require_same_origin(&headers, Scheme::Https, Some(&host)).is_ok()
    }

    #[test]
    fn a_page_of_this_origin_may_call() {
        assert!(allowed(&[("sec-fetch-site", "same-origin")]));
        assert!(allowed(&[("origin", "https://app.example.org")]));
        assert!(allowed(&[("origin", "https://app.example.org:443")]));
    }

    #[test]
    fn everybody_else_may_not() {
        for lines in [
            &[][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example.org")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("origin", "null")],
            &[("origin", "http://app.example.org")],
            &[("origin", "https://app.example.org.evil.test")],
            &[("origin", "https://app.example.org:8443")],
            &[("origin", "https://other.example.org")],
            &[("origin", "https://app.example.org"), ("origin", "https://app.example.org")],
        ] {
            assert!(!allowed(lines), "{lines:?}");
        }
    }
}
