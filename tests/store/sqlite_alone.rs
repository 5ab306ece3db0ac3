//! What only the embedded store has: a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use session_gateway::session::{Actor, EndReason, SessionId, State};
use session_gateway::store::{Ending, Settings, SqliteSettings, Store, StoreError, Which};

use crate::fixture::{Fixture, Place, TIMEOUT, at, new, new_with_token, user};

fn open(path: &Path, exclusive: bool) -> Store {
    Store::open(&Settings::Sqlite(SqliteSettings { path: path.into(), exclusive, timeout: TIMEOUT })).unwrap()
}

#[tokio::test]
async fn a_second_gateway_is_kept_off_the_file_until_the_first_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sessions.db");
    let first = open(&path, true);
    first.migrate().await.unwrap();
    let second = open(&path, true);
    for refused in [second.check().await.unwrap_err(), second.migrate().await.unwrap_err()] {
        assert!(matches!(refused, StoreError::InUse(_)), "{refused:?}");
        let sentence = refused.to_string();
        assert!(sentence.contains(&*path.to_string_lossy()) && sentence.contains("another gateway"), "{sentence}");
    }
    // The command line works beside the gateway.
    open(&path, false).check().await.unwrap();

    drop(first);
    // Its threads give the lock back when they end, which nobody is told of.
    while let Err(error) = second.check().await {
        assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
        tokio::task::yield_now().await;
    }
    assert!(open(&path, true).check().await.unwrap_err().to_string().contains("in use"));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named_and_opened_as_soon_as_it_can_be() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("missing/sessions.db");
    let store = open(&path, true);
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.to_string().contains(&*path.to_string_lossy()), "{cause}");
    assert!(cause.source().is_some(), "why is not told");
    assert!(matches!(store.create(new("ann", at(0))).await, Err(StoreError::Unreachable(_))));

    fs::create_dir(path.parent().unwrap()).unwrap();
    store.migrate().await.unwrap();
    store.create(new("ann", at(0))).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sessions.db");
    fs::write(&path, "this is not a database, but long enough to be looked at as one".repeat(100)).unwrap();
    let error = open(&path, true).migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn only_the_gateways_user_may_read_the_files() {
    let fixture = Fixture::sqlite().await;
    fixture.session("ann", at(0)).await;
    let Place::Sqlite(place) = &fixture.place else { panic!() };
    let mut seen = 0;
    for entry in fs::read_dir(place.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert_eq!(seen, 3, "the database, its log and the log's index");
}

#[tokio::test]
async fn no_token_is_in_the_bytes_of_the_files() {
    let fixture = Fixture::sqlite().await;
    let (new, token) = new_with_token("ann", at(0));
    fixture.create(new).await;
    let Place::Sqlite(place) = &fixture.place else { panic!() };
    let mut found_name = false;
    for entry in fs::read_dir(place.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!contains(token.reveal()));
        found_name |= contains("Firefox/130.0");
    }
    assert!(found_name, "the search finds what is there");
}

#[tokio::test]
async fn a_call_gives_up_when_another_process_holds_the_file_and_then_works_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sessions.db");
    let limit = Duration::from_millis(200);
    let settings = SqliteSettings { path: path.clone(), exclusive: true, timeout: limit };
    let store = Store::open(&Settings::Sqlite(settings)).unwrap();
    store.migrate().await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let kept = new("ann", at(0));
    let error = store.create(kept.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout(after) if after == limit), "{error:?}");
    assert!(store.get(kept.id).await.unwrap().is_none(), "reading goes on meanwhile");
    other.execute_batch("ROLLBACK").unwrap();
    let later = new("ann", at(1));
    store.create(later.clone()).await.unwrap();
    assert!(store.get(later.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once_and_nothing_of_it_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sessions.db");
    let store = open(&path, true);
    store.migrate().await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    let mut refused = 0;
    let creations: Vec<_> = (0..3000).map(|_| new("ann", at(0))).collect();
    let mut ids = Vec::new();
    for new in creations {
        let (store, id) = (store.clone(), new.id);
        waiting.spawn(async move { (id, store.create(new).await) });
    }
    // One of them is with the writer, a queue of them waits, the others are answered now.
    while refused < 500 {
        let (_, outcome) = waiting.join_next().await.unwrap().unwrap();
        assert!(matches!(outcome, Err(StoreError::Overloaded)), "{outcome:?}");
        refused += 1;
    }
    other.execute_batch("ROLLBACK").unwrap();
    while let Some(done) = waiting.join_next().await {
        let (id, outcome) = done.unwrap();
        match outcome {
            Ok(_) => ids.push(id),
            Err(error) => assert!(matches!(error, StoreError::Overloaded), "{error:?}"),
        }
    }
    assert!(ids.len() >= 1024, "{}", ids.len());
    let live = store.list_live(&user("ann"), None, 5000, at(1), None).await.unwrap();
    assert_eq!(live.len(), ids.len(), "what was confirmed is there, and nothing else");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_not_carried_out() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sessions.db");
    let store = open(&path, true);
    store.migrate().await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer takes it up and is held up by the other process.
    let given_up = tokio::time::timeout(Duration::from_millis(100), store.create(new("ann", at(1)))).await;
    assert!(given_up.is_err());
    other.execute_batch("ROLLBACK").unwrap();
    // A later call has passed the same queue.
    store.create(new("ann", at(2))).await.unwrap();
    let live = store.list_live(&user("ann"), None, 9, at(3), None).await.unwrap();
    assert_eq!(live.iter().map(|record| record.created_at).collect::<Vec<_>>(), [at(2)]);
}

/// Run by the next test in a process of its own: creates a session, ends another, says so, and is killed.
#[tokio::test]
#[ignore = "a part of the next test"]
async fn child_that_is_killed() {
    let path = std::env::var_os("SESSION_GATEWAY_TEST_FILE").unwrap();
    let store = open(Path::new(&path), true);
    store.migrate().await.unwrap();
    let (ended, kept) = (new("ann", at(0)), new("ann", at(1)));
    store.create(ended.clone()).await.unwrap();
    store.create(kept.clone()).await.unwrap();
    let actor = Actor::Operator;
    let ending = Ending { reason: EndReason::Revoked, current: None, actor: &actor, now: at(2) };
    assert_eq!(store.end(Which::One(ended.id), ending).await.unwrap().len(), 1);
    fs::write(Path::new(&path).with_extension("ids"), format!("{} {}", ended.id, kept.id)).unwrap();
    std::process::abort();
}

#[tokio::test]
async fn what_was_confirmed_survives_the_sudden_death_of_the_process() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sessions.db");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "sqlite_alone::child_that_is_killed"]);
    let output = child.env("SESSION_GATEWAY_TEST_FILE", &path).output().unwrap();
    assert!(!output.status.success());
    let ids = fs::read_to_string(path.with_extension("ids"))
        .unwrap_or_else(|_| panic!("the child did not come to its end:\n{}", String::from_utf8_lossy(&output.stdout)));
    let ids: Vec<_> = ids.split(' ').map(|id| SessionId::parse(id).unwrap()).collect();
    let store = open(&path, true);
    assert_eq!(store.get(ids[0]).await.unwrap().unwrap().state, State::Ended(EndReason::Revoked));
    assert_eq!(store.get(ids[1]).await.unwrap().unwrap().state, State::Active);
}
