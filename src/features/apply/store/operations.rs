//! Operations.

use serde_json::Value;
use tokio_postgres::{GenericClient, Row, types::Json};

use super::{id, optional_id};
use crate::{
    common::{OperationId, PlanId, ProjectId, ReleaseId, Timestamp},
    engines::postgres::DatabaseError,
    features::apply::types::{Kind, Operation, PhaseMark, Status},
};

const COLUMNS: &str = "id, project_id, plan_id, kind, status, base_release_id, target_release_id, release_id, urls, \
                       error, phases, activate_attempts, last_activate_attempt_at, touches_database, \
                       migration_in_flight, created_by, created_at, updated_at";

fn operation(row: &Row) -> Result<Operation, DatabaseError> {
    Ok(Operation {
        id: id(row, "id")?,
        project: id(row, "project_id")?,
        plan: optional_id(row, "plan_id")?,
        kind: match row.try_get("kind")? {
            "apply" => Kind::Apply,
            "promote" => Kind::Promote,
            _ => return Err(DatabaseError::damaged("kind")),
        },
        status: Status::from_stored(row.try_get("status")?).ok_or_else(|| DatabaseError::damaged("status"))?,
        base: optional_id(row, "base_release_id")?,
        target: optional_id(row, "target_release_id")?,
        release: optional_id(row, "release_id")?,
        urls: row.try_get::<_, Option<Json<Value>>>("urls")?.map(|json| json.0),
        error: row.try_get::<_, Option<Json<Value>>>("error")?.map(|json| json.0),
        phases: row.try_get::<_, Json<Vec<PhaseMark>>>("phases")?.0,
        activate_attempts: row.try_get("activate_attempts")?,
        last_activate_attempt_at: row.try_get("last_activate_attempt_at")?,
        touches_database: row.try_get("touches_database")?,
        migration_in_flight: row.try_get("migration_in_flight")?,
        created_by: row.try_get("created_by")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// A new operation.
pub struct New<'a> {
    pub id: &'a OperationId,
    pub project: &'a ProjectId,
    pub plan: Option<&'a PlanId>,
    pub kind: Kind,
    pub status: Status,
    pub base: Option<&'a ReleaseId>,
    pub target: Option<&'a ReleaseId>,
    pub touches_database: bool,
    pub created_by: &'a str,
}

pub async fn insert<C: GenericClient + Sync>(client: &C, new: &New<'_>, now: Timestamp) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into apply_operations (id, project_id, plan_id, kind, status, base_release_id, target_release_id,
                                           touches_database, created_by, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
            &[
                &new.id.as_str(),
                &new.project.as_str(),
                &new.plan.map(PlanId::as_str),
                &new.kind.as_str(),
                &new.status.as_str(),
                &new.base.map(ReleaseId::as_str),
                &new.target.map(ReleaseId::as_str),
                &new.touches_database,
                &new.created_by,
                &now,
            ],
        )
        .await?;
    Ok(())
}

pub async fn find<C: GenericClient + Sync>(
    client: &C,
    operation_id: &OperationId,
) -> Result<Option<Operation>, DatabaseError> {
    let row = client
        .query_opt(&format!("select {COLUMNS} from apply_operations where id = $1"), &[&operation_id.as_str()])
        .await?;
    row.as_ref().map(operation).transpose()
}

/// A page of a project's operations, newest first; `after`: the last one of the page before.
pub async fn list<C: GenericClient + Sync>(
    client: &C,
    project: &ProjectId,
    after: Option<&(Timestamp, OperationId)>,
    limit: i64,
) -> Result<Vec<Operation>, DatabaseError> {
    let rows = client
        .query(
            &format!(
                "select {COLUMNS} from apply_operations
                 where project_id = $1
                   and ($2::timestamptz is null or (created_at, id) < ($2, $3))
                 order by created_at desc, id desc limit $4"
            ),
            &[&project.as_str(), &after.map(|(at, _)| *at), &after.map(|(_, id)| id.as_str()), &limit],
        )
        .await?;
    rows.iter().map(operation).collect()
}

/// What a process that is gone left unfinished, oldest first.
pub async fn unfinished<C: GenericClient + Sync>(client: &C) -> Result<Vec<Operation>, DatabaseError> {
    let rows = client
        .query(
            &format!(
                "select {COLUMNS} from apply_operations
                 where status in ('committing', 'staging', 'gating', 'migrating', 'schema_settling', 'activating')
                 order by created_at"
            ),
            &[],
        )
        .await?;
    rows.iter().map(operation).collect()
}

/// What a project has begun and not ended: at most one operation. Whoever holds the project's turn and finds it
/// executing knows that nobody works on it any more.
pub async fn begun_of<C: GenericClient + Sync>(
    client: &C,
    project: &ProjectId,
) -> Result<Vec<Operation>, DatabaseError> {
    let rows = client
        .query(
            &format!(
                "select {COLUMNS} from apply_operations
                 where project_id = $1
                   and status in ('committing', 'staging', 'gating', 'migrating', 'schema_settling', 'activating',
                                  'activation_pending')
                 order by created_at"
            ),
            &[&project.as_str()],
        )
        .await?;
    rows.iter().map(operation).collect()
}

/// Activations whose pause is over.
pub async fn due<C: GenericClient + Sync>(client: &C, now: Timestamp) -> Result<Vec<Operation>, DatabaseError> {
    let rows = client
        .query(
            &format!(
                "select {COLUMNS} from apply_operations
                 where status = 'activation_pending' and (next_attempt_at is null or next_attempt_at <= $1)
                 order by next_attempt_at nulls first limit 20"
            ),
            &[&now],
        )
        .await?;
    rows.iter().map(operation).collect()
}

/// Enters a phase.
pub async fn enter<C: GenericClient + Sync>(
    client: &C,
    operation: &OperationId,
    status: Status,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let mark = [PhaseMark { status, at: now }];
    client
        .execute(
            "update apply_operations set status = $2, phases = phases || $3::jsonb, updated_at = $4 where id = $1",
            &[&operation.as_str(), &status.as_str(), &Json(&mark), &now],
        )
        .await?;
    Ok(())
}

/// Corrects a plan's operation when bytes arrived or went.
pub async fn set_open<C: GenericClient + Sync>(
    client: &C,
    operation: &OperationId,
    status: Status,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update apply_operations set status = $2, updated_at = $3
             where id = $1 and status in ('planning', 'uploading') and status <> $2",
            &[&operation.as_str(), &status.as_str(), &now],
        )
        .await?;
    Ok(())
}

/// Names the release it makes, and whether it will change the project's database.
pub async fn set_target<C: GenericClient + Sync>(
    client: &C,
    operation: &OperationId,
    target: &ReleaseId,
    touches_database: bool,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update apply_operations set target_release_id = $2, touches_database = $3 where id = $1",
            &[&operation.as_str(), &target.as_str(), &touches_database],
        )
        .await?;
    Ok(())
}

/// Names the migration that runs outside a transaction, or none.
pub async fn set_in_flight<C: GenericClient + Sync>(
    client: &C,
    operation: &OperationId,
    migration: Option<&str>,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update apply_operations set migration_in_flight = $2 where id = $1",
            &[&operation.as_str(), &migration],
        )
        .await?;
    Ok(())
}

/// Ends well.
pub async fn finish<C: GenericClient + Sync>(
    client: &C,
    operation: &OperationId,
    release: &ReleaseId,
    urls: &Value,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update apply_operations
             set status = 'ready', release_id = $2, urls = $3, error = null, next_attempt_at = null,
                 migration_in_flight = null, updated_at = $4
             where id = $1",
            &[&operation.as_str(), &release.as_str(), &Json(urls), &now],
        )
        .await?;
    Ok(())
}

/// Ends, or stops for now, with an error.
pub async fn fail<C: GenericClient + Sync>(
    client: &C,
    operation: &OperationId,
    status: Status,
    error: &Value,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update apply_operations set status = $2, error = $3, next_attempt_at = null, updated_at = $4
             where id = $1 and status not in ('ready', 'failed', 'rolled_back')",
            &[&operation.as_str(), &status.as_str(), &Json(error), &now],
        )
        .await?;
    Ok(())
}

/// Waits for the next attempt.
pub async fn postpone<C: GenericClient + Sync>(
    client: &C,
    operation: &OperationId,
    error: &Value,
    next: Timestamp,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update apply_operations
             set status = 'activation_pending', error = $2, next_attempt_at = $3, updated_at = $4
             where id = $1 and status not in ('ready', 'failed', 'rolled_back')",
            &[&operation.as_str(), &Json(error), &next, &now],
        )
        .await?;
    Ok(())
}

/// Enters the last phase, and counts the attempt.
pub async fn begin_activation<C: GenericClient + Sync>(
    client: &C,
    operation: &OperationId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let mark = [PhaseMark { status: Status::Activating, at: now }];
    client
        .execute(
            "update apply_operations
             set status = 'activating', phases = phases || $2::jsonb, activate_attempts = activate_attempts + 1,
                 last_activate_attempt_at = $3, updated_at = $3
             where id = $1 and status not in ('ready', 'failed', 'rolled_back')",
            &[&operation.as_str(), &Json(&mark), &now],
        )
        .await?;
    Ok(())
}
