//! What a process that died left behind, and what goes on in the background: activations tried again, plans that grew
//! too old, releases that let go of their bytes.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    error,
    service::Apply,
    store::{operations, plans, project as project_store, releases},
    types::{Operation, Status},
};
use crate::{
    common::{ApiResult, MutationState, ids},
    engines::postgres::DatabaseError,
    features::content::Holder,
};

/// How often activations that wait are looked at.
const RETRY_TICK: Duration = Duration::from_secs(1);
/// How often old plans and releases are looked at.
const SWEEP_TICK: Duration = Duration::from_secs(600);
/// Rows of one round.
const BATCH: i64 = 200;

impl Apply {
    /// Makes the service ready: the live pointers in memory, and every deploy that a crash interrupted finished or
    /// given up (contract 03 §8). Then starts the background work. Call it before anything is served.
    ///
    /// # Errors
    /// The control database failed.
    pub async fn start(self: &Arc<Self>) -> Result<(), DatabaseError> {
        self.live.start().await?;
        let left = operations::unfinished(&**self.control.get().await?).await?;
        for operation in left {
            if let Err(error) = self.recover(&operation).await {
                tracing::warn!(%error, operation = %operation.id, "an interrupted deploy is settled later");
            }
        }
        self.tasks.spawn(Arc::clone(self).retry_forever());
        self.tasks.spawn(Arc::clone(self).sweep_forever());
        Ok(())
    }

    /// Ends the background work and waits for deploys under way, as long as the caller lets it.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// As [`Apply::settle`], in its project's turn.
    async fn recover(&self, operation: &Operation) -> ApiResult<()> {
        let _turn = self.turn(&operation.project).await;
        let operation = self.operation(&operation.id).await?;
        self.settle(&operation).await
    }

    /// Settles an operation that nobody works on: one that waits to be activated, that was executing when its process
    /// died, or whose outcome could not be recorded. The caller holds the project's turn.
    pub(super) async fn settle(&self, operation: &Operation) -> ApiResult<()> {
        match operation.status {
            Status::ActivationPending => return self.attempt_again(operation).await,
            Status::Committing
            | Status::Staging
            | Status::Gating
            | Status::Migrating
            | Status::SchemaSettling
            | Status::Activating => {}
            _ => return Ok(()),
        }
        let Some(project) = self.projects.live(&operation.project) else {
            return self.end_failed(operation, &error::interrupted(MutationState::RolledBack)).await;
        };
        let in_database = !matches!(operation.status, Status::Committing | Status::Staging | Status::Gating);
        let nothing_begun = MutationState::NotStarted;
        if !operation.touches_database || !in_database {
            let state = if in_database { MutationState::RolledBack } else { nothing_begun };
            return self.end_failed(operation, &error::interrupted(state)).await;
        }
        let (is_marked, registry) = {
            let platform = self.projects.platform_session(&project).await?;
            (project_store::is_marked(&platform, &operation.id).await?, project_store::registry(&platform).await?)
        };
        if is_marked {
            tracing::info!(operation = %operation.id, "finishing a deploy that a crash interrupted");
            return self.attempt_again(operation).await;
        }
        match &operation.migration_in_flight {
            Some(migration) if !registry.contains_key(migration) => {
                let error = error::interrupted(MutationState::Unknown)
                    .safe_to_retry(false)
                    .extra("phase", "migrate")
                    .extra("resource", format!("database.migrations.{migration}"))
                    .extra("rolled_back", false)
                    .detail("migration_id", migration.as_str());
                let body = error::body(&error, &ids::trace_id(), &operation.id, operation.plan.as_ref());
                let connection = self.control.get().await?;
                let now = self.clock.now();
                operations::fail(&**connection, &operation.id, Status::NeedsRepair, &body, now).await?;
                Ok(())
            }
            _ => self.end_failed(operation, &error::interrupted(MutationState::RolledBack)).await,
        }
    }

    async fn retry_forever(self: Arc<Self>) {
        let mut ticks = interval(RETRY_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.retry_due().await {
                tracing::debug!(%error, "activations are tried again later");
            }
        }
    }

    async fn retry_due(&self) -> ApiResult<()> {
        let due = operations::due(&**self.control.get().await?, self.clock.now()).await?;
        for operation in due {
            let _turn = self.turn(&operation.project).await;
            let operation = self.operation(&operation.id).await?;
            if operation.status == Status::ActivationPending {
                self.attempt_again(&operation).await?;
            }
        }
        Ok(())
    }

    async fn sweep_forever(self: Arc<Self>) {
        let mut ticks = interval(SWEEP_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, cause = ?error.cause(), "old plans and releases are swept later");
            }
        }
    }

    /// One round of housekeeping.
    async fn sweep(&self) -> ApiResult<()> {
        self.settle_orphans().await?;
        self.expire_plans().await?;
        self.prune_releases().await?;
        for project in self.live.projects() {
            if self.projects.live(&project).is_none() {
                self.live.forget_project(&project);
            }
        }
        Ok(())
    }

    /// Operations whose outcome could not be recorded because the database was away.
    async fn settle_orphans(&self) -> ApiResult<()> {
        let unfinished = operations::unfinished(&**self.control.get().await?).await?;
        for operation in unfinished {
            if !self.runs.has(&operation.id) {
                self.recover(&operation).await?;
            }
        }
        Ok(())
    }

    async fn expire_plans(&self) -> ApiResult<()> {
        let now = self.clock.now();
        let too_old = plans::too_old(&**self.control.get().await?, now, BATCH).await?;
        for (plan, operation) in too_old {
            let body = error::body(&error::expired(), &ids::trace_id(), &operation, Some(&plan));
            self.fail_plan(&plan, &operation, &body).await?;
        }
        let connection = self.control.get().await?;
        plans::forget_finished(&**connection, now).await?;
        releases::forget_purged(&**connection).await?;
        Ok(())
    }

    /// Releases beyond the retention let go of their bytes (contract 03 §3.4).
    async fn prune_releases(&self) -> ApiResult<()> {
        let now = self.clock.now();
        let before = now.minus(SignedDuration::from_hours(24 * i64::from(self.settings.retained_days)));
        let newest = i64::from(self.settings.retained_releases);
        let old = releases::prunable(&**self.control.get().await?, newest, before, BATCH).await?;
        for (project, release, _) in old {
            // A promote may be about to bring it back.
            let _turn = self.turn(&project).await;
            let mut connection = self.control.get().await?;
            let client: &mut tokio_postgres::Client = &mut connection;
            let tx = client.transaction().await?;
            if releases::mark_pruned(&tx, &release, now).await? {
                let holder = Holder { kind: "release", id: release.to_string() };
                self.content.let_go(&tx, &project, &holder).await?;
            }
            tx.commit().await?;
            self.live.forget(&release);
        }
        Ok(())
    }
}
