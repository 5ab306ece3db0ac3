//! From a token's digest to its session: in the cache, out of SQLite, unknown, and many at once.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may fail")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use session_gateway::clock;
use session_gateway::policy::{Facts, IpMode, IpRule, OnExceed, Rules};
use session_gateway::session::{Actor, Format, Principal, UserId};
use session_gateway::sessions::{NewLogin, Sessions, Settings};
use session_gateway::store::{self, SqliteSettings, Store};
use session_gateway::token::Digest;
use tokio::runtime::Runtime;
use tokio::sync::watch;

const SESSIONS: usize = 1_000;

struct Bench {
    runtime: Runtime,
    sessions: Sessions,
    digests: Vec<Digest>,
    _directory: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

/// Sessions on a fresh SQLite file, with or without a cache worth the name.
fn start(ttl: Duration) -> Bench {
    let directory = tempfile::TempDir::new().unwrap();
    let runtime = Runtime::new().unwrap();
    let path = directory.path().join("sessions.db");
    let settings = SqliteSettings { path, exclusive: true, timeout: Duration::from_secs(5) };
    let store = runtime.block_on(async { Store::open(&store::Settings::Sqlite(settings)).unwrap() });
    let settings = Settings {
        rules: Rules { user_agent: None, ip: IpRule { mode: IpMode::Record, log_only: false }, idle_timeout: None },
        capacity: 100_000,
        ttl,
        negative_ttl: None,
        serve_while_store_down: None,
        touch_interval: Duration::from_secs(30),
        on_exceed: OnExceed::EvictOldest,
        token_bytes: 32,
        migrate: true,
    };
    let sessions = Sessions::new(store, runtime.handle().clone(), settings, Arc::default());
    let (stop, stopping) = watch::channel(false);
    runtime.spawn(sessions.clone().keep_store_up(stopping));
    while !sessions.store_is_up() {
        std::thread::yield_now();
    }
    let digests = runtime.block_on(async {
        let mut digests = Vec::new();
        for number in 0..SESSIONS {
            let user = UserId::parse(&format!("user-{number}")).unwrap();
            let login = NewLogin {
                actor: Actor::User(user.clone()),
                principal: Principal::of(user),
                lifetime: Some(Duration::from_secs(3600)),
                max_by_call: None,
                max_by_policy: None,
                user_agent: None,
                ip: None,
                replaces: None,
                format: Format::Opaque,
                slide: None,
                device: None,
            };
            digests.push(sessions.create(login, clock::wall()).await.unwrap().token.digest());
        }
        digests
    });
    Bench { runtime, sessions, digests, _directory: directory, _stop: stop }
}

const FACTS: Facts<'static> =
    Facts { user_agent: b"bench/1.0", agent_memo: 0, client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST) };

fn benches(c: &mut Criterion) {
    let warm = start(Duration::from_secs(3600));
    let known: Vec<_> = warm.runtime.block_on(async {
        let mut known = Vec::new();
        for digest in &warm.digests {
            known.push(warm.sessions.load(digest, &FACTS, clock::now()).await.0.unwrap());
        }
        known
    });
    let now = clock::now();
    let mut turn = warm.digests.iter().cycle();
    c.bench_function("hit", |b| b.iter(|| warm.sessions.recall(black_box(turn.next().unwrap()), now).unwrap()));

    let mut turn = known.iter().cycle();
    c.bench_function("miss, SQLite", |b| {
        b.to_async(&warm.runtime).iter(|| {
            let session = turn.next().unwrap();
            async { warm.sessions.find_anew(session, &FACTS, clock::now()).await.0.unwrap() }
        });
    });
    let mut number = 0_u64;
    c.bench_function("unknown token, SQLite", |b| {
        b.to_async(&warm.runtime).iter(|| {
            number += 1;
            let digest = Digest::of(&number.to_be_bytes());
            let sessions = &warm.sessions;
            async move { sessions.load(&digest, &FACTS, clock::now()).await.0.unwrap_err() }
        });
    });

    let mut group = c.benchmark_group("stampede");
    group.throughput(Throughput::Elements(200));
    let mut turn = known.iter().cycle();
    group.bench_function("200 misses of one token at once, SQLite", |b| {
        b.to_async(&warm.runtime).iter(|| {
            let known = turn.next().unwrap().clone();
            let digest = known.digest;
            let sessions = warm.sessions.clone();
            async move {
                // The first one makes the others miss too.
                let first = sessions.find_anew(&known, &FACTS, clock::now()).await.0;
                let others = (1..200).map(|_| {
                    let sessions = sessions.clone();
                    tokio::spawn(async move { sessions.load(&digest, &FACTS, clock::now()).await.0.unwrap() })
                });
                let others: Vec<_> = others.collect();
                for other in others {
                    other.await.unwrap();
                }
                first.unwrap()
            }
        });
    });
    group.finish();
}

criterion_group!(lookup_benches, benches);
criterion_main!(lookup_benches);
