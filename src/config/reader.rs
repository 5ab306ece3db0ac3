//! Reading one table of settings, key by key, so that every problem is found in one go.
//!
//! A reader asks for the keys it knows, with their defaults; what is wrong is written down under the key's full name and
//! the default goes on in its place. When a table is done, the keys that nobody asked for are unknown, and the nearest
//! known one is suggested. The list of known keys is thus the code that reads them, and cannot fall behind it.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use figment::Figment;
use figment::value::{Dict, Tag, Value};

use super::units;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, for example `policy.user_agent.mode`; empty for the file as a whole.
    pub key: String,
    /// Where the value stands: a file's path, an environment variable, or an option of the command line.
    pub source: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.source.is_empty() {
            write!(f, "{}: ", self.source)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A source as the operator named it. The library would show a file's path from where the program happens to run.
pub(super) fn place(source: &figment::Source) -> String {
    source.file_path().map_or_else(|| source.to_string(), |path| path.display().to_string())
}

/// The list of faults that all tables of one configuration share.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    list: Rc<RefCell<Vec<Fault>>>,
    figment: Rc<Figment>,
}

impl Faults {
    pub(super) fn new(figment: Figment) -> Self {
        Self { list: Rc::default(), figment: Rc::new(figment) }
    }

    pub(super) fn take(&self) -> Vec<Fault> {
        self.list.take()
    }

    pub(super) fn add(&self, key: String, tag: Tag, message: String) {
        let source = self.figment.get_metadata(tag).map_or_else(String::new, |metadata| match &metadata.source {
            Some(source) => place(source),
            None => metadata.name.to_string(),
        });
        self.list.borrow_mut().push(Fault { key, source, message });
    }
}

/// One table being read. Dropping it reports the keys that nobody asked for.
pub(super) struct Table {
    path: String,
    entries: Dict,
    tag: Tag,
    known: Vec<&'static str>,
    faults: Faults,
}

impl Table {
    pub(super) fn root(entries: Dict, faults: Faults) -> Self {
        Self { path: String::new(), entries, tag: Tag::Default, known: Vec::new(), faults }
    }

    /// The full name of a key of this table.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports something wrong with the value of `key`, or with its absence.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        let tag = self.entries.get(key).map_or(self.tag, Value::tag);
        self.faults.add(self.key(key), tag, message.into());
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value of `key` as read by `parse`; `None` when it is absent or wrong.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.entries.get(key)?;
        match parse(value) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.fault(key, message);
                None
            }
        }
    }

    /// The same with a default.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.get(key, default, |value| value.to_bool().ok_or_else(|| "must be true or false".to_owned()))
    }

    /// A text that says something: no key has a use for an empty one.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.optional(key, |value| match text(value)? {
            empty if empty.is_empty() => Err("must not be empty".to_owned()),
            text => Ok(text),
        })
    }

    pub(super) fn count(&mut self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        self.get(key, default, |value| {
            let count = value.to_i128().and_then(|number| usize::try_from(number).ok());
            let (least, most) = (range.start(), range.end());
            count
                .filter(|count| range.contains(count))
                .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
        })
    }

    /// A length of time; `"0"` is `None`.
    pub(super) fn time(&mut self, key: &'static str, default: Option<Duration>) -> Option<Duration> {
        self.get(key, default, duration)
    }

    /// A length of time that cannot be switched off.
    pub(super) fn limit(&mut self, key: &'static str, default: Duration) -> Duration {
        self.get(key, default, |value| {
            duration(value)?.ok_or_else(|| "cannot be 0: this limit cannot be switched off".to_owned())
        })
    }

    pub(super) fn size(&mut self, key: &'static str, default: usize) -> usize {
        self.get(key, default, |value| match value.to_i128() {
            Some(number) => usize::try_from(number).map_err(|_| "must not be negative".to_owned()),
            None => units::parse_size(&text(value)?).map_err(str::to_owned),
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, choices: &[(&str, T)]) -> T {
        self.get(key, default, |value| {
            let words = || choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            let given = text(value).map_err(|_| format!("must be one of {}", words()))?;
            choices
                .iter()
                .find(|(word, _)| *word == given)
                .map(|(_, choice)| *choice)
                .ok_or_else(|| format!("\"{given}\" is none of {}", words()))
        })
    }

    /// A value that may stand in the file, or in an environment variable or a file that it names.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<String> {
        self.optional(key, secret)
    }

    /// A table inside this one; an absent one is empty, so that its defaults come from one place.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        let path = self.key(key);
        let entries = self.optional(key, |value| match value {
            Value::Dict(_, entries) => Ok(entries.clone()),
            Value::String(..)
            | Value::Char(..)
            | Value::Bool(..)
            | Value::Num(..)
            | Value::Empty(..)
            | Value::Array(..) => Err(format!("must be a table: [{path}]")),
        });
        self.inner(path, entries.unwrap_or_default())
    }

    /// The tables of an array of tables.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let message = format!(
            "must be an array of tables, each under a line [[{}]] of the file; the environment cannot set them",
            self.key(key)
        );
        let items = self.get(key, Vec::new(), |value| {
            let items = value.as_array().ok_or_else(|| message.clone())?;
            items.iter().map(|item| item.as_dict().cloned().ok_or_else(|| message.clone())).collect()
        });
        let path = self.key(key);
        items.into_iter().enumerate().map(|(at, entries)| self.inner(format!("{path}[{at}]"), entries)).collect()
    }

    /// All entries of a table whose keys are free, such as role names.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(String, Value)> {
        let mut table = self.table(key);
        std::mem::take(&mut table.entries).into_iter().collect()
    }

    fn inner(&self, path: String, entries: Dict) -> Self {
        let tag = entries.values().next().map_or(self.tag, Value::tag);
        Self { path, entries, tag, known: Vec::new(), faults: self.faults.clone() }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for key in self.entries.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let nearest = self
                .known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, key), known))
                .min()
                .filter(|(distance, known)| *distance <= known.len().div_ceil(3).max(2));
            let message = match nearest {
                Some((_, known)) => format!("unknown key; did you mean `{known}`?"),
                None => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            self.fault(key, message);
        }
    }
}

const SECRET_FORM: &str = "must be a text, { env = \"NAME\" } or { file = \"PATH\" }";

/// A text, or what it names.
pub(super) fn secret(value: &Value) -> Result<String, String> {
    match value {
        Value::Dict(_, entries) => reveal(entries),
        Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..)
        | Value::Array(..) => text(value).map_err(|_| SECRET_FORM.to_owned()),
    }
}

pub(super) fn reveal(entries: &Dict) -> Result<String, String> {
    let mut pairs = entries.iter();
    let (Some((kind, place)), None) = (pairs.next(), pairs.next()) else { return Err(SECRET_FORM.to_owned()) };
    let place = place.as_str().ok_or(SECRET_FORM)?;
    let secret = match kind.as_str() {
        "env" => {
            std::env::var(place).map_err(|_| format!("the environment variable {place} is not set or not UTF-8"))?
        }
        "file" => {
            std::fs::read_to_string(place).map_err(|error| format!("the file {place} cannot be read: {error}"))?
        }
        _ => return Err(SECRET_FORM.to_owned()),
    };
    // A file usually ends with a line break that is no part of the secret.
    let secret = secret.trim_end_matches(['\r', '\n']).to_owned();
    if secret.is_empty() { Err(format!("the {kind} {place} is empty")) } else { Ok(secret) }
}

pub(super) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "must be a text in quotes".to_owned())
}

pub(super) fn list<T>(value: &Value, item: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    value.as_array().ok_or_else(|| "must be a list: [\"…\", \"…\"]".to_owned())?.iter().map(item).collect()
}

pub(super) fn duration(value: &Value) -> Result<Option<Duration>, String> {
    // A bare 0 is clear; any other bare number lacks its unit.
    if value.to_i128() == Some(0) {
        return Ok(None);
    }
    let text = value.as_str().ok_or("must be a length of time in quotes, such as \"30s\", \"15m\" or \"14d\"")?;
    units::parse_duration(text)
}

#[cfg(test)]
mod tests {
    use figment::providers::{Format as _, Toml};

    use super::*;

    fn read(toml: &str, read: impl FnOnce(&mut Table)) -> Vec<String> {
        let figment = Figment::from(Toml::string(toml));
        let entries = figment.extract::<Dict>().unwrap();
        let faults = Faults::new(figment);
        let mut root = Table::root(entries, faults.clone());
        read(&mut root);
        drop(root);
        faults.take().into_iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect()
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_key() {
        let faults = read("[a]\nx = \"yes\"\ny = \"5 parsecs\"\nz = \"red\"", |root| {
            let mut a = root.table("a");
            assert!(a.flag("x", true), "a wrong value leaves the default");
            a.time("y", None);
            a.choice("z", 1, &[("green", 1), ("blue", 2)]);
        });
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert_eq!(faults[0], "a.x: must be true or false");
        assert!(faults[1].starts_with("a.y: "), "{faults:?}");
        assert_eq!(faults[2], "a.z: \"red\" is none of \"green\", \"blue\"");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let faults = read("[[u]]\nlifetme = 1\nqqqq = 2", |root| {
            for mut u in root.tables("u") {
                u.text("lifetime");
            }
        });
        assert_eq!(
            faults,
            ["u[0].lifetme: unknown key; did you mean `lifetime`?", "u[0].qqqq: unknown key; known here: lifetime"]
        );
    }

    #[test]
    fn a_secret_comes_from_the_file_that_it_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let toml = format!("a = {{ file = {:?} }}\nb = {{ env = \"NO_SUCH_VARIABLE_HERE\" }}\nc = 5", file.path());
        let faults = read(&toml, |root| {
            assert_eq!(root.secret("a").as_deref(), Some("s3cret"));
            assert_eq!(root.secret("b"), None);
            assert_eq!(root.secret("c"), None);
        });
        assert_eq!(
            faults,
            [
                "b: the environment variable NO_SUCH_VARIABLE_HERE is not set or not UTF-8".to_owned(),
                format!("c: {SECRET_FORM}"),
            ]
        );
    }
}
