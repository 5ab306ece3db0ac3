//! Arrows point down only: a module may use those of lower layers, and those of its own layer that are listed before it.
//!
//! The compiler does not mind a cycle between modules; a reader does. So this reads the sources and fails on an upward
//! `crate::…`, on a file that has grown too long, and on names that say nothing about what is inside. Tests may be as long as
//! any other file.

#![expect(clippy::unwrap_used, reason = "what cannot be read fails the test")]

#[path = "layers/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{arrows, climbs, production_lines, without_comments_and_strings};

/// The layers, lowest first; within a layer, a module may use those to its left.
const LAYERS: [&[&str]; 9] = [
    &["clock", "error", "token", "user_agent", "session", "policy"],
    &["http", "jwt"],
    &["config", "metrics", "log", "deadline", "outbound", "keyring", "rates", "traces"],
    &["store"],
    &["sessions"],
    &["api"],
    &["gate"],
    &["edge"],
    &["app", "cli"],
];

/// The most lines a file may have, its tests not counted.
const LONGEST_FILE: usize = 400;

/// File names that would become the room for whatever has no place.
const NAMES_THAT_SAY_NOTHING: [&str; 5] = ["mod", "utils", "util", "common", "helpers"];

/// Where a module stands: layer, then place within it.
fn rank(module: &str) -> Option<(usize, usize)> {
    LAYERS
        .iter()
        .enumerate()
        .find_map(|(layer, modules)| modules.iter().position(|m| *m == module).map(|place| (layer + 1, place)))
}

/// The top-level module a file belongs to; none for the crate's root files, which may name everything.
fn module_of(path: &Path) -> Option<String> {
    let first = path.components().next()?.as_os_str().to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(first, "lib.rs" | "main.rs")).then(|| module.to_owned())
}

/// Everything that is wrong with one file; `path` is relative to `src`.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let shown = format!("src/{}", path.display());
    let mut found = Vec::new();
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if NAMES_THAT_SAY_NOTHING.contains(&stem) {
        found.push(format!("{shown}: a file is named after what is in it, not `{stem}`"));
    }
    let Some(own) = module_of(path) else { return found };
    let Some(own_rank) = rank(&own) else {
        found.push(format!("{shown}: module `{own}` is in no layer; add it to tests/layers.rs"));
        return found;
    };
    let code = without_comments_and_strings(text);
    for (line, used) in arrows(&code) {
        match rank(&used) {
            _ if used == own => {}
            Some(used_rank) if used_rank < own_rank => {}
            Some((layer, _)) => found.push(format!(
                "{shown}:{line}: `{own}` (layer {}) uses `crate::{used}` (layer {layer}): an upward arrow",
                own_rank.0
            )),
            None => found.push(format!("{shown}:{line}: `{own}` uses `crate::{used}`, which is in no layer")),
        }
    }
    let is_top_level = path.components().count() == 1;
    found.extend(climbs(&code, is_top_level).into_iter().map(|line| {
        format!(
            "{shown}:{line}: `super::` leads out of `{own}`; name the module from `crate::`, so that the arrow shows"
        )
    }));
    let lines = if stem == "tests" { 0 } else { production_lines(&code) };
    if lines > LONGEST_FILE {
        found.push(format!("{shown}: {lines} lines without its tests, {LONGEST_FILE} at most; it wants splitting"));
    }
    found
}

/// Whether a file of tests is too long; `path` is relative to `tests`.
fn complaint_about_test(path: &Path, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let shown = path.display();
    (lines > LONGEST_FILE)
        .then(|| format!("tests/{shown}: {lines} lines, {LONGEST_FILE} at most; which questions does it answer?"))
}

/// The sources below a directory; what Cargo builds for the fuzzer is none.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("fuzz/target") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn every_arrow_points_down_and_every_file_is_short_and_well_named() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&src);
    assert!(files.len() > 5, "the sources were not found under {}", src.display());
    let found: Vec<String> = files
        .iter()
        .flat_map(|path| complaints(path.strip_prefix(&src).unwrap(), &fs::read_to_string(path).unwrap()))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_file_of_tests_is_short_too() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = rust_files(&tests);
    assert!(files.len() > 100, "the tests were not found under {}", tests.display());
    let found: Vec<String> = files
        .iter()
        .filter_map(|path| complaint_about_test(path.strip_prefix(&tests).unwrap(), &fs::read_to_string(path).unwrap()))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_module_of_the_list_exists() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let gone: Vec<_> =
        LAYERS.iter().copied().flatten().filter(|name| !src.join(format!("{name}.rs")).exists()).collect();
    assert!(gone.is_empty(), "in no file: {gone:?}");
}

mod rules {
    use super::*;

    fn of(path: &str, text: &str) -> Vec<String> {
        complaints(Path::new(path), text)
    }

    #[test]
    fn an_upward_arrow_is_told_with_its_line() {
        let found = of("policy.rs", "use std::fmt;\n\nuse crate::store::Store;\n");
        assert_eq!(found, ["src/policy.rs:3: `policy` (layer 1) uses `crate::store` (layer 4): an upward arrow"]);
    }

    #[test]
    fn an_upward_arrow_in_a_path_in_a_room_or_in_a_group_is_found() {
        for text in [
            "fn f() { crate::gate::serve(); }",
            "use crate::{session::Session, gate::Gate};",
            "use crate::{\n    session::{Session, State},\n    gate,\n};",
            "use crate::gate;",
            "use crate::gate as door;",
            "type G = <crate :: gate::Gate as Trait>::Out;",
            "use crate\n    ::gate::Gate;",
            "pub(in crate::gate) fn f() {}",
            "macro_rules! m { () => { $crate::gate::f() } }",
            "#[cfg(test)]\nmod tests { use crate::gate::Gate; }",
        ] {
            let found = of("store/sqlite.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains("`crate::gate` (layer 7)"), "{found:?}");
        }
    }

    #[test]
    fn an_arrow_hidden_behind_super_is_told() {
        assert_eq!(of("store.rs", "\nuse super::gate;").len(), 1);
        assert_eq!(of("store/sqlite.rs", "use super::super::gate;").len(), 1);
        assert_eq!(of("store/sqlite.rs", "use super::Store;"), [""; 0]);
        assert_eq!(of("store.rs", "#[cfg(test)]\nmod tests { use super::*; }"), [""; 0]);
        assert_eq!(of("store.rs", "#[cfg(test)]\nmod tests { use super::super::gate; }").len(), 1);
    }

    #[test]
    fn lower_layers_and_the_own_folder_may_be_used() {
        let text =
            "use crate::session::Session;\nuse crate::{store::schema, config::Config};\nfn f(e: crate::error::Code) {}";
        assert_eq!(of("store/sqlite.rs", text), [""; 0]);
    }

    #[test]
    fn within_a_layer_only_what_is_listed_before_may_be_used() {
        assert_eq!(of("policy.rs", "use crate::session::Session;"), [""; 0]);
        assert_eq!(of("session.rs", "use crate::policy::Permit;").len(), 1);
        assert_eq!(of("log.rs", "use crate::config::Config;"), [""; 0]);
        assert_eq!(of("config/file.rs", "use crate::metrics::Metrics;").len(), 1);
    }

    #[test]
    fn comments_strings_and_longer_names_are_no_arrows() {
        let text = r##"
            //! See [`crate::gate`].
            /// [`crate::gate::Gate`] /* crate::gate */
            /* crate::gate /* nested crate::gate */ crate::gate */
            const A: &str = "crate::gate \" crate::gate";
            const B: &str = r#"crate::gate " crate::gate"#;
            const C: &[u8] = b"crate::gate";
            const D: char = '"'; // crate::gate
            fn f<'a>(x: &'a str) -> char { '\'' } // crate::gate "
            use other_crate::gate::Gate;
            use my::crate_::gate;
        "##;
        assert_eq!(of("error.rs", text), [""; 0]);
        assert_eq!(of("error.rs", &format!("{text}use crate::gate;\n")).len(), 1, "the text after them still counts");
    }

    #[test]
    fn a_module_without_a_layer_is_told() {
        assert_eq!(
            of("misc/thing.rs", ""),
            ["src/misc/thing.rs: module `misc` is in no layer; add it to tests/layers.rs"]
        );
        assert_eq!(of("gate.rs", "use crate::misc::Thing;").len(), 1);
    }

    #[test]
    fn the_root_files_may_use_everything() {
        assert_eq!(of("main.rs", "use crate::app::App;"), [""; 0]);
        assert_eq!(of("lib.rs", "pub use crate::gate::Gate;"), [""; 0]);
    }

    #[test]
    fn a_long_file_is_told_but_its_tests_do_not_count() {
        let lines = "fn f() {}\n".repeat(LONGEST_FILE);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{lines}}}\n");
        assert_eq!(of("gate.rs", &format!("{lines}{tests}")), [""; 0]);
        assert_eq!(of("gate.rs", &format!("{lines}fn g() {{}}\n{tests}")).len(), 1);
        assert_eq!(of("gate.rs", &format!("{tests}{lines}fn g() {{}}\n")).len(), 1, "what follows the tests counts");
        let elsewhere = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nfn g(x: [u8; 2]) -> bool {\n    true\n}\n";
        assert_eq!(of("gate.rs", &format!("{elsewhere}{lines}")), [""; 0]);
        assert_eq!(of("policy/tests.rs", &format!("{lines}{lines}")), [""; 0]);
    }

    #[test]
    fn a_long_file_of_tests_is_told() {
        let of = |text: &str| complaint_about_test(Path::new("gate/open.rs"), text);
        let lines = "// A line.\n".repeat(LONGEST_FILE);
        assert_eq!(of(&lines), None);
        let told = of(&format!("{lines}\n")).unwrap();
        assert!(told.starts_with("tests/gate/open.rs: 401 lines"), "{told}");
    }

    #[test]
    fn names_that_say_nothing_are_told() {
        for name in ["gate/mod.rs", "gate/utils.rs", "http/common.rs", "http/helpers.rs"] {
            assert_eq!(of(name, "").len(), 1, "{name}");
        }
    }
}
