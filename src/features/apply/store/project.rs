//! What a project's own database knows of deploys. Needs a platform session.

use std::collections::BTreeMap;

use tokio_postgres::{Client, GenericClient, types::Type};

use crate::{
    common::{OperationId, Timestamp},
    engines::{blobs::Sha256Digest, postgres::DatabaseError},
};

/// An applied migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    pub checksum: Sha256Digest,
    pub at: Timestamp,
}

/// Every migration applied to the project, by id.
pub async fn registry(platform: &Client) -> Result<BTreeMap<String, Applied>, DatabaseError> {
    let rows = platform.query("select migration_id, checksum_hex, applied_at from internal.migrations", &[]).await?;
    rows.iter()
        .map(|row| {
            let checksum = row.try_get::<_, &str>(1)?.parse().map_err(|_| DatabaseError::damaged("checksum_hex"))?;
            Ok((row.try_get(0)?, Applied { checksum, at: row.try_get(2)? }))
        })
        .collect()
}

/// Whether the operation's transaction in the project's database was committed.
pub async fn is_marked(platform: &Client, operation: &OperationId) -> Result<bool, DatabaseError> {
    let row = platform
        .query_opt("select from internal.applied_operations where operation_id = $1", &[&operation.as_str()])
        .await?;
    Ok(row.is_some())
}

/// Which of these columns a table of schema public has. Nothing of the project's own stands in for the system's,
/// whatever the search path is.
pub async fn columns<C: GenericClient + Sync>(
    client: &C,
    table: &str,
    columns: &[&str],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client
        .query_typed(
            "select a.attname::text
             from pg_catalog.pg_attribute a
             join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) a.attrelid
             join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
             where n.nspname operator(pg_catalog.=) 'public' and c.relname::text operator(pg_catalog.=) $1
               and a.attname::text operator(pg_catalog.=) any ($2) and not a.attisdropped",
            &[(&table, Type::TEXT), (&columns, Type::TEXT_ARRAY)],
        )
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// The server process of a session.
pub async fn process(client: &Client) -> Result<i32, DatabaseError> {
    Ok(client.query_one("select pg_catalog.pg_backend_pid()", &[]).await?.try_get(0)?)
}

/// Ends a session that runs on beyond its time.
pub async fn terminate(platform: &Client, process: i32) -> Result<(), DatabaseError> {
    platform.query_one("select pg_catalog.pg_terminate_backend($1)", &[&process]).await?;
    Ok(())
}
