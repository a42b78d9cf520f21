//! The model as a whole: specs on bases, what they serve, how they differ.

mod differences;
mod serving;

use serde_json::{Value, json};

use super::*;
use crate::engines::blobs::Sha256Digest;

pub(super) fn file(text: &str) -> Value {
    json!({ "sha256": Sha256Digest::of(text.as_bytes()), "size": text.len() })
}

/// A map of files, each holding its own name or `name=content`.
pub(super) fn files(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| name.split_once('=').unwrap_or((name, name)))
        .map(|(name, content)| (name.to_owned(), file(content)))
        .collect()
}

pub(super) fn spec(mut slices: Value) -> Spec {
    slices["project_id"] = json!("prj_1_a");
    Spec::parse(slices, &SpecLimits::default()).unwrap()
}

fn try_on(base: Option<&ReleaseState>, slices: Value) -> Result<ReleaseState, SpecError> {
    ReleaseState::materialise(base, &spec(slices), &SpecLimits::default())
}

pub(super) fn on(base: Option<&ReleaseState>, slices: Value) -> ReleaseState {
    try_on(base, slices).unwrap()
}

pub(super) fn release(slices: Value) -> ReleaseState {
    on(None, slices)
}

fn function_to(name: &str) -> Value {
    json!({ "type": "function", "name": name })
}

fn refusal(base: &ReleaseState, slices: Value) -> (u16, String, String) {
    let error = try_on(Some(base), slices).unwrap_err();
    let first = error.first().unwrap();
    (first.status.as_u16(), first.code.to_owned(), first.resource.clone())
}

/// A site with routes of every kind and a function.
fn rich() -> ReleaseState {
    release(json!({
        "site": { "replace": files(&["index.html", "about.html", "app.js", "docs/index.html", "events.html", "data"]) },
        "functions": { "replace": { "api": { "source": file("api"), "schedule": "0 * * * *", "deps": ["zod"] } } },
        "routes": { "replace": [
            { "pattern": "/api/*", "target": function_to("api") },
            { "pattern": "/api/v2/*", "methods": ["POST"], "target": function_to("api") },
            { "pattern": "/hook", "methods": ["POST"], "target": function_to("api") },
            { "pattern": "/whats-on", "methods": ["GET"], "target": { "type": "static", "file": "events.html" } },
            { "pattern": "/whats-on", "methods": ["POST"], "target": function_to("api") },
            { "pattern": "/app.js", "methods": ["PUT"], "target": function_to("api") },
        ] },
        "secrets": { "require": ["API_KEY"] },
        "subdomains": { "set": ["my-app"] },
        "i18n": { "default_locale": "en", "locales": ["en", "de"] },
        "database": { "expose": { "version": 1 }, "migrations": [
            { "id": "1", "checksum": Sha256Digest::of(b"x"), "sql": "x" }] },
    }))
}

#[test]
fn what_a_spec_does_not_name_carries_over() {
    let base = rich();
    let next = on(Some(&base), json!({ "secrets": { "require": ["OTHER"] } }));
    assert_eq!(next, ReleaseState { required_secrets: ["API_KEY".into(), "OTHER".into()].into(), ..base });
}

#[test]
fn slices_replace_or_patch_those_of_the_base() {
    let base = rich();
    let next = on(
        Some(&base),
        json!({
            "site": { "patch": { "put": files(&["new.css"]), "delete": ["data", "never-there"] } },
            "functions": { "patch": { "set": {
                "api": { "schedule": null, "config": { "memory_mb": 256 } },
                "ssr": { "source": file("ssr"), "class": "ssr" },
            }, "delete": ["never-there"] } },
            "routes": { "replace": [] },
            "secrets": { "require": ["B"], "delete": ["API_KEY"] },
            "subdomains": { "remove": ["my-app"], "add": ["other"] },
            "i18n": null,
            "database": { "expose": { "version": 2 }, "migrations": [
                { "id": "2", "checksum": Sha256Digest::of(b"y"), "sql": "y" }] },
        }),
    );
    assert!(next.site.contains_key("new.css") && !next.site.contains_key("data") && next.site.contains_key("app.js"));
    assert_eq!(next.site["new.css"].content_type, "text/css; charset=utf-8");
    let api = &next.functions["api"];
    assert_eq!((api.schedule.as_ref(), api.memory_mb, api.timeout_seconds), (None, 256, 10));
    assert_eq!(api.deps, ["zod"]);
    assert_eq!(next.functions["ssr"].class, FunctionClass::Ssr);
    assert!(next.routes.is_empty());
    assert_eq!(next.required_secrets, ["B".to_owned()].into());
    assert_eq!(next.subdomains, ["other"]);
    assert_eq!(next.i18n, None);
    assert_eq!(next.expose, Some(json!({ "version": 2 })));
    assert_eq!(next.migrations.keys().collect::<Vec<_>>(), ["1", "2"]);
    let replaced = on(Some(&base), json!({ "site": { "replace": files(&["index.html", "events.html"]) } }));
    assert_eq!(replaced.site.len(), 2);
}

#[test]
fn results_that_contradict_themselves_are_refused() {
    let base = rich();
    let explicit = on(
        Some(&base),
        json!({ "site": { "public_paths": { "mode": "explicit", "replace": { "/": { "asset": "index.html" } } } } }),
    );
    let gated = on(
        Some(&base),
        json!({ "functions": { "patch": { "set": { "api": {
            "require_role": { "table": "m", "id_column": "i", "role_column": "r", "allowed": ["a"] } } } } } }),
    );
    let invalid = |resource: &str| (400, "INVALID_SPEC".to_owned(), resource.to_owned());
    let cases = [
        (&base, json!({ "functions": { "patch": { "delete": ["api"] } } }), invalid("routes")),
        (&base, json!({ "site": { "patch": { "delete": ["events.html"] } } }), invalid("routes")),
        (
            &base,
            json!({ "routes": { "replace": [{ "pattern": "/x", "target": function_to("nope") }] } }),
            invalid("routes"),
        ),
        (
            &base,
            json!({ "functions": { "patch": { "set": { "new": { "class": "ssr" } } } } }),
            invalid("functions.patch.set.new.source"),
        ),
        (
            &base,
            json!({ "subdomains": { "add": ["second"] } }),
            (400, "SUBDOMAIN_MULTI_NOT_SUPPORTED".into(), "subdomains".into()),
        ),
        (
            &explicit,
            json!({ "site": { "patch": { "delete": ["index.html"] } } }),
            invalid("site.public_paths.inherited./"),
        ),
        (
            &base,
            json!({ "site": { "public_paths": { "mode": "explicit", "replace": { "/a": { "asset": "nope" } } } } }),
            invalid("site.public_paths.replace./a"),
        ),
        (
            &gated,
            json!({ "functions": { "patch": { "set": { "b": { "source": file("b"), "require_role":
                { "table": "other", "id_column": "i", "role_column": "r", "allowed": ["a"] } } } } } }),
            invalid("functions.b.require_role"),
        ),
        (
            &base,
            json!({ "routes": { "replace": [
                { "pattern": "/app.js", "target": { "type": "static", "file": "about.html" } }] } }),
            invalid("routes"),
        ),
    ];
    for (base, slices, expected) in cases {
        assert_eq!(refusal(base, slices.clone()), expected, "{slices}");
    }
}

#[test]
fn missing_route_targets_are_all_listed() {
    let error = try_on(Some(&rich()), json!({ "functions": { "patch": { "delete": ["api"] } } })).unwrap_err();
    let body = crate::common::ApiError::from(error).body("trc_1", false);
    let missing = body["details"]["missing_route_targets"].as_array().unwrap();
    assert_eq!(missing.len(), 5);
    assert!(missing.iter().all(|row| row["target"] == function_to("api")));
}

#[test]
fn counts_of_functions_and_schedules_have_limits() {
    let limits =
        SpecLimits { max_functions: 1, max_scheduled_functions: 2, scheduled_elsewhere: 1, ..Default::default() };
    let two = spec(json!({ "functions": { "replace": {
        "a": { "source": file("a"), "schedule": "0 * * * *" }, "b": { "source": file("b"), "schedule": "0 * * * *" } } } }));
    let error = ReleaseState::materialise(None, &two, &limits).unwrap_err();
    let codes: Vec<_> =
        error.violations().iter().map(|violation| (violation.status.as_u16(), violation.code)).collect();
    assert_eq!(codes, [(403, "TIER_LIMIT_EXCEEDED"), (403, "FUNCTION_SCHEDULE_LIMIT_EXCEEDED")]);
    let untouched = spec(json!({ "site": { "replace": files(&["a"]) } }));
    let base = ReleaseState::materialise(None, &two, &SpecLimits::default()).unwrap();
    assert!(ReleaseState::materialise(Some(&base), &untouched, &limits).is_ok(), "an old release stays deployable");
}

#[test]
fn several_files_hash_by_entrypoint_and_contents() {
    let tree = |entrypoint: &str, b: &str| {
        let state = release(json!({ "functions": { "replace": { "f": {
            "files": { "a.js": file("a"), "b.js": file(b) }, "entrypoint": entrypoint } } } }));
        state.functions["f"].code_hash.clone()
    };
    assert_eq!(tree("a.js", "b"), tree("a.js", "b"));
    assert_ne!(tree("a.js", "b"), tree("b.js", "b"));
    assert_ne!(tree("a.js", "b"), tree("a.js", "c"));
}

#[test]
fn a_release_holds_the_contents_of_site_and_functions() {
    let state = rich();
    let contents = state.contents();
    assert_eq!(contents.len(), 7);
    assert_eq!(contents[&Sha256Digest::of(b"api")], 3);
}
