//! The SQL of user keys.

use tokio_postgres::{Row, Transaction, types::Json};

use super::types::{Jwk, StoredKey};
use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::{Connection, DatabaseError},
};

const COLUMNS: &str = "project_id, public_jwk, private_key, created_at, retired_at";

/// The keys in use and those retired after `horizon`, of one project or of all; the youngest first.
pub(super) async fn load(
    connection: &Connection,
    project: Option<&ProjectId>,
    horizon: Timestamp,
) -> Result<Vec<StoredKey>, DatabaseError> {
    let sql = format!(
        "select {COLUMNS} from user_keys
          where ($1::text is null or project_id = $1) and (retired_at is null or retired_at > $2)
          order by retired_at is null desc, created_at desc, kid"
    );
    let statement = connection.prepare_cached(&sql).await?;
    let rows = connection.query(&statement, &[&project.map(ProjectId::as_str), &horizon]).await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<StoredKey, DatabaseError> {
    let Json(public): Json<Jwk> = row.try_get("public_jwk")?;
    let project: &str = row.try_get("project_id")?;
    Ok(StoredKey {
        project: project
            .parse()
            .map_err(|_| DatabaseError::Unavailable(format!("the control database holds a bad id: {project}")))?,
        public,
        private: row.try_get("private_key")?,
        created_at: row.try_get("created_at")?,
        retired_at: row.try_get("retired_at")?,
    })
}

/// Adds a project's key unless it has one in use, or is not there.
pub(super) async fn add(tx: &Transaction<'_>, key: &StoredKey) -> Result<bool, DatabaseError> {
    let added = tx
        .execute(
            "insert into user_keys (kid, project_id, public_jwk, private_key, created_at)
             select $1, id, $3, $4, $5 from projects where id = $2 and status = 'active'
             on conflict (project_id) where retired_at is null do nothing",
            &[&key.public.kid, &key.project.as_str(), &Json(&key.public), &key.private, &key.created_at],
        )
        .await?;
    Ok(added == 1)
}

/// Ends the signing life of a project's key.
pub(super) async fn retire(tx: &Transaction<'_>, project: &ProjectId, now: Timestamp) -> Result<(), DatabaseError> {
    tx.execute(
        "update user_keys set retired_at = greatest($2, created_at) where project_id = $1 and retired_at is null",
        &[&project.as_str(), &now],
    )
    .await?;
    Ok(())
}

/// Forgets keys that no living token was signed with, and those of projects that are gone.
pub(super) async fn sweep(connection: &Connection, horizon: Timestamp) -> Result<u64, DatabaseError> {
    Ok(connection
        .execute(
            "delete from user_keys k using projects p
              where p.id = k.project_id and (k.retired_at <= $1 or p.status <> 'active')",
            &[&horizon],
        )
        .await?)
}
