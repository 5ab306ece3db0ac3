//! Where settings come from: the file, then the environment, then the command line; the later wins.

use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::Invalid;
use super::reader::{Fault, Faults, Table};

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
        Self { file: file.or_else(found), environment: std::env::vars().collect(), overrides }
    }

    /// All sources as one table.
    pub(super) fn merge(&self) -> Result<(Table, Faults), Invalid> {
        let whole = |source: &str, message: String| {
            Invalid(vec![Fault { key: String::new(), source: source.to_owned(), message }])
        };
        let mut figment = Figment::new();
        if let Some(path) = &self.file {
            // Read here first, so that a missing or unreadable file is said in plain words.
            std::fs::read_to_string(path)
                .map_err(|error| whole(&path.display().to_string(), format!("cannot be read: {error}")))?;
            figment = figment.merge(Toml::file_exact(path));
        }
        figment = figment.merge(Environment(&self.environment));
        if let Some(listen) = &self.overrides.listen {
            figment = figment.merge(Serialized::default("server.listen", [listen]));
        }
        if let Some(url) = &self.overrides.upstream {
            figment = figment.merge(Serialized::default("upstream", [Map::from([("name", "app"), ("url", url)])]));
        }
        if let Some(url) = &self.overrides.store {
            figment = figment.merge(Serialized::default("store.url", url));
        }
        let entries = figment.extract::<Dict>().map_err(|error| {
            let source = error.metadata.as_ref().and_then(|metadata| metadata.source.as_ref());
            whole(&source.map(ToString::to_string).unwrap_or_default(), error.kind.to_string().trim().to_owned())
        })?;
        let faults = Faults::new(figment);
        Ok((Table::root(entries, faults.clone()), faults))
    }
}

/// `GATEWAY_<TABLE>__<KEY>=value`. Other variables that begin with `GATEWAY_` are none of ours: Kubernetes injects
/// `GATEWAY_PORT` and the like for a service named gateway.
struct Environment<'a>(&'a [(String, String)]);

impl Provider for Environment<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut root = Dict::new();
        for (name, value) in self.0 {
            let Some(path) = name.strip_prefix("GATEWAY_").filter(|path| path.contains("__")) else { continue };
            let keys: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
            insert(&mut root, &keys, parse(value));
        }
        Ok(Profile::Default.collect(root))
    }
}

/// A value as TOML would read it; what TOML cannot read is a text, so that nobody has to quote inside quotes.
fn parse(value: &str) -> Value {
    let read = Figment::from(Toml::string(&format!("value = {value}"))).find_value("value");
    read.unwrap_or_else(|_| Value::from(value))
}

fn insert(table: &mut Dict, keys: &[String], value: Value) {
    let Some((first, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    let inner = table.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, inner) = inner {
        insert(inner, rest, value);
    }
}
