//! The `site`, `routes` and `subdomains` slices.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::{
    SpecLimits, Violation,
    content::Contents,
    error::Violations,
    functions,
    reader::{Fields, check_names, string},
};
use crate::features::releases::{
    path,
    routes::{self, MethodSet},
    types::{
        CacheClass, FileRef, PublicPath, PublicPaths, RouteEntry, RouteKind, RouteMethod, RouteSpec, RouteTarget,
        SiteFiles, SiteSlice, SubdomainsSlice,
    },
};

pub(super) fn read(
    mut fields: Fields,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> SiteSlice {
    let path = fields.at("replace");
    let replace = fields.object("replace", problems).map(|map| site_files(map, limits, contents, problems));
    let patch = fields.object("patch", problems).map(|mut patch| {
        let put = patch.object("put", problems).map(|map| site_files(map, limits, contents, problems));
        let put = put.unwrap_or_default();
        let delete = patch.strings("delete", problems).unwrap_or_default();
        for (index, name) in delete.iter().enumerate() {
            if let Err(message) = path::check_file_path(name) {
                problems.invalid(format!("{}.{index}", patch.at("delete")), message);
            }
        }
        let names: Vec<String> = put.keys().cloned().collect();
        check_names(&delete, &patch.at("delete"), Some((&names, "site.patch.put")), problems);
        patch.finish(problems);
        SiteFiles::Patch { put, delete }
    });
    let public_paths = fields.object("public_paths", problems).and_then(|map| public_paths(map, limits, problems));
    fields.finish(problems);
    if replace.is_some() && patch.is_some() {
        problems.invalid(path, "`site.replace` and `site.patch` exclude each other: send one.");
    }
    SiteSlice { files: replace.map(SiteFiles::Replace).or(patch), public_paths }
}

fn site_files(
    map: Fields,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> BTreeMap<String, FileRef> {
    if map.len() > limits.max_site_files {
        problems.invalid("site", format!("A release has at most {} site files.", limits.max_site_files));
    }
    let mut files = contents.files(map, path::check_site_path, problems);
    for file in files.values_mut() {
        if let Some(content_type) = &mut file.content_type {
            content_type.make_ascii_lowercase();
        }
    }
    files
}

fn public_paths(mut fields: Fields, limits: &SpecLimits, problems: &mut Violations) -> Option<PublicPaths> {
    let mode = fields.required_string("mode", problems);
    let replace_path = fields.at("replace");
    let replace = fields.object("replace", problems);
    let mode_path = fields.at("mode");
    fields.finish(problems);
    match (mode?.as_str(), replace) {
        ("implicit", None) => Some(PublicPaths::Implicit),
        ("implicit", Some(_)) => {
            problems
                .invalid(replace_path, "Implicit public paths have no table: drop `replace`, or set mode `explicit`.");
            None
        }
        ("explicit", Some(table)) => {
            if table.len() > limits.max_public_paths {
                let most = limits.max_public_paths;
                problems.invalid(replace_path, format!("A release has at most {most} public paths."));
            }
            Some(PublicPaths::Explicit(public_path_table(table, problems)))
        }
        ("explicit", None) => {
            problems.invalid(
                replace_path,
                "Explicit public paths need their complete table in `replace`; it may be empty.",
            );
            None
        }
        _ => {
            problems.invalid(mode_path, "The mode of public paths is `implicit` or `explicit`.");
            None
        }
    }
}

fn public_path_table(table: Fields, problems: &mut Violations) -> BTreeMap<String, PublicPath> {
    let mut paths = BTreeMap::new();
    for (public, value, at) in table.entries() {
        if let Err(message) = path::check_public_path(&public) {
            problems.invalid(at.clone(), message);
        }
        let Some(mut fields) = Fields::of(value, at, problems) else { continue };
        let asset = fields.required_string("asset", problems);
        if let Some(Err(message)) = asset.as_deref().map(path::check_file_path) {
            problems.invalid(fields.at("asset"), message);
        }
        let cache_class = fields.string("cache_class", problems).and_then(|class| match class.as_str() {
            "html" => Some(CacheClass::Html),
            "immutable_versioned" => Some(CacheClass::ImmutableVersioned),
            "revalidating_asset" => Some(CacheClass::RevalidatingAsset),
            _ => {
                problems.invalid(
                    fields.at("cache_class"),
                    "A cache class is `html`, `immutable_versioned` or `revalidating_asset`.",
                );
                None
            }
        });
        fields.finish(problems);
        if let Some(asset) = asset {
            paths.insert(public, PublicPath { asset, cache_class });
        }
    }
    paths
}

pub(super) fn read_routes(mut fields: Fields, limits: &SpecLimits, problems: &mut Violations) -> Vec<RouteSpec> {
    let path = fields.at("replace");
    if !fields.has("replace") {
        problems.invalid(path.clone(), "`routes` needs `replace`, the complete list; it may be empty.");
    }
    let items = fields.list("replace", problems).unwrap_or_default();
    fields.finish(problems);
    if items.len() > limits.max_routes {
        problems.invalid(path.clone(), format!("A release has at most {} routes.", limits.max_routes));
    }
    let mut taken: HashMap<(RouteKind, String), MethodSet> = HashMap::new();
    let mut read = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{path}.{index}");
        let Some(route) = route(item, &path, problems) else { continue };
        let entry = RouteEntry::of(&route);
        let taken = taken.entry(entry.identity()).or_default();
        if taken.overlaps(entry.serves()) {
            problems.invalid(
                path,
                format!("Another route has the pattern {:?} with one of the same methods.", route.pattern),
            );
        }
        *taken = taken.union(entry.serves());
        read.push(route);
    }
    read
}

fn route(value: Value, path: &str, problems: &mut Violations) -> Option<RouteSpec> {
    let mut fields = Fields::of(value, path, problems)?;
    let pattern = fields.required_string("pattern", problems);
    let kind = pattern.as_deref().map(routes::check_pattern);
    if let Some(Err(message)) = kind {
        problems.invalid(fields.at("pattern"), message);
    }
    let kind = kind.and_then(Result::ok);
    let methods = methods(&mut fields, problems);
    let target = target(&mut fields, problems);
    if let Some(RouteTarget::Static { .. }) = target {
        if kind == Some(RouteKind::Prefix) {
            problems.invalid(fields.at("pattern"), "A route to a static file has an exact pattern, without `/*`.");
        }
        let reads = methods.as_ref().is_none_or(|methods| {
            methods.contains(&RouteMethod::Get) && methods.iter().all(|method| MethodSet::READ.contains(*method))
        });
        if !reads {
            problems.invalid(fields.at("methods"), "A route to a static file takes `GET`, or `GET` and `HEAD`.");
        }
    }
    let acknowledge_path = fields.at("acknowledge_readonly");
    let acknowledged = fields.boolean("acknowledge_readonly", problems);
    let read_only =
        methods.as_ref().is_some_and(|methods| methods.iter().all(|method| MethodSet::READ.contains(*method)));
    let acknowledgeable =
        kind == Some(RouteKind::Prefix) && read_only && matches!(target, Some(RouteTarget::Function { .. }));
    match acknowledged {
        Some(false) => problems.invalid(acknowledge_path, "`acknowledge_readonly` is `true` or absent."),
        Some(true) if kind.is_some() && target.is_some() && !acknowledgeable => problems.invalid(
            acknowledge_path,
            "`acknowledge_readonly` goes with a `/*` route to a function that is limited to GET and HEAD.",
        ),
        _ => {}
    }
    fields.finish(problems);
    kind?;
    Some(RouteSpec { pattern: pattern?, methods, target: target?, acknowledge_readonly: acknowledged == Some(true) })
}

fn methods(fields: &mut Fields, problems: &mut Violations) -> Option<BTreeSet<RouteMethod>> {
    let names = fields.strings("methods", problems)?;
    let path = fields.at("methods");
    if names.is_empty() {
        problems.invalid(path.clone(), "`methods` must not be empty: omit it to take all methods.");
    }
    let mut methods = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        match RouteMethod::of(&name.to_ascii_uppercase()) {
            Some(method) => {
                methods.insert(method);
            }
            None => problems.invalid(
                format!("{path}.{index}"),
                "A route method is GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.",
            ),
        }
    }
    Some(methods)
}

fn target(fields: &mut Fields, problems: &mut Violations) -> Option<RouteTarget> {
    let path = fields.at("target");
    if !fields.has("target") {
        problems.invalid(path.clone(), format!("{path} is missing."));
    }
    let mut target = fields.object("target", problems)?;
    let kind = target.required_string("type", problems)?;
    let read = match kind.as_str() {
        "function" => {
            let name = target.required_string("name", problems);
            if name.as_deref().is_some_and(|name| !functions::is_name(name)) {
                problems.invalid(target.at("name"), "A function name has 1 to 128 letters, digits, `_` or `-`.");
            }
            name.map(|name| RouteTarget::Function { name })
        }
        "static" => {
            let file = target.required_string("file", problems);
            if let Some(Err(message)) = file.as_deref().map(path::check_file_path) {
                problems.invalid(target.at("file"), message);
            }
            file.map(|file| RouteTarget::Static { file })
        }
        _ => {
            problems.push(
                Violation::invalid(target.at("type"), "A route target is of type `function` or `static`.").fix(
                    json!({ "action": "set_field", "path": target.at("type"), "allowed": ["function", "static"] }),
                ),
            );
            return None;
        }
    };
    target.finish(problems);
    read
}

const SUBDOMAIN_RULE: &str =
    "A subdomain has 3 to 63 lower-case letters, digits or hyphens, none at the ends and no two in a row.";

/// Ruling 4 of contract 00.
fn is_subdomain(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

pub(super) fn read_subdomains(mut fields: Fields, problems: &mut Violations) -> SubdomainsSlice {
    let mut list = |key: &str, problems: &mut Violations| {
        let path = fields.at(key);
        let value = fields.list(key, problems)?;
        let names: Vec<String> = value
            .into_iter()
            .enumerate()
            .filter_map(|(index, value)| string(value, &format!("{path}.{index}"), problems))
            .collect();
        for (index, name) in names.iter().enumerate() {
            if !is_subdomain(name) {
                problems.invalid(format!("{path}.{index}"), SUBDOMAIN_RULE);
            }
        }
        Some(names)
    };
    let set = list("set", problems);
    let add = list("add", problems);
    let remove = list("remove", problems);
    if set.is_some() && (add.is_some() || remove.is_some()) {
        problems.invalid(fields.at("set"), "`subdomains.set` is the exact list: it goes without `add` and `remove`.");
    }
    let (add, remove) = (add.unwrap_or_default(), remove.unwrap_or_default());
    if let Some(set) = &set {
        check_names(set, &fields.at("set"), None, problems);
        if set.len() > 1 {
            problems.push(too_many(fields.at("set")));
        }
    }
    check_names(&add, &fields.at("add"), Some((&remove, "subdomains.remove")), problems);
    check_names(&remove, &fields.at("remove"), None, problems);
    fields.finish(problems);
    SubdomainsSlice { set, add, remove }
}

/// 400 `SUBDOMAIN_MULTI_NOT_SUPPORTED`
pub(in crate::features::releases) fn too_many(resource: impl Into<String>) -> Violation {
    Violation::new("SUBDOMAIN_MULTI_NOT_SUPPORTED", resource, "A project has at most one subdomain: name one.")
}
