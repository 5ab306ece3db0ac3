//! The tables of `gateway.toml` with their defaults, one function a table.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;
use http::header::HeaderName;

use super::reader::{Table, list, text};
use super::{
    AccessLog, CacheSettings, Config, LogFormat, LogSettings, MaxSessions, Service, StorePlace, StoreSettings,
    TokenSettings, admin, assertion, audit, compat, hearing, jwt, limits, server, session, trace, upstream,
};
use crate::http::cookie::{self, SameSite};
use crate::http::{credential, identity};
use crate::policy::{IpMode, IpRule, OnAgentChange, OnExceed, Rules, UserAgentRule};
use crate::session::Role;
use crate::token::{MAX_BYTES, MIN_BYTES, ServiceKey};
use crate::user_agent::Likeness;

/// Bounds against slips of the pen: beyond them the gateway would run out of something before it began.
const MAX_CACHED: usize = 100_000_000;
const MAX_POOL: usize = 10_000;

/// Reads all tables. `None` when something without a default is wrong; what it is stands in the faults.
pub(super) fn read(mut root: Table) -> Option<Config> {
    let server = server::read(root.table("server"));
    let limits = limits::read(root.table("limits"));
    let mut identity_table = root.table("identity");
    let jwt = jwt::read(root.table("jwt"));
    let assertion = assertion::Defaults::read(identity_table.table("assertion"), jwt.rules.issuers.first());
    let upstreams = root.tables("upstream");
    if upstreams.is_empty() && !root.has("upstream") {
        root.fault(
            "upstream",
            "is missing: name the application, in [[upstream]] url = \"http://127.0.0.1:3000\" or with --upstream; settings are read \
             from --config FILE, else ./gateway.toml, else /etc/session-gateway/gateway.toml",
        );
    }
    let expected = upstreams.len().max(1);
    let upstreams: Vec<_> =
        upstreams.into_iter().enumerate().filter_map(|(at, table)| upstream::read(table, at, &assertion)).collect();
    let asserts = upstreams.iter().any(|upstream| upstream.assertion.is_some());
    let signing = jwt::read_signing(root.table("signing"), asserts.then_some("identity.assertion"));
    let mut session_table = root.table("session");
    let idle_timeout = session_table.time("idle_timeout", None);
    let session = session::read(session_table, idle_timeout);
    let (rules, max_sessions) = policy(root.table("policy"), idle_timeout);
    let logout_everywhere = root.table("logout").flag("everywhere", false);
    let identity = identity(identity_table);
    let admin = admin::read(root.table("admin"));
    let services = services(root.tables("service"));
    let token = token(root.table("token"));
    let compat = compat::read(root.table("compat"), token.as_ref(), &jwt, signing.is_some());
    let cache = cache(root.table("cache"));
    let store = store(root.table("store"));
    let audit = audit::read(root.table("audit"));
    let log = log(root.table("log"));
    let trace = trace::read(root.table("trace"));
    drop(root);
    if upstreams.len() != expected {
        return None;
    }
    Some(Config {
        server: server?,
        limits,
        upstreams,
        token: token?,
        session,
        rules,
        max_sessions,
        logout_everywhere,
        cache,
        store: store?,
        audit,
        identity: identity?,
        admin,
        jwt,
        signing,
        services,
        compat,
        log,
        trace,
    })
}

fn token(mut table: Table) -> Option<TokenSettings> {
    let bytes = table.get("bytes", 32, |value| {
        let bytes = value.to_i128().and_then(|number| usize::try_from(number).ok());
        bytes
            .filter(|bytes| (MIN_BYTES..=MAX_BYTES).contains(bytes))
            .ok_or_else(|| format!("must be {MIN_BYTES} to {MAX_BYTES}"))
    });
    let schemes = table.get("schemes", vec!["Bearer".to_owned(), "Token".to_owned()], |value| {
        list(value, |scheme| {
            let scheme = text(scheme)?;
            // RFC 9110 section 11.1: a scheme is a token; the ones with parameters of their own are the application's.
            let is_token =
                !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
            match scheme.to_ascii_lowercase().as_str() {
                "basic" | "digest" | "negotiate" | "ntlm" => {
                    Err(format!("\"{scheme}\" belongs to the application; write \"Bearer\" or \"Token\""))
                }
                _ if is_token => Ok(scheme),
                _ => Err(format!("\"{scheme}\" is no authorization scheme")),
            }
        })
    });
    let cookie = table.text("cookie").unwrap_or_else(|| "__Host-session".to_owned());
    let secure = table.flag("cookie_secure", true);
    let same_site = table.choice(
        "cookie_same_site",
        SameSite::Lax,
        &[("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)],
    );
    let forward = table.flag("forward", false);
    let cookie = cookie::CookieName::parse(&cookie).map_err(|message| table.fault("cookie", message)).ok()?;
    let attributes = cookie::Attributes { secure, same_site, max_age: None };
    if let Err(message) = attributes.check(&cookie) {
        let key = if secure { "cookie_same_site" } else { "cookie_secure" };
        table.fault(key, message);
    }
    let former = table.optional("former_cookie", |value| match text(value)?.as_str() {
        "" => Ok(None),
        name => cookie::CookieName::parse(name).map(Some),
    });
    let former = former.flatten();
    if former.as_ref().is_some_and(|former| former.as_str() == cookie.as_str()) {
        table.fault("former_cookie", "must be another one than cookie: the application's own, which it goes on using");
    }
    match credential::Settings::new(schemes, cookie, forward) {
        Ok(credential) => {
            let credential = credential.with_former_cookie(former);
            Some(TokenSettings { bytes, credential, cookie: attributes })
        }
        Err(message) => {
            table.fault("schemes", message);
            None
        }
    }
}

fn policy(mut table: Table, idle_timeout: Option<Duration>) -> (Rules, MaxSessions) {
    let mut agent = table.table("user_agent");
    let likeness = agent.choice(
        "mode",
        Some(Likeness::Family),
        &[("exact", Some(Likeness::Exact)), ("family", Some(Likeness::Family)), ("off", None)],
    );
    let on_change = agent.choice(
        "on_change",
        OnAgentChange::Suspend,
        &[("suspend", OnAgentChange::Suspend), ("reject", OnAgentChange::Reject), ("log", OnAgentChange::Log)],
    );
    drop(agent);
    let mut address = table.table("ip");
    let ip = IpRule {
        mode: address.choice(
            "mode",
            IpMode::Record,
            &[("record", IpMode::Record), ("subnet", IpMode::Subnet), ("exact", IpMode::Exact)],
        ),
        log_only: address.choice("on_change", false, &[("reject", false), ("log", true)]),
    };
    drop(address);
    let mut max = table.table("max_sessions");
    let default = max.get("default", None, limit);
    let by_role = max.entries("by_role");
    let mut limits = BTreeMap::new();
    for (role, value) in by_role {
        if let Err(message) = Role::parse(&role) {
            max.fault("by_role", format!("the role \"{role}\" {message}"));
        }
        match limit(&value) {
            Ok(limit) => {
                limits.insert(role, limit);
            }
            Err(message) => max.fault("by_role", format!("{role} {message}")),
        }
    }
    let on_exceed = max.choice(
        "on_exceed",
        OnExceed::EvictOldest,
        &[
            ("evict_oldest", OnExceed::EvictOldest),
            ("evict_least_recent", OnExceed::EvictLeastRecent),
            ("reject_new", OnExceed::RejectNew),
        ],
    );
    let user_agent = likeness.map(|likeness| UserAgentRule { likeness, on_change });
    let enforce_on_reload = max.flag("enforce_on_reload", false);
    (Rules { user_agent, ip, idle_timeout }, MaxSessions { default, by_role: limits, on_exceed, enforce_on_reload })
}

/// A number of sessions; 0 is unlimited.
fn limit(value: &Value) -> Result<Option<NonZeroU32>, String> {
    let number = value.to_i128().and_then(|number| u32::try_from(number).ok());
    number.map(NonZeroU32::new).ok_or_else(|| "must be a whole number; 0 is unlimited".to_owned())
}

fn cache(mut table: Table) -> CacheSettings {
    CacheSettings {
        capacity: table.count("capacity", 100_000, 1..=MAX_CACHED),
        ttl: table.limit("ttl", Duration::from_secs(30)),
        negative_ttl: table.time("negative_ttl", Some(Duration::from_secs(2))),
        serve_while_store_down: table.time("serve_while_store_down", Some(Duration::from_secs(60))),
    }
}

fn store(mut table: Table) -> Option<StoreSettings> {
    let given = table.has("url");
    let url = table.secret("url");
    let pool_size = table.count("pool_size", 8, 1..=MAX_POOL);
    let connect_timeout = table.limit("connect_timeout", Duration::from_secs(5));
    let ca_file = table.text("ca_file").map(PathBuf::from);
    let migrate = table.flag("migrate", true);
    let timeout = table.limit("timeout", Duration::from_secs(5));
    let hearing = hearing::read(&mut table);
    let url = match url {
        Some(url) => url,
        None if given => return None,
        None => "sqlite:session-gateway.db".to_owned(),
    };
    let place = match url.split_once(':') {
        Some(("sqlite", path)) if !path.trim_start_matches('/').is_empty() => {
            // sqlite:///var/lib/x.db is what other programs write for an absolute path.
            let path = path.strip_prefix("//").unwrap_or(path);
            StorePlace::Sqlite { path: PathBuf::from(path) }
        }
        Some(("postgres" | "postgresql", _)) => StorePlace::Postgres { url, pool_size, connect_timeout, ca_file },
        Some(_) | None => {
            // The value is not repeated: it may hold a password.
            table.fault("url", "must be \"sqlite:PATH\" or \"postgres://user:password@host/database\"");
            return None;
        }
    };
    Some(StoreSettings { place, migrate, timeout, hearing })
}

fn identity(mut table: Table) -> Option<identity::Names> {
    let presets: [(&str, [&str; 5]); 3] = [
        ("", ["User", "Session", "Roles", "Name", "Email"]),
        ("remote-user", ["Remote-User", "Remote-Session", "Remote-Groups", "Remote-Name", "Remote-Email"]),
        (
            "x-forwarded-user",
            [
                "X-Forwarded-User",
                "X-Forwarded-Session",
                "X-Forwarded-Groups",
                "X-Forwarded-Preferred-Username",
                "X-Forwarded-Email",
            ],
        ),
    ];
    let prefix = table.text("prefix").unwrap_or_else(|| "X-Auth-".to_owned());
    let preset = table.choice("preset", 0, &[(presets[0].0, 0), (presets[1].0, 1), (presets[2].0, 2)]);
    let stems = presets.get(preset).map_or(presets[0].1, |(_, names)| *names);
    let keys = ["user", "session", "roles", "name", "email"];
    let mut names = Vec::with_capacity(keys.len());
    for (key, stem) in keys.into_iter().zip(stems) {
        let default = if preset == 0 { format!("{prefix}{stem}") } else { stem.to_owned() };
        let given = table.text(key).unwrap_or(default);
        match HeaderName::try_from(given.as_str()) {
            Ok(name) if is_reserved(&name) => {
                table.fault(key, format!("\"{given}\" means something else and cannot carry the identity"));
            }
            Ok(name) => names.push(name),
            Err(_) => table.fault(key, format!("\"{given}\" is no header name")),
        }
    }
    let names: [HeaderName; 5] = names.try_into().ok()?;
    match identity::Names::new(&prefix, names) {
        Ok(names) => Some(names),
        Err(message) => {
            table.fault("prefix", message);
            None
        }
    }
}

/// Whether a header says something else already: to the application, or by our own hand.
fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [&str; 25] = [
        "accept",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "proxy-connection",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    ];
    RESERVED.contains(&name.as_str())
}

fn services(tables: Vec<Table>) -> Vec<Service> {
    /// The fewest characters of a key: about 96 bits when drawn from letters and digits.
    const SHORTEST_KEY: usize = 16;

    let mut services: Vec<Service> = Vec::new();
    for mut table in tables {
        for key in ["name", "key"] {
            if !table.has(key) {
                table.fault(key, "is missing");
            }
        }
        let name = table.text("name");
        let key = table.secret("key");
        if key.as_ref().is_some_and(|key| key.len() < SHORTEST_KEY) {
            table.fault("key", format!("must have at least {SHORTEST_KEY} characters"));
        }
        // What stands around a header's value is not part of it: such a key could never be presented.
        if key.as_ref().is_some_and(|key| key.trim() != key || key.chars().any(char::is_control)) {
            table.fault("key", "must not begin or end with white space, nor contain control characters");
        }
        if let (Some(name), Some(key)) = (name, key) {
            if let Some(other) = services.iter().find(|service| service.key.matches(key.as_bytes())) {
                table.fault("key", format!("is the key of \"{}\" too; who calls could not be told", other.name));
            }
            if services.iter().any(|service| service.name == name) {
                table.fault("name", format!("\"{name}\" stands twice"));
            }
            services.push(Service { name, key: ServiceKey::new(&key) });
        }
    }
    services
}

fn log(mut table: Table) -> LogSettings {
    LogSettings {
        level: table.get("level", "info".to_owned(), |value| {
            let level = text(value)?;
            // A word that is no level would be the name of a part of the program that nobody has heard of, and silence the
            // log; what names parts has a "=" or a ",".
            let is_level = level.parse::<tracing::level_filters::LevelFilter>().is_ok();
            let is_filter = level.contains(['=', ',']) && level.parse::<tracing_subscriber::EnvFilter>().is_ok();
            if is_level || is_filter {
                Ok(level)
            } else {
                Err(format!("\"{level}\" is none of \"error\", \"warn\", \"info\", \"debug\", \"trace\""))
            }
        }),
        format: table.choice("format", LogFormat::Text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        access: table.get("access", AccessLog::Stdout, |value| match text(value)?.as_str() {
            "off" => Ok(AccessLog::Off),
            "stdout" => Ok(AccessLog::Stdout),
            path if path.contains('/') => Ok(AccessLog::File(PathBuf::from(path))),
            other => Err(format!("\"{other}\" is none of \"stdout\", \"off\" and a path with a slash")),
        }),
        query: table.flag("query", false),
    }
}
