//! What only the shared store has: a server, which may be gone, mute or an impostor.

#[path = "postgres_alone/secure.rs"]
mod secure;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use session_gateway::clock;
use session_gateway::session::{EndReason, SessionId, State};
use session_gateway::store::{OnExceed, PostgresSettings, Settings, Store, StoreError, Touch, Which};
use tokio::sync::Notify;

use crate::fixture::{Fixture, Place, TIMEOUT, at, ip, max, new, new_with_token, postgres_settings, user};
use crate::support::postgres::{Cluster, Database, fresh_database};

const LIMIT: Duration = Duration::from_millis(700);
/// How much later than its limit a call may come back, on a machine that is busy with other tests.
const GRACE: Duration = Duration::from_secs(5);

fn open(settings: PostgresSettings) -> Store {
    Store::open(&Settings::Postgres(settings)).unwrap()
}

fn impatient(url: String) -> PostgresSettings {
    PostgresSettings { timeout: LIMIT, connect_timeout: LIMIT, ..postgres_settings(url) }
}

/// Asks everything of a store that can be asked of it, each time with a limit on how long it may take.
async fn every_call_fails(store: &Store, expected: fn(&StoreError) -> bool) {
    let (new, token) = new_with_token("ann", at(0));
    let began = clock::monotonic();
    let within = |began: Instant, error: StoreError| {
        assert!(expected(&error), "{error:?}");
        assert!(began.elapsed() < LIMIT + GRACE, "{:?}", began.elapsed());
    };
    let touch = Touch { id: new.id, at: at(0), ip: ip("::1") };
    let touches = [touch];
    let digest = token.digest();
    let (found, created, touched, checked, migrated) =
        tokio::join!(store.find(&digest), store.create(new), store.touch(&touches), store.check(), store.migrate());
    within(began, found.unwrap_err());
    within(began, created.unwrap_err());
    within(began, touched.unwrap_err());
    within(began, checked.unwrap_err());
    within(began, migrated.unwrap_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_is_unreachable_at_once_and_served_again_when_it_is_back() {
    let cluster = Cluster::start(&[]);
    let store = open(postgres_settings(cluster.fresh_database().url()));
    store.migrate().await.unwrap();
    let kept = new("ann", at(0));
    store.create(kept.clone()).await.unwrap();

    cluster.stop();
    let began = clock::monotonic();
    for _ in 0..20 {
        let error = store.get(kept.id).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    }
    assert!(began.elapsed() < TIMEOUT / 4, "{:?}", began.elapsed());
    every_call_fails(&store, |error| matches!(error, StoreError::Unreachable(_))).await;

    cluster.restart();
    assert_eq!(store.get(kept.id).await.unwrap().unwrap().state, State::Active);
    store.create(new("ann", at(1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_given_up_in_time_and_served_again_when_it_goes_on() {
    let cluster = Cluster::start(&[]);
    let store = open(impatient(cluster.fresh_database().url()));
    // The first statement on a busy machine may take longer than this test's limit.
    while store.migrate().await.is_err() {}
    let kept = new("ann", at(0));
    store.create(kept.clone()).await.unwrap();

    cluster.signal("STOP");
    for _ in 0..3 {
        every_call_fails(&store, |error| matches!(error, StoreError::Timeout(_))).await;
    }
    cluster.signal("CONT");
    let mut answer = store.get(kept.id).await;
    while let Err(error) = &answer {
        assert!(matches!(error, StoreError::Timeout(_)), "{error:?}");
        answer = store.get(kept.id).await;
    }
    assert_eq!(answer.unwrap().unwrap().state, State::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_connections_and_says_nothing_is_given_up_in_time() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let store = open(impatient(format!("postgres://ann@127.0.0.1:{port}/x")));
    every_call_fails(&store, |error| matches!(error, StoreError::Timeout(_))).await;
}

#[tokio::test]
async fn more_waiting_calls_than_the_queue_holds_are_refused_at_once() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let one = std::num::NonZeroU32::MIN;
    let settings = PostgresSettings { pool_size: one, ..impatient(format!("postgres://ann@127.0.0.1:{port}/x")) };
    let store = open(settings);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let store = store.clone();
        calls.spawn(async move { store.check().await.unwrap_err() });
    }
    let first = calls.join_next().await.unwrap().unwrap();
    assert!(matches!(first, StoreError::Overloaded), "{first:?}");
    let all = calls.join_all().await;
    let late = all.iter().filter(|error| matches!(error, StoreError::Timeout(_))).count();
    assert!((64..100).contains(&late), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_for_a_lock_too_long_is_given_up_and_leaves_nothing() {
    let fixture = Fixture::postgres().await;
    fixture.session("ann", at(0)).await;
    let Place::Postgres(database) = &fixture.place else { panic!() };
    let impatient = open(impatient(database.url()));
    while impatient.check().await.is_err() {}
    let other = database.connect().await;
    other.batch_execute("BEGIN; SELECT * FROM users FOR UPDATE").await.unwrap();
    let error = impatient.create(new("ann", at(1))).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout(limit) if limit == LIMIT), "{error:?}");
    other.batch_execute("ROLLBACK").await.unwrap();
    // Waits for the lock that the given-up creation may still ask for, and finds nothing of it.
    fixture.session("ann", at(2)).await;
    assert_eq!(fixture.live("ann", at(3)).await.len(), 2);
    assert_eq!(fixture.events("session_created").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_dropped_at_any_moment_happened_whole_or_not_at_all() {
    let fixture = Fixture::postgres().await;
    let Place::Postgres(database) = &fixture.place else { panic!() };
    let settings = PostgresSettings { pool_size: std::num::NonZeroU32::MIN, ..postgres_settings(database.url()) };
    // One connection, so that whatever a dropped call leaves on it meets the next one.
    let store = open(settings);
    for step in 0..150 {
        let mut new = new("ann", at(step));
        new.limit = max(1, OnExceed::EvictOldest);
        let _ = tokio::time::timeout(Duration::from_micros(step * 40), store.create(new)).await;
    }
    store.check().await.unwrap();
    let mut last = new("ann", at(150));
    last.limit = max(1, OnExceed::EvictOldest);
    store.create(last.clone()).await.unwrap();
    assert_eq!(fixture.live("ann", at(151)).await, [last.id]);
    let created = fixture.events("session_created").await.len();
    assert_eq!(fixture.rows("sessions").await.len(), created);
    assert_eq!(fixture.events("session_evicted").await.len(), created - 1);
    assert!(created > 1, "no creation was fast enough to happen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_server_ends_costs_no_more_than_the_calls_on_it() {
    let fixture = Fixture::postgres().await;
    let id = fixture.session("ann", at(0)).await;
    let Place::Postgres(database) = &fixture.place else { panic!() };
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.connect().await.batch_execute(kill).await.unwrap();
    let mut broken = 0;
    while let Err(error) = fixture.store.get(id).await {
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
        broken += 1;
    }
    assert!(broken <= 8, "{broken}");
    assert_eq!(fixture.end(Which::One(id), EndReason::Revoked, None).await.len(), 1);
}

/// A firewall that has forgotten a connection drops its packets without a word, while new connections work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_has_gone_mute_is_not_used_again() {
    let fixture = Fixture::postgres().await;
    let id = fixture.session("ann", at(0)).await;
    let Place::Postgres(database) = &fixture.place else { panic!() };
    let (port, mute) = proxy(database.port).await;
    let one = std::num::NonZeroU32::MIN;
    let url = database.url_at("127.0.0.1", port);
    let store = open(PostgresSettings { pool_size: one, timeout: LIMIT, ..postgres_settings(url) });
    while store.check().await.is_err() {}

    mute.notify_waiters();
    let error = store.get(id).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout(_)), "{error:?}");
    // Connecting anew may itself take longer than the limit on a busy machine, but not every time.
    let mut attempts = 0;
    while let Err(error) = store.get(id).await {
        attempts += 1;
        assert!(matches!(error, StoreError::Timeout(_)) && attempts < 10, "{error:?}");
    }
}

/// Passes connections on to `port`; those that are open when it is notified go mute.
async fn proxy(port: u16) -> (u16, Arc<Notify>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_port = listener.local_addr().unwrap().port();
    let mute = Arc::new(Notify::new());
    let muted = Arc::clone(&mute);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let muted = Arc::clone(&muted);
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = muted.notified() => std::future::pending::<()>().await,
                }
            });
        }
    });
    (own_port, mute)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_sessions_are_locked_in_the_order_of_their_ids() {
    let fixture = Fixture::postgres().await;
    let pair = two_sessions(&fixture, "ann").await;
    let mut newer = new("ann", at(9));
    newer.limit = max(1, OnExceed::EvictOldest);
    let (_, evicted) = waiting_for_the_first(&fixture, pair, fixture.create(newer)).await;
    assert_eq!(evicted.len(), 2);

    let pair = two_sessions(&fixture, "bob").await;
    let bob = user("bob");
    let ending = fixture.end(Which::AllOf(&bob), EndReason::Revoked, None);
    assert_eq!(waiting_for_the_first(&fixture, pair, ending).await.len(), 2);
}

/// Two sessions, the lower id first. Whatever else orders them (age, place in the table) begins with the other one.
async fn two_sessions(fixture: &Fixture, owner: &str) -> (SessionId, SessionId) {
    let (mut low, mut high) = (new(owner, at(1)), new(owner, at(2)));
    if low.id > high.id {
        (low.id, high.id) = (high.id, low.id);
    }
    let ids = (low.id, high.id);
    fixture.create(high).await;
    fixture.create(low).await;
    ids
}

/// Lets a change wait for the first session, and sees that the second one is still free then.
async fn waiting_for_the_first<T>(
    fixture: &Fixture,
    (first, second): (SessionId, SessionId),
    change: impl Future<Output = T>,
) -> T {
    let Place::Postgres(database) = &fixture.place else { panic!() };
    let (blocker, watcher) = (database.connect().await, database.connect().await);
    let lock = format!("BEGIN; SELECT FROM sessions WHERE id = '{first}' FOR UPDATE");
    blocker.batch_execute(&lock).await.unwrap();
    let unblock = async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
        let also = format!("SELECT FROM sessions WHERE id = '{second}' FOR UPDATE NOWAIT");
        blocker.batch_execute(&also).await.expect("the second is locked already");
        blocker.batch_execute("ROLLBACK").await.unwrap();
    };
    tokio::join!(change, unblock).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_reported_with_its_cause_and_without_the_password() {
    let Database { port, .. } = fresh_database();
    let store = open(postgres_settings(format!("postgres://nobody-knows:hunter2@127.0.0.1:{port}/nowhere")));
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    let mut text = format!("{error:?} {store:?}");
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        text.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(text.contains("nobody-knows") && !text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_works_as_well_as_an_address() {
    let database = fresh_database();
    let store = open(postgres_settings(database.socket_url()));
    store.migrate().await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_may_have_tables_of_the_same_names() {
    let database = fresh_database();
    let client = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(client.1);
    client.0.batch_execute("CREATE TABLE users (name text); CREATE TABLE sessions (key text)").await.unwrap();
    let store = open(postgres_settings(database.url()));
    store.migrate().await.unwrap();
    store.create(new("ann", at(0))).await.unwrap();
    assert_eq!(store.list_live(&user("ann"), None, 9, at(1), None).await.unwrap().len(), 1);
    let rows = client.0.query("SELECT * FROM public.users", &[]).await.unwrap();
    assert!(rows.is_empty());
}

/// The operator who has no right to create schemas gets one made and owns it; nothing else is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_schema_is_enough_for_an_account_with_few_rights() {
    let database = fresh_database();
    let client = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(client.1);
    let role = format!("few_{}", database.name);
    let prepare = format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA session_gateway AUTHORIZATION {role}");
    client.0.batch_execute(&prepare).await.unwrap();
    let store = open(postgres_settings(database.url().replace("postgres@", &format!("{role}@"))));
    store.migrate().await.unwrap();
    store.create(new("ann", at(0))).await.unwrap();
}
