//! Functions over HTTP, as far as they go without an engine (contract 05; checks 2, 4, 7-10, 14, 23, 24, 34, 35).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Api, Appliance, Project, Users, deploy::file, eventually};

const CODE: &str = "export default async (req) => Response.json({ m: req.method });";

fn api() -> Api {
    Appliance::shared().api()
}

/// Deploys exactly these functions, all with the same code.
async fn deploy(project: &Project, functions: &[(&str, Value)]) -> Value {
    let mut replace = json!({});
    for (name, more) in functions {
        let mut function = json!({
            "runtime": "node22", "source": file(CODE.as_bytes(), "text/javascript; charset=utf-8"),
        });
        function.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        replace[*name] = function;
    }
    project.deploy(&json!({"functions": {"replace": replace}}), &[CODE.as_bytes()]).await
}

async fn with(functions: &[(&str, Value)]) -> Project {
    let project = api().provision().await;
    deploy(&project, functions).await;
    project
}

impl Project {
    async fn functions(&self) -> Vec<Value> {
        let body = api().get(&self.path("functions")).bearer(&self.service_key).send().await.is(200);
        body["functions"].as_array().expect("functions").clone()
    }
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
async fn a_call_needs_a_key_and_says_that_there_is_no_engine() {
    let project = with(&[("echo", json!({}))]).await;
    let call = || api().post("/functions/v1/echo/a?b=1");
    call().send().await.refused(401, "MISSING_APIKEY");
    call().api_key("nonsense").send().await.refused(401, "INVALID_APIKEY");
    call().bearer(&project.anon_key).send().await.refused(401, "MISSING_APIKEY");
    api().post("/functions/v1/nope").api_key(&project.anon_key).send().await.refused(404, "FUNCTION_NOT_FOUND");
    for answer in [call().api_key(&project.anon_key).send().await, call().bearer(&project.service_key).send().await] {
        let body = answer.refused(501, "NOT_IMPLEMENTED");
        let id = answer.header("x-run402-request-id").expect("a request id");
        assert!(id.strip_prefix("req_").is_some_and(|rest| rest.len() == 24), "{id}");
        assert_eq!(body["request_id"], id);
    }
    let options = api().call(reqwest::Method::OPTIONS, "/functions/v1/echo").header("origin", "http://x").send().await;
    assert_eq!((options.status.as_u16(), options.header("access-control-allow-origin")), (204, Some("*")));
    let large = vec![b'x'; 6 * 1024 * 1024 + 1];
    let large = call().api_key(&project.anon_key).body("text/plain", large).send().await;
    large.refused(413, "REQUEST_BODY_TOO_LARGE");
}

#[tokio::test]
async fn invocations_are_logged_and_found_by_their_request() {
    let project = with(&[("echo", json!({}))]).await;
    let call = async || {
        let answer = api().post("/functions/v1/echo").api_key(&project.anon_key).send().await;
        answer.header("x-run402-request-id").expect("an id").to_owned()
    };
    let (first, _) = (call().await, call().await);
    let logs = async |query: &str| {
        let path = project.path(&format!("functions/echo/logs{query}"));
        api().get(&path).bearer(&project.service_key).send().await
    };
    let all = eventually("both calls are logged", Duration::from_secs(5), async || {
        let logs = logs("").await.is(200)["logs"].as_array().expect("logs").clone();
        (logs.len() == 4).then_some(logs)
    })
    .await;
    let mut ids: Vec<_> = all.iter().map(|entry| entry["event_id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let of_first = logs(&format!("?request_id={first}")).await.is(200);
    let of_first = of_first["logs"].as_array().expect("logs");
    assert_eq!(of_first.len(), 2);
    for entry in of_first {
        assert_eq!((&entry["request_id"], &entry["stream"]), (&json!(first), &json!("platform")));
        let message: Value = serde_json::from_str(entry["message"].as_str().expect("text")).expect("JSON");
        assert!(message["event"].as_str().is_some_and(|event| event.starts_with("function_invocation_")));
    }
    let tail = logs("?tail=1").await.is(200);
    assert_eq!(tail["logs"], json!([all[3]]));
    let since = all[2]["timestamp"].as_str().expect("a time");
    let later = logs(&format!("?since={since}")).await.is(200);
    assert!(later["logs"].as_array().expect("logs").iter().any(|entry| entry["event_id"] == all[2]["event_id"]));
    for query in ["?tail=0", "?tail=-1", "?tail=x", "?since=abc", "?request_id=nope"] {
        logs(query).await.refused(400, "VALIDATION_ERROR");
    }
    let unknown = api().get(&project.path("functions/nope/logs")).bearer(&project.service_key).send().await;
    unknown.refused(404, "FUNCTION_NOT_FOUND");
}

#[tokio::test]
async fn gates_ask_before_anything_runs() {
    let project = with(&[("gated", json!({"require_auth": true}))]).await;
    for call in [
        api().post("/functions/v1/gated").api_key(&project.anon_key),
        api().post("/functions/v1/gated").api_key(&project.service_key),
        api().post("/functions/v1/gated").api_key(&project.anon_key).bearer("nonsense"),
    ] {
        let body = call.send().await.json();
        assert_eq!((&body["error"], &body["code"]), (&json!("authentication_required"), &json!("R402_AUTH_REQUIRED")));
    }
}

#[tokio::test]
async fn a_run_is_promised_once_for_its_key_and_can_be_cancelled_and_driven_again() {
    let project = with(&[("w", json!({}))]).await;
    let create =
        async |body: Value| api().post("/functions/v1/w/runs").bearer(&project.service_key).json(&body).send().await;
    let wish = json!({"event_type": "e", "idempotency_key": "k1", "delay_seconds": 600});
    let run = create(wish.clone()).await.is(202);
    let id = run["run_id"].as_str().expect("an id").to_owned();
    assert!(
        id.strip_prefix("fnrun_").is_some_and(|rest| rest.len() == 24 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    );
    assert_eq!((&run["status"], &run["terminal"]), (&json!("scheduled"), &json!(false)));
    let again = create(wish).await.is(200);
    assert_eq!((&again["run_id"], &again["deduplicated"]), (&json!(id), &json!(true)));
    let other = create(json!({"event_type": "e", "idempotency_key": "k1", "payload": {"a": 1}})).await;
    let conflict = other.refused(409, "function_run_idempotency_conflict");
    assert!(conflict["next_actions"][0]["href"].as_str().is_some_and(|href| href.contains(&id)));
    create(json!({"event_type": ""})).await.refused(400, "invalid_function_run_request");

    let anon = api().post("/functions/v1/w/runs").api_key(&project.anon_key).json(&json!({})).send().await;
    anon.refused(403, "ADMIN_REQUIRED");
    let unknown = api().post("/functions/v1/x/runs").bearer(&project.service_key);
    let wish = json!({"event_type": "e", "idempotency_key": "k"});
    unknown.json(&wish).send().await.refused(404, "FUNCTION_NOT_FOUND");

    let get = async |path: &str| api().get(path).bearer(&project.service_key).send().await;
    let list = get("/functions/v1/w/runs?status=scheduled&limit=1").await.is(200);
    assert_eq!(list["runs"][0]["run_id"], id);
    get("/functions/v1/w/runs?status=nope").await.refused(400, "invalid_function_run_request");
    get("/functions/v1/runs/fnrun_000000000000000000000000").await.refused(404, "function_run_not_found");
    get("/functions/v1/runs/a/b/c").await.refused(404, "function_run_route_not_found");
    get("/functions/v1/runs").await.refused(404, "function_run_route_not_found");
    let stranger = api().provision().await;
    let foreign = api().get(&format!("/functions/v1/runs/{id}")).bearer(&stranger.service_key).send().await;
    foreign.refused(404, "function_run_not_found");

    let post = async |rest: &str| {
        api().post(&format!("/functions/v1/runs/{id}/{rest}")).bearer(&project.service_key).send().await
    };
    assert_eq!(post("cancel").await.is(200)["status"], "cancelled");
    let driven = post("redrive").await.is(200);
    assert_eq!((&driven["status"], &driven["generation"]), (&json!("queued"), &json!(2)));
    // Without an engine the attempt fails, and is worth another one.
    let tried = eventually("an attempt is made", Duration::from_secs(10), async || {
        let run = get(&format!("/functions/v1/runs/{id}")).await.is(200);
        (run["status"] == "retrying").then_some(run)
    })
    .await;
    assert_eq!((&tried["attempts"]["current"], &tried["last_error"]["code"]), (&json!(1), &json!("NOT_IMPLEMENTED")));
    let logs = eventually("the attempt is logged", Duration::from_secs(5), async || {
        let logs = get(&format!("/functions/v1/runs/{id}/logs")).await.is(200);
        (logs["logs"].as_array().is_some_and(|logs| logs.len() == 2)).then_some(logs)
    })
    .await;
    assert_eq!(logs["logs"][0]["request_id"], id);
}

#[tokio::test]
async fn a_promised_run_survives_kill_9() {
    let mut appliance = Appliance::plan().boot();
    let api = appliance.api();
    let project = api.provision().await;
    let functions = json!({"functions": {"replace": {
        "w": {"runtime": "node22", "source": file(CODE.as_bytes(), "text/javascript")},
    }}});
    project.deploy(&functions, &[CODE.as_bytes()]).await;
    let wish = json!({"event_type": "e", "idempotency_key": "k", "delay_seconds": 1});
    let run = api.post("/functions/v1/w/runs").bearer(&project.service_key).json(&wish).send().await.is(202);
    appliance.kill();
    appliance.start_again();
    let api = appliance.api();
    let path = format!("/functions/v1/runs/{}", run["run_id"].as_str().expect("an id"));
    eventually("the run is attempted after the restart", Duration::from_secs(20), async || {
        let run = api.get(&path).bearer(&project.service_key).send().await.is(200);
        (run["attempts"]["total"].as_i64() >= Some(1)).then_some(())
    })
    .await;
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
    one("f").send().await.refused(501, "NOT_IMPLEMENTED");
    let all = api().post(&format!("/projects/v1/{}/functions/rebuild", project.id)).wallet(&project.owner);
    let all = all.send().await.is(200);
    assert_eq!((&all["total"], &all["rebuilt_count"]), (&json!(1), &json!(0)));
    assert_eq!(all["results"][0]["code"], "NOT_IMPLEMENTED");
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
async fn a_routed_function_fails_closed_without_an_engine() {
    let project = api().provision().await;
    let spec = json!({
        "functions": {"replace": {"f": {"runtime": "node22", "source": file(CODE.as_bytes(), "text/javascript")}}},
        "routes": {"replace": [{"pattern": "/api/*", "target": {"type": "function", "name": "f"}}]},
    });
    let live = project.deploy(&spec, &[CODE.as_bytes()]).await;
    let host = live["urls"]["project"].as_str().expect("a URL").trim_start_matches("http://").to_owned();
    let answer = api().get("/api/x").header("host", &host).send().await;
    assert_eq!(answer.status.as_u16(), 501, "{answer}");
    assert!(answer.header("x-run402-request-id").is_some_and(|id| id.starts_with("req_")));
}

#[tokio::test]
async fn a_role_gate_reads_the_projects_own_table() {
    let mut appliance = Appliance::plan().boot();
    let project = appliance.api().provision().await;
    let (admin, guest) = ("6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b", "7f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b");
    let create = format!(
        "create table members (user_id uuid primary key, role text not null);
         alter table members enable row level security;
         alter table members force row level security;
         insert into members values ('{admin}', 'admin'), ('{guest}', 'guest')"
    );
    project.sql(&create).await.is(200);
    let gate = json!({"table": "members", "id_column": "user_id", "role_column": "role", "allowed": ["admin"], "cache_ttl": 0});
    let functions = json!({"functions": {"replace": {"f": {
        "runtime": "node22", "source": file(CODE.as_bytes(), "text/javascript"), "require_role": gate,
    }}}});
    project.deploy(&functions, &[CODE.as_bytes()]).await;
    let users = Users::of(&project.id);
    users.publish(&appliance).await;
    appliance.stop();
    appliance.start_again();
    let (api, project) = (appliance.api(), project.through(&appliance.api()));
    let call = async |user: &str| {
        api.post("/functions/v1/f").api_key(&project.anon_key).bearer(&users.token(user)).send().await
    };
    let denied = call(guest).await.refused(403, "ROLE_FORBIDDEN");
    assert_eq!(denied["allowed_roles"], json!(["admin"]));
    call("8f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b").await.refused(403, "ROLE_FORBIDDEN");
    call("not-a-uuid").await.refused(403, "ROLE_FORBIDDEN");
    // Past the gate there is no engine.
    call(admin).await.refused(501, "NOT_IMPLEMENTED");
    project.sql(&format!("update members set role = 'guest' where user_id = '{admin}'")).await.is(200);
    call(admin).await.refused(403, "ROLE_FORBIDDEN");
}
