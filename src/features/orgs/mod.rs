//! Organisations: who owns what, who may act, and what a lapsed lease costs (contract 01 §2.4, §7.5, 08 §2-3).
//!
//! A wallet authenticates a principal; a membership authorises it inside an organisation. An organisation holds
//! the lease and the balance, because both change under the same row lock.
//!
//! Invariants:
//! - Reading never writes: an unknown wallet has a principal id (derived by `identity`) but no rows until its first
//!   mutation.
//! - A denial is the same for an unknown and a foreign organisation.
//! - Lifecycle states are computed from timestamps whenever an organisation is read; the sweeper only announces
//!   them, and only an announced purge removes anything.
//! - Locks are taken in the order wallet, organisation.

mod lifecycle;
mod roles;
mod routes;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use roles::{Action, Denial, Role, not_authorized};
pub use routes::{organisation_not_found, parse_organisation_id, router};
pub use service::Orgs;
pub use types::{
    Announcement, Gate, Lease, LeaseSettings, Lifecycle, LifecycleState, Organisation, Sweep, Tier, UnknownTier,
};
