//! The settings, parsed: every value has the type that its user needs, and [`Config::load`] is the only way to have one.
//!
//! Files and environment are merged by figment (`sources`), read key by key with their defaults (`file`,
//! `upstream`), and every problem is reported at once with its key. What each key means to an operator is written in
//! `gateway.toml`, the commented default that the tests load.

mod admin;
mod assertion;
mod audit;
mod compat;
mod file;
mod hearing;
mod jwt;
mod limits;
mod listen;
mod reader;
mod reload;
mod server;
mod session;
mod sources;
mod tls;
mod trace;
pub mod units;
mod upstream;
mod web_url;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

pub use self::admin::{Admin, Permission};
pub use self::assertion::{Assertion, Bind};
pub use self::audit::AuditSettings;
pub use self::compat::Compat;
pub use self::hearing::{Hearing, Notify};
pub use self::jwt::{JwtSettings, KeySetSettings, SigningSettings};
pub use self::limits::{Rate, RateLimits};
pub use self::listen::Listen;
pub use self::reader::Fault;
pub use self::server::Server;
pub use self::session::{SessionSettings, Span};
pub use self::sources::{Overrides, Sources};
pub use self::tls::{CertificateFiles, ClientAuth, TlsSettings, TlsVersion};
pub use self::trace::{Collector, Parent, Sample, TraceSettings};
pub use self::upstream::{
    Address, Deliver, EarlyHints, Field, Health, Hook, LONGEST_PAUSE, Login, OnReject, PasswordChange, Place, Protocol,
    Route, RoutePath, StatusSet, Upstream, UpstreamTls, WebSocketAccess, WebSockets, system_roots,
};
pub use self::web_url::WebUrl;
use crate::http::cookie;
use crate::http::credential;
use crate::http::identity;
use crate::http::problem::Dialect;
use crate::policy;
use crate::token::ServiceKey;

/// All settings of one gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public side.
    pub server: Server,
    /// How often one client, or one session, may do what costs something.
    pub limits: RateLimits,
    /// The applications, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// What tokens look like and where they are found.
    pub token: TokenSettings,
    /// How long sessions live.
    pub session: SessionSettings,
    /// What binds a session, checked on every request.
    pub rules: policy::Rules,
    /// How many sessions a user may have, enforced at creation.
    pub max_sessions: MaxSessions,
    /// Whether a logout ends all sessions of the user unless the call says otherwise.
    pub logout_everywhere: bool,
    /// How long and how much the cache keeps.
    pub cache: CacheSettings,
    /// Where sessions are kept.
    pub store: StoreSettings,
    /// How long what is over is kept.
    pub audit: AuditSettings,
    /// Which headers tell the application who is calling.
    pub identity: identity::Names,
    /// Who may see and end the sessions of others.
    pub admin: Admin,
    /// Which signed tokens are accepted.
    pub jwt: JwtSettings,
    /// The gateway's own keys; `None` signs nothing.
    pub signing: Option<SigningSettings>,
    /// Who may create sessions.
    pub services: Vec<Service>,
    /// What stands in for nilva-session, if that is wanted.
    pub compat: Option<Compat>,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How a request is followed through several programs.
    pub trace: TraceSettings,
}

/// What tokens look like and where they are found.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// How many random bytes a new token has.
    pub bytes: usize,
    /// Where a credential is looked for.
    pub credential: credential::Settings,
    /// The attributes of the session cookie.
    pub cookie: cookie::Attributes,
}

/// How many live sessions a user may have.
#[derive(Clone, Debug)]
pub struct MaxSessions {
    /// For users without a role that has its own limit; `None` is unlimited.
    pub default: Option<NonZeroU32>,
    /// By role; of several the most generous counts, and unlimited is the most generous.
    pub by_role: BTreeMap<String, Option<NonZeroU32>>,
    /// What gives way.
    pub on_exceed: policy::OnExceed,
    /// Whether users who have more sessions than a new limit allows lose the excess when the limit comes into force,
    /// and not only at their next login.
    pub enforce_on_reload: bool,
}

impl MaxSessions {
    /// The limit for a user with these roles.
    pub fn for_roles<'a>(&self, roles: impl Iterator<Item = &'a str>) -> Option<NonZeroU32> {
        let mut limits = roles.filter_map(|role| self.by_role.get(role));
        let Some(first) = limits.next() else { return self.default };
        limits.fold(*first, |most, next| most.zip(*next).map(|(a, b)| a.max(b)))
    }
}

/// How long and how much the cache keeps.
#[derive(Clone, Copy, Debug)]
pub struct CacheSettings {
    /// The most sessions kept.
    pub capacity: usize,
    /// How long a session is trusted without asking the store again.
    pub ttl: Duration,
    /// How long an unknown token is taken for unknown without asking again; `None` asks every time.
    pub negative_ttl: Option<Duration>,
    /// How long after its last confirmation a cached session is served while the store cannot be asked; `None` is not
    /// beyond `ttl`.
    pub serve_while_store_down: Option<Duration>,
}

/// Where sessions are kept.
#[derive(Clone)]
pub struct StoreSettings {
    /// The kind of store and its address.
    pub place: StorePlace,
    /// Whether the schema is brought up to date at start.
    pub migrate: bool,
    /// The longest that one call may take.
    pub timeout: Duration,
    /// How the changes of others are heard of.
    pub hearing: Hearing,
}

/// The kind of store and its address.
#[derive(Clone)]
pub enum StorePlace {
    /// A database file.
    Sqlite {
        /// Its path.
        path: PathBuf,
    },
    /// A PostgreSQL database.
    Postgres {
        /// Its URL, which may hold a password.
        url: String,
        /// The most connections.
        pool_size: usize,
        /// The longest that connecting may take.
        connect_timeout: Duration,
        /// The certificates that vouch for the server, instead of the system's.
        ca_file: Option<PathBuf>,
    },
}

/// Without the URL: it may hold a password.
impl std::fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place: &dyn std::fmt::Debug = match &self.place {
            StorePlace::Sqlite { path } => path,
            StorePlace::Postgres { .. } => &"postgres",
        };
        f.debug_struct("StoreSettings")
            .field("place", place)
            .field("migrate", &self.migrate)
            .field("timeout", &self.timeout)
            .field("hearing", &self.hearing)
            .finish_non_exhaustive()
    }
}

/// A service that may create sessions.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, for the audit log.
    pub name: String,
    /// Its key.
    pub key: ServiceKey,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The least level, or a filter as `RUST_LOG` takes it.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
    /// Where the access log goes.
    pub access: AccessLog,
    /// Whether the query stands in the access log. Queries often carry personal data.
    pub query: bool,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: `key=value`.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// Everything that is wrong with the settings; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.0))]
pub struct Invalid(pub Vec<Fault>);

fn list(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// The words in which clients are told that a request failed, but for those of `/_sessions`.
    pub fn dialect(&self) -> Dialect {
        self.compat.as_ref().map_or(Dialect::Ours, Compat::dialect)
    }

    /// Reads, merges and checks the settings.
    ///
    /// # Errors
    /// Every problem at once, each with its key and where it stands.
    pub fn load(sources: &Sources) -> Result<Self, Invalid> {
        let (root, faults) = sources.merge()?;
        let config = file::read(root);
        let found = faults.take();
        match config {
            Some(config) if found.is_empty() => Ok(config),
            Some(_) | None => Err(Invalid(found)),
        }
    }
}

#[cfg(test)]
mod tests;
