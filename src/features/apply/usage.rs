//! What the tiers feature asks about projects, with what only their releases tell.

use futures_util::future::BoxFuture;

use super::{Apply, store::releases};
use crate::{
    common::{ApiResult, OrganisationId},
    features::tiers::{Inventory, PoolUsage, ProjectInventory},
};

impl ProjectInventory for Apply {
    fn usage(&self, organisation: OrganisationId) -> BoxFuture<'_, ApiResult<PoolUsage>> {
        self.projects.usage(organisation)
    }

    fn inventory(&self, organisation: OrganisationId) -> BoxFuture<'_, ApiResult<Inventory>> {
        Box::pin(async move {
            let inventory = self.projects.inventory(organisation).await?;
            let connection = self.control.get().await?;
            let scheduled_functions = releases::scheduled_functions(&**connection, organisation, None).await?;
            Ok(Inventory { scheduled_functions, ..inventory })
        })
    }
}
