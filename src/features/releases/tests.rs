//! The model as a whole: specs on bases, what they serve, how they differ.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::*;
use crate::{common::Timestamp, engines::blobs::Sha256Digest};

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

// ---- materialisation ---------------------------------------------------------------------------------------------

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

// ---- the static manifest -----------------------------------------------------------------------------------------

fn paths(state: &ReleaseState) -> Vec<String> {
    state.manifest.iter().flat_map(|manifest| manifest.files.keys().cloned()).collect()
}

#[test]
fn implicit_mode_publishes_files_and_directory_indexes() {
    let state =
        release(json!({ "site": { "replace": files(&["index.html", "a/index.html", "a/b.css", "xindex.html"]) } }));
    assert_eq!(paths(&state), ["/", "/a/", "/a/b.css", "/a/index.html", "/index.html", "/xindex.html"]);
    assert_eq!(state.manifest.unwrap().spa_fallback.as_deref(), Some("/index.html"));
    assert_eq!(release(json!({ "site": { "replace": files(&["a.css"]) } })).manifest.unwrap().spa_fallback, None);
    assert_eq!(release(json!({ "routes": { "replace": [] } })).manifest, None, "no files, no manifest");
}

#[test]
fn explicit_mode_is_sticky_and_publishes_only_its_table_and_aliases() {
    let explicit = release(json!({
        "site": { "replace": files(&["index.html", "secret.html", "events.html"]),
            "public_paths": { "mode": "explicit", "replace": { "/home": { "asset": "index.html" } } } },
        "routes": { "replace": [{ "pattern": "/events", "target": { "type": "static", "file": "events.html" } }] },
    }));
    assert_eq!(paths(&explicit), ["/events", "/home"]);
    let alias = &explicit.manifest.as_ref().unwrap().files["/events"];
    assert_eq!((alias.direct, alias.authority), (false, Authority::RouteStaticAlias));
    assert_eq!(alias.route_id.as_deref(), Some("/events:GET,HEAD"));
    assert_eq!(explicit.manifest.as_ref().unwrap().spa_fallback, None);
    let patched = on(Some(&explicit), json!({ "site": { "patch": { "put": files(&["new.html"]) } } }));
    assert_eq!(paths(&patched), ["/events", "/home"]);
    let widened = on(Some(&patched), json!({ "site": { "public_paths": { "mode": "implicit" } } }));
    assert!(paths(&widened).contains(&"/new.html".to_owned()));
}

#[test]
fn aliases_replace_made_indexes_and_equal_files_but_nothing_else() {
    let alias =
        |pattern: &str, file: &str| {
            try_on(None, json!({
            "site": { "replace": files(&["docs/index.html=docs", "a.html=same", "b.html=same", "c.html=other"]) },
            "routes": { "replace": [{ "pattern": pattern, "target": { "type": "static", "file": file } }] },
        }))
        .map(|state| state.manifest.unwrap().files[pattern].clone())
        };
    assert_eq!(alias("/docs/", "c.html").unwrap().asset_path, "c.html");
    assert!(alias("/a.html", "b.html").unwrap().direct, "equal content: the direct path stays");
    assert!(alias("/a.html", "c.html").is_err());
}

#[test]
fn cache_classes_follow_names_types_and_declarations() {
    use CacheClass::{Html, ImmutableVersioned, RevalidatingAsset};
    use CacheClassSource::{Declared, Downgraded, InferredHtml, InferredShaFilename};
    let cases = [
        ("/a.html", "a.html", None, (Html, InferredHtml)),
        ("/a", "a.html", Some("immutable_versioned"), (Html, InferredHtml)),
        ("/a.html", "a.css", None, (Html, InferredHtml)),
        ("/a.css", "a.css", None, (RevalidatingAsset, Downgraded)),
        ("/a.css", "a.css", Some("html"), (Html, Declared)),
        ("/a.css", "a.css", Some("revalidating_asset"), (RevalidatingAsset, Declared)),
        ("/a.css", "a.css", Some("immutable_versioned"), (RevalidatingAsset, Downgraded)),
        ("/app.3f2a9c1d.js", "a.css", None, (ImmutableVersioned, InferredShaFilename)),
        ("/app.3f2a9c1d.js", "a.css", Some("immutable_versioned"), (ImmutableVersioned, Declared)),
        ("/3F2A9C1D.js", "a.css", None, (ImmutableVersioned, InferredShaFilename)),
        ("/x/3f2a9c1d-b.js", "a.css", None, (ImmutableVersioned, InferredShaFilename)),
        ("/b-20240102.css", "a.css", None, (ImmutableVersioned, InferredShaFilename)),
        ("/app.3f2a9c1.js", "a.css", None, (RevalidatingAsset, Downgraded)),
        ("/app.3f2a9c1g.js", "a.css", None, (RevalidatingAsset, Downgraded)),
        ("/app3f2a9c1d.js", "a.css", None, (RevalidatingAsset, Downgraded)),
        ("/app-3f2a9c1d", "a.css", None, (RevalidatingAsset, Downgraded)),
        ("/app-3f2a9c1d0123", "a.css", None, (ImmutableVersioned, InferredShaFilename)),
        ("/3f2a9c1d.x/app.js", "a.css", None, (RevalidatingAsset, Downgraded)),
    ];
    for (public, asset, declared, expected) in cases {
        let mut entry = json!({ "asset": asset });
        if let Some(class) = declared {
            entry["cache_class"] = json!(class);
        }
        let state = release(json!({ "site": { "replace": files(&["a.html", "a.css"]),
            "public_paths": { "mode": "explicit", "replace": { public: entry } } } }));
        let file = &state.manifest.unwrap().files[public];
        assert_eq!((file.cache_class, file.cache_class_source), expected, "{public} {declared:?}");
    }
}

#[test]
fn bytes_of_an_immutable_path_must_not_change() {
    let base = release(json!({ "site": { "replace": files(&["app.3f2a9c1d.js=1", "app.js=1"]) } }));
    assert!(try_on(Some(&base), json!({ "site": { "patch": { "put": files(&["app.js=2"]) } } })).is_ok());
    assert!(try_on(Some(&base), json!({ "site": { "patch": { "delete": ["app.3f2a9c1d.js"] } } })).is_ok());
    let changed = json!({ "site": { "patch": { "put": files(&["app.3f2a9c1d.js=2"]) } } });
    assert_eq!(refusal(&base, changed.clone()), (409, "STATIC_IMMUTABLE_PATH_CHANGED".into(), "site".into()));
    let error = try_on(Some(&base), changed.clone()).unwrap_err();
    assert_eq!(error.first().unwrap().details["paths"][0]["path"], "/app.3f2a9c1d.js");

    let lenient = SpecLimits { immutable_change: ImmutableChange::Downgrade, ..SpecLimits::default() };
    let state = ReleaseState::materialise(Some(&base), &spec(changed), &lenient).unwrap();
    let file = &state.manifest.as_ref().unwrap().files["/app.3f2a9c1d.js"];
    assert_eq!(
        (file.cache_class, file.cache_class_source),
        (CacheClass::RevalidatingAsset, CacheClassSource::Downgraded)
    );
    let again = on(Some(&state), json!({ "site": { "patch": { "put": files(&["app.3f2a9c1d.js=3"]) } } }));
    assert_eq!(again.manifest.unwrap().files["/app.3f2a9c1d.js"].cache_class, CacheClass::RevalidatingAsset);
}

#[test]
fn the_manifest_digest_is_of_its_canonical_json() {
    let state = rich();
    let manifest = state.manifest.as_ref().unwrap();
    let mut value = serde_json::to_value(manifest).unwrap();
    value["version"] = json!("run402.static_manifest.v1");
    value.as_object_mut().unwrap().remove("public_path_mode");
    assert_eq!(manifest.digest(), canonical::digest(&value));
    let metadata = manifest.metadata();
    assert_eq!(metadata.file_count, 9);
    assert_eq!(metadata.cache_classes["html"], 7);
    assert_eq!(metadata.total_bytes, manifest.files.values().map(|file| file.size).sum::<u64>());
}

#[test]
fn a_state_survives_being_stored() {
    let state = rich();
    let stored = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<ReleaseState>(&stored).unwrap(), state);
}

// ---- what a request meets ----------------------------------------------------------------------------------------

/// A short form of an outcome.
fn meets(state: &ReleaseState, method: &str, path: &str) -> String {
    match lookup(state, path, method) {
        Outcome::Function { route, name } => {
            format!("{name} by {}", route.map_or(SSR_PATTERN, |route| route.pattern.as_str()))
        }
        Outcome::Static { how, public_path, file } => {
            let how = match how {
                StaticMatch::Exact => "exact",
                StaticMatch::Index => "index",
                StaticMatch::Alias(_) => "alias",
                StaticMatch::SpaFallback => "spa",
            };
            format!("{how} {public_path} {}", file.asset_path)
        }
        Outcome::RouteMethodMiss { route, allow } => format!("405 {} ({allow})", route.pattern),
        Outcome::StaticMethodMiss { allow } => format!("405 ({allow})"),
        Outcome::SpaFallbackMissing => "spa missing".into(),
        Outcome::AliasTargetMissing { .. } => "alias missing".into(),
        Outcome::Nothing(absence) => {
            let public = if absence.not_public { " not public" } else { "" };
            let fallback = if absence.fallback_not_eligible { " not eligible" } else { "" };
            format!("404{public}{fallback}")
        }
        Outcome::ManifestMissing => "no manifest".into(),
    }
}

#[test]
fn requests_meet_what_the_order_of_dispatch_says() {
    let state = rich();
    let cases = [
        ("GET", "/", "index / index.html"),
        ("HEAD", "/", "index / index.html"),
        ("GET", "/index.html", "exact /index.html index.html"),
        ("GET", "/about", "exact /about.html about.html"),
        ("GET", "/about/", "exact /about.html about.html"),
        ("GET", "/docs", "index /docs/ docs/index.html"),
        ("GET", "/docs/", "index /docs/ docs/index.html"),
        ("GET", "/data", "exact /data data"),
        ("GET", "/data/", "exact /data data"),
        ("GET", "/nothing/here", "spa /index.html index.html"),
        ("GET", "/nothing.css", "404 not eligible"),
        ("GET", "/nothing.abcdefghijklm", "spa /index.html index.html"),
        ("GET", "/About", "spa /index.html index.html"),
        ("POST", "/", "405 (GET, HEAD)"),
        ("POST", "/about", "405 (GET, HEAD)"),
        ("POST", "/nothing", "405 (GET, HEAD)"),
        ("POST", "/nothing.css", "404 not eligible"),
        ("BREW", "/about", "405 (GET, HEAD)"),
        // routes
        ("GET", "/api/x", "api by /api/*"),
        ("DELETE", "/api/x/y", "api by /api/*"),
        ("POST", "/api/v2/x", "api by /api/v2/*"),
        ("GET", "/api/v2/x", "api by /api/*"),
        ("GET", "/api/", "spa /index.html index.html"),
        ("GET", "/api", "spa /index.html index.html"),
        ("GET", "/apix", "spa /index.html index.html"),
        ("BREW", "/api/x", "405 /api/* (DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT)"),
        ("POST", "/hook", "api by /hook"),
        ("POST", "/hook/", "api by /hook"),
        ("GET", "/hook", "405 /hook (POST)"),
        ("HEAD", "/hook/", "405 /hook (POST)"),
        ("PUT", "/hook", "405 /hook (POST)"),
        ("GET", "/hook/x", "spa /index.html index.html"),
        ("GET", "/whats-on", "alias /whats-on events.html"),
        ("HEAD", "/whats-on/", "alias /whats-on events.html"),
        ("POST", "/whats-on", "api by /whats-on"),
        ("DELETE", "/whats-on", "405 /whats-on (GET, HEAD, POST)"),
        ("PUT", "/app.js", "api by /app.js"),
        ("GET", "/app.js", "exact /app.js app.js"),
        ("POST", "/app.js", "405 /app.js (GET, HEAD, PUT)"),
    ];
    for (method, path, expected) in cases {
        assert_eq!(meets(&state, method, path), expected, "{method} {path}");
    }
}

#[test]
fn an_ssr_function_catches_what_is_left() {
    let state = on(
        Some(&rich()),
        json!({ "functions": { "patch": { "set": {
        "page": { "source": file("page"), "class": "ssr" } } } } }),
    );
    for (method, path, expected) in [
        ("GET", "/about", "exact /about.html about.html"),
        ("GET", "/nothing", "page by /*"),
        ("GET", "/nothing.css", "page by /*"),
        ("POST", "/about", "page by /*"),
        ("BREW", "/nothing", "page by /*"),
        ("GET", "/hook", "page by /*"),
        ("PUT", "/hook", "405 /hook (POST)"),
        ("GET", "/api/x", "api by /api/*"),
    ] {
        assert_eq!(meets(&state, method, path), expected, "{method} {path}");
    }
}

#[test]
fn explicit_mode_serves_its_table_with_the_slash_toggled_and_nothing_else() {
    let state = release(json!({
        "site": { "replace": files(&["index.html", "a.html", "b.html"]),
            "public_paths": { "mode": "explicit", "replace": {
                "/": { "asset": "index.html" }, "/a": { "asset": "a.html" }, "/b/": { "asset": "b.html" } } } },
    }));
    for (method, path, expected) in [
        ("GET", "/", "index / index.html"),
        ("GET", "/a", "exact /a a.html"),
        ("GET", "/a/", "exact /a a.html"),
        ("GET", "/b", "exact /b/ b.html"),
        ("GET", "/a.html", "404 not public"),
        ("GET", "/b.html/", "404"),
        ("GET", "/unknown", "404"),
        ("POST", "/a", "405 (GET, HEAD)"),
        ("POST", "/unknown", "404"),
    ] {
        assert_eq!(meets(&state, method, path), expected, "{method} {path}");
    }
}

#[test]
fn releases_without_files_and_broken_manifests_say_so() {
    let functions = release(json!({
        "functions": { "replace": { "f": { "source": file("f") } } },
        "routes": { "replace": [{ "pattern": "/f", "target": function_to("f") }] },
    }));
    assert_eq!(meets(&functions, "GET", "/f"), "f by /f");
    assert_eq!(meets(&functions, "GET", "/"), "no manifest");
    let mut broken = rich();
    broken.manifest.as_mut().unwrap().files.retain(|path, _| path != "/index.html" && path != "/whats-on");
    assert_eq!(meets(&broken, "GET", "/nothing"), "spa missing");
    assert_eq!(meets(&broken, "GET", "/whats-on"), "alias missing");
}

#[test]
fn encoded_patterns_match_decoded_paths() {
    let state = release(json!({
        "site": { "replace": files(&["a.html"]) },
        "functions": { "replace": { "f": { "source": file("f") } } },
        "routes": { "replace": [
            { "pattern": "/caf%C3%A9/*", "target": function_to("f") },
            { "pattern": "/two%20words", "target": { "type": "static", "file": "a.html" } },
        ] },
    }));
    assert_eq!(meets(&state, "GET", &canonicalise("/caf%c3%a9/x").unwrap()), "f by /caf%C3%A9/*");
    assert_eq!(meets(&state, "GET", &canonicalise("/two%20words").unwrap()), "alias /two words a.html");
}

#[test]
fn route_entries_are_sorted_and_digested_in_their_wire_form() {
    let state = rich();
    let order: Vec<(String, Value)> =
        state.routes.iter().map(|entry| (entry.pattern.clone(), json!(entry.methods))).collect();
    assert_eq!(
        order,
        [
            ("/app.js".into(), json!(["PUT"])),
            ("/hook".into(), json!(["POST"])),
            ("/whats-on".into(), json!(["GET", "HEAD"])),
            ("/whats-on".into(), json!(["POST"])),
            ("/api/v2/*".into(), json!(["POST"])),
            ("/api/*".into(), Value::Null),
        ]
    );
    assert_eq!(
        serde_json::to_string(&state.routes[4]).unwrap(),
        r#"{"pattern":"/api/v2/*","kind":"prefix","prefix":"/api/v2/","methods":["POST"],"target":{"type":"function","name":"api"}}"#
    );
    assert_eq!(route_manifest_digest(&[]), None);
    let expected = crate::common::sealing::sha256_hex(serde_json::to_string(&state.routes).unwrap().as_bytes());
    assert_eq!(route_manifest_digest(&state.routes), Some(expected));
}

// ---- differences -------------------------------------------------------------------------------------------------

fn changes(base: &ReleaseState, slices: Value) -> Value {
    serde_json::to_value(diff(Some(base), &on(Some(base), slices), &HashMap::new(), SITE_ROWS)).unwrap()
}

#[test]
fn an_unchanged_redeploy_is_a_noop_of_zero_bytes() {
    let base = rich();
    let names = ["index.html", "about.html", "app.js", "docs/index.html", "events.html", "data"];
    let again = on(Some(&base), json!({ "site": { "replace": files(&names) }, "subdomains": { "set": ["my-app"] } }));
    assert!(is_noop(&base, &again));
    let diff = diff(Some(&base), &again, &HashMap::new(), SITE_ROWS);
    assert_eq!(diff.static_assets.newly_uploaded_cas_bytes, 0);
    assert_eq!(diff.static_assets.reused_cas_bytes, 10 + 10 + 6 + 15 + 11 + 4);
    assert_eq!(diff.static_assets.unchanged, 9);
    assert_eq!(diff.summary(0), "No changes to the release.");
}

#[test]
fn every_slice_counts_for_a_noop() {
    let base = rich();
    for slices in [
        json!({ "site": { "patch": { "put": files(&["app.js=2"]) } } }),
        json!({ "site": { "patch": { "put": { "app.js": { "sha256": Sha256Digest::of(b"app.js"), "size": 6,
            "content_type": "text/plain" } } } } }),
        json!({ "site": { "public_paths": { "mode": "explicit", "replace": {} } } }),
        json!({ "functions": { "patch": { "set": { "api": { "class": "ssr" } } } } }),
        json!({ "functions": { "patch": { "set": { "api": { "deps": ["zod@1"] } } } } }),
        json!({ "functions": { "patch": { "set": { "api": { "require_auth": true } } } } }),
        json!({ "secrets": { "require": ["NEW"] } }),
        json!({ "subdomains": { "set": ["other"] } }),
        json!({ "routes": { "replace": [] } }),
        json!({ "i18n": { "default_locale": "de", "locales": ["en", "de"] } }),
        json!({ "database": { "expose": { "version": 9 } } }),
    ] {
        assert!(!is_noop(&base, &on(Some(&base), slices.clone())), "{slices}");
    }
    assert!(is_noop(&base, &on(Some(&base), json!({ "site": { "public_paths": { "mode": "implicit" } } }))));
}

#[test]
fn buckets_hold_what_changed() {
    let base = rich();
    let diff = changes(
        &base,
        json!({
            "site": { "patch": { "put": files(&["app.js=2", "new.css"]), "delete": ["data"] } },
            "functions": { "patch": { "set": {
                "api": { "source": file("2"), "schedule": null, "deps": [] }, "more": { "source": file("m") } } } },
            "secrets": { "require": ["B"], "delete": ["API_KEY"] },
            "subdomains": { "set": ["other"] },
            "routes": { "replace": [
                { "pattern": "/api/*", "methods": ["GET"], "target": function_to("more") },
                { "pattern": "/new", "target": function_to("api") },
            ] },
        }),
    );
    assert_eq!(diff["site"]["added"][0]["path"], "new.css");
    assert_eq!(diff["site"]["changed"][0]["sha256_old"], json!(Sha256Digest::of(b"app.js")));
    assert_eq!(diff["site"]["removed"], json!(["data"]));
    assert!(diff["site"].get("totals").is_none());
    assert_eq!(diff["functions"]["added"], json!(["more"]));
    assert_eq!(
        diff["functions"]["changed"],
        json!([{ "name": "api", "fields_changed": ["code_hash", "schedule", "deps"] }])
    );
    assert_eq!(diff["secrets"], json!({ "added": ["B"], "removed": ["API_KEY"] }));
    assert_eq!(diff["subdomains"], json!({ "added": ["other"], "removed": ["my-app"] }));
    assert_eq!(diff["routes"]["changed"][0]["fields_changed"], json!(["methods", "target"]));
    assert_eq!(diff["routes"]["added"][0]["pattern"], "/new");
    assert_eq!(diff["routes"]["removed"].as_array().unwrap().len(), 5);
    assert_ne!(diff["routes"]["manifest_sha256_old"], diff["routes"]["manifest_sha256_new"]);
    assert_eq!(diff["static_assets"]["cas_authorization_failures"], json!([]));
    let counts = ["added", "changed", "removed", "unchanged"].map(|key| diff["static_assets"][key].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 2, 6], "new.css; app.js; data and the alias");
}

#[test]
fn bytes_count_as_new_once_and_only_when_the_project_lacks_them() {
    let base = release(json!({ "site": { "replace": files(&["old=12345"]) } }));
    let next = on(Some(&base), json!({ "site": { "patch": { "put": files(&["a=123", "b=123", "c=1234567"]) } } }));
    let here: HashMap<_, _> = [(Sha256Digest::of(b"1234567"), 7)].into();
    let counts = diff(Some(&base), &next, &here, SITE_ROWS).static_assets;
    assert_eq!((counts.newly_uploaded_cas_bytes, counts.reused_cas_bytes), (3, 15));
}

#[test]
fn long_buckets_are_cut_and_counted() {
    let names: Vec<String> = (0..30).map(|index| format!("f{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let state = release(json!({ "site": { "replace": files(&names) } }));
    let diff = diff(None, &state, &HashMap::new(), 10);
    assert!(diff.truncated);
    assert_eq!(diff.site.added.len(), 10);
    assert_eq!(diff.site.totals, Some(Totals { added: 30, removed: 0, changed: 0 }));
    assert_eq!(diff_warnings(&diff)[0].code, "DIFF_TRUNCATED");
    assert_eq!(diff.summary(2), "Site files: 30 added; migrations: 2 added.");
}

#[test]
fn migrations_are_compared_with_the_registry() {
    let spec = spec(json!({ "database": { "migrations": [
        { "id": "b", "checksum": Sha256Digest::of(b"x"), "sql": "x", "transaction": "none" },
        { "id": "a", "checksum": Sha256Digest::of(b"y"), "sql": "y" },
        { "id": "old", "checksum": Sha256Digest::of(b"z"), "sql": "z" },
    ] } }));
    let registry: BTreeMap<String, Sha256Digest> =
        [("old".into(), Sha256Digest::of(b"z")), ("older".into(), Sha256Digest::of(b"q"))].into();
    let plan = MigrationPlan::against(&registry, &spec.database.migrations).unwrap();
    assert_eq!(plan.new.iter().map(|migration| migration.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    let wire = serde_json::to_value(plan.wire()).unwrap();
    assert_eq!((&wire["new"][0]["id"], &wire["new"][1]["transaction"]), (&json!("a"), &json!("none")));
    assert_eq!(wire["noop"][0]["id"], "old");
    assert_eq!(plan.registry_after(&registry).len(), 4);

    let other: BTreeMap<_, _> = [("a".to_owned(), Sha256Digest::of(b"?"))].into();
    let mismatch = MigrationPlan::against(&other, &spec.database.migrations).unwrap_err();
    let body = crate::common::ApiError::from(mismatch).body("trc_1", false);
    assert_eq!(body["code"], "MIGRATION_CHECKSUM_MISMATCH");
    assert_eq!(body["resource"], "database.migrations.a");
    assert_eq!(body["details"]["requested_checksum"], json!(Sha256Digest::of(b"y")));
}

#[test]
fn a_promote_is_told_what_it_undoes_and_what_not() {
    let target = release(json!({
        "site": { "replace": files(&["a", "b"]) },
        "functions": { "replace": { "f": { "source": file("1") }, "gone": { "source": file("g") } } },
    }));
    let current = on(
        Some(&target),
        json!({
            "site": { "replace": files(&["a", "c", "d"]) },
            "functions": { "replace": { "f": { "source": file("2") }, "new": { "source": file("n") } } },
            "database": { "migrations": [{ "id": "1", "checksum": Sha256Digest::of(b"x"), "sql": "x" }] },
        }),
    );
    let diff = promote_diff(&current, &target);
    assert_eq!(
        serde_json::to_value(&diff).unwrap(),
        json!({
            "functions": { "only_in_current": ["new"], "only_in_target": ["gone"], "changed": ["f"] },
            "migrations": { "only_in_current": ["1"], "only_in_target": [] },
            "site_paths": { "added_in_current": 2, "removed_in_current": 1 },
        })
    );
    let warnings = promote_warnings(&diff);
    assert_eq!((warnings[0].code, warnings[0].requires_confirmation), ("MIGRATIONS_NOT_REVERSIBLE", true));
    assert_eq!(promote_warnings(&promote_diff(&target, &target)), []);
}

// ---- the inventory -----------------------------------------------------------------------------------------------

#[test]
fn an_inventory_has_every_field_with_or_without_a_release() {
    let project = "prj_1_a".parse().unwrap();
    let state = rich();
    let at = Timestamp::from_millis(0).unwrap();
    let facts = ReleaseFacts {
        release: "rel_1_a".parse().unwrap(),
        parent: None,
        status: "active".into(),
        generation: Some(3),
        manifest_digest: Some("d".into()),
        created_at: at,
        created_by: Some("0xabc".into()),
        activated_at: Some(at),
        superseded_at: None,
        operation: Some("op_1_a".parse().unwrap()),
        plan: Some("plan_1_a".parse().unwrap()),
        migrations_applied_at: [("1".to_owned(), at)].into(),
    };
    let full = inventory(&project, StateKind::CurrentLive, Some((&facts, &state)), 2, &release_warnings(&state));
    assert_eq!(full["release_id"], "rel_1_a");
    assert_eq!(full["events_url"], "/apply/v1/operations/op_1_a/events");
    assert_eq!((&full["state_kind"], &full["effective"]), (&json!("current_live"), &json!(true)));
    assert_eq!(full["site"]["paths"].as_array().unwrap().len(), 2);
    assert_eq!(full["site"]["totals"]["paths"], 6);
    assert_eq!(full["static_public_paths"].as_array().unwrap().len(), 9);
    assert_eq!(full["i18n"], json!({ "defaultLocale": "en", "locales": ["en", "de"], "detect": ["accept-language"] }));
    assert_eq!(full["secrets"]["keys"], json!(["API_KEY"]));
    assert_eq!(full["migrations_applied"][0]["applied_at"], "1970-01-01T00:00:00.000Z");
    assert_eq!(full["functions"][0]["code_hash"], json!(Sha256Digest::of(b"api")));
    assert!(full["warnings"].as_array().unwrap().iter().all(|warning| warning["requires_confirmation"] == false));

    let empty = inventory(&project, StateKind::CurrentLive, None, 5_000, &[]);
    for key in full.as_object().unwrap().keys() {
        assert!(empty.get(key).is_some(), "{key}");
    }
    for key in
        ["release_id", "release_generation", "status", "static_manifest_sha256", "static_manifest_metadata", "i18n"]
    {
        assert_eq!(empty[key], Value::Null, "{key}");
    }
    assert_eq!(empty["functions"], json!([]));
    assert_eq!(empty["routes"], json!({ "manifest_sha256": null, "entries": [] }));
    let staged = inventory(&project, StateKind::DesiredManifest, Some((&facts, &state)), 5_000, &[]);
    assert_eq!((&staged["state_kind"], &staged["effective"]), (&json!("desired_manifest"), &json!(false)));
}
