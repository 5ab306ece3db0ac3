//! The schema: made once, checked, kept.

use session_gateway::store::{Migrated, Store, StoreError};

use crate::fixture::{Fixture, at};

/// The schema that this program needs.
const VERSION: u32 = 5;

#[tokio::test]
async fn sqlite_an_empty_database_is_reported_and_migrated() {
    an_empty_database_is_reported_and_migrated(Fixture::empty_sqlite()).await;
}

#[tokio::test]
async fn postgres_an_empty_database_is_reported_and_migrated() {
    an_empty_database_is_reported_and_migrated(Fixture::empty_postgres()).await;
}

async fn an_empty_database_is_reported_and_migrated(fixture: Fixture) {
    let refused = fixture.store.check().await.unwrap_err();
    assert!(matches!(refused, StoreError::Schema(_)), "{refused:?}");
    let sentence = refused.to_string();
    let expected = format!("version 0, this program needs {VERSION}; run `session-gateway migrate`");
    assert!(sentence.contains(&expected), "{sentence}");
    assert_eq!(fixture.store.migrate().await.unwrap(), Migrated { from: 0, to: VERSION });
    fixture.store.check().await.unwrap();
    assert_eq!(fixture.store.migrate().await.unwrap(), Migrated { from: VERSION, to: VERSION });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_gateways_that_start_together_migrate_once() {
    gateways_that_start_together_migrate_once(Fixture::empty_sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_gateways_that_start_together_migrate_once() {
    gateways_that_start_together_migrate_once(Fixture::empty_postgres()).await;
}

async fn gateways_that_start_together_migrate_once(fixture: Fixture) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = fixture.another();
            tokio::spawn(async move { store.migrate().await })
        })
        .collect();
    let mut first = 0;
    for task in tasks {
        let migrated = task.await.unwrap().unwrap();
        assert_eq!(migrated.to, VERSION);
        first += usize::from(migrated.from == 0);
    }
    assert_eq!(first, 1);
    assert_eq!(fixture.rows("schema_version").await.len(), 1);
    fixture.session("ann", at(0)).await;
}

both! {
    async fn a_newer_schema_is_refused_and_left_alone(fixture) {
        fixture.execute("UPDATE schema_version SET version = 700").await.unwrap();
        for refused in [fixture.store.check().await.unwrap_err(), fixture.store.migrate().await.unwrap_err()] {
            assert!(matches!(refused, StoreError::Schema(_)), "{refused:?}");
            let expected = format!("version 700, this program needs {VERSION}");
            assert!(refused.to_string().contains(&expected), "{refused}");
        }
        assert!(fixture.rows("schema_version").await[0].contains("700"));
    }

    async fn what_was_written_is_there_for_the_next_gateway(fixture) {
        let id = fixture.session("ann", at(0)).await;
        let settings = fixture.settings.clone();
        let next = Store::open(&settings).unwrap();
        assert_eq!(next.get(id).await.unwrap().unwrap().created_at, at(0));
        next.check().await.unwrap();
    }

    async fn a_row_that_cannot_be_read_is_a_failure_and_not_an_absence(fixture) {
        let id = fixture.session("ann", at(0)).await;
        let sql = "UPDATE sessions SET state = 'suspended', state_reason = 'bored'";
        fixture.execute(sql).await.unwrap();
        let error = fixture.store.get(id).await.unwrap_err();
        assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("state") && cause.contains(&id.to_string()), "{cause}");
    }

    async fn a_store_names_its_kind_and_hides_its_address(fixture) {
        assert!(["sqlite", "postgres"].contains(&fixture.store.kind()));
        assert!(!format!("{:?} {:?}", fixture.store, fixture.settings).contains("postgres://"));
    }
}
