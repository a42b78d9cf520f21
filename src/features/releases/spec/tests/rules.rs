//! Every field rule with specs that break it.

use serde_json::{Value, json};

use super::{file, refusals};
use crate::engines::blobs::Sha256Digest;

#[test]
fn each_broken_rule_names_its_code_and_field() {
    let function = |fields: Value| {
        let mut function = json!({ "source": file("a") });
        let (Some(map), Value::Object(fields)) = (function.as_object_mut(), fields) else { panic!("objects") };
        map.extend(fields);
        json!({ "functions": { "replace": { "f": function } } })
    };
    let gate = |change: Value| {
        let mut gate = json!({ "table": "m", "id_column": "i", "role_column": "r", "allowed": ["a"] });
        let (Some(map), Value::Object(change)) = (gate.as_object_mut(), change) else { panic!("objects") };
        map.extend(change);
        json!({ "functions": { "replace": { "f": { "source": file("a"), "require_role": gate } } } })
    };
    let route = |route: Value| json!({ "routes": { "replace": [route] } });
    let to_function = |pattern: &str| json!({ "routes": { "replace": [{ "pattern": pattern, "target": { "type": "function", "name": "f" } }] } });
    let migration = |migration: Value| json!({ "database": { "migrations": [migration] } });
    let put = |put: Value| json!({ "assets": { "put": [put] } });
    let sha = Sha256Digest::of(b"x");
    let invalid = |resource: &str| vec![format!("INVALID_SPEC {resource}")];
    let one = |code: &str, resource: &str| vec![format!("{code} {resource}")];
    let cases: Vec<(Value, Vec<String>)> = vec![
        // the envelope
        (json!({}), one("MANIFEST_EMPTY", "spec")),
        (json!({ "site": { "replace": {} } }), one("MANIFEST_EMPTY", "spec")),
        (json!({ "functions": { "replace": {} }, "checks": [], "routes": null }), one("MANIFEST_EMPTY", "spec")),
        (json!({ "database": { "expose": {}, "migrations": [] }, "assets": {} }), one("MANIFEST_EMPTY", "spec")),
        (json!({ "bogus": 1, "i18n": null }), invalid("bogus")),
        (json!({ "i18n": null, "checks": [{ "name": "x" }] }), invalid("checks")),
        (json!({ "i18n": null, "manifest_ref": {} }), invalid("manifest_ref")),
        (json!({ "i18n": null, "project": "prj_1_a" }), invalid("project_id")),
        (json!({ "i18n": null, "project_id": "prj_NO" }), one("PROJECT_NOT_FOUND", "project_id")),
        (json!({ "i18n": null, "project_id": 7 }), invalid("project_id")),
        (
            json!({ "site": { "replace": { "a": { "__source": "local-dir", "path": "x" } } } }),
            one("INVALID_WIRE_SCHEMA", "site.replace.a"),
        ),
        (json!({ "site": { "replace": { "__source": "local-dir" } } }), one("INVALID_WIRE_SCHEMA", "site.replace")),
        // base
        (json!({ "i18n": null, "base": {} }), invalid("base")),
        (json!({ "i18n": null, "base": { "release": "current", "release_id": "rel_1" } }), invalid("base")),
        (json!({ "i18n": null, "base": { "release": "live" } }), invalid("base.release")),
        (json!({ "i18n": null, "base": { "release_id": "nope" } }), one("RELEASE_NOT_FOUND", "base.release_id")),
        (json!({ "i18n": null, "base": { "release": "empty", "x": 1 } }), invalid("base.x")),
        (json!({ "i18n": null, "base": "current" }), invalid("base")),
        // database
        (json!({ "database": { "expose": [] } }), invalid("database.expose")),
        (json!({ "database": { "sql": "x", "expose": { "a": 1 } } }), invalid("database.sql")),
        (json!({ "i18n": null, "database": { "zero_downtime": "yes" } }), invalid("database.zero_downtime")),
        (migration(json!({ "id": "", "checksum": sha, "sql": "x" })), invalid("database.migrations.0.id")),
        (migration(json!({ "id": "a".repeat(257), "checksum": sha, "sql": "x" })), invalid("database.migrations.0.id")),
        (migration(json!({ "id": "a", "checksum": sha, "sql": "y" })), invalid("database.migrations.0.checksum")),
        (
            migration(json!({ "id": "a", "checksum": sha, "sql_ref": file("y") })),
            invalid("database.migrations.0.checksum"),
        ),
        (migration(json!({ "id": "a", "checksum": sha })), invalid("database.migrations.0.sql_ref")),
        (
            migration(json!({ "id": "a", "checksum": sha, "sql": "x", "sql_ref": file("x") })),
            invalid("database.migrations.0.sql_ref"),
        ),
        (
            migration(json!({ "id": "a", "checksum": Sha256Digest::of(b" "), "sql": " " })),
            invalid("database.migrations.0.sql"),
        ),
        (
            migration(json!({ "id": "a", "checksum": Sha256Digest::of(b""), "sql_ref": file("") })),
            invalid("database.migrations.0.sql_ref"),
        ),
        (
            migration(json!({ "id": "a", "checksum": sha, "sql": "x", "transaction": "maybe" })),
            invalid("database.migrations.0.transaction"),
        ),
        (
            migration(json!({ "id": "a", "checksum": sha.to_string().to_uppercase(), "sql": "x" })),
            invalid("database.migrations.0.checksum"),
        ),
        (
            json!({ "database": { "migrations": [
            { "id": "a", "checksum": sha, "sql": "x" }, { "id": "a", "checksum": sha, "sql": "x" }] } }),
            invalid("database.migrations.1.id"),
        ),
        // secrets
        (json!({ "secrets": { "set": { "A": "v" } } }), invalid("secrets.set")),
        (json!({ "secrets": { "replace_all": {}, "require": ["A"] } }), invalid("secrets.replace_all")),
        (json!({ "secrets": { "require": ["lower"] } }), invalid("secrets.require.0")),
        (json!({ "secrets": { "require": ["1A"] } }), invalid("secrets.require.0")),
        (json!({ "secrets": { "require": ["A".repeat(129)] } }), invalid("secrets.require.0")),
        (json!({ "secrets": { "require": ["A", "A"] } }), invalid("secrets.require.1")),
        (json!({ "secrets": { "require": ["A"], "delete": ["A"] } }), invalid("secrets.require.0")),
        (json!({ "secrets": { "require": [{ "key": "A" }], "delete": ["B"] } }), invalid("secrets.require.0")),
        // functions
        (json!({ "functions": { "replace": {}, "patch": { "delete": ["a"] } } }), invalid("functions.replace")),
        (
            json!({ "functions": { "patch": { "set": { "a": {} }, "delete": ["a"] } } }),
            invalid("functions.patch.delete.0"),
        ),
        (json!({ "functions": { "replace": { "a b": { "source": file("a") } } } }), invalid("functions.replace.a b")),
        (json!({ "functions": { "replace": { "f": {} } } }), invalid("functions.replace.f.source")),
        (function(json!({ "runtime": "node18" })), invalid("functions.replace.f.runtime")),
        (function(json!({ "files": { "a": file("a") }, "entrypoint": "a" })), invalid("functions.replace.f.source")),
        (function(json!({ "entrypoint": "a" })), invalid("functions.replace.f.entrypoint")),
        (function(json!({ "triggers": [] })), invalid("functions.replace.f.triggers")),
        (
            function(json!({ "config": { "timeout_seconds": 0 } })),
            invalid("functions.replace.f.config.timeout_seconds"),
        ),
        (
            function(json!({ "config": { "timeout_seconds": 61 } })),
            one("FUNCTION_TIMEOUT_EXCEEDS_TIER", "functions.replace.f.config.timeout_seconds"),
        ),
        (function(json!({ "config": { "memory_mb": 127 } })), invalid("functions.replace.f.config.memory_mb")),
        (
            function(json!({ "config": { "memoryMb": 1024 } })),
            one("FUNCTION_MEMORY_EXCEEDS_TIER", "functions.replace.f.config.memory_mb"),
        ),
        (
            function(json!({ "config": { "memory_mb": 128, "memoryMb": 128 } })),
            invalid("functions.replace.f.config.memory_mb"),
        ),
        (
            function(json!({ "config": { "timeout_seconds": 1.5 } })),
            invalid("functions.replace.f.config.timeout_seconds"),
        ),
        (function(json!({ "config": { "cpu": 1 } })), invalid("functions.replace.f.config.cpu")),
        (function(json!({ "deps": ["@run402/functions"] })), invalid("functions.replace.f.deps.0")),
        (function(json!({ "deps": ["run402-functions@1"] })), invalid("functions.replace.f.deps.0")),
        (
            function(json!({ "deps": ["a", "sharp@1"] })),
            one("R402_BUNDLE_NATIVE_DEP_UNSUPPORTED", "functions.replace.f.deps.1"),
        ),
        (function(json!({ "deps": ["git+https://x.example/a.git"] })), invalid("functions.replace.f.deps.0")),
        (function(json!({ "deps": ["a@file:../b"] })), invalid("functions.replace.f.deps.0")),
        (
            function(json!({ "deps": ["../b", "@scope", "a@", ""] })),
            (0..4).map(|index| format!("INVALID_SPEC functions.replace.f.deps.{index}")).collect(),
        ),
        (
            function(json!({ "deps": vec!["a"; 31] })),
            (0..31)
                .map(|index| {
                    if index == 0 {
                        "INVALID_SPEC functions.replace.f.deps".into()
                    } else {
                        format!("INVALID_SPEC functions.replace.f.deps.{index}")
                    }
                })
                .collect(),
        ),
        (function(json!({ "schedule": "sometimes" })), invalid("functions.replace.f.schedule")),
        (
            function(json!({ "schedule": "* * * * *" })),
            one("FUNCTION_SCHEDULE_INTERVAL_TOO_SHORT", "functions.replace.f.schedule"),
        ),
        (function(json!({ "class": "edge" })), invalid("functions.replace.f.class")),
        (function(json!({ "require_auth": null })), invalid("functions.replace.f.require_auth")),
        (gate(json!({ "table": "auth.members" })), invalid("functions.replace.f.require_role.table")),
        (gate(json!({ "role_column": "a b" })), invalid("functions.replace.f.require_role.role_column")),
        (gate(json!({ "allowed": [] })), invalid("functions.replace.f.require_role.allowed")),
        (gate(json!({ "cache_ttl": 601 })), invalid("functions.replace.f.require_role.cache_ttl")),
        (gate(json!({ "on_deny": "redirect" })), invalid("functions.replace.f.require_role.sign_in_path")),
        (gate(json!({ "sign_in_path": "//evil.example" })), invalid("functions.replace.f.require_role.sign_in_path")),
        (gate(json!({ "sign_in_path": "/\\evil.example" })), invalid("functions.replace.f.require_role.sign_in_path")),
        (gate(json!({ "on_deny": "explode" })), invalid("functions.replace.f.require_role.on_deny")),
        // site
        (json!({ "site": { "replace": { "a": file("a") }, "patch": { "put": {} } } }), invalid("site.replace")),
        (json!({ "site": { "replace": { "../x": file("a") } } }), invalid("site.replace.../x")),
        (
            json!({ "site": { "replace": { "run402/server/e.mjs": file("a") } } }),
            invalid("site.replace.run402/server/e.mjs"),
        ),
        (
            json!({ "site": { "patch": { "put": { "a": file("a") }, "delete": ["a"] } } }),
            invalid("site.patch.delete.0"),
        ),
        (json!({ "site": { "patch": { "delete": ["/a"] } } }), invalid("site.patch.delete.0")),
        (json!({ "site": { "replace": { "a": { "sha256": sha } } } }), invalid("site.replace.a.size")),
        (json!({ "site": { "replace": { "a": { "sha256": sha, "size": -1 } } } }), invalid("site.replace.a.size")),
        (json!({ "site": { "replace": { "a": { "sha256": "zz", "size": 1 } } } }), invalid("site.replace.a.sha256")),
        (
            json!({ "site": { "replace": { "a": { "sha256": sha, "size": 1, "content_type": "text/html\r\nx: y" } } } }),
            invalid("site.replace.a.content_type"),
        ),
        (
            json!({ "site": { "replace": { "a": { "sha256": sha, "size": 1, "content_type": "a", "contentType": "a" } } } }),
            invalid("site.replace.a.content_type"),
        ),
        (
            json!({ "site": { "replace": { "a": { "sha256": sha, "size": 1 }, "b": { "sha256": sha, "size": 2 } } } }),
            invalid("site.replace.b"),
        ),
        (json!({ "site": { "replace": { "a": { "sha256": sha, "size": 1u64 << 60 } } } }), invalid("site.replace.a")),
        (json!({ "site": { "spa": true, "replace": { "a": file("a") } } }), invalid("site.spa")),
        (
            json!({ "site": { "public_paths": { "mode": "implicit", "replace": {} } } }),
            invalid("site.public_paths.replace"),
        ),
        (json!({ "site": { "public_paths": { "mode": "explicit" } } }), invalid("site.public_paths.replace")),
        (json!({ "site": { "public_paths": { "mode": "both" } } }), invalid("site.public_paths.mode")),
        (
            json!({ "site": { "public_paths": { "mode": "explicit", "replace": { "a": { "asset": "a" } } } } }),
            invalid("site.public_paths.replace.a"),
        ),
        (
            json!({ "site": { "public_paths": { "mode": "explicit", "replace": { "/a": { "asset": "/a" } } } } }),
            invalid("site.public_paths.replace./a.asset"),
        ),
        (
            json!({ "site": { "public_paths": { "mode": "explicit", "replace": { "/a": { "asset": "a", "cache_class": "forever" } } } } }),
            invalid("site.public_paths.replace./a.cache_class"),
        ),
        // subdomains
        (json!({ "subdomains": { "set": ["one", "two"] } }), one("SUBDOMAIN_MULTI_NOT_SUPPORTED", "subdomains.set")),
        (json!({ "subdomains": { "set": ["one"], "add": ["two"] } }), invalid("subdomains.set")),
        (json!({ "subdomains": { "add": ["one"], "remove": ["one"] } }), invalid("subdomains.add.0")),
        (json!({ "subdomains": { "set": ["ab"] } }), invalid("subdomains.set.0")),
        (json!({ "subdomains": { "set": ["a--b"] } }), invalid("subdomains.set.0")),
        (json!({ "subdomains": { "set": ["-ab"] } }), invalid("subdomains.set.0")),
        (json!({ "subdomains": { "set": ["Abc"] } }), invalid("subdomains.set.0")),
        // routes
        (json!({ "routes": {} }), invalid("routes.replace")),
        (json!({ "routes": [] }), invalid("routes")),
        (json!({ "routes": { "replace": { "/a": "f" } } }), invalid("routes.replace")),
        (json!({ "routes": { "/a": {}, "replace": [] } }), invalid("routes./a")),
        (to_function("a"), invalid("routes.replace.0.pattern")),
        (to_function("/*"), invalid("routes.replace.0.pattern")),
        (to_function("/a*"), invalid("routes.replace.0.pattern")),
        (to_function("/a/*/b"), invalid("routes.replace.0.pattern")),
        (to_function("/**"), invalid("routes.replace.0.pattern")),
        (to_function("/a?b"), invalid("routes.replace.0.pattern")),
        (to_function("/a%zz"), invalid("routes.replace.0.pattern")),
        (to_function("/a//b"), invalid("routes.replace.0.pattern")),
        (to_function("/a//*"), invalid("routes.replace.0.pattern")),
        (to_function("/a/../b"), invalid("routes.replace.0.pattern")),
        (to_function("/_blob/*"), invalid("routes.replace.0.pattern")),
        (to_function("/_run402/x"), invalid("routes.replace.0.pattern")),
        (to_function(&format!("/{}", "a".repeat(256))), invalid("routes.replace.0.pattern")),
        (route(json!({ "pattern": "/a" })), invalid("routes.replace.0.target")),
        (
            route(json!({ "pattern": "/a", "target": { "type": "redirect", "to": "/b" } })),
            invalid("routes.replace.0.target.type"),
        ),
        (
            route(json!({ "pattern": "/a", "target": { "type": "function", "name": "f", "x": 1 } })),
            invalid("routes.replace.0.target.x"),
        ),
        (
            route(json!({ "pattern": "/a", "methods": [], "target": { "type": "function", "name": "f" } })),
            invalid("routes.replace.0.methods"),
        ),
        (
            route(json!({ "pattern": "/a", "methods": ["TRACE"], "target": { "type": "function", "name": "f" } })),
            invalid("routes.replace.0.methods.0"),
        ),
        (
            route(json!({ "pattern": "/a/*", "target": { "type": "static", "file": "a.html" } })),
            invalid("routes.replace.0.pattern"),
        ),
        (
            route(json!({ "pattern": "/a", "methods": ["HEAD"], "target": { "type": "static", "file": "a.html" } })),
            invalid("routes.replace.0.methods"),
        ),
        (
            route(
                json!({ "pattern": "/a", "methods": ["GET", "POST"], "target": { "type": "static", "file": "a.html" } }),
            ),
            invalid("routes.replace.0.methods"),
        ),
        (
            route(json!({ "pattern": "/a", "target": { "type": "static", "file": "/a.html" } })),
            invalid("routes.replace.0.target.file"),
        ),
        (
            route(
                json!({ "pattern": "/a", "target": { "type": "function", "name": "f" }, "acknowledge_readonly": true }),
            ),
            invalid("routes.replace.0.acknowledge_readonly"),
        ),
        (
            route(json!({ "pattern": "/a/*", "methods": ["GET"], "target": { "type": "function", "name": "f" },
            "acknowledge_readonly": false })),
            invalid("routes.replace.0.acknowledge_readonly"),
        ),
        (
            json!({ "routes": { "replace": [
            { "pattern": "/a", "methods": ["GET"], "target": { "type": "function", "name": "f" } },
            { "pattern": "/a/", "methods": ["HEAD"], "target": { "type": "function", "name": "g" } }] } }),
            invalid("routes.replace.1"),
        ),
        (
            json!({ "routes": { "replace": [
            { "pattern": "/%61/*", "target": { "type": "function", "name": "f" } },
            { "pattern": "/a/*", "methods": ["PUT"], "target": { "type": "function", "name": "g" } }] } }),
            invalid("routes.replace.1"),
        ),
        (
            json!({ "routes": { "replace": (0..101).map(|index| json!({ "pattern": format!("/{index}"),
            "target": { "type": "function", "name": "f" } })).collect::<Vec<_>>() } }),
            invalid("routes.replace"),
        ),
        // assets
        (put(json!({ "key": "a", "sha256": sha })), invalid("assets.put.0.size_bytes")),
        (
            put(json!({ "key": "a", "sha256": sha, "size_bytes": 1, "visibility": "secret" })),
            invalid("assets.put.0.visibility"),
        ),
        (
            put(json!({ "key": "a", "sha256": sha, "size_bytes": 1, "exif_policy": "shred" })),
            one("INVALID_EXIF_POLICY", "assets.put.0.exif_policy"),
        ),
        (put(json!({ "key": "a", "sha256": sha, "size_bytes": 1, "source": "x" })), invalid("assets.put.0.source")),
        (
            json!({ "assets": { "put": [{ "key": "a", "sha256": sha, "size_bytes": 1 }, { "key": "a", "sha256": sha, "size_bytes": 1 }] } }),
            one("ASSET_DUPLICATE_KEY_IN_PUT", "assets.put.1.key"),
        ),
        (
            json!({ "assets": { "put": [{ "key": "a", "sha256": sha, "size_bytes": 1 }], "delete": ["a"] } }),
            one("ASSET_KEY_IN_PUT_AND_DELETE", "assets.delete.0"),
        ),
        (json!({ "assets": { "sync": { "prefix": "", "prune": true } } }), invalid("assets.sync.prefix")),
        (json!({ "assets": { "sync": { "prefix": "a/", "prune": false } } }), invalid("assets.sync.prune")),
        (
            json!({ "assets": { "sync": { "prefix": "a/", "prune": true, "confirm": { "base_revision": "a",
            "delete_set_digest": "b" } } } }),
            invalid("assets.sync.confirm.expected_delete_count"),
        ),
        (
            json!({ "site": { "replace": { "a": { "sha256": sha, "size": 1 } } },
            "assets": { "put": [{ "key": "a", "sha256": sha, "size_bytes": 2 }] } }),
            invalid("assets.put.0"),
        ),
        // i18n
        (json!({ "i18n": {} }), vec!["INVALID_SPEC i18n.default_locale".into(), "INVALID_SPEC i18n.locales".into()]),
        (json!({ "i18n": { "default_locale": "fr", "locales": ["en"] } }), invalid("i18n.default_locale")),
        (
            json!({ "i18n": { "default_locale": "en", "locales": ["en", "EN"] } }),
            vec!["INVALID_SPEC i18n.locales.1".into(), "R402_LOCALE_NOT_CANONICAL i18n.locales.1".into()],
        ),
        (
            json!({ "i18n": { "default_locale": "en", "locales": ["en", "pt-br"] } }),
            one("R402_LOCALE_NOT_CANONICAL", "i18n.locales.1"),
        ),
        (json!({ "i18n": { "default_locale": "en", "locales": ["en", "-a"] } }), invalid("i18n.locales.1")),
        (
            json!({ "i18n": { "default_locale": "en", "locales": ["en"], "detect": ["cookie:a b"] } }),
            invalid("i18n.detect.0"),
        ),
        (
            json!({ "i18n": { "default_locale": "en", "locales": ["en"], "detect": ["path"] } }),
            invalid("i18n.detect.0"),
        ),
        (
            json!({ "i18n": { "default_locale": "en", "locales": ["en"], "unknown_locale_policy": "guess" } }),
            invalid("i18n.unknown_locale_policy"),
        ),
    ];
    for (slices, expected) in cases {
        assert_eq!(refusals(slices.clone()), expected, "{slices}");
    }
}
