//! The end of a project (contract 02 §2.1): keys first, data after, in steps that can be repeated.

use std::sync::Arc;

use super::{Project, Projects, deleted, store};
use crate::{
    common::{ApiError, ApiResult, MutationState, OrganisationId, ProjectId, Slot},
    engines::postgres::DatabaseError,
};

impl Projects {
    /// Purges a live project, to the end even if the client hangs up. When this answers, its keys fail and its
    /// database is gone.
    ///
    /// # Errors
    /// 401 `UNAUTHORIZED` when it was purged by someone else. 500 with `mutation_state: "partial"` when the keys are
    /// dead but the data is not gone yet; that is tried again every minute and at the next start.
    pub(super) async fn purge(self: &Arc<Self>, project: Arc<Project>) -> ApiResult<()> {
        let projects = Arc::clone(self);
        let run = self.tasks.spawn(async move {
            // What was counted so far belongs to the organisation, not to the project.
            projects.flush().await?;
            let begun = store::begin_purge(&projects.control.get().await?, &project.id, projects.clock.now()).await?;
            if !begun {
                return Err(deleted());
            }
            projects.end_life(&project.id).await;
            projects
                .remove_data(&project.id, &project.slot)
                .await
                .map_err(|error| ApiError::from(error).mutation_state(MutationState::Partial))
        });
        run.await.unwrap_or_else(|error| Err(ApiError::internal(error)))
    }

    /// Purges every project of an organisation whose lease ran out for good (01 §7.5). Does nothing when the
    /// organisation got a new lease meanwhile. Answers how many projects went.
    ///
    /// # Errors
    /// The database failed; what was begun is finished in the background.
    pub async fn purge_organisation(&self, organisation: OrganisationId) -> Result<usize, DatabaseError> {
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        if !self.orgs.lock_for_purge(&tx, organisation).await? {
            return Ok(0);
        }
        let ids = store::begin_purge_of_organisation(&tx, organisation, self.clock.now()).await?;
        tx.commit().await?;
        drop(connection);
        for id in &ids {
            self.end_life(id).await;
        }
        self.resume_purges().await?;
        Ok(ids.len())
    }

    /// Finishes every purge that was begun: after a crash, or when one failed.
    pub async fn resume_purges(&self) -> Result<(), DatabaseError> {
        let purging = store::purging(&self.control.get().await?).await?;
        for (id, slot) in purging {
            self.remove_data(&id, &slot).await?;
        }
        Ok(())
    }

    /// From here on every key of the project fails and its hosts are unknown.
    async fn end_life(&self, id: &ProjectId) {
        self.hosts.end(id);
        if let Some(live) = self.registry.remove(id)
            && let Err(error) = self.refresh_organisation(live.project.organisation).await
        {
            tracing::warn!(%error, "the quota of a purged project's organisation is read later");
        }
    }

    /// One removal at a time: a DELETE and the resumption of purges may reach the same project together, and two
    /// sessions that drop the same role fail each other. Doing it twice in a row is harmless.
    async fn remove_data(&self, id: &ProjectId, slot: &Slot) -> Result<(), DatabaseError> {
        let _alone = self.removal.lock().await;
        self.databases.remove(slot).await?;
        store::finish_purge(&self.control.get().await?, id).await?;
        tracing::info!(project = %id, "project purged");
        Ok(())
    }
}
