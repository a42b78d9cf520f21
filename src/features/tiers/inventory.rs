//! What tiers must know about projects. The projects feature depends on tiers, so it answers through this trait and
//! the appliance hands it in as part of the routes' state.

use futures_util::future::BoxFuture;

use crate::common::{ApiResult, OrganisationId, ProjectId, Timestamp};

/// What an organisation uses of its pool (01 §7.1), over all its projects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    pub projects: i64,
    /// In the current usage period, calls not yet written to the database included.
    pub api_calls: i64,
    pub storage_bytes: i64,
}

/// One project as the tier status lists it.
#[derive(Clone, Debug)]
pub struct ProjectEntry {
    pub id: ProjectId,
    pub name: String,
    /// The project's own status: `active` or `purging`.
    pub status: String,
    pub archived: bool,
    pub created_at: Timestamp,
}

/// Everything the tier status shows of an organisation's projects.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub usage: PoolUsage,
    /// Live projects, newest first.
    pub projects: Vec<ProjectEntry>,
    /// Schedules in use over all projects.
    pub scheduled_functions: i64,
}

/// Implemented by the projects feature.
pub trait ProjectInventory: Send + Sync {
    fn usage(&self, organisation: OrganisationId) -> BoxFuture<'_, ApiResult<PoolUsage>>;

    fn inventory(&self, organisation: OrganisationId) -> BoxFuture<'_, ApiResult<Inventory>>;
}
