//! Plans.

use std::sync::Arc;

use tokio_postgres::{GenericClient, types::Json};

use super::{id, optional_id};
use crate::{
    common::{OperationId, PlanId, ProjectId, ReleaseId, Timestamp},
    engines::postgres::DatabaseError,
    features::apply::types::{BaseKind, Plan},
};

/// What makes two plans the same (contract 03 §5.2).
pub struct Identity<'a> {
    pub project: &'a ProjectId,
    pub base: Option<&'a ReleaseId>,
    pub base_kind: BaseKind,
    pub manifest_digest: &'a str,
    pub idempotency_key: Option<&'a str>,
    pub principal: &'a str,
}

/// An identical plan that was not committed and is not too old.
pub async fn find_open<C: GenericClient + Sync>(
    client: &C,
    wanted: &Identity<'_>,
    now: Timestamp,
) -> Result<Option<(PlanId, OperationId, Timestamp)>, DatabaseError> {
    let row = client
        .query_opt(
            "select p.id, p.operation_id, p.expires_at
             from apply_plans p join apply_operations o on o.id = p.operation_id
             where p.project_id = $1 and p.manifest_digest = $2 and p.committed_at is null and p.expires_at > $3
               and p.base_release_id is not distinct from $4 and p.base_kind = $5
               and p.idempotency_key is not distinct from $6 and p.principal = $7
               and o.status in ('planning', 'uploading')
             order by p.created_at desc limit 1",
            &[
                &wanted.project.as_str(),
                &wanted.manifest_digest,
                &now,
                &wanted.base.map(ReleaseId::as_str),
                &wanted.base_kind.as_str(),
                &wanted.idempotency_key,
                &wanted.principal,
            ],
        )
        .await?;
    row.map(|row| Ok((id(&row, "id")?, id(&row, "operation_id")?, row.try_get("expires_at")?))).transpose()
}

pub async fn insert<C: GenericClient + Sync>(client: &C, plan: &Plan) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into apply_plans (id, project_id, operation_id, base_kind, base_release_id, manifest_digest,
                                      idempotency_key, principal, spec, is_noop, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            &[
                &plan.id.as_str(),
                &plan.project.as_str(),
                &plan.operation.as_str(),
                &plan.base_kind.as_str(),
                &plan.base.as_ref().map(ReleaseId::as_str),
                &plan.manifest_digest,
                &plan.idempotency_key,
                &plan.principal,
                &Json(&*plan.spec),
                &plan.is_noop,
                &plan.created_at,
                &plan.expires_at,
            ],
        )
        .await?;
    Ok(())
}

pub async fn find<C: GenericClient + Sync>(client: &C, plan: &PlanId) -> Result<Option<Plan>, DatabaseError> {
    let row = client
        .query_opt(
            "select id, project_id, operation_id, base_kind, base_release_id, manifest_digest, idempotency_key,
                    principal, spec, is_noop, created_at, expires_at
             from apply_plans where id = $1",
            &[&plan.as_str()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Plan {
        id: id(&row, "id")?,
        project: id(&row, "project_id")?,
        operation: id(&row, "operation_id")?,
        base_kind: match row.try_get("base_kind")? {
            "current" => BaseKind::Current,
            "empty" => BaseKind::Empty,
            "pinned" => BaseKind::Pinned,
            _ => return Err(DatabaseError::damaged("base_kind")),
        },
        base: optional_id(&row, "base_release_id")?,
        manifest_digest: row.try_get("manifest_digest")?,
        idempotency_key: row.try_get("idempotency_key")?,
        principal: row.try_get("principal")?,
        spec: Arc::new(row.try_get::<_, Json<_>>("spec")?.0),
        is_noop: row.try_get("is_noop")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
    }))
}

/// From now on the plan satisfies no plan request.
pub async fn mark_committed<C: GenericClient + Sync>(
    client: &C,
    plan: &PlanId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update apply_plans set committed_at = coalesce(committed_at, $2) where id = $1",
            &[&plan.as_str(), &now],
        )
        .await?;
    Ok(())
}

/// Operations of plans that were never committed and are too old now.
pub async fn too_old<C: GenericClient + Sync>(
    client: &C,
    now: Timestamp,
    most: i64,
) -> Result<Vec<(PlanId, OperationId)>, DatabaseError> {
    let rows = client
        .query(
            "select p.id, p.operation_id
             from apply_plans p join apply_operations o on o.id = p.operation_id
             where p.expires_at <= $1 and o.status in ('planning', 'uploading')
             order by p.expires_at limit $2",
            &[&now, &most],
        )
        .await?;
    rows.iter().map(|row| Ok((id(row, "id")?, id(row, "operation_id")?))).collect()
}

/// Forgets old plans whose operation has come to its end: their specs are large, and nothing reads them again.
pub async fn forget_finished<C: GenericClient + Sync>(client: &C, before: Timestamp) -> Result<u64, DatabaseError> {
    Ok(client
        .execute(
            "delete from apply_plans p using apply_operations o
             where o.id = p.operation_id and p.expires_at <= $1
               and o.status in ('ready', 'failed', 'rolled_back')",
            &[&before],
        )
        .await?)
}
