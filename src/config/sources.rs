//! Where settings come from: the file, then the environment, then the command line; the later wins.

use std::ffi::OsString;
use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::Invalid;
use super::reader::{Fault, Faults, Table, place, reveal};

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None` is built-in defaults alone.
    pub file: Option<PathBuf>,
    /// The environment, as names and values; usually that of the process.
    pub environment: Vec<(String, String)>,
    /// What the command line says.
    pub overrides: Overrides,
}

/// Settings given on the command line.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--upstream`: takes the place of all upstreams of the file.
    pub upstream: Option<String>,
    /// `--store`.
    pub store: Option<String>,
}

/// The places where a file is looked for when none is named, in this order.
const PLACES: [&str; 2] = ["gateway.toml", "/etc/session-gateway/gateway.toml"];

impl Sources {
    /// The file named, or the first one found; this process's environment; and what the command line says.
    pub fn discover(file: Option<PathBuf>, overrides: Overrides) -> Self {
        let found = || PLACES.iter().map(PathBuf::from).find(|place| place.exists());
        Self { file: file.or_else(found), environment: ours(std::env::vars_os()), overrides }
    }

    /// All sources as one table.
    pub(super) fn merge(&self) -> Result<(Table, Faults), Invalid> {
        let whole = |source: &str, message: String| {
            Invalid(vec![Fault { key: String::new(), source: source.to_owned(), message }])
        };
        let unreadable: Vec<_> = self
            .environment
            .iter()
            .filter(|(name, value)| path_of(name).is_some() && value.contains(char::REPLACEMENT_CHARACTER))
            .map(|(name, _)| Fault {
                key: String::new(),
                source: source_of(name),
                message: "is not UTF-8: it would not be read as it was meant".to_owned(),
            })
            .collect();
        if !unreadable.is_empty() {
            return Err(Invalid(unreadable));
        }
        let mut figment = Figment::new();
        if let Some(path) = &self.file {
            // Read here first, so that a missing or unreadable file is said in plain words.
            std::fs::read_to_string(path)
                .map_err(|error| whole(&path.display().to_string(), format!("cannot be read: {error}")))?;
            figment = figment.merge(Toml::file_exact(path));
        }
        for (name, value) in &self.environment {
            if let Some(path) = path_of(name) {
                let keys = path.split("__").map(str::to_ascii_lowercase).collect();
                figment = figment.merge(Given { source: source_of(name), keys, value: parse(value) });
            }
        }
        let Overrides { listen, upstream, store } = &self.overrides;
        if let Some(listen) = listen {
            figment = figment.merge(Given::option("--listen", ["server", "listen"], listen.as_str()));
        }
        if let Some(url) = upstream {
            let only = Dict::from([("name".to_owned(), "app".into()), ("url".to_owned(), url.as_str().into())]);
            figment = figment.merge(Given::option("--upstream", ["upstream"], vec![Value::from(only)]));
        }
        if let Some(url) = store {
            let url = elsewhere(url).map_err(|message| whole("--store", message))?;
            figment = figment.merge(Given::option("--store", ["store", "url"], url));
        }
        let entries = figment.extract::<Dict>().map_err(|error| {
            let source = error.metadata.as_ref().and_then(|metadata| metadata.source.as_ref());
            whole(&source.map(place).unwrap_or_default(), in_one_line(&error.kind.to_string()))
        })?;
        let faults = Faults::new(figment);
        Ok((Table::root(entries, faults.clone()), faults))
    }
}

/// What an argument that may hold a password stands for: `env:NAME`, `file:PATH`, or itself.
fn elsewhere(argument: &str) -> Result<String, String> {
    match argument.split_once(':') {
        Some((kind @ ("env" | "file"), place)) => reveal(&Dict::from([(kind.to_owned(), place.into())])),
        Some(_) | None => Ok(argument.to_owned()),
    }
}

/// A syntax error without the lines that it quotes: a secret may stand in them.
fn in_one_line(error: &str) -> String {
    let quoted =
        |line: &str| line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
    let lines = error.lines().filter(|line| !quoted(line)).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(": ")
}

/// `GATEWAY_<TABLE>__<KEY>=value`. Other variables that begin with `GATEWAY_` are none of ours: Kubernetes injects
/// `GATEWAY_PORT` and the like for a service named gateway.
fn path_of(name: &str) -> Option<&str> {
    name.strip_prefix("GATEWAY_").filter(|path| path.contains("__"))
}

/// The variables that are settings, as text. What is not UTF-8 shows as U+FFFD, and is refused for it.
fn ours(environment: impl Iterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    environment
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| path_of(name).is_some())
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect()
}

fn source_of(name: &str) -> String {
    format!("environment variable {name}")
}

/// One setting that stands in no file. Each is a source of its own, so that a problem names the variable or the option.
struct Given {
    source: String,
    keys: Vec<String>,
    value: Value,
}

impl Given {
    fn option<const N: usize>(name: &str, keys: [&str; N], value: impl Into<Value>) -> Self {
        Self { source: name.to_owned(), keys: keys.map(str::to_owned).into(), value: value.into() }
    }
}

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut root = Dict::new();
        insert(&mut root, &self.keys, self.value.clone());
        Ok(Profile::Default.collect(root))
    }
}

/// A value as TOML would read it; what TOML cannot read is a text, so that nobody has to quote inside quotes. Several lines
/// are a text too: TOML would read the later ones as other settings.
fn parse(value: &str) -> Value {
    if value.contains('\n') {
        return Value::from(value);
    }
    let read = Figment::from(Toml::string(&format!("value = {value}"))).find_value("value");
    read.unwrap_or_else(|_| Value::from(value))
}

fn insert(table: &mut Dict, keys: &[String], value: Value) {
    let Some((first, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    let mut inner = Dict::new();
    insert(&mut inner, rest, value);
    table.insert(first.clone(), Value::from(inner));
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn variables_that_are_no_text_are_no_reason_to_panic() {
        let broken = || OsString::from_vec(vec![b'x', 0xff]);
        let read = ours(
            [
                (broken(), broken()),
                ("GATEWAY_PORT".into(), broken()),
                ("GATEWAY_CACHE__TTL".into(), "5s".into()),
                ("GATEWAY_STORE__URL".into(), broken()),
            ]
            .into_iter(),
        );
        assert_eq!(
            read,
            [
                ("GATEWAY_CACHE__TTL".to_owned(), "5s".to_owned()),
                ("GATEWAY_STORE__URL".to_owned(), "x\u{fffd}".to_owned())
            ]
        );
    }

    #[test]
    fn a_syntax_error_keeps_its_place_and_loses_the_line_that_it_quotes() {
        let error = "TOML parse error at line 3, column 5\n  |\n3 | key = \"s3cret\n  |     ^\ninvalid basic string";
        assert_eq!(in_one_line(error), "TOML parse error at line 3, column 5: invalid basic string");
    }
}
