//! Deployed functions seen, changed, removed and rebuilt (contract 05 §3; checks 8-10, 34, 35).

use serde_json::{Value, json};

use super::{ECHO, api, deploy, function};
use crate::support::Project;

/// A project with these functions, all of the same code.
async fn with(functions: &[(&str, Value)]) -> Project {
    let project = api().provision().await;
    let functions: Vec<(&str, &str, Value)> =
        functions.iter().map(|(name, more)| (*name, ECHO, more.clone())).collect();
    deploy(&project, &functions).await;
    project
}

fn names(functions: &[Value]) -> Vec<&str> {
    functions.iter().map(|function| function["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn deployed_functions_are_listed_with_their_limits_and_schedules() {
    let project =
        with(&[("b", json!({"schedule": "0 9 * * *"})), ("a", json!({"config": {"timeout_seconds": 9}}))]).await;
    let functions = project.functions().await;
    assert_eq!(names(&functions), ["a", "b"]);
    let (a, b) = (&functions[0], &functions[1]);
    assert!(a["url"].as_str().is_some_and(|url| url.ends_with("/functions/v1/a")), "{a}");
    assert_eq!((&a["runtime"], &a["timeout"], &a["memory"]), (&json!("node22"), &json!(9), &json!(128)));
    assert_eq!((&a["schedule"], &a["schedule_meta"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&a["runtime_version"], &a["deps_resolved"], &a["runtime_stale"]),
        (&json!("4.0.0"), &json!({}), &json!(false))
    );
    assert!(a["created_at"].is_string() && a["updated_at"].is_string());
    assert_eq!((&b["schedule"], &b["schedule_meta"]["run_count"]), (&json!("0 9 * * *"), &json!(0)));
    assert!(b["schedule_meta"]["next_run_at"].as_str().is_some_and(|next| next.ends_with("T09:00:00.000Z")));
    let one = api().get(&project.path("functions/b")).bearer(&project.service_key).send().await.is(200);
    assert_eq!(&one, b);
    api()
        .get(&project.path("functions/c"))
        .bearer(&project.service_key)
        .send()
        .await
        .refused(404, "FUNCTION_NOT_FOUND");
    let empty = api().provision().await;
    assert!(empty.functions().await.is_empty());
}

#[tokio::test]
async fn managing_functions_needs_the_projects_service_key() {
    let (project, other) = (with(&[("a", json!({}))]).await, api().provision().await);
    for path in ["functions", "functions/a", "functions/a/logs"] {
        let path = project.path(path);
        api().get(&path).send().await.refused(401, "AUTHENTICATION_REQUIRED");
        api().get(&path).bearer("nonsense").send().await.refused(401, "UNAUTHORIZED");
        api().get(&path).bearer(&project.anon_key).send().await.refused(403, "ADMIN_REQUIRED");
        api().get(&path).bearer(&other.service_key).send().await.refused(403, "FORBIDDEN");
    }
    let old = api().post(&project.path("functions")).bearer(&project.service_key).json(&json!({})).send().await;
    old.refused(410, "ROUTE_REMOVED");
}

#[tokio::test]
async fn an_update_applies_at_once_and_a_bad_one_changes_nothing() {
    let project = with(&[("echo", json!({}))]).await;
    let patch = async |body: Value| {
        api().patch(&project.path("functions/echo")).bearer(&project.service_key).json(&body).send().await
    };
    let changed = patch(json!({"schedule": "*/15 * * * *", "config": {"timeout": 20}})).await.is(200);
    assert_eq!((&changed["timeout"], &changed["schedule"]), (&json!(20), &json!("*/15 * * * *")));
    assert_eq!(changed["schedule_meta"]["run_count"], 0);
    assert_eq!(project.functions().await[0]["timeout"], 20);
    for (body, status, code) in [
        (json!({}), 400, "VALIDATION_ERROR"),
        (json!({"nonsense": 1}), 400, "VALIDATION_ERROR"),
        (json!({"schedule": "@daily"}), 400, "INVALID_SPEC"),
        (json!({"config": {"timeout": 1.5}}), 400, "VALIDATION_ERROR"),
        (json!({"config": {"timeout": 61}}), 403, "FUNCTION_TIMEOUT_EXCEEDS_TIER"),
        (json!({"config": {"memory": 64}}), 400, "VALIDATION_ERROR"),
        (json!({"config": {"memory": 4096}}), 403, "FUNCTION_MEMORY_EXCEEDS_TIER"),
        (json!({"schedule": "* * * * *"}), 403, "FUNCTION_SCHEDULE_INTERVAL_TOO_SHORT"),
    ] {
        patch(body).await.refused(status, code);
    }
    let capped = patch(json!({"config": {"timeout": 61}})).await.json();
    assert_eq!(capped["details"]["tier_max"], 60);
    assert_eq!(patch(json!({"schedule": null})).await.is(200)["schedule_meta"], Value::Null);
    let unknown = api().patch(&project.path("functions/nope")).bearer(&project.service_key);
    unknown.json(&json!({"schedule": null})).send().await.refused(404, "FUNCTION_NOT_FOUND");
    // A later release that does not name the field keeps it.
    let patched = json!({"functions": {"patch": {"set": {"echo": {"class": "standard"}}}}});
    project.apply(&patched, &[]).await;
    assert_eq!(project.functions().await[0]["timeout"], 20);
}

#[tokio::test]
async fn a_deleted_function_is_gone() {
    let project = with(&[("echo", json!({"schedule": "0 0 * * *"})), ("other", json!({}))]).await;
    let delete = async || api().delete(&project.path("functions/echo")).bearer(&project.service_key).send().await;
    assert_eq!(delete().await.is(200), json!({"status": "deleted", "name": "echo"}));
    delete().await.refused(404, "FUNCTION_NOT_FOUND");
    let call = api().post("/functions/v1/echo").api_key(&project.anon_key).send().await;
    call.refused(404, "FUNCTION_NOT_FOUND");
    assert_eq!(names(&project.functions().await), ["other"]);
}

#[tokio::test]
async fn rebuilding_is_for_owners() {
    let project = with(&[("f", json!({}))]).await;
    for path in [
        format!("/projects/v1/{}/functions/f/rebuild", project.id),
        format!("/projects/v1/{}/functions/rebuild", project.id),
    ] {
        api().post(&path).send().await.refused(401, "AUTHENTICATION_REQUIRED");
        api().post(&path).bearer(&project.service_key).send().await.refused(403, "FORBIDDEN");
        let stranger = api().subscriber().await;
        api().post(&path).wallet(&stranger).send().await.refused(403, "NOT_AUTHORIZED");
    }
    let one = |name: &str| {
        api().post(&format!("/projects/v1/{}/functions/{name}/rebuild", project.id)).wallet(&project.owner)
    };
    one("nope").send().await.refused(404, "FUNCTION_NOT_FOUND");
    let before = project.live().await;
    let hash = project.functions().await[0]["code_hash"].clone();
    let rebuilt = one("f").send().await.is(200);
    assert_eq!((&rebuilt["name"], &rebuilt["rebuilt"], &rebuilt["code_hash"]), (&json!("f"), &json!(true), &hash));
    assert_eq!(rebuilt["old_fingerprint"], rebuilt["new_fingerprint"]);
    assert_eq!(rebuilt["runtime_version_after"], "4.0.0");
    let all = api().post(&format!("/projects/v1/{}/functions/rebuild", project.id)).wallet(&project.owner);
    let all = all.send().await.is(200);
    assert_eq!((&all["total"], &all["rebuilt_count"]), (&json!(1), &json!(1)));
    assert_eq!(all["results"][0]["rebuilt"], true);
    assert_eq!(project.live().await["release_id"], before["release_id"], "no new release");
    project.invoke("f").send().await.is(200);
}

#[tokio::test]
async fn actor_keys_are_the_projects_own() {
    let (one, two) = (api().provision().await, api().provision().await);
    let keys = async |key: &str| api().get("/internal/v1/actor-context-keys").bearer(key).send().await;
    api().get("/internal/v1/actor-context-keys").send().await.refused(401, "UNAUTHORIZED");
    keys(&one.anon_key).await.refused(401, "UNAUTHORIZED");
    let (one, two) = (keys(&one.service_key).await.is(200), keys(&two.service_key).await.is(200));
    assert!(one["keys"].as_object().is_some_and(|keys| !keys.is_empty()));
    assert_ne!(one, two);
}

#[tokio::test]
async fn a_rebuild_gives_fresh_instances() {
    let project = api().provision().await;
    deploy(&project, &[("n", "let n = 0; export default () => ++n", json!({}))]).await;
    assert_eq!([project.invoke("n").send().await.is(200), project.invoke("n").send().await.is(200)], [1, 2]);
    let path = format!("/projects/v1/{}/functions/n/rebuild", project.id);
    api().post(&path).wallet(&project.owner).send().await.is(200);
    assert_eq!(project.invoke("n").send().await.is(200), 1);
}

#[tokio::test]
async fn the_same_deploy_again_changes_no_function() {
    let project = with(&[("f", json!({"schedule": "0 0 * * *"}))]).await;
    let release = project.live().await["release_id"].clone();
    let again = super::spec(&[("f", ECHO, json!({"schedule": "0 0 * * *"}))]);
    let plan = project.plan(&again).await.is(200);
    let diff = &plan["diff"]["functions"];
    for key in ["added", "changed", "removed"] {
        assert!(diff[key].as_array().is_none_or(Vec::is_empty), "{key}: {diff}");
    }
    let secret = json!({"key": "A", "value": "b"});
    api().post(&project.path("secrets")).bearer(&project.service_key).json(&secret).send().await.ok();
    let patch = json!({"config": {"timeout": 9}});
    api().patch(&project.path("functions/f")).bearer(&project.service_key).json(&patch).send().await.is(200);
    assert_eq!(project.live().await["release_id"], release, "neither a secret nor an update makes a release");
}

#[tokio::test]
async fn limits_beyond_the_tier_are_refused_by_the_plan() {
    let project = with(&[("f", json!({}))]).await;
    let release = project.live().await["release_id"].clone();
    let over =
        json!({"functions": {"patch": {"set": {"f": function(ECHO, &json!({"config": {"timeout_seconds": 61}}))}}}});
    let refused = project.plan(&over).await;
    assert!((400..500).contains(&refused.status.as_u16()), "{refused}");
    let body = refused.json();
    assert!(["BAD_FIELD", "FUNCTION_TIMEOUT_EXCEEDS_TIER"].contains(&body["code"].as_str().expect("a code")), "{body}");
    assert_eq!(body["details"]["tier_max"], 60);
    assert_eq!(project.live().await["release_id"], release);
}
