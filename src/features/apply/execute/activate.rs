//! Making a release live: one transaction of the control database, then one swap in memory.

use std::{sync::Arc, time::Duration};

use tokio_postgres::Transaction;

use super::{Execution, Stop, migrations::may_pass};
use crate::{
    common::{ApiError, MutationState, Timestamp},
    engines::postgres::DatabaseError,
    features::{
        apply::{
            error,
            faults::Point,
            service::Apply,
            store::{operations, releases},
            types::Status,
        },
        content::Holder,
        projects::Project,
        releases::ServedRelease,
    },
};

/// Pauses between attempts to bring memory up to date after a commit.
const REFRESH_PAUSES: [u64; 5] = [20, 100, 500, 2_000, 5_000];

impl Apply {
    /// Makes the staged release live. `in_project`: the open transaction of the project's database, which commits
    /// just before ours.
    pub(super) async fn flip(&self, execution: &Execution, in_project: Option<Transaction<'_>>) -> Result<(), Stop> {
        let now = self.clock.now();
        if let Some(in_project) = &in_project {
            // Only in the project's turn the pointer moves, so its next generation is known here.
            let generation = self.live.pointer(&execution.project.id).map_or(0, |pointer| pointer.generation) + 1;
            self.mark(in_project, execution, generation).await.map_err(Stop::of)?;
        }
        let mut connection = self.control.get().await?;
        operations::begin_activation(&**connection, &execution.operation, now).await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let generation = self.write(&tx, execution, now).await?;
        self.faults.pass(Point::Activating).map_err(Stop::of)?;
        if let Some(in_project) = in_project {
            in_project.commit().await.map_err(of_project_commit)?;
            self.faults.pass(Point::BetweenCommits).map_err(Stop::of)?;
        }
        let committed = tx.commit().await;
        // What follows takes connections of its own: holding one meanwhile, as many flips as the pool has connections
        // would wait for each other.
        drop(connection);
        if let Err(error) = committed {
            // Nobody knows whether it was carried out, except the row itself.
            let is_ready = match self.operation(&execution.operation).await {
                Ok(operation) => operation.status == Status::Ready,
                Err(_) => false,
            };
            if !is_ready {
                return Err(error.into());
            }
        }
        self.faults.pass(Point::Activated).map_err(Stop::of)?;
        let served = ServedRelease {
            project: execution.project.id.clone(),
            release: execution.release.clone(),
            deployment: execution.deployment.clone(),
            generation,
            activated_at: now,
            static_manifest_sha256: execution.state.manifest.as_ref().map(|manifest| manifest.digest()),
            route_manifest_sha256: crate::features::releases::route_manifest_digest(&execution.state.routes),
            state: Arc::clone(&execution.state),
        };
        self.swap(&execution.project, served, execution.touches_database).await;
        Ok(())
    }

    /// Everything that becomes visible together. Answers the new generation.
    async fn write(&self, tx: &Transaction<'_>, execution: &Execution, now: Timestamp) -> Result<i64, Stop> {
        let project = &execution.project.id;
        let pointer = releases::lock_pointer(tx, project).await?;
        let current = pointer.as_ref().map(|pointer| &pointer.release);
        if current != execution.base.as_ref() {
            let conflict = error::base_conflict(execution.base_kind, execution.base.as_ref(), current);
            return Err(Stop::failed(conflict.mutation_state(MutationState::RolledBack)));
        }
        if !releases::project_is_live(tx, project).await? {
            return Err(Stop::failed(ApiError::not_found("PROJECT_NOT_FOUND", "This project was deleted.")));
        }
        if execution.is_promote {
            releases::set_state(tx, &execution.release, &execution.state).await?;
        }
        let generation =
            releases::activate(tx, project, pointer.as_ref(), &execution.release, &execution.state, now).await?;
        self.hosts.bind(tx, project, &execution.state.subdomains).await.map_err(refused)?;
        let pending = &execution.pending;
        if let Some(slice) = &pending.assets {
            self.assets.activate(tx, &execution.project, slice).await.map_err(refused)?;
        }
        if !pending.delete_secrets.is_empty() {
            self.secrets.delete(tx, project, &pending.delete_secrets).await?;
        }
        for migration in &pending.migrations {
            if let Some(stored) = migration.stored {
                let holder = Holder { kind: "migration", id: migration.id.clone() };
                self.content.hold(tx, project, &holder, &[stored]).await?;
            }
        }
        if let Some(plan) = &execution.plan {
            self.content.forget_plan(tx, plan).await?;
        }
        let urls = self.urls(&execution.project, &execution.state, &execution.deployment);
        operations::finish(tx, &execution.operation, &execution.release, &urls, now).await?;
        Ok(generation)
    }

    /// Memory follows the commit. The release is served from the first line on.
    pub(in crate::features::apply) async fn swap(&self, project: &Arc<Project>, served: ServedRelease, schema: bool) {
        self.live.swap(Arc::new(served));
        if schema {
            self.projects.bump_schema_version(project);
        }
        self.assets.changed(&project.id);
        for pause in REFRESH_PAUSES {
            match self.hosts.refresh(&project.id).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, project = %project.id, "the names of a project are read again shortly");
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }
}

/// A refusal of another feature inside the transaction, which is then rolled back.
fn refused(error: ApiError) -> Stop {
    if error::is_transient(&error) {
        return Stop::of(error);
    }
    Stop::failed(error.mutation_state(MutationState::RolledBack).extra("phase", "activate").extra("rolled_back", true))
}

/// The commit of the project's transaction failed. What the server refused is the deploy's own fault; after a lost
/// connection the marker tells whether it was carried out, so it is tried again.
fn of_project_commit(error: tokio_postgres::Error) -> Stop {
    match error.as_db_error() {
        Some(refused) if !may_pass(refused.code().code()) => Stop::failed(
            ApiError::new(
                axum::http::StatusCode::UNPROCESSABLE_ENTITY,
                "MIGRATION_FAILED",
                format!("The migrations could not be committed: {}", refused.message()),
            )
            .category(crate::common::Category::Deploy)
            .retryable(false)
            .safe_to_retry(true)
            .mutation_state(MutationState::RolledBack)
            .extra("phase", "migrate")
            .extra("resource", "database.migrations")
            .extra("rolled_back", true)
            .extra("logs", serde_json::json!([refused.message()]))
            .detail("sqlstate", refused.code().code()),
        ),
        Some(_) => Stop::of(ApiError::unavailable("Something was in the way of the commit.").caused_by(error)),
        None => Stop::of(DatabaseError::from(error).into()),
    }
}
