//! What the tiers feature asks about projects.

use futures_util::future::BoxFuture;

use super::{Projects, store};
use crate::{
    common::{ApiResult, OrganisationId},
    features::tiers::{Inventory, PoolUsage, ProjectEntry, ProjectInventory},
};

impl ProjectInventory for Projects {
    /// Counters that are not written yet are written first.
    fn usage(&self, organisation: OrganisationId) -> BoxFuture<'_, ApiResult<PoolUsage>> {
        Box::pin(async move {
            self.flush().await?;
            let connection = self.control.get().await?;
            let facts = store::organisation_facts(&connection, &[organisation.0]).await?;
            let Some(facts) = facts.first() else { return Ok(PoolUsage::default()) };
            let projects = store::list(&connection, &[organisation.0], None, None).await?.len();
            Ok(PoolUsage {
                projects: i64::try_from(projects).unwrap_or(i64::MAX),
                api_calls: facts.api_calls,
                storage_bytes: facts.storage_bytes,
            })
        })
    }

    /// Newest first. Schedules are known where releases are.
    fn inventory(&self, organisation: OrganisationId) -> BoxFuture<'_, ApiResult<Inventory>> {
        Box::pin(async move {
            let usage = ProjectInventory::usage(self, organisation).await?;
            let rows = store::list(&self.control.get().await?, &[organisation.0], None, None).await?;
            let projects = rows.into_iter().map(|row| ProjectEntry {
                status: row.status().to_owned(),
                archived: row.archived_at.is_some(),
                id: row.id,
                name: row.name,
                created_at: row.created_at,
            });
            Ok(Inventory { usage, projects: projects.collect(), scheduled_functions: 0 })
        })
    }
}
