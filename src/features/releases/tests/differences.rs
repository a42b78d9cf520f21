//! Differences between releases, and inventories.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::{file, files, function_to, on, release, rich, spec};
use crate::{common::Timestamp, engines::blobs::Sha256Digest, features::releases::*};

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
