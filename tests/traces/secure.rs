//! Collectors over TLS: who they are is looked at before anything is sent.

use tempfile::TempDir;

use crate::open;
use crate::support::authority::Authority;
use crate::support::client::Connection;
use crate::support::collector::Collector;
use crate::support::gateway::{self, Gateway};
use crate::support::program::{Program, command};
use crate::support::upstream::Upstream;
use crate::support::wait_until;

const DROPPED: &str = "gateway_spans_total{result=\"dropped\"}";
const EXPORTED: &str = "gateway_spans_total{result=\"exported\"}";

/// A collector behind a proxy that speaks TLS, and two authorities; the first one vouches for `localhost`.
struct Site {
    collector: Collector,
    proxy: Gateway,
    upstream: Upstream,
    directory: TempDir,
}

impl Site {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let (authority, other) = (Authority::new("authority of the collector"), Authority::new("another authority"));
        std::fs::write(directory.path().join("authority.pem"), &authority.pem).unwrap();
        std::fs::write(directory.path().join("other.pem"), &other.pem).unwrap();
        let collector = Collector::start();
        let tls = authority.issue(&["localhost"]).table(directory.path(), "collector");
        let proxy = Gateway::start(&collector.url(), &gateway::open(&tls));
        Self { collector, proxy, upstream: Upstream::hello(), directory }
    }

    /// The program whose system trusts this authority, and which sends its spans to the collector under this name.
    fn program(&self, trusted: &str, host: &str) -> Program {
        let place = self.directory.path().join(format!("{host}-{trusted}"));
        std::fs::create_dir(&place).unwrap();
        let url = format!("https://{host}:{}", self.proxy.address.port());
        let settings = open(&format!("traceparent = \"continue\"\nsample = 1.0\notlp_url = \"{url}\""));
        std::fs::write(place.join("gateway.toml"), settings.replace("{upstream}", &self.upstream.url())).unwrap();
        Program::start_ready(command(&place).env("SSL_CERT_FILE", self.directory.path().join(trusted)))
    }
}

fn get(program: &Program) -> u16 {
    let mut connection = Connection::open(program.address);
    connection.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    connection.read("GET").status
}

fn figure(program: &Program, name: &str) -> f64 {
    program.ops_get("/metrics").figure(name)
}

#[test]
fn spans_arrive_over_https_at_a_collector_whose_authority_the_system_trusts() {
    let site = Site::start();
    let program = site.program("authority.pem", "localhost");
    assert_eq!(get(&program), 200);
    let spans = site.collector.until_spans(2);
    assert_eq!(spans[0].attribute("url.path").as_deref(), Some("/"));
    wait_until("it is counted", || figure(&program, EXPORTED) == 2.0);
    assert_eq!(figure(&program, DROPPED), 0.0);
}

#[test]
fn a_collector_that_the_system_does_not_trust_gets_nothing_and_requests_go_on() {
    for (trusted, host) in [("other.pem", "localhost"), ("authority.pem", "127.0.0.1")] {
        let site = Site::start();
        let program = site.program(trusted, host);
        assert_eq!(get(&program), 200);
        wait_until("it is counted", || figure(&program, DROPPED) == 2.0);
        let refused = "gateway_tls_handshake_failures_total{reason=\"refused\"}";
        wait_until("the certificate is refused", || site.proxy.metric(refused) == 1.0);
        assert!(program.log().contains("there is no TLS with it"), "{}", program.log());
        assert_eq!(get(&program), 200);
        assert!(site.collector.posts().is_empty(), "{trusted} {host}");
        assert_eq!(figure(&program, EXPORTED), 0.0);
    }
}
