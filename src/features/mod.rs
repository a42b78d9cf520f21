//! The capabilities of Run402, one folder each. A feature uses another only through what its `mod.rs` exports.
//!
//! Order of dependence: identity ← orgs ← billing ← payments ← tiers ← projects ← sql ← expose; status looks at all.

pub mod billing;
pub mod expose;
pub mod idempotency;
pub mod identity;
pub mod orgs;
pub mod payments;
pub mod projects;
pub mod rest;
pub mod sql;
pub mod status;
pub mod tiers;
