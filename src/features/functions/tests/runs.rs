use serde_json::json;

use super::*;
use crate::{
    engines::queue::{Handler, Job, Outcome},
    features::functions::{
        error::FunctionError,
        runs::{Carrier, CreateRun, Handle, Redrive, Status},
    },
};

async fn create(bench: &Bench, body: Value) -> Result<(bool, Handle), FunctionError> {
    let wanted = CreateRun::parse(body.to_string().as_bytes(), &HeaderMap::new(), bench.clock.now())?;
    bench.functions.create_run(&bench.project(), "w", wanted).await
}

async fn made(bench: &Bench, body: Value) -> Handle {
    create(bench, body).await.unwrap_or_else(|error| panic!("{error}")).1
}

/// The queue's part: hands a run over once.
async fn carry(bench: &Bench, run: &Handle) -> Outcome {
    let payload = json!({"run_id": run.run_id, "generation": run.generation});
    Carrier(Arc::clone(&bench.functions)).handle(Job { id: 1, key: None, payload, attempt: 1 }).await
}

async fn look(bench: &Bench, run: &Handle) -> Handle {
    bench.functions.run_of(&bench.project(), &run.run_id).await.unwrap()
}

/// Succeeds, unless the payload says otherwise.
fn worker() -> Script {
    script(|_, invocation| {
        let body: Value = serde_json::from_slice(&invocation.body).unwrap();
        assert_eq!(body["trigger"], "function_run");
        assert_eq!(invocation.headers["x-run402-run-id"], body["run_id"].as_str().unwrap());
        assert_eq!(invocation.headers["x-run402-attempt-id"], body["attempt"]["attempt_id"].as_str().unwrap());
        assert_eq!(invocation.request_id, body["run_id"].as_str().unwrap());
        match body["payload"]["fail"].as_str() {
            Some("later") => Ok(FunctionResponse {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                ..ok(r#"{"error":"not_yet","message":"Not yet.","retryable":true}"#)
            }),
            Some("never") => Ok(FunctionResponse { status: StatusCode::BAD_REQUEST, ..ok("no") }),
            _ => Ok(ok("")),
        }
    })
}

#[test]
fn a_run_is_made_once_for_its_key_and_carried_to_success() {
    as_ordinary_user(|| async {
        let bench = Bench::new(worker()).await;
        bench.deploy(with([("w", plain())]));
        let wish = json!({"event_type": "e", "idempotency_key": "k1"});
        let (is_new, run) = create(&bench, wish.clone()).await.unwrap_or_else(|_| panic!("made"));
        assert!(is_new && run.run_id.strip_prefix("fnrun_").is_some_and(|rest| rest.len() == 24));
        assert_eq!((run.status, run.generation), (Status::Queued, 1));
        let (is_new, again) = create(&bench, wish).await.unwrap_or_else(|_| panic!("found"));
        assert!(!is_new && again.run_id == run.run_id && again.deduplicated == Some(true));
        let other = json!({"event_type": "e", "idempotency_key": "k1", "payload": {"a": 1}});
        let error = crate::common::ApiError::from(create(&bench, other).await.unwrap_err());
        assert_eq!((error.status().as_u16(), error.code()), (409, "function_run_idempotency_conflict"));
        assert_eq!(carry(&bench, &run).await, Outcome::Done);
        let done = look(&bench, &run).await;
        assert_eq!((done.status, done.terminal), (Status::Succeeded, true));
        assert_eq!(done.attempts, json!({"current": 1, "max": 5, "total": 1}));
        assert_eq!(done.last_attempt.unwrap()["response_status"], 200);
        assert_eq!(carry(&bench, &run).await, Outcome::Done, "whoever comes again finds it done");
        assert_eq!(look(&bench, &run).await.attempts["total"], 1);
        bench.functions.logs.write(&bench.database).await;
        let query = LogQuery { tail: 10, since: None, filter: None };
        let logs = bench.functions.run_logs(&bench.project(), &run.run_id, query).await.unwrap();
        assert_eq!(logs.logs.len(), 2);
        bench.stop().await;
    });
}

#[test]
fn failures_are_repeated_with_growing_pauses_until_the_last_attempt() {
    as_ordinary_user(|| async {
        let bench = Bench::new(worker()).await;
        bench.deploy(with([("w", plain())]));
        let retry = json!({"max_attempts": 3, "min_delay_seconds": 10, "max_delay_seconds": 15});
        let run = made(
            &bench,
            json!({
                "event_type": "e", "idempotency_key": "k", "payload": {"fail": "later"}, "retry": retry,
            }),
        )
        .await;
        for pause in [10, 15] {
            let now = bench.clock.now();
            let next = now.plus(SignedDuration::from_secs(pause));
            assert_eq!(carry(&bench, &run).await, Outcome::Again(next));
            let seen = look(&bench, &run).await;
            assert_eq!(seen.status, Status::Retrying);
            assert_eq!(seen.attempts["next_attempt_at"], json!(next));
            assert_eq!(seen.last_error.unwrap()["code"], "not_yet");
            assert_eq!(carry(&bench, &run).await, Outcome::Again(next), "not before its time");
            bench.advance(pause);
        }
        assert_eq!(carry(&bench, &run).await, Outcome::Done);
        let failed = look(&bench, &run).await;
        assert_eq!((failed.status, &failed.attempts["current"]), (Status::Failed, &json!(3)));

        let hopeless = made(
            &bench,
            json!({
                "event_type": "e", "idempotency_key": "k2", "payload": {"fail": "never"},
            }),
        )
        .await;
        assert_eq!(carry(&bench, &hopeless).await, Outcome::Done);
        let hopeless = look(&bench, &hopeless).await;
        assert_eq!(hopeless.status, Status::Failed);
        assert_eq!(hopeless.last_error.unwrap()["code"], "FUNCTION_RUN_HTTP_400");
        bench.stop().await;
    });
}

#[test]
fn runs_wait_for_their_time_expire_and_are_blocked_without_their_function() {
    as_ordinary_user(|| async {
        let bench = Bench::new(worker()).await;
        bench.deploy(with([("w", plain())]));
        let later = made(&bench, json!({"event_type": "e", "idempotency_key": "later", "delay_seconds": 60})).await;
        assert_eq!(later.status, Status::Scheduled);
        assert_eq!(carry(&bench, &later).await, Outcome::Again(later.run_at));
        let short = made(
            &bench,
            json!({
                "event_type": "e", "idempotency_key": "short", "expires_at": "2026-06-19T10:00:30Z",
            }),
        )
        .await;
        bench.advance(60);
        assert_eq!(carry(&bench, &short).await, Outcome::Done);
        let expired = look(&bench, &short).await;
        assert_eq!(expired.status, Status::Expired);
        assert_eq!(expired.last_error.unwrap()["code"], "FUNCTION_RUN_EXPIRED");
        bench.deploy(with([("other", plain())]));
        assert!(matches!(carry(&bench, &later).await, Outcome::Again(_)));
        assert_eq!(look(&bench, &later).await.status, Status::Blocked);
        bench.deploy(with([("w", plain())]));
        assert_eq!(carry(&bench, &later).await, Outcome::Done);
        assert_eq!(look(&bench, &later).await.status, Status::Succeeded);
        bench.stop().await;
    });
}

#[test]
fn runs_can_be_cancelled_and_driven_again() {
    as_ordinary_user(|| async {
        let bench = Bench::new(worker()).await;
        bench.deploy(with([("w", plain())]));
        let run = made(&bench, json!({"event_type": "e", "idempotency_key": "k", "delay_seconds": 60})).await;
        let cancelled = bench.functions.cancel_run(&bench.project(), &run.run_id).await.unwrap();
        assert_eq!(cancelled.status, Status::Cancelled);
        assert_eq!(cancelled.last_error.unwrap()["code"], "FUNCTION_RUN_CANCELLED");
        let jobs = async || {
            let connection = bench.database.get().await.unwrap();
            connection.query_one("select count(*) from queue_jobs", &[]).await.unwrap().get::<_, i64>(0)
        };
        assert_eq!(jobs().await, 0, "nothing carries it any more");
        let again = bench.functions.cancel_run(&bench.project(), &run.run_id).await.unwrap();
        assert_eq!(again.status, Status::Cancelled);
        let driven = bench.functions.redrive_run(&bench.project(), &run.run_id, &Redrive::default()).await.unwrap();
        assert_eq!((driven.status, driven.generation), (Status::Queued, 2));
        assert_eq!(jobs().await, 1);
        assert_eq!(carry(&bench, &run).await, Outcome::Done, "the old generation is over");
        assert_eq!(look(&bench, &run).await.status, Status::Queued);
        assert_eq!(carry(&bench, &driven).await, Outcome::Done);
        let done = look(&bench, &run).await;
        assert_eq!((done.status, done.generation), (Status::Succeeded, 2));
        let unchanged = bench.functions.redrive_run(&bench.project(), &run.run_id, &Redrive::default()).await.unwrap();
        assert_eq!(unchanged.generation, 2);
        let waiting = made(&bench, json!({"event_type": "e", "idempotency_key": "k2", "delay_seconds": 60})).await;
        bench.functions.delete(&bench.project(), "w").await.unwrap_or_else(|_| panic!("deleted"));
        assert_eq!(look(&bench, &waiting).await.status, Status::Cancelled);
        bench.stop().await;
    });
}

#[test]
fn an_attempt_whose_process_died_counts_and_the_run_goes_on() {
    as_ordinary_user(|| async {
        let bench = Bench::new(worker()).await;
        bench.deploy(with([("w", plain())]));
        let run = made(&bench, json!({"event_type": "e", "idempotency_key": "k"})).await;
        let connection = bench.database.get().await.unwrap();
        connection
            .batch_execute(
                "update function_runs set status = 'running', attempts = 1, attempts_total = 1;
                 insert into function_run_attempts (id, run_id, generation, number, started_at)
                 select 'fnatt_0123456789abcdef01234567', id, 1, 1, created_at from function_runs;",
            )
            .await
            .unwrap();
        drop(connection);
        assert!(matches!(carry(&bench, &run).await, Outcome::Again(_)));
        let seen = look(&bench, &run).await;
        assert_eq!(seen.status, Status::Retrying);
        assert_eq!(seen.last_error.unwrap()["code"], "FUNCTION_RUN_LEASE_EXPIRED");
        assert!(seen.last_attempt.unwrap()["completed_at"].is_string());
        bench.advance(30);
        assert_eq!(carry(&bench, &run).await, Outcome::Done);
        let done = look(&bench, &run).await;
        assert_eq!((done.status, &done.attempts["current"]), (Status::Succeeded, &json!(2)));
        bench.stop().await;
    });
}

#[test]
fn runs_are_listed_newest_first_in_pages() {
    as_ordinary_user(|| async {
        let bench = Bench::new(worker()).await;
        bench.deploy(with([("w", plain())]));
        for number in 0..5 {
            made(
                &bench,
                json!({"event_type": format!("e{}", number % 2), "idempotency_key": number.to_string(),
                               "delay_seconds": if number == 4 { 60 } else { 0 }}),
            )
            .await;
            bench.advance(1);
        }
        let list = async |query: Value| {
            let query = serde_json::from_value(query).unwrap();
            let list = bench.functions.runs(&bench.project(), "w", &query).await.unwrap();
            (list.runs.iter().map(|run| run.event_type.clone()).collect::<Vec<_>>(), list.next_cursor)
        };
        let (first, cursor) = list(json!({"limit": "3"})).await;
        assert_eq!(first, ["e0", "e1", "e0"]);
        let (second, end) = list(json!({"limit": "3", "cursor": cursor})).await;
        assert_eq!((second.len(), end), (2, None));
        assert_eq!(list(json!({"status": "scheduled"})).await.0.len(), 1);
        assert_eq!(list(json!({"status": "queued"})).await.0.len(), 4);
        assert_eq!(list(json!({"event_type": "e1"})).await.0.len(), 2);
        assert_eq!(list(json!({"since": "2026-06-19T10:00:03Z"})).await.0.len(), 2);
        assert_eq!(list(json!({"until": "2026-06-19T10:00:03Z"})).await.0.len(), 3);
        bench.stop().await;
    });
}
