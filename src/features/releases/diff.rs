//! What differs between two releases (contract 03 §5.1, §9.2, §9.4).

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::types::{CacheClass, Migration, ReleaseState, RouteEntry};
use crate::{common::ApiError, engines::blobs::Sha256Digest};

/// Rows of one bucket of a plan's site diff, and the default of the diff endpoint.
pub const SITE_ROWS: usize = 1_000;

/// The buckets of a plan and of a diff, in their wire form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    pub site: SiteDiff,
    pub functions: FunctionsDiff,
    pub secrets: NamesDiff,
    pub subdomains: NamesDiff,
    pub routes: RoutesDiff,
    pub static_assets: StaticAssets,
    /// A bucket was cut: `DIFF_TRUNCATED`.
    #[serde(skip)]
    pub truncated: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SiteDiff {
    pub added: Vec<AddedFile>,
    pub removed: Vec<String>,
    pub changed: Vec<ChangedFile>,
    /// Full counts, when a bucket was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddedFile {
    pub path: String,
    pub sha256: Sha256Digest,
    pub content_type: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedFile {
    pub path: String,
    pub sha256_old: Sha256Digest,
    pub sha256_new: Sha256Digest,
    pub content_type_old: String,
    pub content_type_new: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub added: usize,
    pub removed: usize,
    pub changed: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FunctionsDiff {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<ChangedFunction>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedFunction {
    pub name: String,
    pub fields_changed: Vec<&'static str>,
}

/// Names only, never anything derived from values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NamesDiff {
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RoutesDiff {
    pub manifest_sha256_old: Option<String>,
    pub manifest_sha256_new: Option<String>,
    pub added: Vec<RouteEntry>,
    pub removed: Vec<RouteEntry>,
    pub changed: Vec<ChangedRoute>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedRoute {
    pub pattern: String,
    pub before: RouteEntry,
    pub after: RouteEntry,
    pub fields_changed: Vec<&'static str>,
}

/// Counts of public paths, and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StaticAssets {
    pub unchanged: u64,
    pub changed: u64,
    pub added: u64,
    pub removed: u64,
    /// Bytes of distinct added or changed contents that the project does not have yet.
    pub newly_uploaded_cas_bytes: u64,
    /// All other bytes of the resulting site, counted by path.
    pub reused_cas_bytes: u64,
    pub deployment_copy_bytes_eliminated: u64,
    pub legacy_immutable_warnings: Vec<LegacyImmutable>,
    pub previous_immutable_failures: Vec<ImmutableFailure>,
    /// Always empty: content is checked by project before a plan is committed.
    pub cas_authorization_failures: [(); 0],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LegacyImmutable {
    pub path: String,
    pub sha256: Sha256Digest,
    /// `legacy_immutable_unfingerprinted`
    pub reason: &'static str,
}

/// A path the base serves as immutable whose bytes would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImmutableFailure {
    pub path: String,
    pub previous_sha256: Sha256Digest,
    pub candidate_sha256: Sha256Digest,
}

/// Everything that differs. `present` holds what the project has, with true sizes; `limit` caps each site bucket.
pub fn diff(
    from: Option<&ReleaseState>,
    to: &ReleaseState,
    present: &HashMap<Sha256Digest, u64>,
    limit: usize,
) -> Diff {
    let _ = (from, to, present, limit, CacheClass::Html);
    Diff {
        site: SiteDiff::default(),
        functions: FunctionsDiff::default(),
        secrets: NamesDiff::default(),
        subdomains: NamesDiff::default(),
        routes: RoutesDiff::default(),
        static_assets: StaticAssets::default(),
        truncated: false,
    }
}

/// Whether two states are equal in every slice. The rest of `is_noop` (a base exists, no new migration, no effective
/// asset operation, no secret delete) is the caller's.
pub fn is_noop(base: &ReleaseState, new: &ReleaseState) -> bool {
    base == new
}

impl Diff {
    /// One line of English. `new_migrations` counts those that will run, or ran between two releases.
    pub fn summary(&self, new_migrations: usize) -> String {
        let _ = new_migrations;
        String::new()
    }
}

/// The migrations of a spec against the project's registry.
#[derive(Clone, Debug, PartialEq)]
pub struct MigrationPlan<'a> {
    /// To be run, in the order of the spec.
    pub new: Vec<&'a Migration>,
    /// Applied before with the same checksum, in the order of the spec.
    pub noop: Vec<&'a Migration>,
}

/// Wire form: `{new:[{id,checksum_hex,transaction}], noop:[{id,checksum_hex}]}`, sorted by id.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MigrationsDiff {
    pub new: Vec<NewMigration>,
    pub noop: Vec<NoopMigration>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewMigration {
    pub id: String,
    pub checksum_hex: Sha256Digest,
    /// `default` or `none`
    pub transaction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoopMigration {
    pub id: String,
    pub checksum_hex: Sha256Digest,
}

/// 409 `MIGRATION_CHECKSUM_MISMATCH`: the id was applied with other SQL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The migration {id} was applied with other SQL. Give the changed SQL a new id.")]
pub struct ChecksumMismatch {
    pub id: String,
    pub applied: Sha256Digest,
    pub requested: Sha256Digest,
}

impl From<ChecksumMismatch> for ApiError {
    fn from(mismatch: ChecksumMismatch) -> Self {
        Self::conflict("MIGRATION_CHECKSUM_MISMATCH", mismatch.to_string())
    }
}

impl<'a> MigrationPlan<'a> {
    /// `registry`: every migration applied to the project, by id.
    ///
    /// # Errors
    /// The first migration whose id is known with another checksum.
    pub fn against(
        registry: &BTreeMap<String, Sha256Digest>,
        migrations: &'a [Migration],
    ) -> Result<Self, ChecksumMismatch> {
        let _ = (registry, migrations);
        Ok(Self { new: Vec::new(), noop: Vec::new() })
    }

    pub fn wire(&self) -> MigrationsDiff {
        MigrationsDiff { new: Vec::new(), noop: Vec::new() }
    }

    /// The registry once the new ones ran: what the release records in `ReleaseState::migrations`.
    pub fn registry_after(&self, registry: &BTreeMap<String, Sha256Digest>) -> BTreeMap<String, Sha256Digest> {
        registry.clone()
    }
}

/// `diff` of a promote answer (contract 03 §9.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromoteDiff {
    pub functions: PromoteFunctions,
    pub migrations: PromoteMigrations,
    pub site_paths: PromotePaths,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromoteFunctions {
    pub only_in_current: Vec<String>,
    pub only_in_target: Vec<String>,
    pub changed: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromoteMigrations {
    pub only_in_current: Vec<String>,
    pub only_in_target: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromotePaths {
    pub added_in_current: usize,
    pub removed_in_current: usize,
}

pub fn promote_diff(current: &ReleaseState, target: &ReleaseState) -> PromoteDiff {
    let _ = (current, target);
    PromoteDiff::default()
}
