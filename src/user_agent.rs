//! What a User-Agent header says: the fingerprint that the policy compares, and the device that a list shows.
//!
//! The two never meet. Sessions are bound to fingerprints, so [`family`] stays as it is, release after release; what
//! [`Device`] says of the same header may get better with every one.

mod device;
mod hints;

use std::fmt;

use sha2::{Digest as _, Sha256};
use woothee::parser::Parser;

pub use self::device::Device;
pub use self::hints::ClientHints;

/// How closely two User-Agents must agree to be the same browser or program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// Every byte of the header.
    Exact,
    /// Browser, system and kind of device; versions may change, so that an update does not end a session.
    Family,
}

/// A User-Agent reduced to what the policy compares: 96 bits of a SHA-256, since it lies in every cached session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 12]);

impl Fingerprint {
    /// The fingerprint of nothing, not even of an empty header.
    pub const NONE: Self = Self([0; 12]);

    /// The fingerprint of a User-Agent header's bytes. A missing header is the empty one.
    pub fn of(user_agent: &[u8], likeness: Likeness) -> Self {
        let digest = match likeness {
            // As text, because that is how it is stored: bytes that are no UTF-8 would never be those of the row.
            Likeness::Exact => Sha256::digest(String::from_utf8_lossy(user_agent).as_bytes()),
            Likeness::Family => Sha256::digest(family(&String::from_utf8_lossy(user_agent))),
        };
        let mut short = [0; 12];
        for (to, from) in short.iter_mut().zip(digest) {
            *to = from;
        }
        Self(short)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// The family of a User-Agent: `browser/system/kind`, or the first product's name for programs that are no browsers.
pub fn family(user_agent: &str) -> String {
    match Parser::new().parse(user_agent) {
        Some(known) if !matches!(known.name, UNKNOWN | LIBRARY) => {
            format!("{}/{}/{}", known.name, known.os, known.category)
        }
        Some(_) | None => first_product(user_agent).to_owned(),
    }
}

const UNKNOWN: &str = "UNKNOWN";
/// woothee's one name for curl, Wget, python-requests, Go's client and so on: programs that are not the same.
const LIBRARY: &str = "HTTP Library";

/// `curl/8.5.0 (x)` -> `curl`.
fn first_product(user_agent: &str) -> &str {
    user_agent.split(['/', ' ', '(']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
    const IPAD: &str = "Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                        Version/17.0 Mobile/15E148 Safari/604.1";

    fn same(a: &str, b: &str, likeness: Likeness) -> bool {
        Fingerprint::of(a.as_bytes(), likeness) == Fingerprint::of(b.as_bytes(), likeness)
    }

    #[test]
    fn a_browser_update_keeps_the_family_but_not_the_exact_fingerprint() {
        let updated = CHROME.replace("130.0.0.0", "131.0.1.0");
        assert!(same(CHROME, &updated, Likeness::Family));
        assert!(!same(CHROME, &updated, Likeness::Exact));
    }

    #[test]
    fn another_browser_or_system_is_another_family() {
        let firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0";
        let mac = CHROME.replace("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7");
        for other in [firefox, &mac, IPAD, "curl/8.5.0", ""] {
            assert!(!same(CHROME, other, Likeness::Family), "{other}");
        }
    }

    #[test]
    fn a_program_is_known_by_its_first_product() {
        assert_eq!(family("acme-sync/2.1 (linux) libfoo/3"), "acme-sync");
        assert!(same("acme-sync/2.1", "acme-sync/2.2 (linux)", Likeness::Family));
        assert!(!same("acme-sync/2.1", "acme-admin/2.1", Likeness::Family));
    }

    #[test]
    fn programs_that_share_no_more_than_being_no_browser_are_told_apart() {
        assert_eq!(family("curl/8.5.0"), "curl");
        assert!(same("curl/7.88.1", "curl/8.5.0", Likeness::Family));
        for other in ["Wget/1.21.3", "python-requests/2.31.0", "Go-http-client/1.1", "libwww-perl/6.67"] {
            assert!(!same("curl/8.5.0", other, Likeness::Family), "{other}");
        }
    }

    #[test]
    fn the_families_of_stored_sessions_are_those_of_every_release() {
        for (agent, expected) in [
            (CHROME, "Chrome/Windows 10/pc"),
            (IPAD, "Safari/iPad/smartphone"),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox/Linux/pc"),
            ("python-requests/2.31.0", "python-requests"),
            ("", ""),
        ] {
            assert_eq!(family(agent), expected);
        }
    }
}
