//! Where an application listens.

use std::fmt;
use std::path::PathBuf;

use figment::value::Value;
use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;

use crate::config::reader::text;
use crate::http::Scheme;

/// One place where an application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Where it is.
    pub place: Place,
    /// The `Host` of a request that does not carry the client's.
    pub host: HeaderValue,
}

/// How an application is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a host's port, plainly.
    Tcp {
        /// Its name or its address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// On a host's port, over TLS.
    Tls {
        /// Its name or its address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// What its certificate must be for.
        name: ServerName<'static>,
    },
    /// On a socket of this machine.
    Unix {
        /// The file of the socket.
        path: PathBuf,
    },
}

/// As operators know it: `127.0.0.1:3000`, `https://app.test:443` or `unix:/run/app.sock`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match &self.place {
            Place::Tcp { host, port } => ("", host, port),
            Place::Tls { host, port, .. } => ("https://", host, port),
            Place::Unix { path } => return write!(f, "unix:{}", path.display()),
        };
        if host.contains(':') { write!(f, "{scheme}[{host}]:{port}") } else { write!(f, "{scheme}{host}:{port}") }
    }
}

impl Address {
    /// What its URLs begin with.
    pub const fn scheme(&self) -> Scheme {
        if self.is_tls() { Scheme::Https } else { Scheme::Http }
    }

    /// Whether it is reached over TLS.
    pub const fn is_tls(&self) -> bool {
        matches!(self.place, Place::Tls { .. })
    }
}

/// The longest path that fits into the kernel's address of a socket.
const LONGEST_PATH: usize = 107;

pub(super) fn address(value: &Value) -> Result<Address, String> {
    let given = text(value)?;
    if let Some(path) = given.strip_prefix("unix:") {
        return unix(path).map_err(|why| format!("\"{given}\" {why}; write \"unix:/run/app.sock\""));
    }
    let wrong = |why: &str| {
        Err(format!(
            "\"{given}\" {why}; write \"http://127.0.0.1:3000\", \"https://app.example.com\" or \"unix:/run/app.sock\""
        ))
    };
    let Ok(uri) = given.parse::<Uri>() else { return wrong("is no URL") };
    let Some(authority) = uri.authority() else { return wrong("is no URL with a host") };
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) => return wrong("is not supported"),
        None => return wrong("is no URL with a scheme"),
    };
    // The library drops a fragment without a word.
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || given.contains('#') {
        return wrong("must not have a path: requests keep their own");
    }
    if authority.as_str().contains('@') {
        return wrong("must not have a user");
    }
    let port = match authority.port_u16() {
        Some(port) => port,
        // What is no number is no port to the library, and it is silent about it.
        None if authority.as_str() != authority.host() => return wrong("has a port that is no number"),
        None if tls => 443,
        None => 80,
    };
    if port == 0 {
        return wrong("has port 0, where nobody listens");
    }
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let Ok(field) = HeaderValue::try_from(authority.as_str()) else { return wrong("is no URL with a host") };
    let place = if tls {
        let Ok(name) = ServerName::try_from(host.clone()) else {
            return wrong("has a host that no certificate can be for");
        };
        Place::Tls { host, port, name }
    } else {
        Place::Tcp { host, port }
    };
    Ok(Address { place, host: field })
}

fn unix(path: &str) -> Result<Address, &'static str> {
    if !path.starts_with('/') || path.starts_with("//") {
        return Err("must have an absolute path");
    }
    if path.len() > LONGEST_PATH {
        return Err("has a path that is too long for a socket: 107 bytes are the most");
    }
    if path.contains('\0') || path.ends_with('/') {
        return Err("has a path that is no file's");
    }
    Ok(Address { place: Place::Unix { path: PathBuf::from(path) }, host: HeaderValue::from_static("localhost") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<(String, String), String> {
        address(&Value::from(url)).map(|address| (address.to_string(), address.host.to_str().unwrap().to_owned()))
    }

    #[test]
    fn an_application_listens_on_a_port_over_tls_or_on_a_socket_of_this_machine() {
        for (url, shown, host) in [
            ("http://127.0.0.1:3000", "127.0.0.1:3000", "127.0.0.1:3000"),
            ("http://app.test/", "app.test:80", "app.test"),
            ("https://app.test", "https://app.test:443", "app.test"),
            ("https://app.test:8443", "https://app.test:8443", "app.test:8443"),
            ("http://[::1]:3000", "[::1]:3000", "[::1]:3000"),
            ("https://[::1]", "https://[::1]:443", "[::1]"),
            ("unix:/run/app.sock", "unix:/run/app.sock", "localhost"),
        ] {
            assert_eq!(read(url), Ok((shown.to_owned(), host.to_owned())), "{url}");
        }
    }

    #[test]
    fn what_is_no_place_of_an_application_is_told_with_what_would_be_one() {
        let long = format!("unix:/{}", "a".repeat(107));
        for (url, why) in [
            ("app", "is no URL with a scheme"),
            ("ftp://app.test", "is not supported"),
            ("http://app.test/path", "must not have a path"),
            ("http://app.test?a=b", "must not have a path"),
            ("http://app.test#a", "must not have a path"),
            ("https://user@app.test", "must not have a user"),
            ("http://app.test:x", "has a port that is no number"),
            ("http://app.test:", "has a port that is no number"),
            ("http://app.test:0", "has port 0"),
            ("http://app.test:70000", "has a port that is no number"),
            ("https://a..b", "has a host that no certificate can be for"),
            ("unix:run/app.sock", "must have an absolute path"),
            ("unix://run/app.sock", "must have an absolute path"),
            ("unix:/run/", "has a path that is no file's"),
            (&long, "has a path that is too long"),
        ] {
            let told = read(url).unwrap_err();
            assert!(told.contains(why) && told.contains("; write \""), "{url}: {told}");
        }
    }
}
