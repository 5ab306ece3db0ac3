use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot};

use super::index::ById;
use super::*;
use crate::clock::Timestamp;
use crate::error::Code;
use crate::session::{Format, Principal, Record, State, UserId};

const TTL: Duration = Duration::from_secs(30);
const NEGATIVE_TTL: Duration = Duration::from_secs(2);
/// More shards than the cache makes on machines of today.
const SHARDS: usize = 1024;
/// Some moment of the process's life; the tests name others in relation to it.
const NOW: Uptime = Uptime::from_micros(1_000_000_000);

fn cache(capacity: usize) -> Arc<Cache> {
    Arc::new(Cache::new(capacity, TTL, Some(NEGATIVE_TTL)))
}

fn later(by: Duration) -> Uptime {
    Uptime::from_micros(NOW.as_micros() + by.as_micros() as u64)
}

fn digest(number: u64) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn id(number: u64) -> SessionId {
    SessionId::from_uuid(uuid::Uuid::from_u128(u128::from(number)))
}

/// The session with this number, as the store said it was at `read_at`.
fn session(number: u64, read_at: Uptime) -> Arc<Session> {
    named(number, digest(number), read_at)
}

/// The same, loaded for another digest.
fn named(number: u64, loaded_for: Digest, read_at: Uptime) -> Arc<Session> {
    let record = Record {
        id: id(number),
        digest: digest(number),
        principal: Principal::of(UserId::parse("ann").unwrap()),
        state: State::Active,
        created_at: Timestamp::from_millis(0),
        expires_at: None,
        last_seen_at: Timestamp::from_millis(0),
        last_ip: None,
        user_agent: None,
        bound_ip: None,
        ended_at: None,
        ended_by: None,
        user_enabled: true,
        format: Format::Opaque,
        slide: None,
        device: None,
    };
    Arc::new(Session::new(&record, loaded_for, None, read_at))
}

fn ended(number: u64) -> Ended {
    Ended { id: id(number), digest: digest(number), reason: None }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap()
}

/// Polls once, with the waker of the task.
async fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Loads a session that the store has.
async fn put(cache: &Cache, number: u64, now: Uptime) {
    let row = session(number, now);
    cache.get_or_load(&digest(number), now, |_| async { Ok(Loaded::Found(row)) }).await.unwrap();
}

/// What the cache and its index hold must be one and the same.
fn validate(cache: &Cache, capacity: usize) {
    let mut found = 0;
    for (key, session) in cache.found.iter() {
        found += 1;
        assert!(key == Key::of(&session.digest));
        let indexed = cache.index.with(session.id, |set| set.get(&session.id).map(|ById(same)| same.clone())).flatten();
        assert!(indexed.is_some_and(|same| Arc::ptr_eq(&same, &session)), "a cached session is not in the index");
    }
    assert_eq!(found, cache.len().0);
    // Every shard rounds its part of the capacity up.
    assert!(found <= capacity + SHARDS, "{found} sessions in a cache of {capacity}");
    assert_eq!(cache.index.len(), found, "the index holds what the cache holds and nothing else");
}

#[test]
fn of_200_misses_of_one_token_one_loads() {
    let (cache, loads, gate) = (cache(100), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    runtime().block_on(async {
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let (cache, loads, gate) = (cache.clone(), loads.clone(), gate.clone());
                tokio::spawn(async move {
                    let load = |_| async {
                        loads.fetch_add(1, Ordering::SeqCst);
                        gate.notified().await;
                        Ok(Loaded::Found(session(1, NOW)))
                    };
                    cache.get_or_load(&digest(1), NOW, load).await.unwrap()
                })
            })
            .collect();
        gate.notify_one();
        let results = join_all(callers).await;
        let misses = results.iter().filter(|result| matches!(result, Ok((Loaded::Found(_), Lookup::Miss)))).count();
        let coalesced =
            results.iter().filter(|result| matches!(result, Ok((Loaded::Found(_), Lookup::Coalesced)))).count();
        assert_eq!((misses, coalesced), (1, 199));
    });
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    validate(&cache, 100);
}

#[test]
fn a_load_does_not_land_when_its_session_is_forgotten_by_id_alone() {
    let cache = cache(100);
    runtime().block_on(async {
        let load = |_| async {
            cache.forget_id(id(1));
            Ok(Loaded::Found(session(1, NOW)))
        };
        let (loaded, _) = cache.get_or_load(&digest(1), NOW, load).await.unwrap();
        assert!(matches!(loaded, Loaded::Found(_)), "the request itself began before");
        assert!(cache.peek(&digest(1)).is_none());
        let load = |_| async {
            cache.forget_id(id(2));
            Ok(Loaded::Found(session(1, NOW)))
        };
        cache.get_or_load(&digest(1), NOW, load).await.unwrap();
        assert!(cache.peek(&digest(1)).is_some(), "another session was forgotten");
    });
    validate(&cache, 100);
}

#[test]
fn a_newer_token_of_a_session_takes_the_place_of_the_one_before() {
    let cache = cache(100);
    runtime().block_on(async {
        put(&cache, 1, NOW).await;
        // Rotated on another gateway: the new token comes here before the word of it.
        let load = |_| async { Ok(Loaded::Found(named(1, digest(2), NOW))) };
        cache.get_or_load(&digest(2), NOW, load).await.unwrap();
    });
    assert!(cache.peek(&digest(1)).is_none() && cache.peek(&digest(2)).is_some());
    validate(&cache, 100);
    cache.forget_id(id(1));
    assert!(cache.peek(&digest(2)).is_none());
    validate(&cache, 100);
}

#[test]
fn all_sessions_of_a_user_are_forgotten_and_nobody_else_s() {
    let cache = cache(100);
    let by_id = Digest::of_id(id(3).as_uuid().as_bytes());
    runtime().block_on(async {
        put(&cache, 1, NOW).await;
        put(&cache, 2, NOW).await;
        let load = |_| async { Ok(Loaded::Found(named(3, by_id, NOW))) };
        cache.get_or_load(&by_id, NOW, load).await.unwrap();
    });
    cache.forget_user(&UserId::parse("bob").unwrap());
    assert_eq!(cache.len().0, 3);
    cache.forget_user(&UserId::parse("ann").unwrap());
    assert_eq!(cache.len().0, 0);
    validate(&cache, 100);
}

#[test]
fn a_load_does_not_land_when_its_user_was_forgotten_meanwhile() {
    let cache = cache(100);
    let ann = UserId::parse("ann").unwrap();
    runtime().block_on(async {
        let fresh = |_| async {
            cache.forget_user(&ann);
            Ok(Loaded::Found(session(1, NOW)))
        };
        cache.get_or_load(&digest(1), NOW, fresh).await.unwrap();
        assert!(cache.peek(&digest(1)).is_none(), "the row was read before");
        put(&cache, 1, NOW).await;
        assert!(cache.peek(&digest(1)).is_some(), "what is loaded afterwards stays");
        let much_later = later(2 * TTL);
        let failed = |outdated: Option<Arc<Session>>| async {
            cache.forget_user(&ann);
            Ok(Loaded::Found(outdated.unwrap()))
        };
        cache.get_or_load(&digest(1), much_later, failed).await.unwrap();
        assert!(cache.peek(&digest(1)).is_none(), "nor is an outdated one put back");
    });
    validate(&cache, 100);
}

#[test]
fn a_session_is_forgotten_under_its_id_and_under_its_token() {
    let cache = cache(100);
    let by_id = Digest::of_id(id(1).as_uuid().as_bytes());
    runtime().block_on(async {
        put(&cache, 1, NOW).await;
        let load = |_| async { Ok(Loaded::Found(named(1, by_id, NOW))) };
        cache.get_or_load(&by_id, NOW, load).await.unwrap();
    });
    assert!(cache.peek(&digest(1)).is_some() && cache.peek(&by_id).is_some());
    cache.forget_id(id(1));
    assert!(cache.peek(&digest(1)).is_none() && cache.peek(&by_id).is_none());
    validate(&cache, 100);
}

#[test]
fn of_200_misses_of_an_unknown_token_one_loads() {
    let (cache, loads, gate) = (cache(100), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    runtime().block_on(async {
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let (cache, loads, gate) = (cache.clone(), loads.clone(), gate.clone());
                tokio::spawn(async move {
                    let load = |_| async {
                        loads.fetch_add(1, Ordering::SeqCst);
                        gate.notified().await;
                        Ok(Loaded::Absent)
                    };
                    cache.get_or_load(&digest(1), NOW, load).await.unwrap()
                })
            })
            .collect();
        gate.notify_one();
        for result in join_all(callers).await {
            assert!(matches!(result.unwrap().0, Loaded::Absent));
        }
    });
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert!(cache.is_absent(&digest(1), NOW));
    validate(&cache, 100);
}

#[tokio::test]
async fn the_next_waiter_takes_over_from_a_loader_that_was_dropped() {
    let (cache, key) = (cache(100), digest(1));
    let (begun, has_begun) = oneshot::channel();
    let first = {
        let cache = cache.clone();
        tokio::spawn(async move {
            let load = |_| async {
                begun.send(()).unwrap();
                std::future::pending::<Result<Loaded, Problem>>().await
            };
            let _ = cache.get_or_load(&digest(1), NOW, load).await;
        })
    };
    has_begun.await.unwrap();
    let loads = Cell::new(0);
    let mut second = Box::pin(cache.get_or_load(&key, NOW, |_| {
        loads.set(loads.get() + 1);
        async { Ok(Loaded::Found(session(1, NOW))) }
    }));
    assert!(poll(&mut second).await.is_pending(), "it waits for the first");
    assert_eq!(loads.get(), 0);

    first.abort();
    let (loaded, _) = second.await.unwrap();

    assert!(matches!(loaded, Loaded::Found(_)));
    assert_eq!(loads.get(), 1);
    assert!(cache.peek(&digest(1)).is_some());
    validate(&cache, 100);
}

#[tokio::test]
async fn a_failed_load_leaves_the_next_waiter_to_try_for_itself() {
    let cache = cache(100);
    let failed = cache.get_or_load(&digest(1), NOW, |_| async { Err(Problem::new(Code::StoreUnavailable)) }).await;
    assert_eq!(failed.unwrap_err().code, Code::StoreUnavailable);
    assert!(!cache.is_absent(&digest(1), NOW), "a failure is no absence");
    put(&cache, 1, NOW).await;
    assert!(cache.peek(&digest(1)).is_some());
}

#[tokio::test]
async fn an_unknown_token_is_taken_for_unknown_until_its_time_is_over() {
    let cache = cache(100);
    cache.get_or_load(&digest(1), NOW, |_| async { Ok(Loaded::Absent) }).await.unwrap();
    assert!(cache.is_absent(&digest(1), later(NEGATIVE_TTL - Duration::from_millis(1))));
    assert!(!cache.is_absent(&digest(1), later(NEGATIVE_TTL)));

    let strict = Cache::new(100, TTL, None);
    strict.get_or_load(&digest(1), NOW, |_| async { Ok(Loaded::Absent) }).await.unwrap();
    assert!(!strict.is_absent(&digest(1), NOW), "without a negative ttl nothing is remembered");
}

#[tokio::test]
async fn a_flood_of_unknown_tokens_is_bounded_and_pushes_no_session_out() {
    let cache = cache(2_000);
    for number in 0..1_000 {
        put(&cache, number, NOW).await;
    }
    for number in 10_000..30_000 {
        cache.get_or_load(&digest(number), NOW, |_| async { Ok(Loaded::Absent) }).await.unwrap();
    }
    let (found, absent) = cache.len();
    assert_eq!(found, 1_000);
    assert!(absent <= 200, "{absent} unknown tokens are remembered, a tenth of the capacity is the bound");
    validate(&cache, 2_000);
}

#[tokio::test]
async fn the_index_shrinks_with_what_the_capacity_pushes_out() {
    let cache = cache(4_000);
    for number in 0..20_000 {
        put(&cache, number, NOW).await;
    }
    assert!(cache.len().0 >= 3_000, "the room is used: {}", cache.len().0);
    validate(&cache, 4_000);
}

#[tokio::test]
async fn a_load_in_flight_does_not_land_after_its_session_was_forgotten() {
    let by_session: fn(&Cache) = |cache| cache.forget(&ended(1));
    let by_token: fn(&Cache) = |cache| cache.forget_token(&digest(1));
    let with_everything: fn(&Cache) = Cache::clear;
    for forget in [by_session, by_token, with_everything] {
        let (cache, key) = (cache(100), digest(1));
        let (answer, answered) = oneshot::channel();
        let mut load = Box::pin(cache.get_or_load(&key, NOW, |_| async {
            answered.await.unwrap();
            Ok(Loaded::Found(session(1, NOW)))
        }));
        assert!(poll(&mut load).await.is_pending());
        let mut waiter = Box::pin(cache.get_or_load(&key, NOW, |_| async { Ok(Loaded::Found(session(1, NOW))) }));
        assert!(poll(&mut waiter).await.is_pending());

        forget(&cache);
        answer.send(()).unwrap();
        let (loaded, _) = load.await.unwrap();

        assert!(matches!(loaded, Loaded::Found(_)), "the caller began before and may have it");
        assert!(cache.peek(&digest(1)).is_none(), "but it does not stay");
        validate(&cache, 100);
        let (_, how) = waiter.await.unwrap();
        assert_eq!(how, Lookup::Miss, "who waited asks the store itself");
        validate(&cache, 100);
    }
}

#[tokio::test]
async fn a_session_whose_digest_changed_is_forgotten_by_its_id() {
    let cache = cache(100);
    put(&cache, 1, NOW).await;
    cache.forget(&Ended { digest: digest(999), ..ended(1) });
    assert!(cache.peek(&digest(1)).is_none());
    validate(&cache, 100);
}

#[tokio::test]
async fn an_outdated_session_is_handed_to_the_load_and_cancelled_by_its_id() {
    let (cache, key) = (cache(100), digest(1));
    put(&cache, 1, NOW).await;
    let over = later(TTL);
    assert!(!cache.is_fresh(&cache.peek(&digest(1)).unwrap(), over));
    let (answer, answered) = oneshot::channel();
    let handed = Cell::new(None);
    let mut load = Box::pin(cache.get_or_load(&key, over, |outdated| {
        handed.set(outdated.as_ref().map(|session| session.id));
        async {
            answered.await.unwrap();
            Ok(Loaded::Found(outdated.unwrap()))
        }
    }));
    assert!(poll(&mut load).await.is_pending());
    assert_eq!(handed.get(), Some(id(1)));

    // The digest is the store's; the load is in flight under another one.
    cache.forget(&Ended { digest: digest(999), ..ended(1) });
    answer.send(()).unwrap();
    load.await.unwrap();

    assert!(cache.peek(&digest(1)).is_none());
    validate(&cache, 100);
}

/// Clients that give up while the store hangs must not take with them what an outage is survived on.
#[tokio::test]
async fn an_outdated_session_outlives_a_load_that_was_dropped_or_failed() {
    let (cache, key) = (cache(100), digest(1));
    put(&cache, 1, NOW).await;
    let over = later(TTL);
    let mut dropped = Box::pin(cache.get_or_load(&key, over, |_| std::future::pending()));
    assert!(poll(&mut dropped).await.is_pending());
    let handed = Cell::new(false);
    let mut waiter = Box::pin(cache.get_or_load(&key, over, |outdated| {
        handed.set(outdated.is_some());
        async { Err(Problem::new(Code::StoreUnavailable)) }
    }));
    assert!(poll(&mut waiter).await.is_pending());

    drop(dropped);
    assert!(waiter.await.is_err());

    assert!(handed.get(), "the next one has it to fall back on");
    assert!(cache.peek(&digest(1)).is_some(), "and it is still there after the failure");
    validate(&cache, 100);
}

#[tokio::test]
async fn an_outdated_session_that_the_store_no_longer_has_leaves_nothing_behind() {
    let cache = cache(100);
    put(&cache, 1, NOW).await;
    cache.get_or_load(&digest(1), later(TTL), |_| async { Ok(Loaded::Absent) }).await.unwrap();
    assert_eq!(cache.len(), (0, 1));
    validate(&cache, 100);
}

/// A store of a few sessions, each with a version that every change moves on.
#[derive(Default)]
struct Versions {
    rows: Vec<AtomicU64>,
    /// The version below which nothing may be in the cache, raised when a change has been forgotten.
    answered: Vec<AtomicU64>,
}

/// Many threads load, change, forget and clear at random. Once a change was answered, the cache must not hold the row of
/// before it; at the end, map and index must agree.
#[test]
fn no_load_lands_after_its_session_changed_whatever_the_interleaving() {
    const THREADS: u64 = 8;
    const STEPS: u32 = 6_000;
    const SESSIONS: u64 = 24;
    const CAPACITY: usize = 16;

    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    });
    println!("SEED={seed}");
    let cache = cache(CAPACITY);
    let counters = || (0..SESSIONS).map(|_| AtomicU64::new(0)).collect();
    let store = Arc::new(Versions { rows: counters(), answered: counters() });
    let (hits, changes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let runtime = runtime();
    let tasks: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (cache, store) = (cache.clone(), store.clone());
            let (hits, changes) = (hits.clone(), changes.clone());
            let mut random = Random(seed.wrapping_add(thread.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
            runtime.spawn(async move {
                for _ in 0..STEPS {
                    let number = random.below(SESSIONS);
                    let at = usize::try_from(number).unwrap();
                    match random.below(100) {
                        0..70 => {
                            let least = store.answered[at].load(Ordering::SeqCst);
                            let (pause, give_up) = (random.below(3), random.below(20) == 0);
                            let load = async |_| {
                                let version = store.rows[at].load(Ordering::SeqCst);
                                for _ in 0..pause {
                                    tokio::task::yield_now().await;
                                }
                                // The version travels as the time of confirmation, far enough ahead to be fresh.
                                let read_at = Uptime::from_micros(NOW.as_micros() + version);
                                Ok(Loaded::Found(session(number, read_at)))
                            };
                            let key = digest(number);
                            let mut found = Box::pin(cache.get_or_load(&key, NOW, load));
                            if give_up {
                                let _ = poll(&mut found).await;
                                continue;
                            }
                            let (Loaded::Found(session), how) = found.await.unwrap() else { panic!("absent") };
                            let version = session.confirmed_at().as_micros() - NOW.as_micros();
                            assert!(version >= least, "SEED={seed}: version {version} was served after {least}");
                            hits.fetch_add(u32::from(how == Lookup::Coalesced), Ordering::Relaxed);
                        }
                        70..98 => {
                            let version = store.rows[at].fetch_add(1, Ordering::SeqCst) + 1;
                            if random.below(2) == 0 {
                                cache.forget(&ended(number));
                            } else {
                                cache.forget_token(&digest(number));
                            }
                            store.answered[at].fetch_max(version, Ordering::SeqCst);
                            changes.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => cache.clear(),
                    }
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for result in join_all(tasks).await {
            result.unwrap();
        }
    });
    for number in 0..SESSIONS {
        if let Some(session) = cache.peek(&digest(number)) {
            let version = session.confirmed_at().as_micros() - NOW.as_micros();
            let last = store.answered[usize::try_from(number).unwrap()].load(Ordering::SeqCst);
            assert!(version >= last, "SEED={seed}: session {number} is cached as of {version}, it changed in {last}");
        }
    }
    validate(&cache, CAPACITY);
    assert!(changes.load(Ordering::Relaxed) > 1_000, "the test changes something");
    assert!(hits.load(Ordering::Relaxed) > 100, "and finds something: {hits:?}");
    println!("{} found in the cache, {} changes", hits.load(Ordering::Relaxed), changes.load(Ordering::Relaxed));
}

/// xorshift64*: enough to mix interleavings, and the same ones again from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

#[test]
fn sessions_that_were_read_at_once_are_due_one_after_the_other_and_all_before_their_time_is_over() {
    let cache = cache(300);
    let sessions: Vec<_> = (0..256).map(|number| session(number, NOW)).collect();
    let due = |part: f32| {
        let now = NOW.plus(TTL.mul_f32(part));
        sessions.iter().filter(|session| cache.is_due(session, now)).count()
    };
    let counts = [0.49, 0.55, 0.6, 0.65, 0.7, 0.75].map(due);
    assert_eq!((counts[0], counts[5]), (0, 256));
    for (earlier, later) in counts.iter().zip(&counts[1..]) {
        assert!((40..70).contains(&(later - earlier)), "a fifth in each fifth of the time: {counts:?}");
    }
}
