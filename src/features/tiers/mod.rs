//! Tiers: what is on sale, what an organisation has, and changing it (contract 01 §7).
//!
//! A tier is a row of the catalogue; a lease, held by the organisation, is a tier for a time. This feature has no
//! tables of its own: leases are changed through `orgs`, money moves through `payments` and `billing`, and what
//! projects use is told by whoever implements [`ProjectInventory`].
//!
//! Invariants:
//! - Whatever refuses a change does so before a payment is asked for or settled.
//! - The organisation's row is locked before the action is decided, and stays locked until the lease is written.
//! - A refund never exceeds what was paid for the lease it replaces.
//! - One price: challenge, catalogue and ledger read the same value.
//! - With `lease.enforce = false` (the default) an expired lease is reported, but its tier counts as active and its
//!   limits go on. Setting a tier then is a new subscription, from now.

mod catalogue;
mod change;
mod inventory;
mod routes;
mod service;
#[cfg(test)]
mod tests;
mod types;

pub use catalogue::{Catalogue, CatalogueError, FunctionFloor, FunctionLimits, TierOverrides, TierSettings, TierTerms};
pub use change::TierAction;
pub use inventory::{Inventory, PoolUsage, ProjectEntry, ProjectInventory};
pub use routes::{parse_tier, router};
pub use service::Tiers;
pub use types::{Quote, QuotedTier, SingleTier, TierChange, TierSet, TierStatus};
