//! Base and spec make a release (contract 03 §4.6).

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::json;

use super::{
    canonical, path, routes,
    spec::{SpecError, SpecLimits, Violation, Violations, too_many},
    types::{
        FileRef, FunctionClass, FunctionCode, FunctionPatch, FunctionState, FunctionsSlice, PublicPaths, ReleaseState,
        RouteEntry, RouteTarget, SiteFile, SiteFiles, Spec, StaticManifest,
    },
};
use crate::engines::blobs::Sha256Digest;

const RUNTIME: &str = "node22";

impl ReleaseState {
    /// The full state after `spec` on top of `base` (None: empty). Its `migrations` are the base's and the spec's;
    /// where the project's registry knows more, the caller records [`super::MigrationPlan::registry_after`].
    ///
    /// # Errors
    /// 400 for a part of the result that contradicts another, such as a route without its target; 403
    /// `FUNCTION_SCHEDULE_LIMIT_EXCEEDED` and `TIER_LIMIT_EXCEEDED`; 409 `STATIC_IMMUTABLE_PATH_CHANGED`.
    pub fn materialise(base: Option<&Self>, spec: &Spec, limits: &SpecLimits) -> Result<Self, SpecError> {
        let nothing = Self::default();
        let base = base.unwrap_or(&nothing);
        let mut problems = Violations::default();
        let mut state = Self {
            site: site(base, spec, limits, &mut problems),
            public_paths: None,
            functions: functions(base, spec, limits, &mut problems),
            required_secrets: required_secrets(base, spec),
            subdomains: subdomains(base, spec, &mut problems),
            routes: route_table(base, spec),
            i18n: spec.i18n.clone().unwrap_or_else(|| base.i18n.clone()),
            migrations: base
                .migrations
                .clone()
                .into_iter()
                .chain(spec.database.migrations.iter().map(|migration| (migration.id.clone(), migration.checksum)))
                .collect(),
            expose: spec.database.expose.clone().or_else(|| base.expose.clone()),
            manifest: None,
        };
        state.public_paths = public_paths(base, spec, &state.site, &mut problems);
        check_targets(&state, &mut problems);
        check_role_gates(&state, &mut problems);
        state.manifest = StaticManifest::build(&state, base.manifest.as_ref(), limits, &mut problems);
        problems.into_result()?;
        Ok(state)
    }

    /// Every content the release needs for serving and running: what it holds while it is retained.
    pub fn contents(&self) -> BTreeMap<Sha256Digest, u64> {
        let mut contents: BTreeMap<_, _> = self.site.values().map(|file| (file.sha256, file.size)).collect();
        for function in self.functions.values() {
            match &function.code {
                FunctionCode::Source(file) => {
                    contents.insert(file.sha256, file.size);
                }
                FunctionCode::Files { files, .. } => {
                    contents.extend(files.values().map(|file| (file.sha256, file.size)));
                }
            }
        }
        contents
    }
}

fn site(
    base: &ReleaseState,
    spec: &Spec,
    limits: &SpecLimits,
    problems: &mut Violations,
) -> BTreeMap<String, SiteFile> {
    let put = |files: &BTreeMap<String, FileRef>, site: &mut BTreeMap<String, SiteFile>| {
        site.extend(files.iter().map(|(path, file)| (path.clone(), site_file(path, file))));
    };
    let site = match spec.site.as_ref().and_then(|site| site.files.as_ref()) {
        None => return base.site.clone(),
        Some(SiteFiles::Replace(files)) => {
            let mut site = BTreeMap::new();
            put(files, &mut site);
            site
        }
        Some(SiteFiles::Patch { put: files, delete }) => {
            let mut site = base.site.clone();
            for path in delete {
                site.remove(path);
            }
            put(files, &mut site);
            site
        }
    };
    if site.len() > limits.max_site_files {
        problems.invalid("site", format!("A release has at most {} site files.", limits.max_site_files));
    }
    site
}

fn site_file(path: &str, file: &FileRef) -> SiteFile {
    let content_type = file.content_type.clone().unwrap_or_else(|| path::content_type_of(path).to_owned());
    SiteFile { sha256: file.sha256, size: file.size, content_type }
}

fn public_paths(
    base: &ReleaseState,
    spec: &Spec,
    site: &BTreeMap<String, SiteFile>,
    problems: &mut Violations,
) -> Option<PublicPaths> {
    let given = spec.site.as_ref().and_then(|site| site.public_paths.as_ref());
    let (paths, origin) = match given {
        Some(paths) => (Some(paths), "replace"),
        None => (base.public_paths.as_ref(), "inherited"),
    };
    if let Some(PublicPaths::Explicit(table)) = paths {
        for (public, entry) in table.iter().filter(|(_, entry)| !site.contains_key(&entry.asset)) {
            problems.push(
                Violation::invalid(
                    format!("site.public_paths.{origin}.{public}"),
                    format!("The public path {public} names {:?}, which the release does not have.", entry.asset),
                )
                .detail("asset", entry.asset.as_str()),
            );
        }
    }
    paths.cloned()
}

fn functions(
    base: &ReleaseState,
    spec: &Spec,
    limits: &SpecLimits,
    problems: &mut Violations,
) -> BTreeMap<String, FunctionState> {
    let functions = match &spec.functions {
        None => return base.functions.clone(),
        Some(FunctionsSlice::Replace(all)) => {
            all.iter().filter_map(|(name, patch)| Some((name.clone(), function(None, patch, limits)?))).collect()
        }
        Some(FunctionsSlice::Patch { set, delete }) => {
            let mut functions = base.functions.clone();
            for name in delete {
                functions.remove(name);
            }
            for (name, patch) in set {
                match function(functions.get(name), patch, limits) {
                    Some(function) => {
                        functions.insert(name.clone(), function);
                    }
                    None => problems.invalid(
                        format!("functions.patch.set.{name}.source"),
                        format!("The function {name} is new: it needs `source` or `files`."),
                    ),
                }
            }
            functions
        }
    };
    check_function_counts(&functions, limits, problems);
    functions
}

/// None: a new function without code.
fn function(base: Option<&FunctionState>, patch: &FunctionPatch, limits: &SpecLimits) -> Option<FunctionState> {
    let code = patch.code.clone().or_else(|| base.map(|base| base.code.clone()))?;
    let default_timeout = limits.default_timeout_seconds.min(limits.max_timeout_seconds);
    let default_memory = limits.default_memory_mb.min(limits.max_memory_mb);
    Some(FunctionState {
        runtime: RUNTIME.into(),
        code_hash: code_hash(&code),
        code,
        timeout_seconds: patch.timeout_seconds.unwrap_or_else(|| base.map_or(default_timeout, |f| f.timeout_seconds)),
        memory_mb: patch.memory_mb.unwrap_or_else(|| base.map_or(default_memory, |f| f.memory_mb)),
        deps: patch.deps.clone().unwrap_or_else(|| base.map(|f| f.deps.clone()).unwrap_or_default()),
        schedule: patch.schedule.clone().unwrap_or_else(|| base.and_then(|f| f.schedule.clone())),
        require_auth: patch.require_auth.unwrap_or_else(|| base.is_some_and(|f| f.require_auth)),
        require_role: patch.require_role.clone().unwrap_or_else(|| base.and_then(|f| f.require_role.clone())),
        class: patch.class.unwrap_or_else(|| base.map_or(FunctionClass::Standard, |f| f.class)),
        capabilities: patch
            .capabilities
            .clone()
            .unwrap_or_else(|| base.map(|f| f.capabilities.clone()).unwrap_or_default()),
    })
}

fn code_hash(code: &FunctionCode) -> String {
    match code {
        FunctionCode::Source(file) => file.sha256.to_string(),
        FunctionCode::Files { entrypoint, files } => {
            let files: BTreeMap<&str, Sha256Digest> =
                files.iter().map(|(path, file)| (path.as_str(), file.sha256)).collect();
            canonical::digest(&json!({ "entrypoint": entrypoint, "files": files }))
        }
    }
}

fn check_function_counts(functions: &BTreeMap<String, FunctionState>, limits: &SpecLimits, problems: &mut Violations) {
    if functions.len() > limits.max_functions {
        problems.push(
            Violation::new(
                "TIER_LIMIT_EXCEEDED",
                "functions",
                format!("The release would have {} functions; {} are allowed.", functions.len(), limits.max_functions),
            )
            .status(StatusCode::FORBIDDEN)
            .detail("limit", limits.max_functions),
        );
    }
    let scheduled = functions.values().filter(|function| function.schedule.is_some()).count();
    if scheduled > 0 && scheduled + limits.scheduled_elsewhere > limits.max_scheduled_functions {
        problems.push(
            Violation::new(
                "FUNCTION_SCHEDULE_LIMIT_EXCEEDED",
                "functions",
                format!("At most {} functions may have a schedule: remove one.", limits.max_scheduled_functions),
            )
            .status(StatusCode::FORBIDDEN)
            .detail("field", "schedule")
            .detail("value", scheduled + limits.scheduled_elsewhere)
            .detail("tier_max", limits.max_scheduled_functions),
        );
    }
}

fn required_secrets(base: &ReleaseState, spec: &Spec) -> BTreeSet<String> {
    let mut keys = base.required_secrets.clone();
    keys.extend(spec.secrets.require.iter().cloned());
    for key in &spec.secrets.delete {
        keys.remove(key);
    }
    keys
}

fn subdomains(base: &ReleaseState, spec: &Spec, problems: &mut Violations) -> Vec<String> {
    let Some(slice) = &spec.subdomains else { return base.subdomains.clone() };
    let names: BTreeSet<String> = match &slice.set {
        Some(set) => set.iter().cloned().collect(),
        None => base.subdomains.iter().chain(&slice.add).filter(|name| !slice.remove.contains(name)).cloned().collect(),
    };
    // More than one in `set` was refused when the spec was read.
    if slice.set.is_none() && names.len() > 1 {
        problems.push(too_many("subdomains").detail("names", json!(names)));
    }
    names.into_iter().collect()
}

fn route_table(base: &ReleaseState, spec: &Spec) -> Vec<RouteEntry> {
    match &spec.routes {
        None => base.routes.clone(),
        Some(given) => {
            let mut entries: Vec<RouteEntry> = given.iter().map(RouteEntry::of).collect();
            routes::sort(&mut entries);
            entries
        }
    }
}

fn check_targets(state: &ReleaseState, problems: &mut Violations) {
    let missing: Vec<_> = state
        .routes
        .iter()
        .filter(|entry| match &entry.target {
            RouteTarget::Function { name } => !state.functions.contains_key(name),
            RouteTarget::Static { file } => !state.site.contains_key(file),
        })
        .map(|entry| json!({ "pattern": entry.pattern, "target": entry.target }))
        .collect();
    if !missing.is_empty() {
        problems.push(
            Violation::invalid("routes", "Routes point to functions or files that the release does not have.")
                .detail("missing_route_targets", missing),
        );
    }
}

/// All gates of a release ask the same table.
fn check_role_gates(state: &ReleaseState, problems: &mut Violations) {
    let mut gates = state.functions.iter().filter_map(|(name, function)| Some((name, function.require_role.as_ref()?)));
    let Some((first, gate)) = gates.next() else { return };
    for (name, other) in gates {
        let same =
            (&other.table, &other.id_column, &other.role_column) == (&gate.table, &gate.id_column, &gate.role_column);
        if !same {
            problems.invalid(
                format!("functions.{name}.require_role"),
                format!(
                    "All role gates of a release share one table, id and role column: {name} differs from {first}."
                ),
            );
        }
    }
}
