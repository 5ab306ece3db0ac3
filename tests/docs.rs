//! What the documents say that can be compared with the program.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what cannot be read fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use session_gateway::config::{Config, Sources};
use session_gateway::error::Code;
use session_gateway::metrics;
use session_gateway::session::{EndReason, SuspendReason};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned(), "CHANGELOG.md".to_owned()];
    for entry in fs::read_dir(root("docs")).unwrap() {
        found.push(format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    }
    found.retain(|path| path.ends_with(".md"));
    assert!(found.len() > 6, "{found:?}");
    found
}

/// The cells of the table rows that begin with a name in backticks.
fn rows(document: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    read(document).lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

fn name(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

#[test]
fn the_table_of_refusals_has_every_code_with_its_status_and_no_other() {
    let written: BTreeSet<(String, String)> = rows("docs/sessions.md")
        .into_iter()
        .filter(|row| row.get(1).is_some_and(|status| status.len() == 3 && status.parse::<u16>().is_ok()))
        .map(|row| (name(&row[0]), row[1].clone()))
        .collect();
    let known = Code::ALL.iter().map(|code| (code.rule().name.to_owned(), code.rule().status.to_string())).collect();
    assert_eq!(written, known, "docs/sessions.md on the left, src/error.rs on the right");
}

#[test]
fn every_reason_is_told() {
    let text = read("docs/sessions.md");
    let ends = EndReason::ALL.iter().map(|reason| reason.name());
    for reason in ends.chain(SuspendReason::ALL.iter().map(|reason| reason.name())) {
        assert!(text.contains(&format!("`{reason}`")), "docs/sessions.md says nothing about {reason}");
    }
}

#[test]
fn the_table_of_metrics_has_every_figure_and_no_other() {
    let page = metrics::render(&[], &metrics::SharedMetrics::default());
    let counted: BTreeSet<String> = page
        .lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next().unwrap().to_owned()))
        .collect();
    let told = rows("docs/operations.md").into_iter().map(|row| name(&row[0]));
    let told: BTreeSet<String> = told.filter(|name| name.starts_with("gateway_") && !name.contains(' ')).collect();
    assert_eq!(told, counted, "docs/operations.md on the left, the program on the right");
}

#[test]
fn every_example_of_settings_is_good() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("gateway.toml");
    let mut checked = 0;
    for document in documents() {
        for block in read(&document).split("```toml\n").skip(1) {
            let mut text = block.split("```").next().unwrap().to_owned();
            text = text.replace("login.key", "/run/secrets/key");
            text = support::issuer::with_key_files(directory.path(), &text);
            if !text.contains("[[upstream]]") {
                text.push_str("\n[[upstream]]\nurl = \"http://127.0.0.1:3000\"\n");
            }
            // The test runs without the variable that the example names.
            let text = text.replace("{ env = \"STORE_URL\" }", "\"postgres://db/x\"");
            fs::write(&file, &text).unwrap();
            let sources = Sources { file: Some(file.clone()), ..Sources::default() };
            Config::load(&sources).unwrap_or_else(|invalid| panic!("{document}:\n{text}\n{invalid}"));
            checked += 1;
        }
    }
    assert!(checked > 5, "only {checked} examples were found");
}

#[test]
fn every_link_leads_to_a_file() {
    for document in documents() {
        let text = read(&document);
        let folder = root(&document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !path.contains("://") && !path.is_empty() {
                assert!(folder.join(path).exists(), "{document}: {link} leads nowhere");
            }
        }
    }
}
