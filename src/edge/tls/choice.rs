//! Which certificate a client gets: by the host that it names (SNI), and by the signatures that it understands.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// The certificates by name.
#[derive(Debug, Default)]
pub(super) struct Choice {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<usize>>,
    /// By what follows the first label.
    wildcard: HashMap<String, Vec<usize>>,
}

impl Choice {
    pub(super) fn of(certificates: &[Certificate]) -> Self {
        let mut choice = Self::default();
        for (at, certificate) in certificates.iter().enumerate() {
            choice.all.push(certificate.certified.clone());
            choice.name(at, &certificate.names);
        }
        choice
    }

    fn name(&mut self, at: usize, names: &[String]) {
        for name in names {
            let (names, name) = match name.strip_prefix("*.") {
                Some(rest) => (&mut self.wildcard, rest),
                None => (&mut self.exact, name.as_str()),
            };
            names.entry(name.to_owned()).or_default().push(at);
        }
    }

    /// The places of the certificates for `host`, which is in lower case. A wildcard stands for one label (RFC 9525
    /// section 6.3). Whoever names no host or an unknown one gets the first.
    fn places(&self, host: Option<&str>) -> &[usize] {
        let named = host.and_then(|host| {
            let host = host.strip_suffix('.').unwrap_or(host);
            let below = || host.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
            self.exact.get(host).or_else(below)
        });
        named.map_or(&[0], Vec::as_slice)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut found = self.places(hello.server_name()).iter().filter_map(|at| self.all.get(*at));
        let first = found.clone().next();
        // There may be one of each kind for a name: small keys for those who know them, RSA for the rest.
        let understood = found.find(|one| one.key.choose_scheme(hello.signature_schemes()).is_some());
        understood.or(first).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(names: &[&[&str]]) -> Choice {
        let mut choice = Choice::default();
        for (at, names) in names.iter().enumerate() {
            choice.name(at, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        }
        choice
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_the_first_certificate_is_for_the_rest() {
        let choice = choice(&[&["a.test"], &["*.b.test"], &["x.b.test", "c.test"], &["c.test"]]);
        for (host, places) in [
            (None, &[0][..]),
            (Some("unknown.test"), &[0]),
            (Some("a.test"), &[0]),
            (Some("y.b.test"), &[1]),
            (Some("x.b.test"), &[2]),
            (Some("x.b.test."), &[2]),
            (Some("b.test"), &[0]),
            (Some("z.y.b.test"), &[0]),
            (Some("c.test"), &[2, 3]),
            (Some("test"), &[0]),
        ] {
            assert_eq!(choice.places(host), places, "{host:?}");
        }
    }
}
