//! What a URL would do, explained (contract 04 §4).

use serde_json::{Value, json};

use super::public_host;
use crate::support::{Appliance, Project, deploy};

async fn resolve(project: &Project, host: &str, path: &str, method: &str) -> Value {
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("host", host), ("path", path), ("method", method)])
        .finish();
    let api = Appliance::shared().api();
    api.get(&format!("/apply/v1/resolve?{query}")).api_key(&project.anon_key).send().await.is(200)
}

/// `match`, `result`, `authorized`, `authorization_result`, `fallback_state`
fn words(answer: &Value) -> Value {
    json!([
        answer["match"],
        answer["result"],
        answer["authorized"],
        answer["authorization_result"],
        answer["fallback_state"]
    ])
}

#[tokio::test]
async fn every_outcome_has_its_words() {
    let project = Appliance::shared().api().provision().await;
    let host = public_host(&project).await;
    let nothing = resolve(&project, &host, "/", "GET").await;
    let expected = json!(["active_release_missing", 404, false, "active_release_missing", "active_release_missing"]);
    assert_eq!(words(&nothing), expected);
    project.deploy_site(&[("index.html", "home"), ("dir/index.html", "dir"), ("app.js", "js")]).await;
    for (path, method, expected) in [
        ("/", "GET", json!(["static_index", 200, true, "authorized", "not_used"])),
        ("/dir", "HEAD", json!(["static_index", 200, true, "authorized", "not_used"])),
        ("/app.js", "GET", json!(["static_exact", 200, true, "authorized", "not_used"])),
        ("/app.js?x=1#y", "get", json!(["static_exact", 200, true, "authorized", "not_used"])),
        ("/unknown/page", "GET", json!(["spa_fallback", 200, true, "authorized", "used"])),
        ("/unknown.png", "GET", json!(["none", 404, false, "target_missing", "not_eligible"])),
        ("/app.js", "POST", json!(["none", 405, false, "not_applicable", "method_not_static"])),
        ("/app.js", "BREW", json!(["none", 405, false, "not_applicable", "method_not_static"])),
        ("/a/../b", "GET", json!(["path_error", 400, false, "path_error", "path_error"])),
    ] {
        assert_eq!(words(&resolve(&project, &host, path, method).await), expected, "{method} {path}");
    }
    let answer = resolve(&project, &host, "/a/../b", "GET").await;
    assert_eq!((&answer["error_code"], &answer["normalized_path"]), (&"PATH_DOT_SEGMENT".into(), &Value::Null));
    assert_eq!(resolve(&project, &host, "/", "POST").await["allow"], json!(["GET", "HEAD"]));
}

#[tokio::test]
async fn a_hit_is_described_in_full() {
    let project = Appliance::shared().api().provision().await;
    project.deploy_site(&[("index.html", "home"), ("app.js", "js")]).await;
    let host = public_host(&project).await;
    let answer = resolve(&project, &format!("{host}:4020"), "/app.js", "GET").await;
    assert_eq!(answer["hostname"], host);
    assert_eq!(answer["host_binding_id"], format!("project:{}", host.split(['-', '.']).nth(1).unwrap()));
    assert_eq!((&answer["binding_status"], &answer["channel"]), (&"active".into(), &"production".into()));
    assert_eq!(answer["project_id"], project.id);
    assert_eq!(answer["asset_path"], "app.js");
    assert_eq!(answer["reachability_authority"], "implicit_file_path");
    assert_eq!((&answer["direct"], &answer["cache_class"]), (&true.into(), &"revalidating_asset".into()));
    assert_eq!(answer["cache_policy"], "public, max-age=0, must-revalidate");
    let object = json!({"sha256": answer["static_sha256"], "exists": true, "expected_size": 2, "actual_size": 2});
    assert_eq!(answer["cas_object"], object);
    assert_eq!(answer["static_manifest_metadata"]["file_count"].as_u64(), Some(3), "{answer}");
    assert_eq!(answer["emergency_fallback"], json!({"enabled": false}));
    assert_eq!(answer["legacy_immutable_risk"], json!([]));
    for null in ["route", "allow", "error_code", "response_variant", "target_file"] {
        assert_eq!(answer.get(null), Some(&Value::Null), "{null}");
    }
}

#[tokio::test]
async fn an_unreachable_file_is_not_public_and_an_alias_names_its_file() {
    let project = Appliance::shared().api().provision().await;
    let (files, objects) = deploy::site(&[("x.html", "x"), ("docs.html", "docs")]);
    let spec = json!({
        "site": {"replace": files, "public_paths": {"mode": "explicit", "replace": {"/y": {"asset": "x.html"}}}},
        "routes": {"replace": [{"pattern": "/readme", "methods": ["GET", "HEAD"],
                                "target": {"type": "static", "file": "docs.html"}}]},
    });
    project.deploy(&spec, &objects).await;
    let host = public_host(&project).await;
    let answer = resolve(&project, &host, "/x.html", "GET").await;
    assert_eq!(words(&answer), json!(["none", 404, false, "not_public", "not_configured"]));
    let answer = resolve(&project, &host, "/readme", "GET").await;
    assert_eq!(words(&answer), json!(["route_static_alias", 200, true, "authorized", "not_used"]));
    assert_eq!((&answer["direct"], &answer["asset_path"]), (&false.into(), &"docs.html".into()));
    assert_eq!((&answer["target_file"], &answer["target_type"]), (&"docs.html".into(), &"static".into()));
    let answer = resolve(&project, &host, "/readme", "POST").await;
    assert_eq!(words(&answer), json!(["route_method_miss", 405, true, "not_applicable", "method_not_static"]));
    let appliance = Appliance::shared();
    for target in ["/readme", "/readme/"] {
        assert_eq!(super::get(appliance, &host, target).text(), "docs");
    }
    assert_eq!(super::get(appliance, &host, "/docs.html").status, 404);
    assert_eq!(super::send(appliance, "POST", &host, "/readme", "").status, 405);
}

#[tokio::test]
async fn others_hosts_are_answered_like_unknown_ones() {
    let api = Appliance::shared().api();
    let (a, b) = (api.provision().await, api.provision().await);
    b.deploy_site(&[("index.html", "b")]).await;
    let host = public_host(&b).await;
    for host in [host.as_str(), "nope.localhost", "example.org", "localhost"] {
        let expected = json!({"hostname": host, "result": 404, "match": "host_missing", "authorized": false,
                              "fallback_state": "not_used"});
        assert_eq!(resolve(&a, host, "/", "GET").await, expected);
    }
    api.get(&format!("/apply/v1/resolve?host={host}")).send().await.refused(401, "AUTHENTICATION_REQUIRED");
    api.get("/apply/v1/resolve?host=bad%20host").api_key(&a.anon_key).send().await.refused(400, "BAD_HOST");
    api.get("/apply/v1/resolve").api_key(&a.anon_key).send().await.refused(400, "BAD_HOST");
}
