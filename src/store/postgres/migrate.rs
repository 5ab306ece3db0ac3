//! The schema: which version it is, and how it comes to be.

use deadpool_postgres::{GenericClient, Object};

use super::call::Trouble;
use crate::store::{Migrated, schema};

/// Where our tables are: not among the application's, which often uses the same database and the same names.
pub(super) const SCHEMA: &str = "session_gateway";

/// The advisory lock under which gateways that start together migrate one after the other. An arbitrary number, but for
/// ever the same.
const LOCK: i64 = 0x5e55_1096_a7e3_a001;

/// The schema's version; 0 for an empty database.
///
/// It asks the catalogue's tables and not `to_regclass`, which answers from a cache that is brought up to date when a
/// transaction begins: ours begins before it waits for another gateway's migration.
pub(super) async fn version(client: &impl GenericClient) -> Result<u32, Trouble> {
    let known = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = '{SCHEMA}' AND tablename = 'schema_version')"
    );
    if !client.query_one(&known, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let found = format!("SELECT coalesce(max(version), 0) FROM {SCHEMA}.schema_version");
    let found: i32 = client.query_one(&found, &[]).await?.try_get(0)?;
    Ok(u32::try_from(found).unwrap_or(0))
}

/// Brings the schema up to date, in one transaction.
pub(super) async fn migrate(client: &mut Object) -> Result<Migrated, Trouble> {
    let transaction = client.transaction().await?;
    let limits = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                  SET LOCAL idle_in_transaction_session_timeout = 0";
    transaction.batch_execute(&format!("{limits}; SELECT pg_advisory_xact_lock({LOCK})")).await?;
    // Only now: another gateway may just have done it.
    let from = version(&transaction).await?;
    schema::refuse_newer(from).map_err(Trouble::Store)?;
    // Not "IF NOT EXISTS" alone: that takes the right to create schemas even where one was prepared for us.
    let exists = format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '{SCHEMA}')");
    if !transaction.query_one(&exists, &[]).await?.try_get::<_, bool>(0)? {
        transaction.batch_execute(&format!("CREATE SCHEMA {SCHEMA}")).await?;
    }
    for (to, script) in (1_u32..).zip(schema::POSTGRES).filter(|(to, _)| *to > from) {
        transaction.batch_execute(script).await?;
        let note = format!("DELETE FROM schema_version; INSERT INTO schema_version (version) VALUES ({to})");
        transaction.batch_execute(&note).await?;
    }
    transaction.commit().await?;
    Ok(Migrated { from, to: schema::VERSION })
}
