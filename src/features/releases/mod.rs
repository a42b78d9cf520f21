//! The model of a release, without any service: the ReleaseSpec and its rules, the materialised state, the static
//! manifest, the route table, differences and warnings (contract 03 §4-5, 04 §2-3).
//!
//! # Invariants
//! - Everything here is pure: bytes and rows come in as arguments, and equal input gives equal output.
//! - A [`Spec`] is valid in itself and reads back from its normalised form; a [`ReleaseState`] is valid as a whole:
//!   every route has its target, every public path its file.
//! - [`lookup()`] is the only place that decides what a request meets; serving and diagnosis both ask it.
//! - Secret values never come near: names only.

mod canonical;
mod diff;
mod inventory;
mod lookup;
mod manifest;
mod materialise;
pub mod path;
mod routes;
mod schema;
mod spec;
#[cfg(test)]
mod tests;
pub mod types;
mod warnings;

pub use diff::{
    AddedFile, ChangedFile, ChangedFunction, ChangedRoute, ChecksumMismatch, Diff, FunctionsDiff, ImmutableFailure,
    LegacyImmutable, MigrationPlan, MigrationsDiff, NamesDiff, NewMigration, NoopMigration, PromoteDiff,
    PromoteFunctions, PromoteMigrations, PromotePaths, RoutesDiff, SITE_ROWS, SiteDiff, StaticAssets, Totals, diff,
    is_noop, promote_diff,
};
pub use inventory::{MAX_SITE_LIMIT, ReleaseFacts, SCHEMA_VERSION, SITE_LIMIT, StateKind, inventory};
pub use lookup::{Absence, Outcome, SSR_PATTERN, StaticMatch, lookup};
pub use path::{PathError, canonicalise};
pub use routes::{MethodSet, RouteMatch, digest as route_manifest_digest, find as find_route};
pub use schema::RELEASE_SPEC_SCHEMA;
pub use spec::{
    ImmutableChange, LEAST_MEMORY_MB, NATIVE_PACKAGES, Schedule, ScheduleError, SpecError, SpecLimits, Violation,
};
pub use types::*;
pub use warnings::{Planned, Severity, Warning, diff_warnings, plan_warnings, promote_warnings, release_warnings};
