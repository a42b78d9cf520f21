mod rules;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn limits() -> SpecLimits {
    SpecLimits { min_cron_interval_minutes: 5, max_timeout_seconds: 60, max_memory_mb: 512, ..SpecLimits::default() }
}

fn file(text: &str) -> Value {
    json!({ "sha256": Sha256Digest::of(text.as_bytes()), "size": text.len() })
}

fn spec(slices: Value) -> Value {
    let mut spec = json!({ "project_id": "prj_1_a" });
    let (Some(spec_map), Value::Object(slices)) = (spec.as_object_mut(), slices) else { panic!("objects") };
    spec_map.extend(slices);
    spec
}

fn parse(slices: Value) -> Result<Spec, SpecError> {
    Spec::parse(spec(slices), &limits())
}

/// `code resource` of every violation.
fn refusals(slices: Value) -> Vec<String> {
    match parse(slices) {
        Ok(_) => Vec::new(),
        Err(error) => error.violations().iter().map(|v| format!("{} {}", v.code, v.resource)).collect(),
    }
}

/// Every slice with everything in it, in the spelling of the SDK.
fn full() -> Value {
    let sql = "create table t ()";
    json!({
        "project_id": "prj_1_a",
        "base": { "release_id": "rel_1_a" },
        "database": {
            "expose": { "version": 1, "tables": [] },
            "zero_downtime": true,
            "migrations": [
                { "id": "1", "checksum": Sha256Digest::of(sql.as_bytes()), "sql_ref": {
                    "sha256": Sha256Digest::of(sql.as_bytes()), "size": sql.len(), "content_type": "application/sql" } },
                { "id": "2", "checksum": Sha256Digest::of(b"vacuum"), "sql": "vacuum", "transaction": "none" },
            ],
        },
        "secrets": { "require": ["API_KEY"], "delete": ["OLD_1"] },
        "functions": { "patch": {
            "set": {
                "api": {
                    "runtime": "node22", "source": file("a"), "config": { "timeout_seconds": 5, "memory_mb": 128 },
                    "deps": ["zod@^3", "@scope/x"], "schedule": "*/15 * * * *", "require_auth": true,
                    "require_role": { "table": "members", "id_column": "user_id", "role_column": "role",
                        "allowed": ["admin"], "cache_ttl": 0, "on_deny": "redirect", "sign_in_path": "/login?next=1" },
                    "class": "ssr" },
                "tree": { "runtime": "node22", "files": { "a/main.js": file("m"), "b.js": file("b") },
                    "entrypoint": "a/main.js", "schedule": null, "require_role": null },
            },
            "delete": ["old"],
        } },
        "site": {
            "patch": {
                "put": { "index.html": { "sha256": Sha256Digest::of(b"i"), "size": 1,
                    "content_type": "text/html; charset=utf-8" }, "caf\u{e9}/a.js": file("j") },
                "delete": ["gone.txt"],
            },
            "public_paths": { "mode": "explicit", "replace": {
                "/": { "asset": "index.html" }, "/a": { "asset": "a.css", "cache_class": "immutable_versioned" } } },
        },
        "subdomains": { "add": ["my-app"], "remove": ["old-app"] },
        "routes": { "replace": [
            { "pattern": "/api/*", "target": { "type": "function", "name": "api" } },
            { "pattern": "/read/*", "methods": ["GET"], "target": { "type": "function", "name": "api" },
              "acknowledge_readonly": true },
            { "pattern": "/events", "methods": ["GET", "HEAD"], "target": { "type": "static", "file": "events.html" } },
            { "pattern": "/events", "methods": ["POST"], "target": { "type": "function", "name": "api" } },
        ] },
        "checks": [],
        "assets": {
            "put": [{ "key": "img/a.png", "sha256": Sha256Digest::of(b"p"), "size_bytes": 1, "content_type": "image/png",
                "visibility": "private", "immutable": false, "metadata": { "a": 1 }, "exif_policy": "strip" }],
            "delete": ["b.png"],
            "sync": { "prefix": "img/", "prune": true, "confirm": {
                "base_revision": "r", "delete_set_digest": "d", "expected_delete_count": 0 } },
        },
        "i18n": { "default_locale": "en", "locales": ["en", "de-AT"], "detect": ["cookie:lang"],
            "unknown_locale_policy": "default" },
    })
}

#[test]
fn a_full_spec_reads_and_reads_back_from_its_normalised_form() {
    let read = Spec::parse(full(), &limits()).unwrap();
    let again = Spec::parse(read.normalised.clone(), &limits()).unwrap();
    assert_eq!(read, again);
    assert_eq!(read.manifest_digest(), again.manifest_digest());
    let contents: Vec<u64> = read.references().iter().map(|reference| reference.size).collect();
    assert_eq!(contents.len(), 7, "sql_ref, three sources, two files, one asset; inline SQL is not uploaded");
}

#[test]
fn older_spellings_give_the_same_spec_and_digest() {
    let ours = parse(json!({
        "functions": { "replace": { "f": { "source": file("a"), "config": { "timeout_seconds": 5, "memory_mb": 128 },
            "require_auth": true, "require_role": { "table": "m", "id_column": "i", "role_column": "r", "allowed": ["a"],
                "cache_ttl": 1, "on_deny": "redirect", "sign_in_path": "/in" } } } },
        "site": { "replace": { "a": { "sha256": Sha256Digest::of(b"x"), "size": 1, "content_type": "text/plain" } } },
        "i18n": { "default_locale": "en", "locales": ["en"], "unknown_locale_policy": "default" },
    }))
    .unwrap();
    let older = Spec::parse(
        json!({
            "$schema": "https://example.com/x.json",
            "project": "prj_1_a",
            "base": { "release": "current" },
            "checks": null,
            "routes": null,
            "functions": { "replace": { "f": { "runtime": "node22", "source": file("a"),
                "config": { "timeoutSeconds": 5, "memoryMb": 128 }, "requireAuth": true, "requireRole": {
                    "table": "m", "idColumn": "i", "roleColumn": "r", "allowed": ["a"], "cacheTtl": 1,
                    "onDeny": "redirect", "signInPath": "/in" } } } },
            "site": { "replace": { "a": { "sha256": Sha256Digest::of(b"x"), "size": 1, "contentType": " TEXT/plain " } } },
            "i18n": { "defaultLocale": "en", "locales": ["en"], "unknownLocalePolicy": "pass-through" },
        }),
        &limits(),
    )
    .unwrap();
    assert_eq!(ours, older);
    assert_eq!(ours.manifest_digest(), older.manifest_digest());
}

#[test]
fn what_is_unusual_but_allowed_is_accepted() {
    for slices in [
        json!({ "i18n": null }),
        json!({ "routes": { "replace": [] } }),
        json!({ "site": { "public_paths": { "mode": "implicit" } } }),
        json!({ "site": { "public_paths": { "mode": "explicit", "replace": {} } } }),
        json!({ "site": { "replace": { "empty": file(""), ".well-known/a": file("a") } } }),
        json!({ "functions": { "patch": { "set": { "f": { "runtime": "node22", "schedule": null } } } } }),
        json!({ "routes": { "replace": [
            { "pattern": "/a", "methods": ["get"], "target": { "type": "function", "name": "f" } },
            { "pattern": "/a", "methods": ["POST", "POST"], "target": { "type": "function", "name": "g" } },
            { "pattern": "/a/*", "target": { "type": "function", "name": "g" } }] } }),
        json!({ "i18n": { "default_locale": "en", "locales": ["en"], "detect": [] } }),
        json!({ "functions": { "replace": { "f": { "source": file("a"), "deps": ["lodash@>=4 <5 || ~3.1", "@a/b@1.2.3-x+y"] } } } }),
    ] {
        assert_eq!(refusals(slices.clone()), Vec::<String>::new(), "{slices}");
    }
}

#[test]
fn every_violation_is_listed_and_the_first_is_on_top() {
    let error =
        parse(json!({ "bogus": 1, "site": { "replace": { "../x": file("a"), "/y": file("b") } } })).unwrap_err();
    let body = crate::common::ApiError::from(error).body("trc_1", false);
    assert_eq!(body["code"], "INVALID_SPEC");
    assert_eq!(body["phase"], "validate");
    assert_eq!(body["resource"], "site.replace.../x");
    assert_eq!(body["fix"], json!({ "action": "set_field", "path": "site.replace.../x" }));
    assert_eq!((&body["retryable"], &body["mutation_state"]), (&json!(false), &json!("none")));
    assert_eq!(body["details"]["violations"].as_array().unwrap().len(), 3);
    assert_eq!(body["details"]["violation_count"], 3);
}

#[test]
fn a_flood_of_violations_is_counted_and_not_sent() {
    let files: serde_json::Map<String, Value> = (0..5_000).map(|index| (format!("/{index}"), json!({}))).collect();
    let error = parse(json!({ "site": { "replace": files } })).unwrap_err();
    let body = crate::common::ApiError::from(error).body("trc_1", false);
    assert_eq!(body["details"]["violations"].as_array().unwrap().len(), 100);
    assert_eq!(body["details"]["violation_count"], 15_000);
}

#[test]
fn a_spec_that_is_no_object_is_refused() {
    for value in [json!(null), json!([]), json!("x"), json!(1)] {
        let error = Spec::parse(value, &limits()).unwrap_err();
        assert_eq!(error.first().unwrap().code, "INVALID_SPEC");
    }
}

#[test]
fn a_missing_project_is_named() {
    let error = Spec::parse(json!({ "i18n": null }), &limits()).unwrap_err();
    assert_eq!(error.first().unwrap().resource, "project_id");
}

#[test]
fn the_published_schema_names_every_slice() {
    let schema: Value = serde_json::from_str(crate::features::releases::RELEASE_SPEC_SCHEMA).unwrap();
    let full = full();
    for key in full.as_object().unwrap().keys() {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
}

/// Any JSON, often with the words of a spec.
fn hostile() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        prop::sample::select(vec![
            "project_id",
            "base",
            "release",
            "database",
            "migrations",
            "id",
            "checksum",
            "sql",
            "sql_ref",
            "sha256",
            "size",
            "secrets",
            "require",
            "delete",
            "functions",
            "replace",
            "patch",
            "set",
            "put",
            "source",
            "files",
            "entrypoint",
            "config",
            "deps",
            "schedule",
            "require_role",
            "site",
            "public_paths",
            "mode",
            "asset",
            "routes",
            "pattern",
            "methods",
            "target",
            "type",
            "name",
            "assets",
            "key",
            "sync",
            "i18n",
            "locales",
            "detect",
            "__source",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}|/[a-z*%/]{0,6}|prj_[a-z]{1,3}|explicit|function".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// The same JSON text with the members of every object in reverse order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members: Vec<String> =
                map.iter().rev().map(|(key, value)| format!("{}:{}", json!(key), reversed(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

proptest! {
    #[test]
    fn no_json_panics_the_reader(value in hostile()) {
        if let Ok(spec) = Spec::parse(value, &limits()) {
            prop_assert_eq!(&Spec::parse(spec.normalised.clone(), &limits()).unwrap(), &spec);
        }
    }

    #[test]
    fn one_strange_value_anywhere_in_a_good_spec_is_survived(value in hostile(), at in any::<prop::sample::Index>()) {
        let mut spec = full();
        let pointers = pointers(&spec);
        *spec.pointer_mut(at.get(&pointers).as_str()).unwrap() = value;
        if let Ok(spec) = Spec::parse(spec, &limits()) {
            prop_assert_eq!(&Spec::parse(spec.normalised.clone(), &limits()).unwrap(), &spec);
        }
    }
}

fn pointers(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    let below = children
        .into_iter()
        .flat_map(|(key, value)| pointers(value).into_iter().map(move |pointer| format!("/{key}{pointer}")));
    std::iter::once(String::new()).chain(below).collect()
}

#[test]
fn the_digest_does_not_depend_on_the_order_of_keys() {
    let spec = full();
    let turned: Value = serde_json::from_str(&reversed(&spec)).unwrap();
    let digest = |value| Spec::parse(value, &limits()).unwrap().manifest_digest();
    assert_eq!(digest(spec.clone()), digest(turned));
    let mut other = spec;
    other["secrets"]["require"] = json!(["OTHER"]);
    assert_ne!(digest(full()), digest(other));
}
