//! Sessions that somebody else is changing at the moment when they are to end, in a table so large that statements go by
//! its indexes.

use session_gateway::session::{EndReason, State};
use session_gateway::store::{Creation, NewSession, OnExceed, Which};

use crate::fixture::{Fixture, Place, at, max, new, user};

const MANY: &str = "INSERT INTO users (id) SELECT 'u' || n FROM generate_series(1, 5000) n; \
    INSERT INTO sessions (id, token_hash, user_id, roles, created_at, last_seen_at) \
        SELECT gen_random_uuid(), sha256(('many' || n)::bytea), 'u' || (n % 5000 + 1), '{}', now(), now() \
        FROM generate_series(1, 30000) n; \
    ANALYZE sessions; ANALYZE users";

/// Five sessions of ann. `change` is made while the use of the one with this number is being written down.
async fn while_used<T>(fixture: &Fixture, number: usize, change: impl Future<Output = T>) -> T {
    let Place::Postgres(database) = &fixture.place else { panic!() };
    let (user, watcher) = (database.connect().await, database.connect().await);
    let used = format!(
        "BEGIN; UPDATE sessions SET user_agent = 'x', last_ip = '::1' WHERE id = (SELECT id FROM sessions \
         WHERE user_id = 'ann' AND state = 'active' ORDER BY created_at OFFSET {number} LIMIT 1)"
    );
    user.batch_execute(&used).await.unwrap();
    let committed = async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
        user.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(change, committed).0
}

async fn five(fixture: &Fixture) {
    for number in 0..5 {
        fixture.session("ann", at(number)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_in_use_gives_way_to_a_new_one_like_any_other() {
    let fixture = Fixture::postgres().await;
    fixture.execute(MANY).await.unwrap();
    for on_exceed in [OnExceed::EvictOldest, OnExceed::EvictLeastRecent] {
        for number in 0..3 {
            fixture.end(Which::AllOf(&user("ann")), EndReason::Revoked, None).await;
            five(&fixture).await;
            let coming = NewSession { limit: max(3, on_exceed), ..new("ann", at(10)) };
            let (_, ended) = while_used(&fixture, number, fixture.create(coming)).await;
            assert_eq!(ended.len(), 3, "{on_exceed:?} {number}");
            assert_eq!(fixture.live("ann", at(11)).await.len(), 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_in_use_ends_like_any_other() {
    let fixture = Fixture::postgres().await;
    fixture.execute(MANY).await.unwrap();
    five(&fixture).await;
    let ended = while_used(&fixture, 2, fixture.end(Which::AllOf(&user("ann")), EndReason::Revoked, None)).await;
    assert_eq!(ended.len(), 5);
    let one = fixture.session("ann", at(6)).await;
    assert_eq!(while_used(&fixture, 0, fixture.end(Which::One(one), EndReason::Revoked, None)).await.len(), 1);
    assert_eq!(fixture.state(one).await, State::Ended(EndReason::Revoked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_use_is_written_down_after_the_count_keeps_its_place_from_a_new_one() {
    let fixture = Fixture::postgres().await;
    // Statements are prepared now: later, only their running waits for the lock.
    let mut coming = NewSession { limit: max(1, OnExceed::RejectNew), ..new("bob", at(0)) };
    fixture.create(coming.clone()).await;
    let returning = fixture.session("ann", at(0)).await;
    coming = NewSession { limit: max(1, OnExceed::RejectNew), ..new("ann", at(9)) };
    coming.limit.idle_since = Some(at(5));

    let Place::Postgres(database) = &fixture.place else { panic!() };
    let (writer, watcher) = (database.connect().await, database.connect().await);
    // Reading, and so counting, goes on under this lock; ending and adding wait.
    writer.batch_execute("BEGIN; LOCK TABLE sessions IN SHARE MODE").await.unwrap();
    let used = async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
        let used = format!("UPDATE sessions SET last_seen_at = now() + '1 day' WHERE id = '{returning}'; COMMIT");
        writer.batch_execute(&used).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(fixture.store.create(coming), used);
    let outcome = outcome.unwrap();
    assert!(matches!(outcome, Creation::TooMany { limit } if limit.get() == 1), "{outcome:?}");
    assert_eq!(fixture.state(returning).await, State::Active);
    assert_eq!(fixture.live("ann", at(9)).await, [returning]);
}
