//! Releases and the live pointer.

use tokio_postgres::{GenericClient, Row, types::Json};

use super::{id, optional_id};
use crate::{
    common::{DeploymentId, OperationId, OrganisationId, PlanId, ProjectId, ReleaseId, Timestamp},
    engines::postgres::DatabaseError,
    features::releases::ReleaseState,
};

/// A release without its state.
#[derive(Clone, Debug)]
pub struct Release {
    pub id: ReleaseId,
    pub project: ProjectId,
    pub parent: Option<ReleaseId>,
    pub deployment: DeploymentId,
    /// `staged`, `active`, `superseded` or `failed`
    pub status: String,
    pub generation: Option<i64>,
    pub manifest_digest: Option<String>,
    pub static_manifest_sha256: Option<String>,
    pub route_manifest_sha256: Option<String>,
    pub operation: Option<OperationId>,
    pub plan: Option<PlanId>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub activated_at: Option<Timestamp>,
    pub superseded_at: Option<Timestamp>,
    pub pruned_at: Option<Timestamp>,
}

impl Release {
    /// Was live once, and its bytes are still there.
    pub fn is_retained(&self) -> bool {
        matches!(self.status.as_str(), "active" | "superseded") && self.pruned_at.is_none()
    }
}

/// Where the live pointer of a project stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub release: ReleaseId,
    pub generation: i64,
}

const COLUMNS: &str = "id, project_id, parent_id, deployment_id, status, generation, manifest_digest, \
                       static_manifest_sha256, route_manifest_sha256, operation_id, plan_id, created_by, created_at, \
                       activated_at, superseded_at, pruned_at";

fn release(row: &Row) -> Result<Release, DatabaseError> {
    Ok(Release {
        id: id(row, "id")?,
        project: id(row, "project_id")?,
        parent: optional_id(row, "parent_id")?,
        deployment: id(row, "deployment_id")?,
        status: row.try_get("status")?,
        generation: row.try_get("generation")?,
        manifest_digest: row.try_get("manifest_digest")?,
        static_manifest_sha256: row.try_get("static_manifest_sha256")?,
        route_manifest_sha256: row.try_get("route_manifest_sha256")?,
        operation: optional_id(row, "operation_id")?,
        plan: optional_id(row, "plan_id")?,
        created_by: row.try_get("created_by")?,
        created_at: row.try_get("created_at")?,
        activated_at: row.try_get("activated_at")?,
        superseded_at: row.try_get("superseded_at")?,
        pruned_at: row.try_get("pruned_at")?,
    })
}

/// Every live pointer of the box.
pub async fn pointers<C: GenericClient + Sync>(client: &C) -> Result<Vec<(ProjectId, Pointer)>, DatabaseError> {
    let rows = client.query("select project_id, release_id, generation from live_releases", &[]).await?;
    rows.iter()
        .map(|row| {
            Ok((
                id(row, "project_id")?,
                Pointer { release: id(row, "release_id")?, generation: row.try_get("generation")? },
            ))
        })
        .collect()
}

pub async fn find<C: GenericClient + Sync>(client: &C, wanted: &ReleaseId) -> Result<Option<Release>, DatabaseError> {
    let row = client.query_opt(&format!("select {COLUMNS} from releases where id = $1"), &[&wanted.as_str()]).await?;
    row.as_ref().map(release).transpose()
}

/// A release with its state.
pub async fn load<C: GenericClient + Sync>(
    client: &C,
    wanted: &ReleaseId,
) -> Result<Option<(Release, ReleaseState)>, DatabaseError> {
    let row =
        client.query_opt(&format!("select {COLUMNS}, state from releases where id = $1"), &[&wanted.as_str()]).await?;
    row.map(|row| Ok((release(&row)?, row.try_get::<_, Json<_>>("state")?.0))).transpose()
}

/// As [`load`], of a deployment host.
pub async fn load_deployment<C: GenericClient + Sync>(
    client: &C,
    deployment: &DeploymentId,
) -> Result<Option<(Release, ReleaseState)>, DatabaseError> {
    let row = client
        .query_opt(&format!("select {COLUMNS}, state from releases where deployment_id = $1"), &[&deployment.as_str()])
        .await?;
    row.map(|row| Ok((release(&row)?, row.try_get::<_, Json<_>>("state")?.0))).transpose()
}

/// A release to be staged.
pub struct New<'a> {
    pub id: &'a ReleaseId,
    pub project: &'a ProjectId,
    pub parent: Option<&'a ReleaseId>,
    pub deployment: &'a DeploymentId,
    pub manifest_digest: Option<&'a str>,
    pub state: &'a ReleaseState,
    pub static_manifest_sha256: Option<&'a str>,
    pub route_manifest_sha256: Option<&'a str>,
    pub operation: Option<&'a OperationId>,
    pub plan: Option<&'a PlanId>,
    pub created_by: &'a str,
}

pub async fn stage<C: GenericClient + Sync>(client: &C, new: &New<'_>, now: Timestamp) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into releases (id, project_id, parent_id, deployment_id, status, manifest_digest, state,
                                   static_manifest_sha256, route_manifest_sha256, operation_id, plan_id, created_by,
                                   created_at)
             values ($1, $2, $3, $4, 'staged', $5, $6, $7, $8, $9, $10, $11, $12)",
            &[
                &new.id.as_str(),
                &new.project.as_str(),
                &new.parent.map(ReleaseId::as_str),
                &new.deployment.as_str(),
                &new.manifest_digest,
                &Json(new.state),
                &new.static_manifest_sha256,
                &new.route_manifest_sha256,
                &new.operation.map(OperationId::as_str),
                &new.plan.map(PlanId::as_str),
                &new.created_by,
                &now,
            ],
        )
        .await?;
    Ok(())
}

/// A staged release that will never be live; the caller lets go of its bytes.
pub async fn abandon<C: GenericClient + Sync>(
    client: &C,
    wanted: &ReleaseId,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let changed = client
        .execute(
            "update releases set status = 'failed', pruned_at = $2 where id = $1 and status = 'staged'",
            &[&wanted.as_str(), &now],
        )
        .await?;
    Ok(changed == 1)
}

/// Replaces the state of a release that is about to be live again.
pub async fn set_state<C: GenericClient + Sync>(
    client: &C,
    wanted: &ReleaseId,
    state: &ReleaseState,
) -> Result<(), DatabaseError> {
    client.execute("update releases set state = $2 where id = $1", &[&wanted.as_str(), &Json(state)]).await?;
    Ok(())
}

/// The live pointer, locked: whoever activates next in this project waits here.
pub async fn lock_pointer<C: GenericClient + Sync>(
    client: &C,
    project: &ProjectId,
) -> Result<Option<Pointer>, DatabaseError> {
    let row = client
        .query_opt(
            "select release_id, generation from live_releases where project_id = $1 for update",
            &[&project.as_str()],
        )
        .await?;
    row.map(|row| Ok(Pointer { release: id(&row, "release_id")?, generation: row.try_get("generation")? })).transpose()
}

/// Whether the project still is what it was when the deploy began.
pub async fn project_is_live<C: GenericClient + Sync>(client: &C, project: &ProjectId) -> Result<bool, DatabaseError> {
    let row =
        client.query_opt("select from projects where id = $1 and status = 'active'", &[&project.as_str()]).await?;
    Ok(row.is_some())
}

/// Moves the live pointer. `from` is what [`lock_pointer`] found.
pub async fn activate<C: GenericClient + Sync>(
    client: &C,
    project: &ProjectId,
    from: Option<&Pointer>,
    to: &ReleaseId,
    state: &ReleaseState,
    now: Timestamp,
) -> Result<i64, DatabaseError> {
    let scheduled = state.functions.values().filter(|function| function.schedule.is_some()).count();
    let scheduled = i32::try_from(scheduled).unwrap_or(i32::MAX);
    let generation = from.map_or(0, |pointer| pointer.generation) + 1;
    if let Some(from) = from {
        client
            .execute(
                "update releases set status = 'superseded', superseded_at = $2 where id = $1 and status = 'active'",
                &[&from.release.as_str(), &now],
            )
            .await?;
    }
    client
        .execute(
            "update releases
             set status = 'active', generation = $2, activated_at = $3, superseded_at = null where id = $1",
            &[&to.as_str(), &generation, &now],
        )
        .await?;
    client
        .execute(
            "insert into live_releases (project_id, release_id, generation, scheduled_functions)
             values ($1, $2, $3, $4)
             on conflict (project_id) do update
             set release_id = excluded.release_id, generation = excluded.generation,
                 scheduled_functions = excluded.scheduled_functions",
            &[&project.as_str(), &to.as_str(), &generation, &scheduled],
        )
        .await?;
    Ok(generation)
}

/// Scheduled functions of the organisation's live projects, all but `except`.
pub async fn scheduled_functions<C: GenericClient + Sync>(
    client: &C,
    organisation: OrganisationId,
    except: Option<&ProjectId>,
) -> Result<i64, DatabaseError> {
    let row = client
        .query_one(
            "select coalesce(sum(l.scheduled_functions), 0)::bigint
             from live_releases l join projects p on p.id = l.project_id
             where p.organisation_id = $1 and p.status = 'active' and ($2::text is null or p.id <> $2)",
            &[&organisation.0, &except.map(ProjectId::as_str)],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// Releases whose bytes nothing keeps any more: not live, not the parent of the live one, not among the newest
/// `newest` of their project, and older than `before` (contract 03 §3.4).
pub async fn prunable<C: GenericClient + Sync>(
    client: &C,
    newest: i64,
    before: Timestamp,
    most: i64,
) -> Result<Vec<(ProjectId, ReleaseId, DeploymentId)>, DatabaseError> {
    let rows = client
        .query(
            "with ranked as (
                 select r.id, r.project_id, r.deployment_id, r.status,
                        row_number() over (partition by r.project_id
                                           order by r.activated_at desc nulls last, r.id desc) as place,
                        greatest(r.created_at, r.activated_at) as used_at
                 from releases r where r.pruned_at is null and r.status in ('active', 'superseded'))
             select r.id, r.project_id, r.deployment_id
             from ranked r
             left join live_releases l on l.project_id = r.project_id
             left join releases live on live.id = l.release_id
             where r.status <> 'active' and live.parent_id is distinct from r.id
               and r.place > $1::bigint + 1 and r.used_at < $2
             limit $3",
            &[&newest, &before, &most],
        )
        .await?;
    rows.iter().map(|row| Ok((id(row, "project_id")?, id(row, "id")?, id(row, "deployment_id")?))).collect()
}

pub async fn mark_pruned<C: GenericClient + Sync>(
    client: &C,
    wanted: &ReleaseId,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let changed = client
        .execute(
            "update releases set pruned_at = $2 where id = $1 and status <> 'active' and pruned_at is null",
            &[&wanted.as_str(), &now],
        )
        .await?;
    Ok(changed == 1)
}

/// Removes everything of projects that are gone.
pub async fn forget_purged<C: GenericClient + Sync>(client: &C) -> Result<(), DatabaseError> {
    client
        .batch_execute(
            "delete from live_releases where project_id in (select id from projects where status = 'purged');
             delete from apply_operations where project_id in (select id from projects where status = 'purged');
             delete from apply_plans where project_id in (select id from projects where status = 'purged');
             delete from releases where project_id in (select id from projects where status = 'purged')",
        )
        .await?;
    Ok(())
}
