//! A real gateway in this process: free ports, its own store, its own access log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_gateway::app::App;
use session_gateway::config::{Config, Invalid, Overrides, Sources};
use session_gateway::edge::listen::Address;
use tempfile::TempDir;

use super::client::{Connection, Response};
use super::wait_until;

/// The key of the service `login` that every test gateway knows.
pub const SERVICE_KEY: &str = "service-key-for-tests-0123456789";
/// The User-Agent that tests send unless they say otherwise.
pub const AGENT: &str = "acme-test/1.0";

/// A running gateway; dropping it stops it.
pub struct Gateway {
    app: Option<App>,
    pub address: SocketAddr,
    pub ops: SocketAddr,
    pub directory: TempDir,
}

/// A session made through the service call.
#[derive(Clone, Debug)]
pub struct Issued {
    pub id: String,
    pub token: String,
    pub answer: Value,
}

impl Gateway {
    /// A gateway in front of `upstream` with an SQLite store and these settings. Without an `[[upstream]]` of their own
    /// they get one; `{upstream}` in them is its URL, `{directory}` the gateway's own directory. It listens on a free port of
    /// 127.0.0.1 unless there is a line `listen = …`.
    pub fn start(upstream: &str, toml: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let store = format!("sqlite:{}", directory.path().join("sessions.db").display());
        Self::start_in(directory, upstream, &store, toml)
    }

    /// The same with this store.
    pub fn start_on(store: &str, upstream: &str, toml: &str) -> Self {
        Self::start_in(TempDir::new().unwrap(), upstream, store, toml)
    }

    /// The same with this directory, and without waiting for the store.
    pub fn start_in(directory: TempDir, upstream: &str, store: &str, toml: &str) -> Self {
        let gateway = Self::start_unready(directory, upstream, store, toml);
        // Not only up: when it begins to hear of others' changes, it forgets what it has in memory.
        wait_until("the store is up", || gateway.ops_get("/readyz").text() == "ok\n");
        gateway
    }

    pub fn start_unready(directory: TempDir, upstream: &str, store: &str, toml: &str) -> Self {
        let config = config(&directory, upstream, store, toml).unwrap_or_else(|invalid| panic!("{invalid}"));
        session_gateway::log::start(&config.log);
        let app = App::start(config).unwrap_or_else(|error| panic!("{error}"));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = app.addresses().iter().find_map(Address::tcp).unwrap_or(nowhere);
        let ops = app.ops_address().and_then(Address::tcp).unwrap();
        Self { app: Some(app), address, ops, directory }
    }

    /// Puts these settings in place of those that it runs with, as SIGHUP does.
    pub fn adopt(&self, upstream: &str, toml: &str) {
        self.app.as_ref().unwrap().adopt(self.settings(upstream, toml));
    }

    /// What it would read from these settings.
    pub fn settings(&self, upstream: &str, toml: &str) -> Config {
        let store = format!("sqlite:{}", self.directory.path().join("sessions.db").display());
        config(&self.directory, upstream, &store, toml).unwrap_or_else(|invalid| panic!("{invalid}"))
    }

    /// Stops it, draining, and gives its directory back.
    pub fn stop(mut self) -> TempDir {
        self.app.take().unwrap().stop();
        std::mem::replace(&mut self.directory, TempDir::new().unwrap())
    }

    /// Lets it read again what can change while it runs.
    pub fn reload(&self) {
        self.app.as_ref().unwrap().reload();
    }

    /// Where it sends clients to https.
    pub fn redirect_address(&self) -> SocketAddr {
        self.app.as_ref().unwrap().redirect_addresses()[0].tcp().unwrap()
    }

    pub fn access_log(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// One request on a connection of its own. `headers` are lines, each ending in CRLF.
    pub fn request(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Response {
        let mut connection = self.connect();
        let agent = if headers.to_ascii_lowercase().contains("user-agent:") {
            String::new()
        } else {
            format!("User-Agent: {AGENT}\r\n")
        };
        let host = if headers.to_ascii_lowercase().starts_with("host:") { "" } else { "Host: app.test\r\n" };
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        connection.send(format!("{method} {target} HTTP/1.1\r\n{host}{agent}{headers}{length}\r\n"));
        connection.send(body);
        connection.read(method)
    }

    pub fn get(&self, target: &str, headers: &str) -> Response {
        self.request("GET", target, headers, b"")
    }

    /// A request with a session's token in the Authorization header.
    pub fn get_as(&self, token: &str, target: &str) -> Response {
        self.get(target, &bearer(token))
    }

    pub fn delete_as(&self, token: &str, target: &str) -> Response {
        self.request("DELETE", target, &bearer(token), b"")
    }

    /// `POST /_sessions` as the service `login`.
    pub fn issue(&self, body: &Value) -> Response {
        let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
        self.request("POST", "/_sessions", &headers, body.to_string().as_bytes())
    }

    /// A session of this user.
    pub fn login(&self, user: &str) -> Issued {
        self.login_with(json!({ "user": user }))
    }

    /// A session as described.
    pub fn login_with(&self, body: Value) -> Issued {
        let response = self.issue(&body);
        assert_eq!(response.status, 201, "{response:?}");
        let answer = response.json();
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        Issued { id: text("id"), token: text("token"), answer }
    }

    pub fn ops_get(&self, path: &str) -> Response {
        let mut connection = Connection::open(self.ops);
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n"));
        connection.read("GET")
    }

    /// A figure of `/metrics`, given its name with labels.
    pub fn metric(&self, name: &str) -> f64 {
        self.ops_get("/metrics").figure(name)
    }

    /// Waits until a figure is that; some are counted a moment after the client has its answer.
    #[track_caller]
    pub fn until_metric(&self, name: &str, value: f64) {
        let mut last = f64::NAN;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            last = self.metric(name);
            if last == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{name} is {last}, not {value}");
    }

    /// How many times the store was asked for a session by its token.
    pub fn store_finds(&self) -> f64 {
        self.metric("gateway_store_call_duration_seconds_count{call=\"find\"}")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }
}

/// Settings under which everybody may pass; these lines stand under `[server]`.
pub fn open(server: &str) -> String {
    format!(
        "[server]\n{server}\n[[upstream]]\nurl = \"{{upstream}}\"\n[[upstream.route]]\npath = \"/\"\nauth = \"off\"\n"
    )
}

/// The same with one worker.
pub fn open_with_one_worker(server: &str) -> String {
    open(&format!("workers = 1\n{server}"))
}

/// The Authorization header of a session, as a line.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The settings of a test gateway.
pub fn config(directory: &TempDir, upstream: &str, store: &str, toml: &str) -> Result<Config, Invalid> {
    let file = directory.path().join("gateway.toml");
    let access = directory.path().join("access.log").display().to_string();
    let mut environment = vec![
        ("GATEWAY_SERVER__OPS_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("GATEWAY_STORE__URL".to_owned(), store.to_owned()),
        ("GATEWAY_LOG__ACCESS".to_owned(), access),
    ];
    if !toml.lines().any(|line| line.starts_with("listen = ")) {
        environment.push(("GATEWAY_SERVER__LISTEN".to_owned(), "[\"127.0.0.1:0\"]".to_owned()));
    }
    let mut text = toml.replace("{upstream}", upstream).replace("{directory}", &directory.path().display().to_string());
    if !text.contains("[[upstream]]") {
        text.push_str(&format!("\n[[upstream]]\nurl = \"{upstream}\"\n"));
    }
    if !text.contains("[[service]]") {
        text.push_str(&format!("\n[[service]]\nname = \"login\"\nkey = \"{SERVICE_KEY}\"\n"));
    }
    std::fs::write(&file, text).unwrap();
    Config::load(&Sources { file: Some(file), environment, overrides: Overrides::default() })
}
