//! Durable runs (contract 05 §6; checks 24, 25).

use std::time::Duration;

use serde_json::{Value, json};

use super::{api, deploy, with};
use crate::support::{Appliance, Project, eventually};

/// Promises a run, and waits until it has come to one of these states.
async fn run(project: &Project, function: &str, wish: &Value, states: &[&str]) -> Value {
    let path = format!("/functions/v1/{function}/runs");
    let run = project.api.post(&path).bearer(&project.service_key).json(wish).send().await.is(202);
    let path = format!("/functions/v1/runs/{}", run["run_id"].as_str().expect("an id"));
    eventually("the run gets there", Duration::from_secs(20), async || {
        let run = project.api.get(&path).bearer(&project.service_key).send().await.is(200);
        states.contains(&run["status"].as_str().expect("a status")).then_some(run)
    })
    .await
}

#[tokio::test]
async fn a_run_calls_its_function_and_follows_its_word() {
    let code = "export default async (req) => {
      const run = await req.json();
      console.log(JSON.stringify({ run, trigger: req.headers.get('x-run402-trigger'), id: req.headers.get('x-run402-request-id'), url: req.url, method: req.method, user: req.headers.get('x-run402-user-id'), pattern: req.headers.get('x-run402-route-pattern') }));
      switch (run.payload.want) {
        case 'permanent': return Response.json({ error: 'no_such_thing', message: 'No.', retryable: false }, { status: 500 });
        case 'again': return Response.json({ error: 'later', message: 'Later.', retryable: true }, { status: 400 });
        case 'throw': throw new Error('s3cret-detail');
        case 'bad': return new Response('no', { status: 404 });
        default: return new Response(null, { status: 204 });
      } }";
    let project = api().provision().await;
    // Gates are not for runs.
    deploy(&project, &[("w", code, json!({"require_auth": true}))]).await;
    let wish = |want: &str| {
        json!({"event_type": "e", "idempotency_key": format!("ü-{want}"), "payload": {"want": want, "n": [1]},
               "retry": {"max_attempts": 2, "min_delay_seconds": 600}})
    };
    let done = run(&project, "w", &wish("ok"), &["succeeded"]).await;
    assert_eq!((&done["terminal"], &done["attempts"]["total"]), (&json!(true), &json!(1)));
    assert_eq!(done["last_attempt"]["response_status"], 204);
    let id = done["run_id"].as_str().expect("an id");
    let console = project.console("w", &format!("?request_id={id}"), 1).await;
    let seen: Value = serde_json::from_str(console[0]["message"].as_str().expect("text")).expect("JSON");
    let envelope = &seen["run"];
    for (key, value) in [
        ("trigger", json!("function_run")),
        ("run_id", json!(id)),
        ("generation", json!(1)),
        ("event_type", json!("e")),
        ("idempotency_key", json!("ü-ok")),
        ("payload", json!({"want": "ok", "n": [1]})),
        ("source", json!({"type": "api"})),
    ] {
        assert_eq!(envelope[key], value, "{key}");
    }
    assert_eq!((&envelope["attempt"]["number"], &envelope["attempt"]["max"]), (&json!(1), &json!(2)));
    assert_eq!((&seen["trigger"], &seen["id"], &seen["method"]), (&json!("function_run"), &json!(id), &json!("POST")));
    assert_eq!((&seen["user"], &seen["pattern"]), (&Value::Null, &json!("function_run:w")));

    for (want, status, code) in [
        ("permanent", "failed", "no_such_thing"),
        ("bad", "failed", "FUNCTION_RUN_HTTP_404"),
        ("again", "retrying", "later"),
        ("throw", "retrying", "FUNCTION_RUNTIME_ERROR"),
    ] {
        let ended = run(&project, "w", &wish(want), &["failed", "retrying", "succeeded"]).await;
        assert_eq!((&ended["status"], &ended["last_error"]["code"]), (&json!(status), &json!(code)), "{want}");
        assert!(!ended.to_string().contains("s3cret-detail"), "{ended}");
        assert_eq!(ended["attempts"]["current"], 1);
    }
}

#[tokio::test]
async fn a_run_is_promised_once_for_its_key_and_can_be_cancelled_and_driven_again() {
    let project = with(&[("w", "export default () => new Response('no', { status: 503 })")]).await;
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
    // The function fails in a way that is worth another attempt.
    let tried = eventually("an attempt is made", Duration::from_secs(10), async || {
        let run = get(&format!("/functions/v1/runs/{id}")).await.is(200);
        (run["status"] == "retrying").then_some(run)
    })
    .await;
    assert_eq!(
        (&tried["attempts"]["current"], &tried["last_error"]["code"]),
        (&json!(1), &json!("FUNCTION_RUN_HTTP_503"))
    );
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
    deploy(&project, &[("w", "export default () => 'done'", json!({}))]).await;
    let wish = json!({"event_type": "e", "idempotency_key": "k", "delay_seconds": 1});
    let run = api.post("/functions/v1/w/runs").bearer(&project.service_key).json(&wish).send().await.is(202);
    appliance.kill();
    appliance.start_again();
    let api = appliance.api();
    let path = format!("/functions/v1/runs/{}", run["run_id"].as_str().expect("an id"));
    let run = eventually("the run ends after the restart", Duration::from_secs(30), async || {
        let run = api.get(&path).bearer(&project.service_key).send().await.is(200);
        (run["terminal"] == true).then_some(run)
    })
    .await;
    assert_eq!((&run["status"], &run["last_attempt"]["response_status"]), (&json!("succeeded"), &json!(200)));
}
