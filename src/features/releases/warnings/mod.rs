//! What a plan warns of (contract 03 §5.4, 04 §3.6).
//!
//! Clients alone decide about acknowledgement of a plan's warnings, and directory deploys acknowledge none: only what
//! a careful person would want to be asked about asks for confirmation.

mod migrations;
mod public;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    diff::{Diff, MigrationPlan, PromoteDiff},
    types::{PublicPaths, ReleaseState, RouteTarget, Spec},
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

impl Warning {
    fn new(code: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            requires_confirmation: false,
            message: message.into(),
            affected: Vec::new(),
            details: None,
            confidence: None,
        }
    }

    fn info(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Info, message)
    }

    fn warn(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warn, message)
    }

    fn high(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::High, message)
    }

    fn confirmed(mut self) -> Self {
        self.requires_confirmation = true;
        self
    }

    fn confirmed_if(mut self, confirm: bool) -> Self {
        self.requires_confirmation = confirm;
        self
    }

    fn affecting<I: IntoIterator<Item = S>, S: Into<String>>(mut self, names: I) -> Self {
        self.affected = names.into_iter().map(Into::into).collect();
        self
    }

    fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
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

/// Every warning of a plan, those that ask for confirmation first.
pub fn plan_warnings(planned: &Planned<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if planned.base.is_none() {
        warnings.push(Warning::info("FIRST_DEPLOY", "This is the first release of the project."));
    }
    secrets(planned, &mut warnings);
    removals(planned, &mut warnings);
    migrations::warn(planned, &mut warnings);
    routes_of_plan(planned, &mut warnings);
    public::warn(planned.state, &mut warnings);
    public::warn_of_change(planned, &mut warnings);
    warnings.extend(diff_warnings(planned.diff));
    warnings.sort_by_key(|warning| !warning.requires_confirmation);
    warnings
}

/// What an inventory repeats: the standing warnings of a release, none of which asks for confirmation.
pub fn release_warnings(state: &ReleaseState) -> Vec<Warning> {
    let mut warnings = Vec::new();
    public::warn(state, &mut warnings);
    for warning in &mut warnings {
        warning.requires_confirmation = false;
    }
    warnings
}

/// Those of a diff between two releases: `DIFF_TRUNCATED`.
pub fn diff_warnings(diff: &Diff) -> Vec<Warning> {
    let cut = diff.truncated.then(|| {
        Warning::info("DIFF_TRUNCATED", "The lists of site files are cut; `site.totals` has the full counts.")
            .affecting(["site"])
    });
    cut.into_iter().collect()
}

/// Those of a promote: `MIGRATIONS_NOT_REVERSIBLE`.
pub fn promote_warnings(diff: &PromoteDiff) -> Vec<Warning> {
    let kept = &diff.migrations.only_in_current;
    if kept.is_empty() {
        return Vec::new();
    }
    let message = "The database keeps migrations that the target release does not know: SQL is not undone. Acknowledge \
                   MIGRATIONS_NOT_REVERSIBLE if the target works with the current schema.";
    vec![Warning::high("MIGRATIONS_NOT_REVERSIBLE", message).confirmed().affecting(kept)]
}

fn secrets(planned: &Planned<'_>, warnings: &mut Vec<Warning>) {
    let missing: Vec<&String> =
        planned.state.required_secrets.iter().filter(|key| !planned.stored_secrets.contains(*key)).collect();
    if !missing.is_empty() {
        warnings.push(
            Warning::high("MISSING_REQUIRED_SECRET", "Required secrets have no value yet: set them before the commit.")
                .confirmed()
                .affecting(missing),
        );
    }
    let deleted: Vec<&String> =
        planned.spec.secrets.delete.iter().filter(|key| planned.stored_secrets.contains(*key)).collect();
    if !deleted.is_empty() {
        warnings.push(
            Warning::warn("DESTRUCTIVE_SECRET_REMOVAL", "Stored secret values will be deleted for good.")
                .confirmed()
                .affecting(deleted),
        );
    }
}

/// Share of the base's files whose removal is worth a word: more than one in ten.
const BULK: usize = 10;

fn removals(planned: &Planned<'_>, warnings: &mut Vec<Warning>) {
    let Some(base) = planned.base else { return };
    let (state, confirm) = (planned.state, planned.confirm_removals);
    if !base.site.is_empty() && state.site.is_empty() {
        warnings.push(Warning::high("ZERO_SITE_FILES_AFTER", "The release will have no site files left.").confirmed());
    }
    if !base.functions.is_empty() && state.functions.is_empty() {
        warnings.push(Warning::high("ZERO_FUNCTIONS_AFTER", "The release will have no functions left.").confirmed());
    }
    if !base.subdomains.is_empty() && state.subdomains.is_empty() {
        warnings.push(Warning::warn("ZERO_SUBDOMAINS_AFTER", "The project will have no subdomain left.").confirmed());
    }
    let unbound = &planned.diff.subdomains.removed;
    if !unbound.is_empty() {
        warnings.push(
            Warning::high("DESTRUCTIVE_SUBDOMAIN_REMOVAL", "Subdomains will stop answering.")
                .confirmed()
                .affecting(unbound),
        );
    }
    let functions = &planned.diff.functions.removed;
    if !functions.is_empty() {
        warnings.push(
            Warning::high("DESTRUCTIVE_FUNCTION_REMOVAL", "Functions will be removed, with their schedules.")
                .confirmed_if(confirm)
                .affecting(functions),
        );
    }
    let gone: Vec<&String> = base.site.keys().filter(|path| !state.site.contains_key(*path)).collect();
    if gone.len() * BULK > base.site.len() {
        warnings.push(
            Warning::high("DESTRUCTIVE_SITE_BULK_REMOVAL", "More than a tenth of the site's files will be removed.")
                .confirmed_if(confirm)
                .details(json!({ "removed": gone.len(), "before": base.site.len() }))
                .affecting(gone.iter().take(LISTED).map(|path| path.as_str())),
        );
    }
    if gone.iter().any(|path| *path == "index.html") {
        warnings.push(
            Warning::warn("SITE_ENTRYPOINT_REMOVED", "The site's index.html will be removed.")
                .affecting(["index.html"]),
        );
    }
}

/// How many names a warning lists at most.
const LISTED: usize = 50;

fn routes_of_plan(planned: &Planned<'_>, warnings: &mut Vec<Warning>) {
    match &planned.spec.routes {
        None => {
            if !planned.state.routes.is_empty() {
                warnings.push(
                    Warning::info("ROUTE_TARGET_CARRIED_FORWARD", "The routes of the base release stay as they are.")
                        .affecting(planned.state.routes.iter().map(|route| route.pattern.as_str())),
                );
            }
        }
        Some(routes) => {
            let mut read_only: Vec<&str> = routes
                .iter()
                .filter(|route| {
                    let limited = route.methods.as_ref().is_some_and(|methods| {
                        methods.iter().all(|method| super::routes::MethodSet::READ.contains(*method))
                    });
                    route.pattern.ends_with("/*")
                        && matches!(route.target, RouteTarget::Function { .. })
                        && limited
                        && !route.acknowledge_readonly
                })
                .map(|route| route.pattern.as_str())
                .collect();
            read_only.sort_unstable();
            if !read_only.is_empty() {
                warnings.push(
                    Warning::warn(
                        "WILDCARD_ROUTE_EXCLUDES_MUTATION_METHODS",
                        "A wildcard route to a function takes only GET and HEAD: other methods get 405 before the \
                         function runs.",
                    )
                    .confirmed()
                    .affecting(read_only)
                    .details(json!({
                        "missing_common_methods": ["POST", "PUT", "PATCH", "DELETE"],
                        "fix": "Omit `methods`, name the methods the function takes, or set `acknowledge_readonly`.",
                    })),
                );
            }
        }
    }
    let widens = matches!(planned.base.and_then(|base| base.public_paths.as_ref()), Some(PublicPaths::Explicit(_)))
        && !matches!(planned.state.public_paths, Some(PublicPaths::Explicit(_)));
    if widens {
        warnings.push(
            Warning::warn(
                "PUBLIC_PATH_MODE_WIDENS_TO_IMPLICIT",
                "Every file of the site will become publicly reachable.",
            )
            .confirmed(),
        );
    }
}
