//! The program and its settings: what it says when they are wrong, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;

use support::postgres;
use support::program::{Program, Ran, command, run};
use tempfile::TempDir;

const UPSTREAM: &str = "[[upstream]]\nurl = \"http://127.0.0.1:3000\"\n";
/// The settings are wrong, and starting again will not help.
const CONFIG: i32 = 78;
/// Something else is away for now.
const TEMPORARY: i32 = 75;

fn directory(toml: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("gateway.toml"), toml).unwrap();
    directory
}

fn check(toml: &str) -> Ran {
    let directory = directory(toml);
    run(command(directory.path()).arg("check"))
}

/// The lines on standard error without the program's name; each must be one whole message.
#[track_caller]
fn complaints(ran: &Ran) -> Vec<&str> {
    let lines: Vec<_> = ran.stderr.lines().collect();
    lines.iter().map(|line| line.strip_prefix("session-gateway: ").unwrap_or_else(|| panic!("{ran:?}"))).collect()
}

#[test]
fn check_answers_0_for_good_settings_and_opens_nothing() {
    let ran = check(UPSTREAM);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("gateway.toml: good"), "{ran:?}");

    let directory = directory(UPSTREAM);
    run(command(directory.path()).arg("check"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no database file was made");
}

#[test]
fn check_answers_78_with_one_line_for_each_problem() {
    for (toml, expected) in [
        (
            "[server]\ndrain = \"soon\"",
            &["gateway.toml: server.drain: \"soon\" is no length of time (expected number at 0); write \"500ms\", \
               \"30s\", \"15m\", \"14d\" or \"0\""][..],
        ),
        ("[server]\ntrusted_proxies = [\"10.0.0.0/99\"]", &["gateway.toml: server.trusted_proxies: "]),
        ("[cache]\nttll = \"5s\"", &["gateway.toml: cache.ttll: unknown key; did you mean `ttl`?"]),
        ("[trace]\nsample = 1.5", &["gateway.toml: trace.sample: must be a number from 0.0, none, to 1.0, all"]),
        ("[trace]\notlp_url = \"http://127.0.0.1:4318\"", &["gateway.toml: trace.otlp_url: needs traceparent = "]),
        (
            "[trace]\ntraceparent = \"restart\"\notlp_url = \"http://otlp.test\"\notlp_headers = { key = \"x\" }",
            &["gateway.toml: trace.otlp_url: must be https: "],
        ),
        (
            "[trace]\ntraceparent = \"on\"\nsample = \"1\"\notlp_url = \"otlp.test\"\notlp_headers = { host = \"x\" }",
            &[
                "gateway.toml: trace.traceparent: \"on\" is none of \"off\", \"continue\", \"restart\"",
                "gateway.toml: trace.sample: ",
                "gateway.toml: trace.otlp_url: \"otlp.test\" is neither http nor https; write \"http://127.0.0.1:4318\"",
                "gateway.toml: trace.otlp_headers: \"host\" is the gateway's own to say",
            ],
        ),
        (
            "[store]\nurl = { file = \"/does/not/exist\" }",
            &[
                "gateway.toml: store.url: the file /does/not/exist cannot be read: No such file or directory (os error 2)",
            ],
        ),
        (
            "[store]\nurl = { env = \"STORE_URL\" }",
            &["gateway.toml: store.url: the environment variable STORE_URL is not set or not UTF-8"],
        ),
        ("[store]\nurl = \"postgres://u:p@h/d?sslmode=maybe\"", &["store.url: sslmode must be "]),
        (
            "[store]\nurl = \"postgres://u:p@db.example.org/d\"\nca_file = \"/does/not/exist.pem\"",
            &["store.ca_file: /does/not/exist.pem cannot be read as certificates in PEM form"],
        ),
        (
            "[policy.ip]\nmode = \"strict\"\n[session]\nlifetime = 14",
            &[
                "gateway.toml: session.lifetime: must be a length of time",
                "gateway.toml: policy.ip.mode: \"strict\" is none of",
            ],
        ),
        ("[server\nworkers = 1", &["gateway.toml: TOML parse error at line 1, column 8: "]),
    ] {
        let ran = check(&format!("{toml}\n{UPSTREAM}"));
        assert_eq!(ran.status, CONFIG, "{ran:?}");
        let lines = complaints(&ran);
        assert_eq!(lines.len(), expected.len(), "{ran:?}");
        for expected in expected {
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}: {lines:#?}");
        }
    }
}

#[test]
fn a_bad_upstream_url_says_what_a_good_one_looks_like() {
    let ran = check("[[upstream]]\nurl = \"127.0.0.1:3000\"");
    assert_eq!(ran.status, CONFIG);
    assert_eq!(complaints(&ran).len(), 1, "{ran:?}");
    assert!(complaints(&ran)[0].starts_with("gateway.toml: upstream[0].url: \"127.0.0.1:3000\" "), "{ran:?}");
    assert!(ran.stderr.contains("write \"http://127.0.0.1:3000\""), "{ran:?}");
}

#[test]
fn a_missing_or_unreadable_settings_file_is_named() {
    let directory = directory(UPSTREAM);
    for (file, why) in [("elsewhere.toml", "No such file"), (".", "Is a directory")] {
        for verb in ["check", "serve", "migrate"] {
            let ran = run(command(directory.path()).args([verb, "--config", file]));
            assert_eq!(ran.status, CONFIG, "{ran:?}");
            let lines = complaints(&ran);
            assert_eq!(lines.len(), 1, "{ran:?}");
            assert!(lines[0].starts_with(&format!("{file}: cannot be read: {why}")), "{ran:?}");
        }
    }
}

#[test]
fn without_settings_it_is_said_which_one_is_needed() {
    let directory = TempDir::new().unwrap();
    let ran = run(&mut command(directory.path()));
    assert_eq!(ran.status, CONFIG);
    assert_eq!(complaints(&ran).len(), 1, "{ran:?}");
    assert!(ran.stderr.contains("or with --upstream"), "{ran:?}");
}

#[test]
fn variables_that_are_no_text_do_not_break_the_program() {
    let directory = directory(UPSTREAM);
    let broken = || OsString::from_vec(vec![b'x', 0xff]);
    let ran = run(command(directory.path()).arg("check").env(broken(), broken()).env("GATEWAY_PORT", broken()));
    assert_eq!(ran.status, 0, "{ran:?}");
    let ran = run(command(directory.path()).arg("check").env("GATEWAY_CACHE__TTL", broken()));
    assert_eq!(ran.status, CONFIG, "{ran:?}");
    assert_eq!(
        complaints(&ran),
        ["environment variable GATEWAY_CACHE__TTL: is not UTF-8: it would not be read as it was meant"]
    );
}

#[test]
fn secrets_come_from_the_environment_and_from_files() {
    let directory = directory(&format!(
        "{UPSTREAM}[store]\nurl = {{ env = \"STORE_URL\" }}\n[[service]]\nname = \"login\"\nkey = {{ file = \"key\" }}"
    ));
    fs::write(directory.path().join("key"), "0123456789abcdef\n").unwrap();
    let ran = run(command(directory.path()).arg("check").env("STORE_URL", "sqlite:x.db"));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let ran = run(command(directory.path()).arg("check").env("STORE_URL", "mysql://u:s3cret@h/d"));
    assert_eq!(ran.status, CONFIG);
    assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
}

#[test]
fn serve_ends_with_78_and_one_line_when_something_is_in_its_way() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let free = "[server]\nlisten = [\"127.0.0.1:0\"]\nops_listen = \"127.0.0.1:0\"\n";
    for (toml, expected) in [
        (
            format!("[server]\nlisten = [\"{port}\"]\nops_listen = \"\""),
            format!("server.listen: cannot listen on {port}: the port is in use by another program"),
        ),
        (
            format!("[server]\nlisten = [\"127.0.0.1:0\"]\nops_listen = \"{port}\""),
            format!("server.ops_listen: cannot listen on {port}: the port is in use by another program"),
        ),
        (
            "[server]\nlisten = [\"192.0.2.1:8080\"]\nops_listen = \"\"".to_owned(),
            "server.listen: cannot listen on 192.0.2.1:8080: this machine has no such address".to_owned(),
        ),
        (
            format!("{free}[store]\nurl = \"postgres://u@db.example.org/d\"\nca_file = \"/does/not/exist.pem\""),
            "store.ca_file: /does/not/exist.pem cannot be read as certificates in PEM form".to_owned(),
        ),
        (
            format!("{free}[log]\naccess = \"/does/not/exist/access.log\""),
            "log.access: /does/not/exist/access.log cannot be opened for writing: No such file or directory".to_owned(),
        ),
    ] {
        let directory = directory(&format!("{toml}\n{UPSTREAM}"));
        let ran = run(command(directory.path()).arg("serve").env("RUST_LOG", "error"));
        assert_eq!(ran.status, CONFIG, "{ran:?}");
        let lines = complaints(&ran);
        assert_eq!(lines.len(), 1, "{ran:?}");
        assert!(lines[0].starts_with(&expected), "{expected}: {ran:?}");
    }
}

#[test]
fn serve_ends_with_0_when_it_is_told_to_stop() {
    for signal in ["TERM", "INT"] {
        let directory = directory(UPSTREAM);
        let program = Program::start_ready(&mut command(directory.path()));
        program.signal(signal);
        let (status, log) = program.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

#[test]
fn the_database_file_is_for_the_gateway_alone() {
    let directory = directory(UPSTREAM);
    let program = Program::start_ready(&mut command(directory.path()));
    let mode = fs::metadata(directory.path().join("session-gateway.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    program.stop();
}

#[test]
fn migrate_says_what_it_did_and_does_it_once() {
    let database = postgres::fresh_database().url();
    for store in ["sqlite:sessions.db", database.as_str()] {
        let directory = directory(UPSTREAM);
        let migrate = || run(command(directory.path()).args(["migrate", "--store", store]));
        let first = migrate();
        assert_eq!(first.status, 0, "{first:?}");
        assert!(first.stdout.starts_with("The store's schema was brought from version 0 to "), "{first:?}");
        let second = migrate();
        assert_eq!(second.status, 0, "{second:?}");
        assert!(second.stdout.starts_with("The store's schema is up to date: version "), "{second:?}");
    }
}

#[test]
fn migrate_tells_a_store_that_is_away_from_settings_that_are_wrong() {
    let directory = directory(UPSTREAM);
    // Nobody listens on a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = format!("postgres://u:s3cret@127.0.0.1:{port}/d");
    for (store, status, start) in [
        (away.as_str(), TEMPORARY, "the store cannot be reached: "),
        (
            "sqlite:/does/not/exist/sessions.db",
            TEMPORARY,
            "the store cannot be reached: cannot open the database file ",
        ),
        ("postgres://u:s3cret@h/d?sslmode=maybe", CONFIG, "store.url: "),
    ] {
        let ran = run(command(directory.path()).args(["migrate", "--store", store]));
        assert_eq!(ran.status, status, "{ran:?}");
        let lines = complaints(&ran);
        assert_eq!(lines.len(), 1, "{ran:?}");
        assert!(lines[0].starts_with(start), "{ran:?}");
        assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
    }
}

#[test]
fn help_shows_every_command_and_option() {
    let directory = TempDir::new().unwrap();
    let ran = run(command(directory.path()).arg("--help"));
    assert_eq!(ran.status, 0);
    for word in ["serve", "demo", "check", "migrate", "--config", "--upstream", "--listen", "--store", "--version"] {
        assert!(ran.stdout.contains(word), "{word} in {}", ran.stdout);
    }
    for verb in ["serve", "check", "migrate"] {
        let ran = run(command(directory.path()).args([verb, "--help"]));
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stdout.contains("--config <FILE>"), "{ran:?}");
    }
    let ran = run(command(directory.path()).arg("sreve"));
    assert_eq!(ran.status, 2, "a command that does not exist: {ran:?}");
}

#[test]
fn a_login_that_trusts_the_form_alone_is_warned_of() {
    for (user, warned) in [
        ("{ form = \"u\" }", true),
        ("{ form = \"u\" }\nsets_cookie = \"sid\"", false),
        ("{ header = \"X-Session-User\" }", false),
    ] {
        let directory = TempDir::new().unwrap();
        let toml =
            format!("[[upstream]]\nurl = \"http://127.0.0.1:1\"\n[[upstream.login]]\npath = \"/in\"\nuser = {user}\n");
        fs::write(directory.path().join("gateway.toml"), toml).unwrap();
        let (_, log) = Program::start_ready(&mut command(directory.path())).stop();
        assert_eq!(log.contains("the user of this login is who the request says"), warned, "{log}");
    }
}
