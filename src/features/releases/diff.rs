//! What differs between two releases (contract 03 §5.1, §9.2, §9.4).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde_json::json;

use super::{
    manifest, routes,
    types::{
        CacheClass, CacheClassSource, FunctionCode, FunctionState, Migration, PublicPaths, ReleaseState, RouteEntry,
    },
};
use crate::{
    common::{ApiError, Category, MutationState, NextAction},
    engines::blobs::Sha256Digest,
};

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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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
    let nothing = ReleaseState::default();
    let from = from.unwrap_or(&nothing);
    let site = site_diff(from, to, limit);
    Diff {
        truncated: site.totals.is_some(),
        site,
        functions: functions_diff(from, to),
        secrets: names(&from.required_secrets, &to.required_secrets),
        subdomains: names(&from.subdomains, &to.subdomains),
        routes: routes_diff(&from.routes, &to.routes),
        static_assets: static_assets(from, to, present),
    }
}

fn site_diff(from: &ReleaseState, to: &ReleaseState, limit: usize) -> SiteDiff {
    let mut totals = Totals::default();
    let mut diff = SiteDiff::default();
    for (path, file) in &to.site {
        match from.site.get(path) {
            None => {
                totals.added += 1;
                if diff.added.len() < limit {
                    diff.added.push(AddedFile {
                        path: path.clone(),
                        sha256: file.sha256,
                        content_type: file.content_type.clone(),
                    });
                }
            }
            Some(before) if (before.sha256, &before.content_type) != (file.sha256, &file.content_type) => {
                totals.changed += 1;
                if diff.changed.len() < limit {
                    diff.changed.push(ChangedFile {
                        path: path.clone(),
                        sha256_old: before.sha256,
                        sha256_new: file.sha256,
                        content_type_old: before.content_type.clone(),
                        content_type_new: file.content_type.clone(),
                    });
                }
            }
            Some(_) => {}
        }
    }
    for path in from.site.keys().filter(|path| !to.site.contains_key(*path)) {
        totals.removed += 1;
        if diff.removed.len() < limit {
            diff.removed.push(path.clone());
        }
    }
    let cut = totals.added > limit || totals.changed > limit || totals.removed > limit;
    diff.totals = cut.then_some(totals);
    diff
}

fn functions_diff(from: &ReleaseState, to: &ReleaseState) -> FunctionsDiff {
    let changed = to.functions.iter().filter_map(|(name, after)| {
        let fields_changed = changed_fields(from.functions.get(name)?, after);
        (!fields_changed.is_empty()).then(|| ChangedFunction { name: name.clone(), fields_changed })
    });
    FunctionsDiff {
        added: to.functions.keys().filter(|name| !from.functions.contains_key(*name)).cloned().collect(),
        removed: from.functions.keys().filter(|name| !to.functions.contains_key(*name)).cloned().collect(),
        changed: changed.collect(),
    }
}

fn changed_fields(before: &FunctionState, after: &FunctionState) -> Vec<&'static str> {
    let entrypoint = |function: &FunctionState| match &function.code {
        FunctionCode::Source(_) => None,
        FunctionCode::Files { entrypoint, .. } => Some(entrypoint.clone()),
    };
    [
        ("code_hash", before.code_hash != after.code_hash),
        ("runtime", before.runtime != after.runtime),
        ("timeout_seconds", before.timeout_seconds != after.timeout_seconds),
        ("memory_mb", before.memory_mb != after.memory_mb),
        ("schedule", before.schedule != after.schedule),
        ("deps", before.deps != after.deps),
        ("class", before.class != after.class),
        ("require_auth", before.require_auth != after.require_auth),
        ("require_role", before.require_role != after.require_role),
        ("capabilities", before.capabilities != after.capabilities),
        ("entrypoint", entrypoint(before) != entrypoint(after)),
    ]
    .into_iter()
    .filter_map(|(field, changed)| changed.then_some(field))
    .collect()
}

fn names<'a, I>(from: I, to: I) -> NamesDiff
where
    I: IntoIterator<Item = &'a String>,
{
    let (from, to): (BTreeSet<_>, BTreeSet<_>) = (from.into_iter().collect(), to.into_iter().collect());
    NamesDiff {
        added: to.difference(&from).map(|name| (*name).clone()).collect(),
        removed: from.difference(&to).map(|name| (*name).clone()).collect(),
    }
}

/// Entries of one pattern are paired in their order; what is left over was added or removed.
fn routes_diff(from: &[RouteEntry], to: &[RouteEntry]) -> RoutesDiff {
    let mut removed: Vec<&RouteEntry> = from.iter().filter(|entry| !to.contains(entry)).collect();
    let mut added = Vec::new();
    let mut changed = Vec::new();
    for after in to.iter().filter(|entry| !from.contains(entry)) {
        match removed.iter().position(|before| before.pattern == after.pattern) {
            None => added.push(after.clone()),
            Some(index) => {
                let before = removed.remove(index);
                let fields = [
                    ("methods", before.methods != after.methods),
                    ("target", before.target != after.target),
                    ("kind", before.kind != after.kind),
                    ("prefix", before.prefix != after.prefix),
                ];
                changed.push(ChangedRoute {
                    pattern: after.pattern.clone(),
                    before: before.clone(),
                    after: after.clone(),
                    fields_changed: fields
                        .into_iter()
                        .filter_map(|(field, differs)| differs.then_some(field))
                        .collect(),
                });
            }
        }
    }
    RoutesDiff {
        manifest_sha256_old: routes::digest(from),
        manifest_sha256_new: routes::digest(to),
        added,
        removed: removed.into_iter().cloned().collect(),
        changed,
    }
}

fn static_assets(from: &ReleaseState, to: &ReleaseState, present: &HashMap<Sha256Digest, u64>) -> StaticAssets {
    let mut counts = StaticAssets::default();
    let nothing = BTreeMap::new();
    let before = from.manifest.as_ref().map_or(&nothing, |manifest| &manifest.files);
    let after = to.manifest.as_ref().map_or(&nothing, |manifest| &manifest.files);
    for (path, file) in after {
        match before.get(path) {
            None => counts.added += 1,
            Some(old) if old == file => counts.unchanged += 1,
            Some(_) => counts.changed += 1,
        }
        let legacy = file.cache_class_source == CacheClassSource::Legacy
            && file.cache_class == CacheClass::ImmutableVersioned
            && !manifest::is_fingerprinted(path);
        if legacy {
            counts.legacy_immutable_warnings.push(LegacyImmutable {
                path: path.clone(),
                sha256: file.sha256,
                reason: "legacy_immutable_unfingerprinted",
            });
        }
    }
    counts.removed = before.keys().filter(|path| !after.contains_key(*path)).count() as u64;
    let mut uploaded = HashSet::new();
    let mut total = 0_u64;
    for (path, file) in &to.site {
        total = total.saturating_add(file.size);
        let touched = from.site.get(path).is_none_or(|old| old.sha256 != file.sha256);
        if touched && !present.contains_key(&file.sha256) && uploaded.insert(file.sha256) {
            counts.newly_uploaded_cas_bytes = counts.newly_uploaded_cas_bytes.saturating_add(file.size);
        }
    }
    counts.reused_cas_bytes = total.saturating_sub(counts.newly_uploaded_cas_bytes);
    counts.deployment_copy_bytes_eliminated = counts.reused_cas_bytes;
    if let Some(manifest) = &to.manifest {
        counts.previous_immutable_failures = manifest::immutable_failures(from.manifest.as_ref(), manifest);
    }
    counts
}

/// Whether two states are equal in every slice. The rest of `is_noop` (a base exists, no new migration, no effective
/// asset operation, no secret delete) is the caller's. The registry of migrations is compared there, and the manifest
/// follows from the other slices.
pub fn is_noop(base: &ReleaseState, new: &ReleaseState) -> bool {
    base.site == new.site
        && same_public_paths(base.public_paths.as_ref(), new.public_paths.as_ref())
        && base.functions == new.functions
        && base.required_secrets == new.required_secrets
        && base.subdomains == new.subdomains
        && base.routes == new.routes
        && base.i18n == new.i18n
        && base.expose == new.expose
}

/// Declaring the default changes nothing.
fn same_public_paths(before: Option<&PublicPaths>, after: Option<&PublicPaths>) -> bool {
    before.unwrap_or(&PublicPaths::Implicit) == after.unwrap_or(&PublicPaths::Implicit)
}

impl Diff {
    /// One line of English. `new_migrations` counts those that will run, or ran between two releases.
    pub fn summary(&self, new_migrations: usize) -> String {
        let site = self.site.totals.unwrap_or(Totals {
            added: self.site.added.len(),
            removed: self.site.removed.len(),
            changed: self.site.changed.len(),
        });
        let functions = &self.functions;
        let routes = &self.routes;
        let parts: Vec<String> = [
            ("site file", site.added, site.removed, site.changed),
            ("function", functions.added.len(), functions.removed.len(), functions.changed.len()),
            ("route", routes.added.len(), routes.removed.len(), routes.changed.len()),
            ("required secret", self.secrets.added.len(), self.secrets.removed.len(), 0),
            ("subdomain", self.subdomains.added.len(), self.subdomains.removed.len(), 0),
            ("migration", new_migrations, 0, 0),
        ]
        .into_iter()
        .filter_map(|(what, added, removed, changed)| {
            let counts: Vec<String> = [("added", added), ("changed", changed), ("removed", removed)]
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(verb, count)| format!("{count} {verb}"))
                .collect();
            (!counts.is_empty()).then(|| format!("{what}s: {}", counts.join(", ")))
        })
        .collect();
        if parts.is_empty() {
            "No changes to the release.".to_owned()
        } else {
            format!("{}.", upper_first(&parts.join("; ")))
        }
    }
}

fn upper_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
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
        let resource = format!("database.migrations.{}", mismatch.id);
        Self::conflict("MIGRATION_CHECKSUM_MISMATCH", mismatch.to_string())
            .category(Category::Deploy)
            .retryable(false)
            .safe_to_retry(false)
            .mutation_state(MutationState::None)
            .extra("phase", "plan")
            .extra("resource", resource)
            .extra("fix", json!({ "action": "edit_migration", "path": "database.migrations" }))
            .detail("migration_id", mismatch.id)
            .detail("applied_checksum", mismatch.applied.to_string())
            .detail("requested_checksum", mismatch.requested.to_string())
            .next_action(NextAction::new("edit_migration", "Restore the applied SQL, or give the change a new id."))
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
        let mut plan = Self { new: Vec::new(), noop: Vec::new() };
        for migration in migrations {
            match registry.get(&migration.id) {
                None => plan.new.push(migration),
                Some(applied) if *applied == migration.checksum => plan.noop.push(migration),
                Some(applied) => {
                    return Err(ChecksumMismatch {
                        id: migration.id.clone(),
                        applied: *applied,
                        requested: migration.checksum,
                    });
                }
            }
        }
        Ok(plan)
    }

    pub fn wire(&self) -> MigrationsDiff {
        let mut new: Vec<NewMigration> = self
            .new
            .iter()
            .map(|migration| NewMigration {
                id: migration.id.clone(),
                checksum_hex: migration.checksum,
                transaction: if migration.transactional { "default" } else { "none" },
            })
            .collect();
        let mut noop: Vec<NoopMigration> = self
            .noop
            .iter()
            .map(|migration| NoopMigration { id: migration.id.clone(), checksum_hex: migration.checksum })
            .collect();
        new.sort_by(|a, b| a.id.cmp(&b.id));
        noop.sort_by(|a, b| a.id.cmp(&b.id));
        MigrationsDiff { new, noop }
    }

    /// The registry once the new ones ran: what the release records in `ReleaseState::migrations`.
    pub fn registry_after(&self, registry: &BTreeMap<String, Sha256Digest>) -> BTreeMap<String, Sha256Digest> {
        let new = self.new.iter().map(|migration| (migration.id.clone(), migration.checksum));
        registry.clone().into_iter().chain(new).collect()
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
    let functions = functions_diff(target, current);
    let migrations = names(current.migrations.keys(), target.migrations.keys());
    let missing = |a: &ReleaseState, b: &ReleaseState| a.site.keys().filter(|path| !b.site.contains_key(*path)).count();
    PromoteDiff {
        functions: PromoteFunctions {
            only_in_current: functions.added,
            only_in_target: functions.removed,
            changed: functions.changed.into_iter().map(|function| function.name).collect(),
        },
        migrations: PromoteMigrations { only_in_current: migrations.removed, only_in_target: migrations.added },
        site_paths: PromotePaths {
            added_in_current: missing(current, target),
            removed_in_current: missing(target, current),
        },
    }
}
