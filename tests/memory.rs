//! What a cached session costs.
//!
//! The figure is what the program has asked its allocator for while the cache fills with sessions such as people have: the
//! entries, the owners' headers, the index by id, and the slack of the tables. Everything in the process counts, so this
//! file holds one test alone. What SQLite keeps is not counted: its page cache has a bound of its own.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail"
)]

use std::alloc::System;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use session_gateway::clock;
use session_gateway::metrics::SharedMetrics;
use session_gateway::policy::{Facts, IpMode, IpRule, OnAgentChange, OnExceed, Rules, UserAgentRule};
use session_gateway::session::SessionId;
use session_gateway::sessions::{Sessions, Settings};
use session_gateway::store::{Settings as Place, SqliteSettings, Store};
use session_gateway::token::Digest;
use session_gateway::user_agent::Likeness;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::sync::watch;

const FACTS: Facts<'static> =
    Facts { user_agent: b"test/1.0", agent_memo: 0, client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST) };

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a cached session may cost.
const LIMIT: usize = 400;

/// How many sessions are cached. There is room for all of them.
const SESSIONS: usize = 60_000;
/// How many are read without being cached before, to fill the store's own caches.
const READ_BEFORE: usize = 20_000;
const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                     Chrome/126.0.0.0 Safari/537.36";

#[test]
fn a_cached_session_costs_at_most_400_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let place =
        Place::Sqlite(SqliteSettings { path: path.clone(), exclusive: false, timeout: Duration::from_secs(60) });
    let (_stop, stopping) = watch::channel(false);
    let sessions = runtime.block_on(async {
        let store = Store::open(&place).unwrap();
        store.migrate().await.unwrap();
        fill(&path);
        let metrics = Arc::new(SharedMetrics::default());
        let sessions = Sessions::new(store, tokio::runtime::Handle::current(), settings(), metrics);
        tokio::spawn(sessions.clone().keep_store_up(stopping));
        while !sessions.store_is_up() {
            tokio::task::yield_now().await;
        }
        sessions
    });

    runtime.block_on(read_around_the_cache(&sessions));
    let (before, resident) = (allocated_bytes(), resident_bytes());
    runtime.block_on(use_once(&sessions, 0..SESSIONS));
    let (growth, resident) = (allocated_bytes() - before, resident_bytes() - resident);

    let each = growth / SESSIONS;
    println!(
        "{each} bytes a session: {growth} bytes for {SESSIONS} sessions; resident memory grew by {resident} bytes"
    );
    assert!(each <= LIMIT, "{each} bytes a session");
    // Otherwise the figure says nothing.
    assert!(each >= 150, "{each} bytes a session: were they cached at all?");
}

/// Each session is found once and its owner's headers are taken, as a forwarded request does.
async fn use_once(sessions: &Sessions, numbers: std::ops::Range<usize>) {
    let numbers: Vec<usize> = numbers.collect();
    for batch in numbers.chunks(64) {
        let finds = batch.iter().map(|number| async move {
            let (found, _) = sessions.load(&digest(*number), &FACTS, clock::now()).await;
            assert!(!found.unwrap().identity.user().is_empty());
        });
        futures_util::future::join_all(finds).await;
    }
}

async fn read_around_the_cache(sessions: &Sessions) {
    for number in 0..READ_BEFORE {
        assert!(sessions.get(SessionId::from_uuid(id(number))).await.unwrap().is_some());
    }
}

fn id(number: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128((number as u128) << 64 | 0x4000_8000)
}

fn digest(number: usize) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn fill(path: &Path) {
    let mut db = rusqlite::Connection::open(path).unwrap();
    let transaction = db.transaction().unwrap();
    for number in 0..SESSIONS {
        let user = format!("user-{number:06}");
        transaction.prepare_cached("INSERT INTO users (id) VALUES (?1)").unwrap().execute([&user]).unwrap();
        let sql = "INSERT INTO sessions (id, token_hash, user_id, roles, name, email, created_at, expires_at, \
                   last_seen_at, last_ip, user_agent, bound_ip) \
                   VALUES (?1, ?2, ?3, 'staff,editor', 'Annabel Archibald', 'archibald@example.org', 0, 9000000000000, \
                   8000000000000, '192.0.2.1', ?4, '192.0.2.1')";
        let token = digest(number);
        let values = rusqlite::params![id(number).into_bytes(), token.as_bytes(), user, AGENT];
        transaction.prepare_cached(sql).unwrap().execute(values).unwrap();
    }
    transaction.commit().unwrap();
}

fn settings() -> Settings {
    Settings {
        rules: Rules {
            user_agent: Some(UserAgentRule { likeness: Likeness::Family, on_change: OnAgentChange::Suspend }),
            ip: IpRule { mode: IpMode::Record, log_only: false },
            idle_timeout: None,
        },
        capacity: SESSIONS,
        ttl: Duration::from_secs(3600),
        negative_ttl: None,
        serve_while_store_down: None,
        touch_interval: Duration::from_secs(3600),
        on_exceed: OnExceed::EvictOldest,
        token_bytes: 32,
        migrate: false,
    }
}

fn allocated_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
