//! What is known of functions beside their releases: when each came and changed.

use std::collections::BTreeMap;

use tokio_postgres::{GenericClient, Transaction};

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
};

#[derive(Clone, Debug)]
pub struct Record {
    pub digest: String,
    pub fingerprint: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Locks the project's turn. False: a newer release, or this very state, was brought in line already.
pub async fn begin_sync(
    tx: &Transaction<'_>,
    project: &ProjectId,
    generation: i64,
    digest: &str,
) -> Result<bool, DatabaseError> {
    let changed = tx
        .execute(
            "insert into function_syncs as s (project_id, generation, digest) values ($1, $2, $3)
             on conflict (project_id) do update set generation = excluded.generation, digest = excluded.digest
              where s.generation <= excluded.generation
                and (s.generation, s.digest) is distinct from (excluded.generation, excluded.digest)",
            &[&project.as_str(), &generation, &digest],
        )
        .await?;
    Ok(changed == 1)
}

pub async fn of_project<C: GenericClient>(
    client: &C,
    project: &ProjectId,
) -> Result<BTreeMap<String, Record>, DatabaseError> {
    let rows = client
        .query(
            "select name, digest, fingerprint, created_at, updated_at
               from function_records where project_id = $1",
            &[&project.as_str()],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let record = Record {
                digest: row.try_get("digest")?,
                fingerprint: row.try_get("fingerprint")?,
                created_at: row.try_get("created_at")?,
                updated_at: row.try_get("updated_at")?,
            };
            Ok((row.try_get("name")?, record))
        })
        .collect()
}

/// A function that is new or has changed.
pub async fn put(
    tx: &Transaction<'_>,
    project: &ProjectId,
    name: &str,
    digest: &str,
    fingerprint: &str,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    tx.execute(
        "insert into function_records (project_id, name, digest, fingerprint, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $5)
         on conflict (project_id, name) do update
            set digest = excluded.digest, fingerprint = excluded.fingerprint, updated_at = excluded.updated_at",
        &[&project.as_str(), &name, &digest, &fingerprint, &now],
    )
    .await?;
    Ok(())
}

/// Keeps these and no others.
pub async fn retain(tx: &Transaction<'_>, project: &ProjectId, names: &[&str]) -> Result<(), DatabaseError> {
    tx.execute("delete from function_records where project_id = $1 and name <> all($2)", &[&project.as_str(), &names])
        .await?;
    Ok(())
}

pub async fn set_fingerprint<C: GenericClient>(
    client: &C,
    project: &ProjectId,
    name: &str,
    fingerprint: &str,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update function_records set fingerprint = $3 where project_id = $1 and name = $2",
            &[&project.as_str(), &name, &fingerprint],
        )
        .await?;
    Ok(())
}

/// Forgets projects that are gone.
pub async fn sweep(connection: &Connection) -> Result<(), DatabaseError> {
    connection
        .batch_execute(
            "delete from function_schedules s using projects p where p.id = s.project_id and p.status <> 'active';
             delete from function_records r using projects p where p.id = r.project_id and p.status <> 'active';
             delete from function_runs r using projects p where p.id = r.project_id and p.status <> 'active';
             delete from function_syncs s using projects p where p.id = s.project_id and p.status <> 'active';",
        )
        .await?;
    Ok(())
}
