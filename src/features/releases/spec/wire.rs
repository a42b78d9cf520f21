//! Writing a spec back in its wire form: one spelling, defaults of the reader filled in, empty slices left out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::features::{
    assets::{AssetPut, AssetSlice},
    releases::types::{
        Base, DatabaseSlice, FileRef, FunctionClass, FunctionCode, FunctionPatch, FunctionsSlice, I18n, MigrationSql,
        PublicPaths, RouteSpec, SecretsSlice, SiteFiles, SiteSlice, Spec, SubdomainsSlice,
    },
};

/// An object of the members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    Value::Object(members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>())
}

fn list<T: serde::Serialize>(items: &[T]) -> Option<Value> {
    (!items.is_empty()).then(|| json!(items))
}

/// The wire form of a spec; reading it gives the same spec.
pub(super) fn write(spec: &Spec) -> Value {
    object([
        ("project_id", Some(json!(spec.project))),
        ("base", base(&spec.base)),
        ("database", database(&spec.database)),
        ("secrets", secrets(&spec.secrets)),
        ("functions", spec.functions.as_ref().map(functions)),
        ("site", spec.site.as_ref().map(site)),
        ("subdomains", spec.subdomains.as_ref().map(subdomains)),
        (
            "routes",
            spec.routes.as_ref().map(|routes| json!({ "replace": routes.iter().map(route).collect::<Vec<_>>() })),
        ),
        ("assets", spec.assets.as_ref().map(assets)),
        ("i18n", spec.i18n.as_ref().map(|i18n| i18n.as_ref().map_or(Value::Null, locales))),
    ])
}

fn base(base: &Base) -> Option<Value> {
    match base {
        Base::Current => None,
        Base::Empty => Some(json!({ "release": "empty" })),
        Base::Release(release) => Some(json!({ "release_id": release })),
    }
}

fn file(file: &FileRef) -> Value {
    json!(file)
}

fn files(files: &BTreeMap<String, FileRef>) -> Value {
    Value::Object(files.iter().map(|(path, reference)| (path.clone(), file(reference))).collect())
}

fn database(slice: &DatabaseSlice) -> Option<Value> {
    let migrations: Vec<Value> = slice
        .migrations
        .iter()
        .map(|migration| {
            let (sql, sql_ref) = match &migration.sql {
                MigrationSql::Inline(text) => (Some(json!(text)), None),
                MigrationSql::Ref(reference) => (None, Some(file(reference))),
            };
            object([
                ("id", Some(json!(migration.id))),
                ("checksum", Some(json!(migration.checksum))),
                ("sql", sql),
                ("sql_ref", sql_ref),
                ("transaction", (!migration.transactional).then(|| json!("none"))),
            ])
        })
        .collect();
    let value = object([
        ("expose", slice.expose.clone()),
        ("migrations", list(&migrations)),
        ("zero_downtime", slice.zero_downtime.then_some(Value::Bool(true))),
    ]);
    (value != json!({})).then_some(value)
}

fn secrets(slice: &SecretsSlice) -> Option<Value> {
    let value = object([("require", list(&slice.require)), ("delete", list(&slice.delete))]);
    (value != json!({})).then_some(value)
}

fn functions(slice: &FunctionsSlice) -> Value {
    let map = |functions: &BTreeMap<String, FunctionPatch>| {
        Value::Object(functions.iter().map(|(name, patch)| (name.clone(), function(patch))).collect())
    };
    match slice {
        FunctionsSlice::Replace(all) => json!({ "replace": map(all) }),
        FunctionsSlice::Patch { set, delete } => json!({ "patch": { "set": map(set), "delete": delete } }),
    }
}

fn function(patch: &FunctionPatch) -> Value {
    let (source, entrypoint, tree) = match &patch.code {
        None => (None, None, None),
        Some(FunctionCode::Source(source)) => (Some(file(source)), None, None),
        Some(FunctionCode::Files { entrypoint, files: tree }) => (None, Some(json!(entrypoint)), Some(files(tree))),
    };
    let config = object([
        ("timeout_seconds", patch.timeout_seconds.map(Value::from)),
        ("memory_mb", patch.memory_mb.map(Value::from)),
    ]);
    object([
        ("runtime", Some(json!("node22"))),
        ("source", source),
        ("entrypoint", entrypoint),
        ("files", tree),
        ("config", (config != json!({})).then_some(config)),
        ("deps", patch.deps.as_ref().map(|deps| json!(deps))),
        ("schedule", patch.schedule.as_ref().map(|schedule| json!(schedule))),
        ("require_auth", patch.require_auth.map(Value::Bool)),
        ("require_role", patch.require_role.as_ref().map(|gate| json!(gate))),
        ("class", patch.class.map(|class| json!(if class == FunctionClass::Ssr { "ssr" } else { "standard" }))),
    ])
}

fn site(slice: &SiteSlice) -> Value {
    let (replace, patch) = match &slice.files {
        None => (None, None),
        Some(SiteFiles::Replace(all)) => (Some(files(all)), None),
        Some(SiteFiles::Patch { put, delete }) => (None, Some(json!({ "put": files(put), "delete": delete }))),
    };
    let public_paths = slice.public_paths.as_ref().map(|paths| match paths {
        PublicPaths::Implicit => json!({ "mode": "implicit" }),
        PublicPaths::Explicit(table) => json!({ "mode": "explicit", "replace": table }),
    });
    object([("replace", replace), ("patch", patch), ("public_paths", public_paths)])
}

fn subdomains(slice: &SubdomainsSlice) -> Value {
    object([
        ("set", slice.set.as_ref().map(|names| json!(names))),
        ("add", list(&slice.add)),
        ("remove", list(&slice.remove)),
    ])
}

fn route(route: &RouteSpec) -> Value {
    object([
        ("pattern", Some(json!(route.pattern))),
        ("methods", route.methods.as_ref().map(|methods| json!(methods))),
        ("target", Some(json!(route.target))),
        ("acknowledge_readonly", route.acknowledge_readonly.then_some(Value::Bool(true))),
    ])
}

fn assets(slice: &AssetSlice) -> Value {
    let put: Vec<Value> = slice.put.iter().map(asset).collect();
    let sync = slice.sync.as_ref().map(|sync| {
        let confirm = sync.confirm.as_ref().map(|confirm| {
            json!({
                "base_revision": confirm.base_revision,
                "delete_set_digest": confirm.delete_set_digest,
                "expected_delete_count": confirm.expected_delete_count,
            })
        });
        object([("prefix", Some(json!(sync.prefix))), ("prune", Some(Value::Bool(true))), ("confirm", confirm)])
    });
    object([("put", list(&put)), ("delete", list(&slice.delete)), ("sync", sync)])
}

fn asset(put: &AssetPut) -> Value {
    object([
        ("key", Some(json!(put.key))),
        ("sha256", Some(json!(put.sha256))),
        ("size_bytes", Some(json!(put.size))),
        ("content_type", Some(json!(put.content_type))),
        ("visibility", Some(json!(put.visibility))),
        ("immutable", Some(json!(put.immutable))),
        ("metadata", put.metadata.clone()),
        ("exif_policy", Some(json!(put.exif_policy))),
    ])
}

fn locales(i18n: &I18n) -> Value {
    json!(i18n)
}
