//! What a plan warns of (contract 03 §5.4, 04 §3.6).

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;

use super::{
    diff::{Diff, MigrationPlan, PromoteDiff},
    types::{ReleaseState, Spec},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warn,
    High,
}

/// A warning in its wire form. Plans are acknowledged by clients alone; promote checks `requires_confirmation`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    pub code: &'static str,
    pub severity: Severity,
    pub requires_confirmation: bool,
    pub message: String,
    pub affected: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// `heuristic`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<&'static str>,
}

/// What the warnings of a plan depend on.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    pub base: Option<&'a ReleaseState>,
    pub spec: &'a Spec,
    pub state: &'a ReleaseState,
    pub diff: &'a Diff,
    pub migrations: &'a MigrationPlan<'a>,
    /// SQL of new migrations whose bytes are present, by id.
    pub sql: &'a HashMap<String, String>,
    /// Names of secrets with a stored value.
    pub stored_secrets: &'a BTreeSet<String>,
    /// The operator wants removals of functions and of many files confirmed.
    pub confirm_removals: bool,
}

pub fn plan_warnings(planned: &Planned<'_>) -> Vec<Warning> {
    let _ = planned;
    Vec::new()
}

/// What an inventory repeats: the standing warnings of a release, none of which asks for confirmation.
pub fn release_warnings(state: &ReleaseState) -> Vec<Warning> {
    let _ = state;
    Vec::new()
}

/// Those of a diff between two releases: `DIFF_TRUNCATED`.
pub fn diff_warnings(diff: &Diff) -> Vec<Warning> {
    let _ = diff;
    Vec::new()
}

/// Those of a promote: `MIGRATIONS_NOT_REVERSIBLE`.
pub fn promote_warnings(diff: &PromoteDiff) -> Vec<Warning> {
    let _ = diff;
    Vec::new()
}
