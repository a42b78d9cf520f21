//! All SQL on secrets.

use tokio_postgres::Transaction;

use super::types::SecretEntry;
use crate::{
    common::{OrganisationId, ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
};

/// Secrets of an organisation's projects, without the one of this project and key.
pub(super) async fn count_others(
    tx: &Transaction<'_>,
    organisation: OrganisationId,
    project: &ProjectId,
    key: &str,
) -> Result<i64, DatabaseError> {
    let row = tx
        .query_one(
            "select count(*) from project_secrets s join projects p on p.id = s.project_id
             where p.organisation_id = $1 and (s.project_id, s.key) <> ($2, $3)",
            &[&organisation.0, &project.as_str(), &key],
        )
        .await?;
    Ok(row.get(0))
}

/// Stores a sealed value. False when the project is no longer live.
pub(super) async fn put(
    tx: &Transaction<'_>,
    project: &ProjectId,
    key: &str,
    sealed: &[u8],
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    // The lock makes a purge that begins now wait, and then take this row along.
    let live = tx
        .query_opt("select 1 from projects where id = $1 and status = 'active' for share", &[&project.as_str()])
        .await?;
    if live.is_none() {
        return Ok(false);
    }
    tx.execute(
        "insert into project_secrets (project_id, key, sealed, created_at, updated_at) values ($1, $2, $3, $4, $4)
         on conflict (project_id, key) do update set sealed = excluded.sealed, updated_at = excluded.updated_at",
        &[&project.as_str(), &key, &sealed, &now],
    )
    .await?;
    Ok(true)
}

/// Sorted by key.
pub(super) async fn list(connection: &Connection, project: &ProjectId) -> Result<Vec<SecretEntry>, DatabaseError> {
    let statement = connection
        .prepare_cached(
            "select key, created_at, updated_at from project_secrets where project_id = $1 order by key collate \"C\"",
        )
        .await?;
    let rows = connection.query(&statement, &[&project.as_str()]).await?;
    Ok(rows
        .into_iter()
        .map(|row| SecretEntry { key: row.get(0), created_at: row.get(1), updated_at: row.get(2) })
        .collect())
}

/// Keys and sealed values, sorted by key.
pub(super) async fn sealed(
    connection: &Connection,
    project: &ProjectId,
) -> Result<Vec<(String, Vec<u8>)>, DatabaseError> {
    let statement = connection
        .prepare_cached("select key, sealed from project_secrets where project_id = $1 order by key collate \"C\"")
        .await?;
    let rows = connection.query(&statement, &[&project.as_str()]).await?;
    Ok(rows.into_iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Answers how many there were.
pub(super) async fn delete(tx: &Transaction<'_>, project: &ProjectId, keys: &[String]) -> Result<u64, DatabaseError> {
    let deleted = tx
        .execute("delete from project_secrets where project_id = $1 and key = any($2)", &[&project.as_str(), &keys])
        .await?;
    Ok(deleted)
}
