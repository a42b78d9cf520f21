use serde_json::json;

use super::*;
use crate::{
    engines::blobs::Sha256Digest,
    features::releases::{
        SITE_ROWS, diff,
        tests::{file, files, on, release, spec},
    },
};

/// `code` of every warning with `!` for those that ask for confirmation, and what they affect.
fn warned(base: Option<&ReleaseState>, slices: Value, stored: &[&str], sql: &[(&str, &str)]) -> Vec<String> {
    let spec = spec(slices.clone());
    let state = on(base, slices);
    let diff = diff(base, &state, &HashMap::new(), SITE_ROWS);
    let migrations = MigrationPlan::against(&Default::default(), &spec.database.migrations).unwrap();
    let planned = Planned {
        base,
        spec: &spec,
        state: &state,
        diff: &diff,
        migrations: &migrations,
        sql: &sql.iter().map(|(id, sql)| ((*id).to_owned(), (*sql).to_owned())).collect(),
        stored_secrets: &stored.iter().map(|key| (*key).to_owned()).collect(),
        confirm_removals: false,
    };
    plan_warnings(&planned)
        .into_iter()
        .map(|warning| {
            let mark = if warning.requires_confirmation { "!" } else { "" };
            format!("{}{mark} {}", warning.code, warning.affected.join(",")).trim_end().to_owned()
        })
        .collect()
}

fn function() -> Value {
    json!({ "replace": { "f": { "source": file("f") } } })
}

fn to_function(pattern: &str, methods: Option<&[&str]>) -> Value {
    let mut route = json!({ "pattern": pattern, "target": { "type": "function", "name": "f" } });
    if let Some(methods) = methods {
        route["methods"] = json!(methods);
    }
    route
}

fn to_file(pattern: &str, file: &str) -> Value {
    json!({ "pattern": pattern, "methods": ["GET"], "target": { "type": "static", "file": file } })
}

#[test]
fn a_plain_first_deploy_asks_for_nothing() {
    let site = json!({ "site": { "replace": files(&["index.html", "app.js"]) } });
    assert_eq!(warned(None, site, &[], &[]), ["FIRST_DEPLOY"]);
}

#[test]
fn secrets_warn_when_missing_and_when_deleted() {
    let slices = json!({ "secrets": { "require": ["B", "A", "HERE"], "delete": ["GONE", "NEVER"] } });
    assert_eq!(
        warned(None, slices, &["HERE", "GONE"], &[]),
        ["MISSING_REQUIRED_SECRET! A,B", "DESTRUCTIVE_SECRET_REMOVAL! GONE", "FIRST_DEPLOY"]
    );
    let base = release(json!({ "secrets": { "require": ["A"] } }));
    assert_eq!(warned(Some(&base), json!({ "i18n": null }), &[], &[]), ["MISSING_REQUIRED_SECRET! A"]);
}

#[test]
fn removals_warn_by_what_is_left() {
    let names: Vec<String> = (0..20).map(|index| format!("f{index}.css")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("index.html");
    let base = release(
        json!({ "site": { "replace": files(&names) }, "functions": function(), "subdomains": { "set": ["app"] } }),
    );
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({ "site": { "patch": { "delete": ["f1.css", "f2.css"] } } }), &[]),
        (
            json!({ "site": { "patch": { "delete": ["f1.css", "f2.css", "index.html"] } } }),
            &["DESTRUCTIVE_SITE_BULK_REMOVAL f1.css,f2.css,index.html", "SITE_ENTRYPOINT_REMOVED index.html"],
        ),
        (
            json!({ "functions": { "patch": { "delete": ["f"] } } }),
            &["ZERO_FUNCTIONS_AFTER!", "DESTRUCTIVE_FUNCTION_REMOVAL f"],
        ),
        (json!({ "subdomains": { "set": ["new"] } }), &["DESTRUCTIVE_SUBDOMAIN_REMOVAL! app"]),
        (
            json!({ "subdomains": { "remove": ["app"] } }),
            &["ZERO_SUBDOMAINS_AFTER!", "DESTRUCTIVE_SUBDOMAIN_REMOVAL! app"],
        ),
    ];
    for (slices, expected) in cases {
        assert_eq!(warned(Some(&base), slices.clone(), &[], &[]), expected, "{slices}");
    }
    let emptied = warned(Some(&base), json!({ "site": { "patch": { "delete": names } } }), &[], &[]);
    assert_eq!(emptied[0], "ZERO_SITE_FILES_AFTER!");
}

#[test]
fn routes_warn_about_what_they_open_and_hide() {
    let base = release(json!({
        "site": { "replace": files(&["index.html", "app.js", "a/index.html", "api/x.json", "events.html", "data.json"]) },
        "functions": function(),
    }));
    let public = |patterns: &str| format!("PUBLIC_ROUTED_FUNCTION {patterns}");
    let cases: Vec<(Value, Vec<String>)> = vec![
        (to_function("/free", None), vec![public("/free")]),
        (to_function("/app.js", None), vec![public("/app.js"), "ROUTE_SHADOWS_STATIC_PATH /app.js".into()]),
        (to_function("/a", None), vec![public("/a"), "ROUTE_SHADOWS_STATIC_PATH /a".into()]),
        (to_function("/", None), vec![public("/"), "ROUTE_SHADOWS_STATIC_PATH /".into()]),
        (
            to_function("/app.js", Some(&["POST"])),
            vec![public("/app.js"), "METHOD_SPECIFIC_ROUTE_ALLOWS_GET_STATIC_FALLBACK /app.js".into()],
        ),
        (to_function("/api/*", None), vec![public("/api/*"), "WILDCARD_ROUTE_SHADOWS_STATIC_PATHS /api/*".into()]),
        (
            to_function("/b/*", Some(&["GET"])),
            vec!["WILDCARD_ROUTE_EXCLUDES_MUTATION_METHODS! /b/*".into(), public("/b/*")],
        ),
        (
            json!({ "pattern": "/b/*", "methods": ["GET", "HEAD"], "acknowledge_readonly": true,
                "target": { "type": "function", "name": "f" } }),
            vec![public("/b/*")],
        ),
        (to_file("/whats-on", "events.html"), vec!["STATIC_ALIAS_DUPLICATE_CANONICAL_URL /whats-on".into()]),
        (
            to_file("/events", "events.html"),
            vec![
                "STATIC_ALIAS_REDUNDANT_PUBLIC_PATH /events".into(),
                "STATIC_ALIAS_DUPLICATE_CANONICAL_URL /events".into(),
            ],
        ),
        (
            to_file("/a/", "events.html"),
            vec![
                "STATIC_ALIAS_SHADOWS_STATIC_PATH /a/".into(),
                "STATIC_ALIAS_DUPLICATE_CANONICAL_URL /a/".into(),
                "STATIC_ALIAS_RELATIVE_ASSET_RISK /a/".into(),
            ],
        ),
        (
            to_file("/feed", "data.json"),
            vec![
                "STATIC_ALIAS_DUPLICATE_CANONICAL_URL /feed".into(),
                "STATIC_ALIAS_EXTENSIONLESS_NON_HTML /feed".into(),
            ],
        ),
    ];
    for (route, expected) in cases {
        let slices = json!({ "routes": { "replace": [route] } });
        assert_eq!(warned(Some(&base), slices.clone(), &[], &[]), expected, "{slices}");
    }
    let routed = on(Some(&base), json!({ "routes": { "replace": [to_function("/free", None)] } }));
    assert_eq!(
        warned(Some(&routed), json!({ "i18n": null }), &[], &[]),
        ["ROUTE_TARGET_CARRIED_FORWARD /free", "PUBLIC_ROUTED_FUNCTION /free"]
    );
}

#[test]
fn nearly_full_tables_warn() {
    let routes: Vec<Value> = (0..90).map(|index| to_file(&format!("/p{index}.html"), "a.html")).collect();
    let slices = json!({
        "site": { "replace": files(&["a.html"]), "public_paths": { "mode": "explicit", "replace": {} } },
        "routes": { "replace": routes },
    });
    assert_eq!(
        warned(None, slices, &[], &[]),
        ["FIRST_DEPLOY", "ROUTE_TABLE_NEAR_LIMIT", "STATIC_ALIAS_TABLE_NEAR_LIMIT"]
    );
}

#[test]
fn public_paths_warn_when_they_widen_or_reach_no_html() {
    let hidden = json!({ "site": { "replace": files(&["index.html", "a.css"]),
        "public_paths": { "mode": "explicit", "replace": { "/a.css": { "asset": "a.css" } } } } });
    assert_eq!(warned(None, hidden.clone(), &[], &[]), ["SITE_NO_REACHABLE_HTML!", "FIRST_DEPLOY"]);
    let base = release(hidden);
    let widened = warned(Some(&base), json!({ "site": { "public_paths": { "mode": "implicit" } } }), &[], &[]);
    assert_eq!(widened, ["PUBLIC_PATH_MODE_WIDENS_TO_IMPLICIT!"]);
    let downgraded = json!({ "site": { "public_paths": { "mode": "explicit", "replace": {
        "/": { "asset": "index.html" }, "/a.css": { "asset": "a.css", "cache_class": "immutable_versioned" } } } } });
    assert_eq!(warned(Some(&base), downgraded, &[], &[]), ["STATIC_CACHE_CLASS_DOWNGRADED /a.css"]);
}

#[test]
fn migrations_warn_when_they_are_new_and_their_sql_is_known() {
    let migration = |id: &str, sql: &str, transaction: &str| json!({ "id": id, "checksum": Sha256Digest::of(sql.as_bytes()), "sql": sql, "transaction": transaction });
    let slices = json!({ "database": { "migrations": [
        migration("1", "drop table a", "required"), migration("2", "create index concurrently i on t (a)", "none"),
        migration("3", "drop table unseen", "required")] } });
    assert_eq!(
        warned(None, slices, &[], &[("1", "drop table a"), ("2", "create index concurrently i on t (a)")]),
        ["MIGRATION_NON_TRANSACTIONAL! 2", "FIRST_DEPLOY", "MIGRATION_SCHEMA_SHRINKING 1"]
    );
}

#[test]
fn a_warning_has_its_wire_form() {
    let warning = promote_warnings(&PromoteDiff {
        migrations: super::super::PromoteMigrations { only_in_current: vec!["2".into()], only_in_target: vec![] },
        ..PromoteDiff::default()
    });
    let wire = serde_json::to_value(&warning[0]).unwrap();
    assert_eq!((&wire["severity"], &wire["affected"]), (&json!("high"), &json!(["2"])));
    assert!(wire.get("details").is_none() && wire.get("confidence").is_none());
}
