//! The table of what the packages did and what the gateway does has every row, and the tests that it names exist.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what cannot be read fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The kinds of rows, and how many there are of each.
const ROWS: [(&str, usize); 4] = [("N", 53), ("E", 16), ("S", 19), ("G", 7)];

struct Row {
    name: String,
    there: String,
    here: String,
    shown_by: String,
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows() -> Vec<Row> {
    let is_row = |line: &&str| ROWS.iter().any(|(kind, _)| line.starts_with(&format!("| {kind}-")));
    let text = read("docs/coverage.md");
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned());
        let mut cell = || cells.next().unwrap_or_else(|| panic!("a cell is missing: {line}"));
        Row { name: cell(), there: cell(), here: cell(), shown_by: cell() }
    };
    text.lines().filter(is_row).map(row).collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_row_is_there_once_and_says_something() {
    let expected: BTreeSet<String> =
        ROWS.iter().flat_map(|(kind, count)| (1..=*count).map(move |number| format!("{kind}-{number}"))).collect();
    let rows = rows();
    let found: BTreeSet<String> = rows.iter().map(|row| row.name.clone()).collect();
    assert_eq!(found, expected);
    assert_eq!(rows.len(), expected.len(), "a row stands there twice");
    for row in &rows {
        assert!(!row.there.is_empty() && !row.here.is_empty() && !row.shown_by.is_empty(), "{}", row.name);
    }
}

#[test]
fn every_row_names_a_test_that_exists_or_says_why_it_does_not_apply() {
    for row in rows() {
        if row.shown_by == "—" {
            assert!(row.here.starts_with("do not apply: "), "{} is shown by nothing", row.name);
            continue;
        }
        let mut named = 0;
        for test in quoted(&row.shown_by) {
            let (file, name) = test.split_once(": ").unwrap_or_else(|| panic!("{}: {test} names no test", row.name));
            assert!(read(file).contains(&format!("fn {name}(")), "{}: there is no {name} in {file}", row.name);
            named += 1;
        }
        assert!(named > 0, "{} names no test", row.name);
    }
}
