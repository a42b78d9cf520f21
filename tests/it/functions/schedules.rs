//! Schedules (contract 05 §5, §3.6; check 11).

use std::time::Duration;

use serde_json::{Value, json};

use super::{api, deploy, with};
use crate::support::{Appliance, eventually};

/// Logs what it was called with.
const TICK: &str = "export default async (req) => {
    console.log(JSON.stringify({ body: await req.json(), trigger: req.headers.get('x-run402-trigger'), method: req.method, url: req.url, key: req.headers.get('apikey') }));
    return new Response('ticked', { status: 201 }) }";

#[tokio::test]
async fn a_function_is_run_by_hand_as_its_schedule_would() {
    let project = with(&[("tick", TICK), ("json", "export default () => ({ a: 1 })")]).await;
    let trigger = async |path: String, key: &str| api().post(&path).bearer(key).send().await;
    let outside = format!("/projects/v1/{}/functions/tick/trigger", project.id);
    for path in [project.path("functions/tick/trigger"), outside] {
        let answer = trigger(path, &project.service_key).await.is(200);
        assert_eq!(answer, json!({"status": 201, "body": "ticked"}));
    }
    let parsed = trigger(project.path("functions/json/trigger"), &project.service_key).await.is(200);
    assert_eq!(parsed, json!({"status": 200, "body": {"a": 1}}));
    let console = project.console("tick", "", 2).await;
    let seen: Value = serde_json::from_str(console[0]["message"].as_str().expect("text")).expect("JSON");
    assert_eq!((&seen["trigger"], &seen["method"], &seen["key"]), (&json!("manual"), &json!("POST"), &Value::Null));
    trigger(project.path("functions/nope/trigger"), &project.service_key).await.refused(404, "FUNCTION_NOT_FOUND");
    trigger(project.path("functions/tick/trigger"), &project.anon_key).await.refused(403, "ADMIN_REQUIRED");
}

#[tokio::test]
async fn a_schedule_runs_its_function_and_says_so() {
    let appliance = Appliance::plan().set("tiers.prototype.min_cron_interval_minutes", "1").boot();
    let project = appliance.api().provision().await;
    deploy(&project, &[("tick", TICK, json!({"schedule": "* * * * *", "require_auth": true}))]).await;
    let ran = eventually("the schedule ran", Duration::from_secs(75), async || {
        let meta = project.functions().await[0]["schedule_meta"].clone();
        (meta["run_count"].as_i64() >= Some(1)).then_some(meta)
    })
    .await;
    assert_eq!((&ran["last_status"], &ran["last_error"]), (&json!(201), &Value::Null));
    assert!(ran["next_run_at"].as_str() > ran["last_run_at"].as_str(), "{ran}");
    let console = project.console("tick", "", 1).await;
    let seen: Value = serde_json::from_str(console[0]["message"].as_str().expect("text")).expect("JSON");
    assert_eq!(seen["trigger"], "cron");
    let mut keys: Vec<&String> = seen["body"].as_object().expect("an object").keys().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["scheduled_at", "trigger"]);
    assert_eq!(seen["body"]["trigger"], "cron");
    assert!(seen["body"]["scheduled_at"].as_str().is_some_and(|at| at.ends_with(":00.000Z")), "{seen}");
}
