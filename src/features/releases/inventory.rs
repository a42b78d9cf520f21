//! The inventory of a release (contract 03 §9.1).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{types::ReleaseState, warnings::Warning};
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
    let _ = (project, kind, release, site_limit, warnings);
    Value::Null
}
