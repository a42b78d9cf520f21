//! Projects: provisioning, lifecycle, usage, and one database for each (contract 02 §2-3).
//!
//! A project is a row of the control database and a Postgres database of its own, made ahead of need
//! ([`databases`]) and handed out in one transaction with the row that names it ([`provision`]).
//!
//! Invariants:
//! - The hot path never queries: keys, quotas and rates are decided from memory ([`registry`], [`metering`]).
//! - A project is live exactly while its row says `active`. A purge first takes it out of memory, so its keys die
//!   before its data does; whatever a crash interrupts is finished at the next start ([`purge`]).
//! - User text runs as the project's owner role or as an API role of its REST login, never as the platform. Both
//!   logins are the project's own: nothing one project does to its roles or sessions reaches another.
//! - A session of the platform in a project database has an empty search path, so user objects cannot stand in for
//!   the system's.
//! - Usage is counted in memory and written about every second: a killed process loses a second of counts, never
//!   anything else.

mod background;
mod databases;
mod extract;
mod gate;
mod inventory;
mod listing;
mod metering;
mod names;
mod provision;
mod purge;
mod registry;
mod routes;
mod service;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use extract::ServiceProject;
pub use gate::{ClosedGate, Passage};
pub use routes::router;
pub use service::{Dependencies, PlatformStep, Projects, StartError};
pub use settings::{LimitSettings, ProjectSettings, RateSettings};
pub use types::{OrganisationProject, OrganisationUsage};

use crate::common::{ApiError, OrganisationId, ProjectId, Slot};

/// 401 `UNAUTHORIZED`: the project was purged while the request ran.
pub fn deleted() -> ApiError {
    ApiError::unauthorized("This project was deleted.")
}

/// What the hot path needs to know of a live project; an immutable snapshot.
#[derive(Clone, Debug)]
pub struct Project {
    pub id: ProjectId,
    pub organisation: OrganisationId,
    pub slot: Slot,
    pub archived: bool,
}

impl Project {
    /// `r402_<slot>`
    pub fn database(&self) -> String {
        databases::database_name(&self.slot)
    }

    /// `r402_<slot>_owner`
    pub fn owner_role(&self) -> String {
        databases::owner_role(&self.slot)
    }

    /// `r402_<slot>_rest`: the login of the data API, a member of the four API roles and of nothing else.
    pub fn rest_role(&self) -> String {
        databases::rest_role(&self.slot)
    }
}
