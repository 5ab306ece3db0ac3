//! A real proxy with the file of `docs/forward-auth.md`, in front of an application that records what reaches it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::client::{Connection, Response};
use crate::support::gateway::{AGENT, Gateway, Issued};
use crate::support::proxy::{Proxy, free_address};
use crate::support::upstream::{Received, Upstream};
use crate::{APP, TRUSTED};

/// A proxy, the gateway that it asks, and the application behind it.
pub struct Site {
    pub upstream: Upstream,
    pub gateway: Gateway,
    pub proxy: Proxy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
    Haproxy,
}

/// The block of the document in this language.
fn documented(language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/forward-auth.md");
    let document = fs::read_to_string(path).unwrap();
    let opening = format!("```{language}\n");
    let mut blocks = document.split(opening.as_str()).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("docs/forward-auth.md has nothing for {language}"));
    assert!(blocks.next().is_none(), "docs/forward-auth.md has two blocks for {language}");
    block.split("```").next().unwrap().to_owned()
}

/// Puts the test's addresses and the like in the place of the document's. Each must be there.
fn adapted(language: &str, changes: &[(&str, String)]) -> String {
    let mut text = documented(language);
    for (from, to) in changes {
        assert!(text.contains(from), "the block for {language} has no {from:?}");
        text = text.replace(from, to);
    }
    text
}

impl Site {
    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, "")
    }

    pub fn start_with(kind: Kind, settings: &str) -> Self {
        Self::start_on(kind, Upstream::hello(), settings, None)
    }

    /// The same with this application, and with a change of the block in a language.
    pub fn start_on(kind: Kind, upstream: Upstream, settings: &str, change: Option<(&str, &str, &str)>) -> Self {
        let adapted = |language: &str, changes: &[(&str, String)]| {
            let more = change.filter(|(changed, ..)| *changed == language).map(|(_, from, to)| (from, to.to_owned()));
            adapted(language, &changes.iter().cloned().chain(more).collect::<Vec<_>>())
        };
        let gateway = Gateway::start(&upstream.url(), &format!("{TRUSTED}{APP}{settings}"));
        let directory = TempDir::new().unwrap();
        let at = free_address();
        let own = ("127.0.0.1:8080", gateway.address.to_string());
        let app = ("127.0.0.1:3000", upstream.address.to_string());
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let proxy = match kind {
            Kind::Nginx => {
                let listen = ("listen 443 ssl http2", format!("listen {at}"));
                let server = adapted("nginx", &[own, app, listen]);
                let server: String = server
                    .lines()
                    .filter(|line| !line.contains("ssl_certificate"))
                    .map(|line| format!("{line}\n"))
                    .collect();
                let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|place| format!("{place}_temp_path {};\n", directory.path().join(place).display()))
                    .concat();
                let whole = format!(
                    "daemon off; master_process off; pid {};\nerror_log stderr;\nevents {{}}\n\
                     http {{\naccess_log off;\n{places}{server}}}\n",
                    directory.path().join("pid").display()
                );
                let file = write("nginx.conf", &whole);
                let prefix = directory.path().display().to_string();
                Proxy::start("nginx", &["-e", "stderr", "-p", &prefix, "-c", &file], directory, at)
            }
            Kind::Caddy => {
                let address = ("app.example.com {", format!("http://:{} {{\n\tbind 127.0.0.1", at.port()));
                let site = adapted("caddyfile", &[own, app, address]);
                let file = write("Caddyfile", &format!("{{\n\tadmin off\n\tauto_https off\n}}\n\n{site}"));
                Proxy::start("caddy", &["run", "--adapter", "caddyfile", "--config", &file], directory, at)
            }
            Kind::Haproxy => {
                let script = write("gateway-auth.lua", &adapted("lua", std::slice::from_ref(&own)));
                let script = ("/etc/haproxy/gateway-auth.lua", script);
                let bind = ("bind :443 ssl crt /etc/haproxy/app.pem alpn h2,http/1.1", format!("bind {at}"));
                let file = write("haproxy.cfg", &adapted("haproxy", &[own, app, script, bind]));
                Proxy::start("haproxy", &["-db", "-f", &file], directory, at)
            }
        };
        Self { upstream, gateway, proxy }
    }

    /// One request to the proxy, on a connection of its own.
    pub fn request(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Response {
        let mut connection = Connection::open(self.proxy.address);
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let agent = if headers.contains("User-Agent") { String::new() } else { format!("User-Agent: {AGENT}\r\n") };
        connection.send(format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n{agent}{headers}{length}\r\n"));
        connection.send(body);
        connection.read(method)
    }

    pub fn get(&self, target: &str, headers: &str) -> Response {
        self.request("GET", target, headers, b"")
    }

    /// A request that must pass, and how it came to the application.
    #[track_caller]
    pub fn passes(&self, target: &str, headers: &str) -> Received {
        let before = self.upstream.received().len();
        let response = self.get(target, headers);
        assert_eq!((response.status, response.text()), (200, "hello"), "{response:?}\n{}", self.proxy.log());
        let received = self.upstream.received();
        assert_eq!(received.len(), before + 1, "{received:?}");
        received.last().unwrap().clone()
    }

    /// A request that must not reach the application.
    #[track_caller]
    pub fn stops(&self, target: &str, headers: &str) -> Response {
        let before = self.upstream.received().len();
        let response = self.get(target, headers);
        assert_eq!(self.upstream.received().len(), before, "{:?}", self.upstream.received());
        assert!((300..600).contains(&response.status), "{response:?}");
        response
    }
}

/// Asserts whose request the application takes it for: it has all identity headers of the session, and no other.
#[track_caller]
pub fn belongs(received: &Received, session: Option<&Issued>) {
    let expected = match session {
        Some(session) => vec![("x-auth-session", session.id.as_str()), ("x-auth-user", "ann")],
        None => Vec::new(),
    };
    let mut found: Vec<(String, &str)> = received
        .head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| {
            let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            folded.to_ascii_lowercase().starts_with("xauth")
        })
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    found.sort();
    let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(found, expected, "{}", received.head);
}
