//! `gateway.toml` is the defaults, written out, and tells of every key.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what cannot be read fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use session_gateway::config::{Config, Overrides, Sources, StorePlace};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load_with(file: PathBuf, overrides: Overrides) -> Config {
    let sources = Sources { file: Some(file), environment: Vec::new(), overrides };
    Config::load(&sources).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn load(file: PathBuf) -> String {
    format!("{:#?}", load_with(file, Overrides::default()))
}

/// What `Debug` does not show, because it stands beside a password.
fn load_postgres(file: PathBuf) -> (usize, Duration, Option<PathBuf>) {
    let overrides = Overrides { store: Some("postgres://db/x".to_owned()), ..Overrides::default() };
    match load_with(file, overrides).store.place {
        StorePlace::Postgres { pool_size, connect_timeout, ca_file, .. } => (pool_size, connect_timeout, ca_file),
        StorePlace::Sqlite { path } => panic!("{}", path.display()),
    }
}

#[test]
fn the_commented_file_says_what_a_file_with_nothing_but_an_app_says() {
    let directory = tempfile::TempDir::new().unwrap();
    let bare = directory.path().join("bare.toml");
    fs::write(&bare, "[[upstream]]\nurl = \"http://127.0.0.1:3000\"\n").unwrap();
    let (written_out, built_in) = (load(root("gateway.toml")), load(bare.clone()));
    for (ours, theirs) in written_out.lines().zip(built_in.lines()) {
        assert_eq!(ours, theirs, "gateway.toml on the left, the built-in default on the right");
    }
    assert_eq!(written_out, built_in);
    assert_eq!(load_postgres(root("gateway.toml")), load_postgres(bare));
}

#[test]
fn check_finds_it_good() {
    let output = Command::new(env!("CARGO_BIN_EXE_session-gateway"))
        .args(["check", "--config"])
        .arg(root("gateway.toml"))
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("good"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// A file with all examples of `gateway.toml` uncommented: they must be understood too.
#[test]
fn its_examples_are_good_settings() {
    let text = fs::read_to_string(root("gateway.toml")).unwrap();
    // `#   key = value` and `#   [[table]]` are examples; anything else behind a # is for people.
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("#   ") {
            Some(example) if example.starts_with('[') || is_setting(example) => example,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(uncommented.lines().any(|line| line.starts_with("[[upstream.login]]")), "{uncommented}");
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("gateway.toml");
    fs::write(&file, support::issuer::with_key_files(directory.path(), &uncommented)).unwrap();
    load(file);
}

fn is_setting(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| !key.is_empty() && is_key(key))
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn every_key_that_the_program_reads_is_in_the_file() {
    let text = fs::read_to_string(root("gateway.toml")).unwrap();
    let mentioned: BTreeSet<&str> = text
        .lines()
        .flat_map(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            let table = line.strip_prefix('[').map(|rest| rest.trim_matches(['[', ']']));
            let setting = line.split_once(" = ").map(|(key, _)| key).filter(|key| is_key(key));
            table.into_iter().flat_map(|table| table.split('.')).chain(setting)
        })
        .collect();
    let keys: BTreeSet<String> =
        sources(&root("src/config")).iter().flat_map(|file| keys_read(&fs::read_to_string(file).unwrap())).collect();
    assert!(keys.len() > 60, "the keys are not read the way this test looks for them: {keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !mentioned.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "gateway.toml says nothing about {missing:?}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The first literal of every call of the reader, and the lists of keys that are read in a loop.
fn keys_read(source: &str) -> Vec<String> {
    let calls = [
        "table", "tables", "entries", "get", "optional", "flag", "text", "count", "time", "limit", "size", "choice",
        "secret", "hooks",
    ];
    let source: String = source.split("#[cfg(test)]").next().unwrap().split_whitespace().collect();
    let mut keys = Vec::new();
    for call in calls {
        for opening in [format!(".{call}(\""), format!("{call}(&muttable,\"")] {
            keys.extend(source.split(&opening).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    for list in source.split("keys=[").skip(1) {
        keys.extend(list.split(']').next().unwrap().split(',').map(|key| key.trim_matches('"').to_owned()));
    }
    keys.retain(|key| is_key(key));
    keys
}

#[test]
fn the_search_for_keys_finds_every_way_of_reading_one() {
    let source = r#"
        let a = table.flag("alpha", true);
        let b = table
            .get("beta", 1, |value| x(value));
        hooks(&mut table, "gamma", &y);
        let keys = ["delta", "epsilon"];
        #[cfg(test)]
        table.text("not_this_one");
    "#;
    let mut found = keys_read(source);
    found.sort();
    assert_eq!(found, ["alpha", "beta", "delta", "epsilon", "gamma"]);
}
