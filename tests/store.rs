//! The store's contract. Every test in a `both!` block is one sentence of it and runs against SQLite and PostgreSQL.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

/// Makes each test twice: `…::sqlite::name` and `…::postgres::name`.
macro_rules! both {
    ($(async fn $name:ident($fixture:ident) $body:block)*) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let $fixture = Fixture::sqlite().await;
                $body
            })*
        }

        mod postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let $fixture = Fixture::postgres().await;
                $body
            })*
        }
    };
}

#[path = "store/auditing.rs"]
mod auditing;
#[path = "store/creating.rs"]
mod creating;
#[path = "store/ending.rs"]
mod ending;
#[path = "store/fixture.rs"]
mod fixture;
#[path = "store/importing.rs"]
mod importing;
#[path = "store/living.rs"]
mod living;
#[path = "store/moving.rs"]
mod moving;
#[path = "store/plans.rs"]
mod plans;
#[path = "store/postgres_alone.rs"]
mod postgres_alone;
#[path = "store/rotating.rs"]
mod rotating;
#[path = "store/schema.rs"]
mod schema;
#[path = "store/searching.rs"]
mod searching;
#[path = "store/sqlite_alone.rs"]
mod sqlite_alone;
#[path = "store/sweeping.rs"]
mod sweeping;
#[path = "store/users.rs"]
mod users;
