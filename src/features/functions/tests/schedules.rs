use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;

/// `schedule_meta` of a function.
async fn meta(bench: &Bench, name: &str) -> Value {
    let view = bench.functions.get(&bench.project(), name).await.unwrap_or_else(|_| panic!("{name} is there"));
    serde_json::to_value(view).unwrap()["schedule_meta"].clone()
}

async fn until_run(bench: &Bench, name: &str, times: i64) -> Value {
    eventually(|| async {
        let meta = meta(bench, name).await;
        (meta["run_count"] == times).then_some(meta)
    })
    .await
}

/// Triggers and bodies of the calls there were.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

fn recording() -> (Script, Seen) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let executor = script(move |_, invocation| {
        let trigger = invocation.headers["x-run402-trigger"].to_str().unwrap().to_owned();
        assert!(!invocation.headers.contains_key("authorization") && invocation.actor.is_none());
        let body = serde_json::from_slice(&invocation.body).unwrap();
        record.lock().unwrap().push((trigger, body));
        Ok(ok(r#"{"done":true}"#))
    });
    (executor, seen)
}

#[test]
fn a_tick_runs_the_function_once_and_is_remembered() {
    as_ordinary_user(|| async {
        let (executor, seen) = recording();
        let bench = Bench::new(executor).await;
        // A gate is for callers, not for the clock.
        bench.deploy(with([("f", FunctionState { require_auth: true, ..scheduled("*/5 * * * *") })]));
        bench.functions.sync(&PROJECT.parse().unwrap()).await.unwrap();
        bench.functions.take_ticks().await.unwrap();
        assert!(seen.lock().unwrap().is_empty(), "not due yet");
        bench.advance(301);
        bench.functions.take_ticks().await.unwrap();
        bench.functions.take_ticks().await.unwrap();
        let meta = until_run(&bench, "f", 1).await;
        assert_eq!((&meta["last_status"], &meta["next_run_at"]), (&json!(200), &json!("2026-06-19T10:10:00.000Z")));
        assert!(meta.get("last_error").is_none() && meta["last_run_at"].is_string());
        let expected = json!({"trigger": "cron", "scheduled_at": "2026-06-19T10:05:00.000Z"});
        assert_eq!(*seen.lock().unwrap(), [("cron".to_owned(), expected)]);
        bench.stop().await;
    });
}

#[test]
fn missed_ticks_are_skipped_and_failures_not_repeated() {
    as_ordinary_user(|| async {
        let bench = Bench::new(script(|_, _| Err(FunctionFailure::OutOfMemory))).await;
        bench.deploy(with([("f", scheduled("*/5 * * * *"))]));
        bench.functions.sync(&PROJECT.parse().unwrap()).await.unwrap();
        bench.advance(3600);
        bench.functions.take_ticks().await.unwrap();
        assert_eq!(meta(&bench, "f").await, json!({"run_count": 0, "next_run_at": "2026-06-19T11:05:00.000Z"}));
        bench.advance(300);
        bench.functions.take_ticks().await.unwrap();
        let meta = until_run(&bench, "f", 1).await;
        assert_eq!((&meta["last_status"], &meta["last_error"]), (&json!(500), &json!("the function is out of memory")));
        bench.functions.take_ticks().await.unwrap();
        assert_eq!(until_run(&bench, "f", 1).await, meta);
        bench.stop().await;
    });
}

#[test]
fn schedules_follow_the_release_and_keep_what_is_known_of_their_runs() {
    as_ordinary_user(|| async {
        let (executor, _) = recording();
        let bench = Bench::new(executor).await;
        let stop = CancellationToken::new();
        let following = tokio::spawn(Arc::clone(&bench.functions).follow_releases(stop.clone()));
        tokio::task::yield_now().await;
        bench.deploy(with([("f", scheduled("*/5 * * * *"))]));
        let count = async || {
            let connection = bench.database.get().await.unwrap();
            let row = connection.query_one("select count(*) from function_schedules", &[]).await.unwrap();
            row.get::<_, i64>(0)
        };
        eventually(|| async { (count().await == 1).then_some(()) }).await;
        bench.advance(300);
        bench.functions.take_ticks().await.unwrap();
        until_run(&bench, "f", 1).await;
        bench.deploy(with([("f", scheduled("*/10 * * * *"))]));
        let changed = eventually(|| async {
            let meta = meta(&bench, "f").await;
            (meta["next_run_at"] == "2026-06-19T10:10:00.000Z").then_some(meta)
        })
        .await;
        assert_eq!(changed["run_count"], 1);
        bench.deploy(with([("f", plain())]));
        eventually(|| async { (count().await == 0).then_some(()) }).await;
        stop.cancel();
        following.await.unwrap();
        bench.stop().await;
    });
}

#[test]
fn a_manual_trigger_answers_what_the_function_did() {
    as_ordinary_user(|| async {
        let (executor, seen) = recording();
        let bench = Bench::new(executor).await;
        bench.deploy(with([("f", plain())]));
        let answer = bench.functions.trigger(bench.project(), "f", 0).await.unwrap_or_else(|_| panic!("it ran"));
        assert_eq!(serde_json::to_value(answer).unwrap(), json!({"status": 200, "body": {"done": true}}));
        assert_eq!(seen.lock().unwrap()[0].0, "manual");
        assert!(bench.functions.trigger(bench.project(), "nope", 0).await.is_err());
        bench.stop().await;
    });
}

#[test]
fn a_sign_up_calls_its_hook_if_there_is_one() {
    as_ordinary_user(|| async {
        let (executor, seen) = recording();
        let bench = Bench::new(executor).await;
        let user = json!({"id": "u", "email": "a@b.c", "created_at": "2026-06-19T10:00:00Z"});
        bench.functions.signed_up(&PROJECT.parse().unwrap(), user.clone());
        bench.deploy(with([("on-signup", plain())]));
        bench.functions.signed_up(&PROJECT.parse().unwrap(), user.clone());
        let calls = eventually(|| async {
            let seen = seen.lock().unwrap().clone();
            (!seen.is_empty()).then_some(seen)
        })
        .await;
        assert_eq!(calls.first(), Some(&("signup".to_owned(), json!({"user": user}))));
        bench.stop().await;
    });
}
