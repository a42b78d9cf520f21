//! The expose manifest: which tables, views and functions the data API may reach (contract 02 §6).
//!
//! # How an apply runs
//! [`shape`] reads the document, [`validate`] holds it against a snapshot of the catalog, [`plan`] compares it with
//! what is there and gives statements for the owner role and grants for the platform. All of that is pure.
//! [`service`] takes the snapshot, runs the plan in one transaction and records what was made; [`store`] has the SQL.
//! [`overlay`] reads a migration that has not run yet, for validation; [`introspect`] writes a manifest back from
//! live grants.
//!
//! # Invariants
//! - Dark by default: nothing but a manifest grants, and everything it does not name is revoked.
//! - What a caller wrote runs as the owner role, one statement per message. Grants and bookkeeping go through the
//!   platform step, by object id.
//! - An apply is all or nothing, and applying the same manifest again writes nothing.
//! - Objects the manifest did not make are never changed or dropped.

mod error;
mod introspect;
mod overlay;
mod plan;
mod routes;
mod service;
mod shape;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod validate;
mod words;

pub use routes::router;
pub use service::Expose;
pub use types::{Applied, Findings, Issue, IssueKind, Names, Severity, StoredManifest};
