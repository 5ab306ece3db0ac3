//! The address of a server that the gateway itself calls.

use std::net::IpAddr;

use http::Uri;

/// The address of a server that the gateway itself calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebUrl {
    /// Whether it is reached over TLS.
    pub tls: bool,
    /// The name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The server as it stands in the URL, for `Host`.
    pub authority: String,
    /// The path and query.
    pub path: String,
}

impl WebUrl {
    /// Reads one, which may look like `example`.
    pub(super) fn parse(given: &str, example: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("\"{given}\" {why}; write \"{example}\""));
        let Ok(uri) = given.parse::<Uri>() else { return wrong("is no URL") };
        let Some(authority) = uri.authority() else { return wrong("is no URL with a host") };
        if authority.as_str().contains('@') {
            return wrong("must not have a user");
        }
        // What is no number is no port to the library, and it is silent about it.
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return wrong("has a port that is no number");
        }
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return wrong("is neither http nor https"),
        };
        Ok(Self {
            tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// Whether nobody on the way can read or change what is said: over TLS, or on this machine.
    pub fn is_private(&self) -> bool {
        self.tls
            || self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}
