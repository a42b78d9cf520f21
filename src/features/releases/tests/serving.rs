//! Static manifests, and what requests meet.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{file, files, function_to, on, refusal, release, rich, spec, try_on};
use crate::features::releases::{lookup::static_file, routes, *};

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

// ---- properties --------------------------------------------------------------------------------------------------

/// Releases with a few files and routes whose names collide often.
fn releases() -> impl Strategy<Value = ReleaseState> {
    let name =
        prop::sample::select(vec!["index.html", "a", "a.html", "a/index.html", "a/b.css", "b/index.html", "c.js"]);
    let pattern = prop::sample::select(vec!["/", "/a", "/a/", "/a/*", "/a/b/*", "/b", "/b/*", "/a.html", "/%61x"]);
    let methods = prop::sample::subsequence(vec!["GET", "HEAD", "POST", "PUT"], 1..3);
    (prop::collection::vec(name, 0..6), prop::collection::vec((pattern, methods), 0..5), any::<bool>()).prop_map(
        |(names, routes, ssr)| {
            let mut base = release(json!({
                "functions": { "replace": { "f": { "source": file("f"), "class": if ssr { "ssr" } else { "standard" } } } },
                "routes": { "replace": [] },
            }));
            if !names.is_empty() {
                base = on(Some(&base), json!({ "site": { "replace": files(&names) } }));
            }
            let mut entries = Vec::new();
            for (pattern, methods) in routes {
                let route = json!({ "pattern": pattern, "methods": methods, "target": function_to("f") });
                entries.push(route);
                let slices = json!({ "project_id": "prj_1_a", "routes": { "replace": entries } });
                if Spec::parse(slices, &SpecLimits::default()).is_err() {
                    entries.pop();
                }
            }
            on(Some(&base), json!({ "routes": { "replace": entries } }))
        },
    )
}

proptest! {
    #[test]
    fn every_request_meets_what_the_rules_allow(
        state in releases(),
        path in "/|(/(a|b|c|ax)){1,3}/?|/(a|c)\\.(html|js)/?|(/[a-c.]{0,3}){1,3}",
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE", "BREW"]),
    ) {
        let Ok(path) = canonicalise(&path) else { return Ok(()) };
        let matching: Vec<&RouteEntry> = state.routes.iter().filter(|entry| entry.matches(&path)).collect();
        let reads = matches!(method, "GET" | "HEAD");
        match lookup(&state, &path, method) {
            Outcome::Function { route: Some(route), .. } => {
                prop_assert!(matching.contains(&route));
                prop_assert!(route.serves().contains(RouteMethod::of(method).unwrap()));
            }
            Outcome::Function { route: None, name } => {
                prop_assert_eq!(state.functions[name].class, FunctionClass::Ssr);
                prop_assert!(reads || matching.is_empty());
            }
            Outcome::Static { how, file, .. } => {
                prop_assert!(reads);
                prop_assert!(state.site.contains_key(&file.asset_path));
                prop_assert!(how != StaticMatch::SpaFallback || matching.is_empty());
            }
            Outcome::RouteMethodMiss { route, allow } => {
                prop_assert_eq!(matching.first(), Some(&route));
                prop_assert!(RouteMethod::of(method).is_none_or(|method| !allow.contains(method)));
            }
            Outcome::StaticMethodMiss { .. } => prop_assert!(!reads && matching.is_empty()),
            Outcome::Nothing(_) | Outcome::SpaFallbackMissing | Outcome::ManifestMissing => {
                prop_assert!(matching.is_empty());
                let found = state.manifest.as_ref().and_then(|manifest| static_file(manifest, &path));
                prop_assert!(found.is_none());
            }
            Outcome::AliasTargetMissing { .. } => prop_assert!(false, "there are no aliases"),
        }
    }

    #[test]
    fn patterns_never_panic_and_sound_ones_match_themselves(pattern in "(/|a|é|%41|%2f|%|\\*|\\.|[?#_]){0,12}") {
        if let Ok(kind) = routes::check_pattern(&pattern) {
            let spec = RouteSpec {
                pattern: pattern.clone(),
                methods: None,
                target: RouteTarget::Function { name: "f".into() },
                acknowledge_readonly: false,
            };
            let entry = RouteEntry::of(&spec);
            prop_assert_eq!(entry.kind, kind);
            let literal = entry.literal().into_owned();
            match kind {
                RouteKind::Exact => prop_assert!(entry.matches(&literal)),
                RouteKind::Prefix => {
                    prop_assert!(!entry.matches(&literal));
                    let below = format!("{literal}x");
                    prop_assert!(entry.matches(&below));
                }
            }
        }
    }
}
