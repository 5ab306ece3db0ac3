//! No call of the store reads a whole table of PostgreSQL.
//!
//! The server itself counts the sequential scans of each table. The calls are made through the store, with the planner's
//! settings as they are and on tables that are large enough for an index to pay, so that what is counted is what is run,
//! checks of foreign keys included. Each call is made more often than the server plans a prepared statement anew: its plan
//! for any values is among them. SQLite has its own counters, which only its own connection can read: see
//! `src/store/sqlite/plans.rs`.

use std::collections::BTreeMap;

use session_gateway::store::Store;

use crate::support::postgres::{self, Database};
use crate::support::wait_until;

#[allow(dead_code, reason = "the bench uses all of it")]
#[allow(clippy::disallowed_methods, reason = "the bench looks at the clock")]
#[path = "../../benches/scale/calls.rs"]
mod calls;
#[allow(dead_code, reason = "the bench uses all of it")]
#[path = "../../benches/scale/fill.rs"]
mod fill;

use calls::Call;
use fill::{Place, World};

/// Sessions in the tables, in users with one to five of them.
const SIZE: u64 = 20_000;
/// Five runs are planned for their values; from the sixth on the general plan counts.
const RUNS: u64 = 8;
const TABLES: [&str; 4] = ["sessions", "events", "retired_tokens", "users"];

/// How often each table was read from end to end. The server's processes hand in what they counted when they end, so the
/// store's are waited for.
fn scans(database: &Database) -> BTreeMap<String, i64> {
    wait_until("the store's connections are gone", || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'session-gateway' AND datname = current_database()";
        database.run(sql).is_empty()
    });
    let count = |table: &&str| {
        let sql = format!("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = '{table}'");
        ((*table).to_owned(), database.run(&sql)[0].as_deref().unwrap().parse().unwrap())
    };
    TABLES.iter().map(count).collect()
}

#[test]
fn no_call_reads_a_whole_table() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut world = runtime.block_on(World::fill("postgres", SIZE));
    // In proportion: of a batch as large as it is for a million sessions, small tables are better read whole.
    world.batch = 20;
    let Place::Postgres(database) = &world.place else { panic!() };
    let database = database.clone();
    // As many as there are where tokens rotate often.
    database.run(
        "INSERT INTO session_gateway.retired_tokens (token_hash, session_id, usable_until) \
         SELECT sha256(uuid_send(id) || int8send(n)), id, created_at \
         FROM session_gateway.sessions, generate_series(1::bigint, 3) n; ANALYZE",
    );
    let closed = |world: &mut World| {
        // A store that is not used holds no connection.
        world.store = runtime.block_on(async { Store::open(&world.settings).unwrap() });
        scans(&database)
    };
    let mut before = closed(&mut world);
    let mut found = Vec::new();
    for call in Call::ALL {
        runtime.block_on(async {
            for number in 0..RUNS {
                call.time(&world, number).await;
            }
        });
        let after = closed(&mut world);
        for table in TABLES {
            if after[table] > before[table] {
                found.push(format!("{}: {table} {} times", call.name(), after[table] - before[table]));
            }
        }
        before = after;
    }
    assert!(found.is_empty(), "read from end to end:\n{}", found.join("\n"));

    // What the counters do see.
    runtime.block_on(async {
        let client = database.connect().await;
        client.query("SELECT count(*) FROM sessions WHERE email IS NULL", &[]).await.unwrap();
    });
    wait_until("a scan is counted", || scans(&database)["sessions"] > before["sessions"]);
}
