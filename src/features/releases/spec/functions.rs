//! The `functions` slice.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    SpecLimits, Violation,
    content::Contents,
    error::Violations,
    reader::{Fields, check_names, string},
    schedule::Schedule,
};
use crate::features::releases::{
    path,
    types::{FunctionClass, FunctionCode, FunctionPatch, FunctionsSlice, RoleGate, SESSION_MINT},
};

const MAX_NAME: usize = 128;
const MAX_DEPS: usize = 30;
const MAX_DEP: usize = 200;
/// Least memory of a function, in MB (contract 05 §2.6).
pub const LEAST_MEMORY_MB: u32 = 128;
const MAX_ROLES: usize = 50;
const MAX_ROLE: usize = 128;
const MAX_IDENTIFIER: usize = 63;
const MAX_CACHE_TTL: u64 = 600;
const DEFAULT_CACHE_TTL: u32 = 60;

/// Packages that bring machine code, which the sandbox cannot load.
pub const NATIVE_PACKAGES: [&str; 14] = [
    "argon2",
    "bcrypt",
    "better-sqlite3",
    "bufferutil",
    "canvas",
    "cpu-features",
    "fsevents",
    "node-sass",
    "re2",
    "sharp",
    "sodium-native",
    "sqlite3",
    "usb",
    "utf-8-validate",
];
/// The module that is built in.
const BUILT_IN_PACKAGES: [&str; 2] = ["@run402/functions", "run402-functions"];

pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        // Its URL would be that of all runs.
        && name != "runs"
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

pub(super) fn read(
    mut fields: Fields,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> Option<FunctionsSlice> {
    let path = fields.at("replace");
    let replace = fields.object("replace", problems).map(|map| functions(map, true, limits, contents, problems));
    let patch = fields.object("patch", problems).map(|mut patch| {
        let set = patch
            .object("set", problems)
            .map(|map| functions(map, false, limits, contents, problems))
            .unwrap_or_default();
        let delete = patch.strings("delete", problems).unwrap_or_default();
        for (index, name) in delete.iter().enumerate() {
            if !is_name(name) {
                problems.invalid(format!("{}.{index}", patch.at("delete")), NAME_RULE);
            }
        }
        let names: Vec<String> = set.keys().cloned().collect();
        check_names(&delete, &patch.at("delete"), Some((&names, "functions.patch.set")), problems);
        patch.finish(problems);
        FunctionsSlice::Patch { set, delete }
    });
    fields.finish(problems);
    match (replace, patch) {
        (Some(_), Some(_)) => {
            problems.invalid(path, "`functions.replace` and `functions.patch` exclude each other: send one.");
            None
        }
        (Some(functions), None) => Some(FunctionsSlice::Replace(functions)),
        (None, patch) => patch,
    }
}

const NAME_RULE: &str =
    "A function name has 1 to 128 letters, digits, `_` or `-`, begins with a letter or digit, and is not `runs`.";

fn functions(
    map: Fields,
    whole: bool,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> BTreeMap<String, FunctionPatch> {
    let mut functions = BTreeMap::new();
    for (name, value, path) in map.entries() {
        if !is_name(&name) {
            problems.invalid(path.clone(), NAME_RULE);
        }
        let Some(fields) = Fields::of(value, path.clone(), problems) else { continue };
        let has_code = fields.has("source") || fields.has("files");
        let function = function(fields, limits, contents, problems);
        if whole && !has_code {
            problems.invalid(format!("{path}.source"), format!("{path} needs `source` or `files`."));
        }
        functions.insert(name, function);
    }
    functions
}

fn function(
    mut fields: Fields,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> FunctionPatch {
    if let Some(runtime) = fields.string("runtime", problems)
        && runtime != "node22"
    {
        problems.invalid(fields.at("runtime"), "The only runtime is `node22`.");
    }
    let code = code(&mut fields, limits, contents, problems);
    let (timeout_seconds, memory_mb) = config(&mut fields, limits, problems);
    let deps = fields.strings("deps", problems);
    if let Some(deps) = &deps {
        check_deps(deps, &fields.at("deps"), problems);
    }
    let schedule = fields.take("schedule").and_then(|value| schedule(value, &fields.at("schedule"), limits, problems));
    let require_auth = fields.boolean_either("require_auth", "requireAuth", problems);
    let require_role = fields.take_either("require_role", "requireRole", problems).and_then(|value| match value {
        Value::Null => Some(None),
        value => role_gate(value, &fields.at("require_role"), problems).map(Some),
    });
    let class = fields.string("class", problems).and_then(|class| match class.as_str() {
        "standard" => Some(FunctionClass::Standard),
        "ssr" => Some(FunctionClass::Ssr),
        _ => {
            problems.invalid(fields.at("class"), "The class of a function is `standard` or `ssr`.");
            None
        }
    });
    let capabilities = fields.strings("capabilities", problems).map(|mut list| {
        if list.iter().any(|capability| capability != SESSION_MINT) {
            problems.invalid(fields.at("capabilities"), "The only capability is `auth.sessionMint`.");
        }
        list.dedup();
        list
    });
    fields.finish(problems);
    FunctionPatch { code, timeout_seconds, memory_mb, deps, schedule, require_auth, require_role, class, capabilities }
}

fn code(
    fields: &mut Fields,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> Option<FunctionCode> {
    let source_path = fields.at("source");
    let source = fields.take("source").map(|value| contents.file(value, &source_path, problems));
    let files = fields.object("files", problems);
    let entrypoint = fields.string("entrypoint", problems);
    let entrypoint_path = fields.at("entrypoint");
    match (source, files) {
        (Some(_), Some(_)) => {
            problems.invalid(source_path, "`source` and `files` exclude each other: send one.");
            None
        }
        (None, Some(files)) => {
            let files_path = fields.at("files");
            if files.len() == 0 || files.len() > limits.max_function_files {
                problems.invalid(files_path, format!("A function has 1 to {} files.", limits.max_function_files));
            }
            let files = contents.files(files, path::check_file_path, problems);
            match entrypoint {
                Some(entrypoint) if files.contains_key(&entrypoint) => Some(FunctionCode::Files { entrypoint, files }),
                _ => {
                    problems.invalid(entrypoint_path, "`entrypoint` must name one of the function's files.");
                    None
                }
            }
        }
        (source, None) => {
            if entrypoint.is_some() {
                problems.invalid(entrypoint_path, "`entrypoint` goes with `files`.");
            }
            source.flatten().map(FunctionCode::Source)
        }
    }
}

fn config(fields: &mut Fields, limits: &SpecLimits, problems: &mut Violations) -> (Option<u32>, Option<u32>) {
    let Some(mut config) = fields.object("config", problems) else { return (None, None) };
    let timeout = config.integer_either("timeout_seconds", "timeoutSeconds", problems);
    let memory = config.integer_either("memory_mb", "memoryMb", problems);
    let mut within = |key: &str, value: Option<u64>, least: u64, most: u32, code: &'static str| -> Option<u32> {
        let value = value?;
        let path = config.at(key);
        if value < least {
            problems.invalid(path.clone(), format!("{path} must be at least {least}."));
        } else if value > u64::from(most) {
            problems.push(
                Violation::new(code, path.clone(), format!("{path} may be at most {most} here."))
                    .detail("field", path)
                    .detail("value", value)
                    .detail("tier_max", most),
            );
        }
        u32::try_from(value).ok()
    };
    let timeout = within("timeout_seconds", timeout, 1, limits.max_timeout_seconds, "FUNCTION_TIMEOUT_EXCEEDS_TIER");
    let memory =
        within("memory_mb", memory, u64::from(LEAST_MEMORY_MB), limits.max_memory_mb, "FUNCTION_MEMORY_EXCEEDS_TIER");
    config.finish(problems);
    (timeout, memory)
}

fn schedule(value: Value, path: &str, limits: &SpecLimits, problems: &mut Violations) -> Option<Option<String>> {
    if value.is_null() {
        return Some(None);
    }
    let text = string(value, path, problems)?;
    match Schedule::parse(&text) {
        Err(error) => problems.invalid(path, error.to_string()),
        Ok(schedule) if schedule.shortest_interval() < limits.min_cron_interval_minutes => {
            let least = limits.min_cron_interval_minutes;
            problems.push(
                Violation::new(
                    "FUNCTION_SCHEDULE_INTERVAL_TOO_SHORT",
                    path,
                    format!("{path} runs more often than every {least} minutes, which is the least here."),
                )
                .detail("field", path)
                .detail("value", schedule.shortest_interval())
                .detail("tier_max", least),
            );
        }
        Ok(_) => {}
    }
    Some(Some(text))
}

fn check_deps(deps: &[String], path: &str, problems: &mut Violations) {
    if deps.len() > MAX_DEPS {
        problems.invalid(path, format!("A function has at most {MAX_DEPS} dependencies."));
    }
    let mut packages = std::collections::HashSet::new();
    for (index, dep) in deps.iter().enumerate() {
        let at = format!("{path}.{index}");
        let Some(package) = package_of(dep) else {
            problems.invalid(at, format!("{dep:?} is not an npm package with an optional version, such as `zod@^3`."));
            continue;
        };
        if BUILT_IN_PACKAGES.contains(&package) {
            problems.invalid(at, format!("{package} is built in: remove it from the dependencies."));
        } else if NATIVE_PACKAGES.contains(&package) {
            problems.push(
                Violation::new(
                    "R402_BUNDLE_NATIVE_DEP_UNSUPPORTED",
                    at,
                    format!("{package} brings machine code, which functions cannot load: use a JavaScript package."),
                )
                .status(StatusCode::UNPROCESSABLE_ENTITY)
                .detail("dep", package),
            );
        } else if !packages.insert(package) {
            problems.invalid(at, format!("{package} is listed twice."));
        }
    }
}

/// The package of `name[@version or range]`; None for anything else, such as URLs, files and git.
fn package_of(dep: &str) -> Option<&str> {
    if dep.len() > MAX_DEP {
        return None;
    }
    let at = dep.get(1..)?.find('@').map(|at| at + 1);
    let (package, version) = at.map_or((dep, None), |at| (&dep[..at], Some(&dep[at + 1..])));
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let named = match package.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| is_part(scope) && is_part(name)),
        None => is_part(package),
    };
    let versioned = version.is_none_or(|version| {
        !version.trim().is_empty()
            && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-^~<>=| *".contains(&byte))
    });
    (named && versioned).then_some(package)
}

fn role_gate(value: Value, path: &str, problems: &mut Violations) -> Option<RoleGate> {
    let mut fields = Fields::of(value, path, problems)?;
    let table = fields.required_string("table", problems);
    let id_column = either_required(&mut fields, "id_column", "idColumn", problems);
    let role_column = either_required(&mut fields, "role_column", "roleColumn", problems);
    for (key, name) in [("table", &table), ("id_column", &id_column), ("role_column", &role_column)] {
        if name.as_ref().is_some_and(|name| !is_identifier(name)) {
            problems.invalid(
                fields.at(key),
                "Write a bare name: letters, digits and `_`, not starting with a digit, and without a schema.",
            );
        }
    }
    if !fields.has("allowed") {
        problems.invalid(fields.at("allowed"), format!("{path}.allowed is missing."));
    }
    let allowed = fields.strings("allowed", problems);
    if let Some(allowed) = &allowed {
        let sound = allowed.iter().all(|role| (1..=MAX_ROLE).contains(&role.len()));
        if !(1..=MAX_ROLES).contains(&allowed.len()) || !sound {
            problems.invalid(fields.at("allowed"), "`allowed` lists 1 to 50 roles of 1 to 128 bytes.");
        }
        check_names(allowed, &fields.at("allowed"), None, problems);
    }
    let cache_ttl = fields.integer_either("cache_ttl", "cacheTtl", problems);
    if cache_ttl.is_some_and(|ttl| ttl > MAX_CACHE_TTL) {
        problems.invalid(fields.at("cache_ttl"), "`cache_ttl` is 0 to 600 seconds.");
    }
    let on_deny = fields.string_either("on_deny", "onDeny", problems).unwrap_or_else(|| "envelope".into());
    if !matches!(on_deny.as_str(), "envelope" | "redirect") {
        problems.invalid(fields.at("on_deny"), "`on_deny` is `envelope` or `redirect`.");
    }
    let sign_in_path = fields.string_either("sign_in_path", "signInPath", problems);
    match &sign_in_path {
        Some(target) if !is_local_path(target) => problems.push(
            Violation::invalid(
                fields.at("sign_in_path"),
                "`sign_in_path` is a path of the same site, such as `/login`.",
            )
            .fix(json!({ "action": "set_field", "path": fields.at("sign_in_path") })),
        ),
        None if on_deny == "redirect" => {
            problems.invalid(fields.at("sign_in_path"), "`on_deny: redirect` needs a `sign_in_path`.");
        }
        _ => {}
    }
    fields.finish(problems);
    Some(RoleGate {
        table: table?,
        id_column: id_column?,
        role_column: role_column?,
        allowed: allowed?,
        cache_ttl: cache_ttl.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(DEFAULT_CACHE_TTL),
        on_deny,
        sign_in_path,
    })
}

fn either_required(fields: &mut Fields, key: &str, alias: &str, problems: &mut Violations) -> Option<String> {
    if !fields.has(key) && !fields.has(alias) {
        problems.invalid(fields.at(key), format!("{} is missing.", fields.at(key)));
    }
    fields.string_either(key, alias, problems)
}

fn is_identifier(name: &str) -> bool {
    name.len() <= MAX_IDENTIFIER
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A path that cannot leave the site: browsers read `//` and `/\` as the start of another host.
fn is_local_path(path: &str) -> bool {
    path.len() <= path::MAX_PATH_BYTES
        && path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains('\\')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}
