//! Sessions as they are after some months, put into the tables directly: one creation after the other takes hours.
//!
//! Session number n is the same in both stores, and all about it follows from n: in fifteen consecutive ones, five users
//! have one to five of them. Of twenty, six have ended, two have expired, one is suspended; one in ten has rotated. Rows lie
//! in the order of their times, as they would had they been written one by one; ids, digests and users have no order.

use std::num::NonZeroU32;
use std::time::Duration;

use session_gateway::clock::{self, Timestamp};
use session_gateway::session::{SessionId, UserId};
use session_gateway::store::{Notify, PostgresSettings, SecretUrl, Settings, SqliteSettings, Store};
use session_gateway::token::Digest;
use tempfile::TempDir;

use super::postgres::{self, Database};

const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 \
                     Safari/537.36";
const DEVICE: &str = r#"{"os":"Windows 10","browser":"Chrome","brand":null,"model":null,"family":"PC","is_mobile":false,"is_tablet":false}"#;
const ID: u64 = 1 << 62;
const RETIRED: u64 = 1 << 61;
const DAY: u64 = 86_400;
/// Of fifteen sessions, whose each is.
const OWNERS: [u64; 15] = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4];

/// A filled store.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) size: u64,
    /// How many rows a batch of a sweep has.
    pub(crate) batch: u32,
    /// The time of filling.
    pub(crate) now: Timestamp,
    #[allow(dead_code, reason = "a test opens it again")]
    pub(crate) settings: Settings,
    pub(crate) place: Place,
}

pub(crate) enum Place {
    Sqlite(TempDir),
    Postgres(Database),
}

/// What has become of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Ended,
    Expired,
    Suspended,
    Active,
}

pub(crate) fn fate(n: u64) -> Fate {
    match n % 20 {
        0..6 => Fate::Ended,
        6..8 => Fate::Expired,
        8 => Fate::Suspended,
        _ => Fate::Active,
    }
}

pub(crate) fn digest(n: u64) -> Digest {
    Digest::of(&n.to_be_bytes())
}

/// The token that the session had before, for every tenth one.
pub(crate) fn retired(n: u64) -> Digest {
    digest(n + RETIRED)
}

pub(crate) fn id(n: u64) -> SessionId {
    let bytes: [u8; 16] = digest(n + ID).as_bytes()[..16].try_into().unwrap();
    SessionId::from_uuid(uuid::Uuid::from_bytes(bytes))
}

pub(crate) fn user(n: u64) -> UserId {
    UserId::parse(&format!("user-{}", n / 15 * 5 + OWNERS[(n % 15) as usize])).unwrap()
}

/// How many seconds ago the session began. Spread without order, as are ids and digests.
fn age(n: u64) -> u64 {
    n.wrapping_mul(104_729) % (90 * DAY)
}

/// How many seconds ago it ended, for one that has.
fn ended_ago(n: u64) -> u64 {
    n.wrapping_mul(15_485_863) % (100 * DAY)
}

fn address(n: u64) -> String {
    format!("198.51.{}.{}", n / 250 % 250, n % 250)
}

impl World {
    pub(crate) async fn fill(kind: &str, size: u64) -> Self {
        let now = clock::wall();
        let timeout = Duration::from_secs(30);
        match kind {
            "sqlite" => {
                let directory = TempDir::new().unwrap();
                let path = directory.path().join("sessions.db");
                let settings = Settings::Sqlite(SqliteSettings { path: path.clone(), exclusive: true, timeout });
                let store = Store::open(&settings).unwrap();
                store.migrate().await.unwrap();
                fill_sqlite(&rusqlite::Connection::open(&path).unwrap(), size, now);
                Self { batch: store.sweep_batch(), store, size, now, settings, place: Place::Sqlite(directory) }
            }
            "postgres" => {
                let database = postgres::fresh_database();
                let settings = Settings::Postgres(PostgresSettings {
                    url: SecretUrl::new(database.url()),
                    pool_size: NonZeroU32::new(2).unwrap(),
                    connect_timeout: timeout,
                    timeout,
                    ca_file: None,
                    notify: Notify::Listen,
                });
                let store = Store::open(&settings).unwrap();
                store.migrate().await.unwrap();
                let client = database.connect().await;
                for sql in postgres_script(size, now) {
                    client.batch_execute(&sql).await.unwrap();
                }
                Self { batch: store.sweep_batch(), store, size, now, settings, place: Place::Postgres(database) }
            }
            other => panic!("--store is sqlite or postgres, not {other}"),
        }
    }

    /// How much room it takes.
    pub(crate) async fn sizes(&self) -> String {
        match &self.place {
            Place::Sqlite(directory) => {
                let db = rusqlite::Connection::open(directory.path().join("sessions.db")).unwrap();
                let bytes: i64 = db
                    .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| {
                        row.get(0)
                    })
                    .unwrap();
                format!("  the file: {} MiB", bytes >> 20)
            }
            Place::Postgres(database) => {
                let sql = "SELECT string_agg(relname || ' ' || pg_table_size(oid) / 1048576 || ' + indexes ' \
                           || pg_indexes_size(oid) / 1048576 || ' MiB', ', ' ORDER BY relname) FROM pg_class \
                           WHERE relnamespace = 'session_gateway'::regnamespace AND relkind = 'r'";
                let row = database.connect().await.query_one(sql, &[]).await.unwrap();
                format!("  {}", row.get::<_, String>(0))
            }
        }
    }
}

fn fill_sqlite(db: &rusqlite::Connection, size: u64, now: Timestamp) {
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA foreign_keys = OFF; BEGIN")
        .unwrap();
    let mut users = db.prepare("INSERT OR IGNORE INTO users (id) VALUES (?1)").unwrap();
    let mut sessions = db
        .prepare(
            "INSERT INTO sessions (id, token_hash, user_id, roles, name, email, state, state_reason, created_at, \
             expires_at, last_seen_at, last_ip, user_agent, bound_ip, ended_at, ended_by, device) \
             VALUES (?1, ?2, ?3, 'staff', 'Some Body', 'some.body@example.org', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?9, ?11, \
             ?12, ?13)",
        )
        .unwrap();
    let mut events = db
        .prepare(
            "INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .unwrap();
    let mut tokens =
        db.prepare("INSERT INTO retired_tokens (token_hash, session_id, usable_until) VALUES (?1, ?2, ?3)").unwrap();
    let ago = |seconds| now.minus(Duration::from_secs(seconds)).as_millis();
    let begun = |n| if fate(n) == Fate::Ended { ago(ended_ago(n)) - 3_600_000 } else { ago(age(n)) };
    let mut order: Vec<u64> = (0..size).collect();
    order.sort_unstable_by_key(|n| begun(*n));
    let mut log: Vec<(i64, u64, bool)> = Vec::new();
    for n in order {
        let (id, user, fate) = (id(n).as_uuid().into_bytes(), user(n), fate(n));
        let user = user.as_str();
        let ip = address(n);
        users.execute([user]).unwrap();
        let ended_at = (fate == Fate::Ended).then(|| ago(ended_ago(n)));
        let created_at = begun(n);
        let expires_at = match fate {
            Fate::Expired => ago(n % (30 * DAY)),
            Fate::Ended | Fate::Suspended | Fate::Active => now.as_millis() + 14 * 86_400_000,
        };
        let (state, reason) = match fate {
            Fate::Ended => ("ended", Some("logged_out")),
            Fate::Suspended => ("suspended", Some("user_agent_changed")),
            Fate::Expired | Fate::Active => ("active", None),
        };
        let ended_by = ended_at.map(|_| "user");
        sessions
            .execute(rusqlite::params![
                id,
                digest(n).as_bytes(),
                user,
                state,
                reason,
                created_at,
                expires_at,
                created_at,
                ip,
                AGENT,
                ended_at,
                ended_by,
                DEVICE
            ])
            .unwrap();
        log.push((created_at, n, false));
        if reason.is_some() {
            log.push((ended_at.unwrap_or(created_at), n, true));
        }
        if n % 10 == 9 {
            tokens.execute(rusqlite::params![retired(n).as_bytes(), id, created_at]).unwrap();
        }
    }
    log.sort_unstable();
    for (at, n, over) in log {
        let (id, user) = (id(n).as_uuid().into_bytes(), user(n));
        let (kind, actor, agent, detail) = match (over, fate(n)) {
            (false, _) => ("session_created", "service:login", Some(AGENT), "{}"),
            (true, Fate::Ended) => ("session_ended", "user", None, r#"{"reason":"logged_out"}"#),
            (true, _) => ("session_suspended", "policy", None, r#"{"reason":"user_agent_changed"}"#),
        };
        let ip = agent.map(|_| address(n));
        events.execute(rusqlite::params![at, kind, id, user.as_str(), actor, ip, agent, detail]).unwrap();
    }
    db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn postgres_script(size: u64, now: Timestamp) -> [String; 5] {
    let id = format!("encode(substring(sha256(int8send(n + {ID})) from 1 for 16), 'hex')::uuid");
    let owner = format!("'user-' || n / 15 * 5 + (ARRAY{OWNERS:?})[n % 15 + 1]");
    let ended_at = format!("at - (n * 15485863 % {}) * interval '1 s'", 100 * DAY);
    let created_at = format!(
        "CASE WHEN n % 20 < 6 THEN {ended_at} - interval '1 h' ELSE at - (n * 104729 % {}) * interval '1 s' END",
        90 * DAY
    );
    let numbers = format!("FROM generate_series(0::bigint, {}) n, (SELECT timestamptz '{now}') t (at)", size - 1);
    [
        // The rows are sound; checking each against its user would take longer than writing it.
        format!("SET session_replication_role = replica; INSERT INTO users (id) SELECT DISTINCT {owner} {numbers}"),
        format!(
            "INSERT INTO sessions (id, token_hash, user_id, roles, name, email, state, state_reason, created_at, \
             expires_at, last_seen_at, last_ip, user_agent, bound_ip, ended_at, ended_by, device) \
             SELECT {id}, sha256(int8send(n)), {owner}, '{{staff}}', 'Some Body', 'some.body@example.org', \
             CASE WHEN n % 20 < 6 THEN 'ended' WHEN n % 20 = 8 THEN 'suspended' ELSE 'active' END, \
             CASE WHEN n % 20 < 6 THEN 'logged_out' WHEN n % 20 = 8 THEN 'user_agent_changed' END, {created_at}, \
             CASE WHEN n % 20 IN (6, 7) THEN at - (n % {}) * interval '1 s' ELSE at + interval '14 d' END, \
             {created_at}, '198.51.0.0'::inet + n % 65536, '{AGENT}', '198.51.0.0'::inet + n % 65536, \
             CASE WHEN n % 20 < 6 THEN {ended_at} END, CASE WHEN n % 20 < 6 THEN 'user' END, '{DEVICE}' {numbers} ORDER BY {created_at}",
            30 * DAY
        ),
        format!(
            "INSERT INTO events (at, kind, session_id, user_id, actor, ip, user_agent, detail) SELECT * FROM ( \
                 SELECT {created_at} AS at, 'session_created', {id}, {owner}, 'service:login', \
                 '198.51.0.0'::inet + n % 65536, '{AGENT}', '{{}}'::json {numbers} \
                 UNION ALL SELECT CASE WHEN n % 20 < 6 THEN {ended_at} ELSE {created_at} END, \
                 CASE WHEN n % 20 < 6 THEN 'session_ended' ELSE 'session_suspended' END, {id}, {owner}, 'policy', \
                 NULL, NULL, '{{\"reason\":\"logged_out\"}}' {numbers} WHERE n % 20 < 6 OR n % 20 = 8) e ORDER BY at"
        ),
        format!(
            "INSERT INTO retired_tokens (token_hash, session_id, usable_until) \
             SELECT sha256(int8send(n + {RETIRED})), {id}, {created_at} {numbers} WHERE n % 10 = 9"
        ),
        "VACUUM ANALYZE".to_owned(),
    ]
}
