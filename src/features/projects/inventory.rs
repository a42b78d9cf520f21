//! What the tiers feature asks about projects.

use futures_util::future::BoxFuture;

use super::Projects;
use crate::{
    common::{ApiResult, OrganisationId},
    features::tiers::{Inventory, PoolUsage, ProjectEntry, ProjectInventory},
};

impl ProjectInventory for Projects {
    fn usage(&self, organisation: OrganisationId) -> BoxFuture<'_, ApiResult<PoolUsage>> {
        Box::pin(async move {
            let usage = self.usage_of_organisation(organisation).await?;
            Ok(PoolUsage {
                projects: usage.projects,
                api_calls: usage.total_api_calls,
                storage_bytes: usage.total_storage_bytes,
            })
        })
    }

    fn inventory(&self, organisation: OrganisationId) -> BoxFuture<'_, ApiResult<Inventory>> {
        Box::pin(async move {
            let usage = ProjectInventory::usage(self, organisation).await?;
            let projects = self.rows_of_organisation(organisation).await?.into_iter().map(|row| ProjectEntry {
                id: row.id,
                name: row.name,
                status: row.status.to_owned(),
                archived: row.archived,
                created_at: row.created_at,
            });
            // Functions, and with them schedules, are a later issue: none exist.
            Ok(Inventory { usage, projects: projects.collect(), scheduled_functions: 0 })
        })
    }
}
