//! Secrets stay where they belong: tokens with their owners, keys and passwords in the settings.
//!
//! The real program runs at log level trace and is led through logins, refusals, errors and an outage. Then every place
//! that somebody else may read is searched for what must not be there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use session_gateway::jwt::Algorithm;
use session_gateway::token::Digest;
use support::client::{Connection, Response};
use support::issuer::Issuer;
use support::link::Link;
use support::postgres::fresh_database;
use support::program::{Program, command};
use support::upstream::{Reaction, Upstream, response};
use support::wait_until;
use tempfile::TempDir;

/// What nobody may see. Each is of the form that its place asks for.
const SERVICE_KEY: &str = "canary-service-key-4Zk1";
const STORE_PASSWORD: &str = "canary-store-password-9Qw2";
const USER_PASSWORD: &str = "canary-user-password-7Rt3";
const WRONG_KEY: &str = "canary-wrong-key-1Mn4xyz";
const UNKNOWN_TOKEN: &str = "canary0unknown0token000000000000000000000AA";
const FOREIGN_TOKEN: &str = "canary.foreign.token";
const MALFORMED_TOKEN: &str = "canary,malformed,token";
const QUERY_TOKEN: &str = "canary-query-token-3Vb5";

const SIGNING_SECRET: &str = "canary-signing-secret-5Xc6-0123456789abcdef";

const ALL: [&str; 9] = [
    SIGNING_SECRET,
    SERVICE_KEY,
    STORE_PASSWORD,
    USER_PASSWORD,
    WRONG_KEY,
    UNKNOWN_TOKEN,
    FOREIGN_TOKEN,
    MALFORMED_TOKEN,
    QUERY_TOKEN,
];

/// A client that remembers every response but those that issue a token.
struct Client {
    program: Program,
    secrets: Vec<String>,
    seen: String,
}

impl Client {
    fn send(&self, method: &str, target: &str, headers: &str, body: &str) -> Response {
        let mut connection = Connection::open(self.program.address);
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\nUser-Agent: Canary/1\r\n");
        connection.send(format!("{head}{headers}{length}\r\n{body}"));
        connection.read(method)
    }

    #[track_caller]
    fn call(&mut self, status: u16, method: &str, target: &str, headers: &str, body: &str) {
        let response = self.send(method, target, headers, body);
        assert_eq!(response.status, status, "{method} {target} {headers}: {response:?}");
        self.seen.push_str(&response.head);
        self.seen.push_str(&String::from_utf8_lossy(&response.body));
    }

    /// A session by the service call.
    fn issue(&mut self, user: &str) -> (String, String) {
        let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
        let response = self.send("POST", "/_sessions", &headers, &json!({ "user": user }).to_string());
        assert_eq!(response.status, 201, "{response:?}");
        let answer = response.json();
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        self.secrets.push(text("token"));
        (text("id"), text("token"))
    }

    /// A session whose user holds signed tokens, refreshed once. The newest access token and refresh token.
    fn issue_signed(&mut self, user: &str) -> (String, String) {
        let json = "Content-Type: application/json\r\n";
        let headers = format!("Authorization: Bearer {SERVICE_KEY}\r\n{json}");
        let body = json!({ "user": user, "format": "jwt" }).to_string();
        let issued = self.send("POST", "/_sessions", &headers, &body);
        assert_eq!(issued.status, 201, "{issued:?}");
        let body = json!({ "refresh_token": issued.json()["refresh_token"] }).to_string();
        let refreshed = self.send("POST", "/_sessions/refresh", json, &body);
        assert_eq!(refreshed.status, 200, "{refreshed:?}");
        for answer in [issued.json(), refreshed.json()] {
            let text = |key: &str| answer[key].as_str().unwrap().to_owned();
            self.secrets.extend([text("access_token"), text("refresh_token")]);
        }
        let answer = refreshed.json();
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        (text("access_token"), text("refresh_token"))
    }

    /// A session by the application's own login form.
    fn log_in(&mut self) -> String {
        let form = format!("username=bob&password={USER_PASSWORD}");
        let response = self.send("POST", "/login", "Content-Type: application/x-www-form-urlencoded\r\n", &form);
        assert_eq!(response.status, 303, "{response:?}");
        let token = response.cookie("__Host-session").expect("a session cookie");
        self.secrets.push(token.clone());
        token
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[track_caller]
fn assert_clean(place: &str, content: &[u8], secrets: &[String]) {
    assert!(!content.is_empty(), "{place} is empty: there is nothing to search");
    for secret in secrets {
        if content.windows(secret.len()).any(|window| window == secret.as_bytes()) {
            let text = String::from_utf8_lossy(content);
            let line = text.lines().find(|line| line.contains(secret.as_str())).unwrap_or_default();
            panic!("{secret} is in {place}: {line}");
        }
    }
}

/// Leads the program through all that it does with secrets. `outage` begins and ends one, for stores that have them.
fn live(client: &mut Client, outage: Option<&Link>) {
    let (id, token) = client.issue("ann");
    let (_, other) = client.issue("ann");
    let cookie = client.log_in();

    let (access, refresh) = client.issue_signed("cat");
    client.call(200, "GET", "/page", &bearer(&access), "");
    client.call(200, "GET", "/_sessions/current", &bearer(&access), "");
    client.call(401, "GET", "/page", &bearer(&refresh), "");
    client.call(401, "GET", "/page", &bearer(&format!("{access}x")), "");
    for wrong in [access.as_str(), UNKNOWN_TOKEN, FOREIGN_TOKEN] {
        let body = json!({ "refresh_token": wrong }).to_string();
        client.call(401, "POST", "/_sessions/refresh", "Content-Type: application/json\r\n", &body);
    }
    client.call(200, "GET", "/_sessions/.well-known/jwks.json", "", "");

    client.call(200, "GET", "/", &bearer(&token), "");
    client.call(200, "GET", "/page", &format!("Cookie: __Host-session={cookie}\r\n"), "");
    client.call(200, "GET", "/page", &format!("Authorization: Token {token}\r\n"), "");
    client.call(200, "GET", &format!("/page?access_token={QUERY_TOKEN}"), &bearer(&token), "");
    for target in ["/_sessions", "/_sessions/current"] {
        client.call(200, "GET", target, &bearer(&token), "");
    }
    let key = format!("Authorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\n");
    client.call(400, "POST", "/_sessions", &key, "{\"user\":\"\"}");
    client.call(400, "POST", "/_sessions", &key, &format!("{{\"user\":\"ann\",\"password\":\"{USER_PASSWORD}\"}}"));
    client.call(415, "POST", "/_sessions", &format!("Authorization: Bearer {SERVICE_KEY}\r\n"), "user=ann");
    client.call(401, "POST", "/_sessions", &bearer(WRONG_KEY), "{}");
    client.call(401, "POST", "/_sessions", &bearer(&token), "{}");
    for wrong in [UNKNOWN_TOKEN, FOREIGN_TOKEN, MALFORMED_TOKEN, SERVICE_KEY] {
        client.call(401, "GET", "/page", &bearer(wrong), "");
        client.call(401, "GET", "/page", &format!("Cookie: __Host-session={wrong}\r\n"), "");
    }
    client.call(400, "GET", "/page", &format!("{}{}", bearer(&token), bearer(UNKNOWN_TOKEN)), "");
    client.call(401, "GET", "/page", &format!("Cookie: __Host-session={cookie}; __Host-session={token}\r\n"), "");
    client.call(403, "GET", "/staff/", &bearer(&token), "");
    client.call(403, "DELETE", "/_sessions/current", &format!("Cookie: __Host-session={cookie}\r\n"), "");
    client.call(502, "GET", "/gone", &bearer(&token), "");

    if let Some(link) = outage {
        link.cut();
        client.call(503, "GET", "/page", &bearer(UNKNOWN_TOKEN), "");
        client.call(503, "DELETE", "/_sessions/current", &bearer(&token), "");
        client.call(503, "POST", "/_sessions", &key, "{\"user\":\"ann\"}");
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        client.call(503, "POST", "/login", form, &format!("username=bob&password={USER_PASSWORD}"));
        wait_until("it is tried again", || client.program.log().matches("trying again").count() > 1);
        link.mend();
        wait_until("the store is up", || client.program.ops_get("/readyz").status == 200);
    }

    administer(client, &id);
    client.call(200, "DELETE", &format!("/_sessions/{id}"), &bearer(&other), "");
    client.call(401, "GET", "/page", &bearer(&token), "");
    // Another User-Agent: the session is suspended.
    let mut stranger = Connection::open(client.program.address);
    stranger.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: Stranger/1\r\n{}\r\n", bearer(&other)));
    let refused = stranger.read("GET");
    assert_eq!(refused.status, 401);
    client.seen.push_str(&refused.head);
    client.seen.push_str(refused.text());
    let metrics = client.program.ops_get("/metrics");
    assert_clean("/metrics", &metrics.body, &client.secrets);
}

/// Every call of administrators that answers with more than a count.
fn administer(client: &mut Client, session: &str) {
    let (_, root) = client.issue("root");
    let (gone, _) = client.issue("gus");
    let root = bearer(&root);
    client.call(200, "GET", "/_sessions/admin/sessions", &root, "");
    client.call(200, "GET", "/_sessions/admin/sessions?limit=1", &root, "");
    client.call(200, "GET", &format!("/_sessions/admin/sessions/{session}"), &root, "");
    client.call(200, "POST", &format!("/_sessions/admin/sessions/{gone}/suspend"), &root, "");
    client.call(200, "POST", &format!("/_sessions/admin/sessions/{gone}/reactivate"), &root, "");
    client.call(200, "DELETE", &format!("/_sessions/admin/sessions/{gone}"), &root, "");
    client.call(200, "DELETE", "/_sessions/admin/sessions?state=ended&dry_run=true", &root, "");
    client.call(400, "GET", &format!("/_sessions/admin/sessions?cursor={UNKNOWN_TOKEN}"), &root, "");
    let json = format!("{root}Content-Type: application/json\r\n");
    client.call(200, "PUT", "/_sessions/admin/users/gus", &json, "{\"enabled\":false}");
    client.call(200, "GET", "/_sessions/admin/users/gus", &root, "");
    client.call(200, "POST", "/_sessions/admin/users/gus/logout", &root, "");
    client.call(200, "GET", "/_sessions/admin/events?limit=500", &root, "");
    let digests = client.secrets.iter().map(|token| *Digest::of(token.as_bytes()).as_bytes());
    let hex = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digests: Vec<String> = digests.flat_map(|digest| [hex(digest), URL_SAFE_NO_PAD.encode(digest)]).collect();
    assert_clean("an administrator's answer", client.seen.as_bytes(), &digests);
}

fn application() -> Upstream {
    Upstream::start(|received| match received.target() {
        "/login" => Reaction::Send(response("303 See Other", "Location: /\r\n", "")),
        "/gone" => Reaction::Close,
        _ => Reaction::Send(response("200 OK", "", "hello")),
    })
}

fn start(directory: &Path, upstream: &Upstream, store: &str) -> Client {
    let toml = format!(
        "[[upstream]]\nurl = \"{}\"\n[[upstream.route]]\npath = \"/staff/\"\nroles = [\"staff\"]\n\
         [[upstream.login]]\npath = \"/login\"\nuser = {{ form = \"username\" }}\n\
         [log]\nlevel = \"trace\"\naccess = \"./access.log\"\n[[service]]\nname = \"login\"\nkey = {{ env = \"KEY\" }}\n\
         [cache]\nnegative_ttl = 0\n[admin]\nusers = [\"root\"]\n[store]\nurl = {{ env = \"STORE\" }}\n\
         [signing]\nkey = {{ env = \"SIGNING\" }}\n[[jwt.keys]]\nalgorithm = \"HS256\"\nsecret = {{ env = \"SECRET\" }}\n",
        upstream.url()
    );
    fs::write(directory.join("gateway.toml"), toml).unwrap();
    let signing = Issuer::new(Algorithm::EdDsa, None).private;
    let environment = [("KEY", SERVICE_KEY), ("STORE", store), ("SIGNING", &signing), ("SECRET", SIGNING_SECRET)];
    let program = Program::start_ready(command(directory).envs(environment));
    let mut secrets = ALL.map(str::to_owned).to_vec();
    secrets.extend(signing.lines().nth(1).map(str::to_owned));
    Client { program, secrets, seen: String::new() }
}

/// Stops the program and searches what it leaves behind. The application may see what its users sent it.
fn search(client: Client, directory: &Path, upstream: &Upstream) -> Vec<String> {
    let Client { program, secrets, seen } = client;
    let (status, log) = program.stop();
    assert_eq!(status.code(), Some(0));
    assert_clean("a response", seen.as_bytes(), &secrets);
    assert!(log.contains("DEBUG"), "the log is not at its loudest:\n{log}");
    assert_clean("the log", log.as_bytes(), &secrets);
    assert_clean("the access log", &fs::read(directory.join("access.log")).unwrap(), &secrets);
    let received: String = upstream.received().into_iter().map(|request| request.head).collect();
    let tokens: Vec<String> = secrets.iter().filter(|secret| *secret != QUERY_TOKEN).cloned().collect();
    assert_clean("what the application received", received.as_bytes(), &tokens);
    secrets
}

#[test]
fn with_sqlite_no_secret_is_in_the_file_the_logs_the_metrics_or_a_response() {
    let (directory, upstream) = (TempDir::new().unwrap(), application());
    let mut client = start(directory.path(), &upstream, "sqlite:sessions.db");
    live(&mut client, None);
    // While it runs, the newest rows are in files of their own.
    let search_files = |secrets: &[String]| {
        let mut searched = 0;
        for entry in fs::read_dir(directory.path()).unwrap().flatten() {
            let content = fs::read(entry.path()).unwrap();
            if !content.is_empty() {
                assert_clean(&entry.path().display().to_string(), &content, secrets);
                searched += 1;
            }
        }
        searched
    };
    assert!(search_files(&client.secrets) >= 3);
    let secrets = search(client, directory.path(), &upstream);
    search_files(&secrets);
}

#[test]
fn with_postgres_no_secret_is_in_a_row_the_logs_the_metrics_or_a_response() {
    let (directory, upstream, database) = (TempDir::new().unwrap(), application(), fresh_database());
    let link = Link::to(database.port);
    let url = format!("postgres://postgres:{STORE_PASSWORD}@127.0.0.1:{}/{}", link.address.port(), database.name);
    let mut client = start(directory.path(), &upstream, &url);
    live(&mut client, Some(&link));
    let secrets = search(client, directory.path(), &upstream);
    let tables =
        database.run("SELECT table_name FROM information_schema.tables WHERE table_schema = 'session_gateway'");
    assert!(tables.len() >= 4, "{tables:?}");
    // The gateway's own random keys: there are none before somebody needs one, and they are no user's.
    for table in tables.into_iter().flatten().filter(|table| table != "secrets") {
        let rows = database.run(&format!("SELECT row_to_json(t) FROM {table} t"));
        let rows: String = rows.into_iter().flatten().collect();
        assert_clean(&table, rows.as_bytes(), &secrets);
    }
}
