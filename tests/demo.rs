//! `session-gateway demo`: every command that it prints does what the line above it says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what is not there fails the test")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The demo as its user starts it.
struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it printed until it was ready.
    text: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_session-gateway"))
            .arg("demo")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.ends_with("removes what it made.\n") {
            assert_ne!(output.read_line(&mut text).unwrap(), 0, "the demo ended early: {text}");
        }
        Self { child, output, text }
    }

    /// The commands with the comment above each.
    fn commands(&self) -> Vec<(&str, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        lines.windows(2).filter(|pair| pair[1].starts_with("curl ")).map(|pair| (pair[0], pair[1])).collect()
    }

    fn directory(&self) -> PathBuf {
        let line = self.text.lines().find_map(|line| line.strip_prefix("Its settings are ")).unwrap();
        Path::new(line.trim_end_matches('.')).parent().unwrap().to_owned()
    }

    /// Sends a signal, and says how the demo ended.
    fn end(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        let mut rest = String::new();
        while self.output.read_line(&mut rest).unwrap() > 0 {}
        self.child.wait().unwrap().code()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }
}

/// Ends it the way its user does, so that its directory is removed.
impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal("TERM");
            let _ = self.child.wait();
        }
    }
}

fn shell(command: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
    assert!(output.status.success(), "{command}\nfailed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_printed_command_shows_what_it_promises() {
    let curl = Command::new("curl").arg("--version").output();
    assert!(curl.is_ok(), "this test runs the commands that the demo prints, and needs curl: apt-get install curl");
    let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
    let expected: &[(&str, &[&str])] = &[
        ("Nothing passes", &["HTTP/1.1 401", "\"code\":\"missing_token\""]),
        ("led to the login", &["HTTP/1.1 302", "location: /login?next=/hello.json\r\n"]),
        ("Log in with the app's own form", &["HTTP/1.1 303", "set-cookie: session=", "location: /\r\n"]),
        ("The app sees", &["\"x-auth-user\":\"ann\""]),
        ("do not arrive", &["\"x-auth-user\":\"ann\""]),
        ("sessions: one", &["\"browser\":\"curl\""]),
        ("second \"browser\"", &["HTTP/1.1 303", "set-cookie: session="]),
        ("sessions: two", &["\"browser\":\"curl\"", "\"browser\":\"phone\""]),
        ("by its id", &["{\"ended\":1}"]),
        ("told why", &["HTTP/1.1 401", "\"code\":\"session_revoked\"", "\"reason\":\"revoked\""]),
        ("logs in again", &["HTTP/1.1 303", "set-cookie: session="]),
        ("Log out everywhere", &["HTTP/1.1 204", "set-cookie: session=;", "Max-Age=0"]),
        ("out too", &["\"code\":\"session_revoked\"", "\"reason\":\"logged_out_elsewhere\""]),
        ("Bob logs in", &["HTTP/1.1 303", "set-cookie: session="]),
        ("thief", &["HTTP/1.1 401", "\"code\":\"session_suspended\"", "\"reason\":\"user_agent_changed\""]),
        ("good for nobody", &["HTTP/1.1 401", "\"code\":\"session_suspended\""]),
    ];
    let commands = demo.commands();
    assert_eq!(commands.len(), expected.len(), "{}", demo.text);
    for ((comment, command), (words, parts)) in commands.into_iter().zip(expected) {
        assert!(comment.contains(words), "{comment} is not about {words:?}");
        let shown = shell(command);
        for part in *parts {
            assert!(shown.contains(part), "{comment}\n{command}\n{part:?} is not in\n{shown}");
        }
        for never in ["root", "admin", "\"cookie\""] {
            assert!(!shown.contains(never), "{comment}\n{command}\n{never:?} is in\n{shown}");
        }
        if comment.contains("sessions: ") {
            let sessions = shown.matches("\"created_at\"").count();
            assert_eq!(sessions, if comment.contains("one") { 1 } else { 2 }, "{shown}");
        }
    }
}

#[test]
fn it_ends_cleanly_and_leaves_nothing_behind() {
    for signal in ["INT", "TERM"] {
        let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
        let directory = demo.directory();
        assert!(directory.join("gateway.toml").exists(), "{}", directory.display());
        assert_eq!(demo.end(signal), Some(0), "{signal}");
        assert!(!directory.exists(), "{signal}");
    }
}

#[test]
fn its_settings_are_good_for_a_real_gateway() {
    let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
    let checked = Command::new(env!("CARGO_BIN_EXE_session-gateway"))
        .args(["check", "--config"])
        .arg(demo.directory().join("gateway.toml"))
        .status()
        .unwrap();
    assert!(checked.success());
}

#[test]
fn a_browser_sees_a_page_with_its_identity_and_its_styles() {
    let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
    let url = demo.text.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(',');
    let jar = demo.directory().join("browser");
    let jar = jar.display();
    let page = shell(&format!("curl -sL -c {jar} -b {jar} -d 'username=bob&password=demo' {url}/login"));
    assert!(page.contains("<h1>Hello, bob</h1>"), "{page}");
    assert!(page.contains("<th>x-auth-user</th><td>bob</td>"), "{page}");
    assert!(!page.contains("<th>cookie</th>"), "{page}");
    assert!(shell(&format!("curl -si {url}/static/style.css")).starts_with("HTTP/1.1 200"));
    let wrong = shell(&format!("curl -si -d 'username=bob&password=wrong' {url}/login"));
    assert!(wrong.starts_with("HTTP/1.1 200") && !wrong.contains("set-cookie"), "{wrong}");
}

#[test]
fn a_port_that_is_taken_is_told_when_it_was_asked_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        Command::new(env!("CARGO_BIN_EXE_session-gateway")).args(["demo", "--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("server.listen") && said.contains("in use"), "{said}");
}
