//! The table `[identity.assertion]` and the keys of `[[upstream]]` that go before it: the signed assertion of who is
//! calling, for applications that want more than a header.

use std::time::Duration;

use figment::value::Value;

use super::reader::{Table, list, text};

/// How the assertion to one application is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
    /// What it is good for.
    pub bind: Bind,
}

/// Which parts of the request an assertion names, so that it is good for no other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// Its method.
    pub method: bool,
    /// Its path.
    pub path: bool,
}

impl Bind {
    /// Whether it names any: then every request has an assertion of its own.
    pub const fn is_any(self) -> bool {
        self.method || self.path
    }
}

/// What holds for every application that says nothing else.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    enabled: bool,
    issuer: String,
    lifetime: Duration,
    bind: Bind,
}

/// How long an assertion is good that nobody set.
const LIFETIME: Duration = Duration::from_secs(60);
/// Assertions count seconds, and are made anew after half their life.
const SHORTEST: Duration = Duration::from_secs(2);

impl Defaults {
    /// Reads `[identity.assertion]`. `issuer` is the one of `[jwt]`.
    pub(super) fn read(mut table: Table, issuer: Option<&String>) -> Self {
        let own = table.text("issuer");
        let lifetime = table.limit("lifetime", LIFETIME);
        let issuer = own.as_ref().or(issuer).map_or("session-gateway", String::as_str);
        Self {
            enabled: table.flag("enabled", false),
            issuer: issuer.to_owned(),
            lifetime: long_enough(&table, "lifetime", lifetime),
            bind: table.get("bind", Bind::default(), bind),
        }
    }

    /// The assertion for the application of this table.
    pub(super) fn of(&self, table: &mut Table, name: &str) -> Option<Assertion> {
        let enabled = table.flag("assertion", self.enabled);
        let lifetime = table.limit("assertion_lifetime", self.lifetime);
        let assertion = Assertion {
            issuer: self.issuer.clone(),
            audience: table.text("assertion_audience").unwrap_or_else(|| name.to_owned()),
            lifetime: long_enough(table, "assertion_lifetime", lifetime),
            bind: table.get("assertion_bind", self.bind, bind),
        };
        enabled.then_some(assertion)
    }
}

fn long_enough(table: &Table, key: &'static str, lifetime: Duration) -> Duration {
    if table.has(key) && lifetime < SHORTEST {
        table.fault(key, "must be 2s or more");
    }
    lifetime
}

fn bind(value: &Value) -> Result<Bind, String> {
    let mut bind = Bind::default();
    for part in list(value, text)? {
        match part.as_str() {
            "method" => bind.method = true,
            "path" => bind.path = true,
            other => return Err(format!("\"{other}\" is none of \"method\", \"path\"")),
        }
    }
    Ok(bind)
}
