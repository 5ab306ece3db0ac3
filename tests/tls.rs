//! TLS on the public listeners: which certificate, which version, who gets in, and what happens to those who do not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/handshakes.rs"]
mod handshakes;
#[path = "tls/redirecting.rs"]
mod redirecting;
#[path = "tls/renewing.rs"]
mod renewing;
#[path = "tls/requests.rs"]
mod requests;
mod support;
#[path = "tls/versions.rs"]
mod versions;

use std::path::Path;

use support::authority::Authority;
use support::gateway::Gateway;
use support::tls::Client;
use support::upstream::Upstream;
use tempfile::TempDir;

/// What most of these tests need.
struct Site {
    authority: Authority,
    files: TempDir,
    upstream: Upstream,
    gateway: Gateway,
}

/// Settings: what stands under `[server]`, the tables of certificates, and an app that everybody may see.
fn settings(server: &str, tables: &str) -> String {
    format!(
        "[server]\n{server}\n{tables}\n[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.route]]\npath = \"/open\"\nauth = \"off\"\n"
    )
}

impl Site {
    /// A gateway with one certificate, for `app.test` and 127.0.0.1.
    fn start(server: &str) -> Self {
        Self::start_with(server, |authority, files| authority.issue(&["app.test", "127.0.0.1"]).table(files, "app"))
    }

    /// A gateway with the certificates that `tables` makes.
    fn start_with(server: &str, tables: impl FnOnce(&Authority, &Path) -> String) -> Self {
        let authority = Authority::new("authority of the test");
        let files = TempDir::new().unwrap();
        let upstream = Upstream::hello();
        let tables = tables(&authority, files.path());
        let gateway = Gateway::start(&upstream.url(), &settings(server, &tables));
        Self { authority, files, upstream, gateway }
    }

    fn client(&self) -> Client {
        Client::trusting(&self.authority.pem)
    }

    fn handshakes(&self, version: &str, kind: &str) -> f64 {
        self.gateway.metric(&format!("gateway_tls_handshakes_total{{version=\"{version}\",kind=\"{kind}\"}}"))
    }

    fn failures(&self, reason: &str) -> f64 {
        self.gateway.metric(&format!("gateway_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
    }
}

/// A request that needs no session.
const GET: &str = "GET /open HTTP/1.1\r\nHost: app.test\r\n\r\n";
