//! The inventory of a release (contract 03 §9.1).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    routes,
    types::{FunctionCode, ReleaseState, StaticManifest},
    warnings::Warning,
};
use crate::common::{OperationId, PlanId, ProjectId, ReleaseId, Timestamp};

/// `schema_version` of plans, inventories and diffs.
pub const SCHEMA_VERSION: &str = "agent-deploy-observability.v1";

/// Default and maximum of `site_limit`.
pub const SITE_LIMIT: usize = 5_000;
pub const MAX_SITE_LIMIT: usize = 25_000;

/// Where an inventory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// The active endpoint.
    CurrentLive,
    /// By id: active or superseded.
    Effective,
    /// By id: staged or failed.
    DesiredManifest,
}

/// What the release row knows.
#[derive(Clone, Debug)]
pub struct ReleaseFacts {
    pub release: ReleaseId,
    pub parent: Option<ReleaseId>,
    /// `active`, `superseded`, `failed` or `staged`
    pub status: String,
    pub generation: Option<i64>,
    pub manifest_digest: Option<String>,
    pub created_at: Timestamp,
    /// Wallet, `ci:<binding>` or `system`
    pub created_by: Option<String>,
    pub activated_at: Option<Timestamp>,
    pub superseded_at: Option<Timestamp>,
    pub operation: Option<OperationId>,
    pub plan: Option<PlanId>,
    /// When each migration of the project was applied.
    pub migrations_applied_at: BTreeMap<String, Timestamp>,
}

/// The body. `release` None: nothing was deployed.
pub fn inventory(
    project: &ProjectId,
    kind: StateKind,
    release: Option<(&ReleaseFacts, &ReleaseState)>,
    site_limit: usize,
    warnings: &[Warning],
) -> Value {
    let nothing = ReleaseState::default();
    let (facts, state) = release.map_or((None, &nothing), |(facts, state)| (Some(facts), state));
    let operation = facts.and_then(|facts| facts.operation.as_ref());
    let manifest = state.manifest.as_ref();
    json!({
        "kind": "release_inventory",
        "schema_version": SCHEMA_VERSION,
        "project_id": project,
        "release_id": facts.map(|facts| &facts.release),
        "parent_id": facts.and_then(|facts| facts.parent.as_ref()),
        "status": facts.map(|facts| &facts.status),
        "manifest_digest": facts.and_then(|facts| facts.manifest_digest.as_ref()),
        "created_at": facts.map(|facts| facts.created_at),
        "created_by": facts.and_then(|facts| facts.created_by.as_ref()),
        "activated_at": facts.and_then(|facts| facts.activated_at),
        "superseded_at": facts.and_then(|facts| facts.superseded_at),
        "operation_id": operation,
        "plan_id": facts.and_then(|facts| facts.plan.as_ref()),
        "events_url": operation.map(|operation| format!("/apply/v1/operations/{operation}/events")),
        "state_kind": kind.word(),
        "effective": kind != StateKind::DesiredManifest,
        "release_generation": facts.and_then(|facts| facts.generation),
        "static_manifest_sha256": manifest.map(StaticManifest::digest),
        "static_manifest_metadata": manifest.map(StaticManifest::metadata),
        "site": site(state, site_limit),
        "static_public_paths": public_paths(state),
        "functions": functions(state),
        "secrets": { "keys": state.required_secrets },
        "subdomains": { "names": state.subdomains },
        "routes": { "manifest_sha256": routes::digest(&state.routes), "entries": state.routes },
        "migrations_applied": migrations(facts, state),
        "i18n": state.i18n.as_ref().map(|i18n| json!({
            "defaultLocale": i18n.default_locale,
            "locales": i18n.locales,
            "detect": i18n.detect,
        })),
        "warnings": warnings,
    })
}

impl StateKind {
    fn word(self) -> &'static str {
        match self {
            Self::CurrentLive => "current_live",
            Self::Effective => "effective",
            Self::DesiredManifest => "desired_manifest",
        }
    }
}

fn site(state: &ReleaseState, limit: usize) -> Value {
    let paths: Vec<Value> = state
        .site
        .iter()
        .take(limit)
        .map(|(path, file)| json!({ "path": path, "content_sha256": file.sha256, "content_type": file.content_type }))
        .collect();
    if state.site.len() > limit {
        json!({ "paths": paths, "totals": { "paths": state.site.len() } })
    } else {
        json!({ "paths": paths })
    }
}

fn public_paths(state: &ReleaseState) -> Vec<Value> {
    let files = state.manifest.iter().flat_map(|manifest| &manifest.files);
    files
        .map(|(public, file)| {
            json!({
                "public_path": public,
                "asset_path": file.asset_path,
                "reachability_authority": file.authority,
                "direct": file.direct,
                "cache_class": file.cache_class,
                "content_type": file.content_type,
                "route_id": file.route_id,
                "methods": file.methods,
            })
        })
        .collect()
}

fn functions(state: &ReleaseState) -> Vec<Value> {
    state
        .functions
        .iter()
        .map(|(name, function)| {
            let entrypoint = match &function.code {
                FunctionCode::Source(_) => None,
                FunctionCode::Files { entrypoint, .. } => Some(entrypoint),
            };
            json!({
                "name": name,
                "code_hash": function.code_hash,
                "runtime": function.runtime,
                "timeout_seconds": function.timeout_seconds,
                "memory_mb": function.memory_mb,
                "schedule": function.schedule,
                "deps": function.deps,
                "class": function.class,
                "require_auth": function.require_auth,
                "require_role": function.require_role,
                "capabilities": function.capabilities,
                "entrypoint": entrypoint,
            })
        })
        .collect()
}

fn migrations(facts: Option<&ReleaseFacts>, state: &ReleaseState) -> Vec<Value> {
    state
        .migrations
        .iter()
        .map(|(id, checksum)| {
            let applied_at = facts.and_then(|facts| facts.migrations_applied_at.get(id));
            json!({ "migration_id": id, "checksum_hex": checksum, "applied_at": applied_at })
        })
        .collect()
}
