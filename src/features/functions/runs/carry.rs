//! A run carried to its end (contract 05 §6.3): the handler of the queue.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Attempt, Run, Status, service::error};
use crate::{
    common::{ApiError, ApiResult, ProjectId, Timestamp},
    engines::queue::{Handler, Job, Outcome},
    features::{
        functions::{
            error::FunctionError,
            executor::{FunctionFailure, FunctionResponse, InvocationKind},
            service::{Call, Functions, RunTag},
            slots::Place,
            store,
        },
        projects::Project,
        releases::ServedRelease,
    },
};

/// Until a run is looked at again that cannot go on.
const BLOCKED: SignedDuration = SignedDuration::from_secs(30);
/// Until a run is looked at again that found no place.
const NO_PLACE: SignedDuration = SignedDuration::from_millis(500);

/// Carries runs.
pub(in crate::features::functions) struct Carrier(pub Arc<Functions>);

/// What a run needs to go on.
struct Ready {
    project: Arc<Project>,
    release: Arc<ServedRelease>,
    place: Place,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub status: Option<i32>,
    /// None: it succeeded.
    pub error: Option<Value>,
    pub retryable: bool,
}

impl Handler for Carrier {
    fn handle(&self, job: Job) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let id = job.payload["run_id"].as_str().unwrap_or_default();
            let generation = job.payload["generation"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            match self.carry(id, generation).await {
                Ok(outcome) => outcome,
                // The database: nothing was decided.
                Err(error) => Outcome::Retry(error.to_string()),
            }
        })
    }
}

impl Carrier {
    async fn carry(&self, id: &str, generation: u32) -> ApiResult<Outcome> {
        let functions = &self.0;
        let found = store::runs::find(&**functions.connection().await?, id).await?;
        let Some(run) = found.filter(|run| is_current(run, generation)) else { return Ok(Outcome::Done) };
        let now = functions.clock.now();
        if run.status == Status::Running {
            return self.lost(id, generation).await;
        }
        if run.expires_at.is_some_and(|expires| expires <= now) {
            let expire = |run: &mut Run| {
                run.status = Status::Expired;
                run.last_error = Some(error("FUNCTION_RUN_EXPIRED", "The run expired before it succeeded.", false));
                run.next_attempt_at = None;
                run.completed_at = Some(now);
            };
            self.change(id, generation, expire).await?;
            return Ok(Outcome::Done);
        }
        let due = run.next_attempt_at.unwrap_or(run.run_at);
        if due > now {
            return Ok(Outcome::Again(due));
        }
        // No connection is held meanwhile: what this asks for takes one of its own.
        let ready = match self.ready(&run.project, &run.function).await {
            Ok(Some(ready)) => ready,
            Ok(None) => return Ok(Outcome::Again(now.plus(NO_PLACE))),
            Err(reason) => {
                let block = |run: &mut Run| {
                    run.status = Status::Blocked;
                    run.last_error = Some(error("FUNCTION_RUN_BLOCKED", &reason, true));
                };
                self.change(id, generation, block).await?;
                return Ok(Outcome::Again(now.plus(BLOCKED)));
            }
        };
        let Some((run, attempt)) = self.begin(id, generation).await? else { return Ok(Outcome::Done) };
        let answer = self.attempt(ready, &run, &attempt).await;
        self.finish(&run, attempt, &judge(answer)).await
    }

    /// Changes a run that is still current. None: it is not.
    async fn change<T>(
        &self,
        id: &str,
        generation: u32,
        change: impl FnOnce(&mut Run) -> T,
    ) -> ApiResult<Option<(Run, T)>> {
        let functions = &self.0;
        let mut connection = functions.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let run = store::runs::lock(&tx, id).await?.filter(|run| is_current(run, generation));
        let Some(mut run) = run else { return Ok(None) };
        let answer = change(&mut run);
        store::runs::update(&tx, &run, functions.clock.now()).await?;
        tx.commit().await?;
        Ok(Some((run, answer)))
    }

    /// Whoever ran it is gone; that attempt counts.
    async fn lost(&self, id: &str, generation: u32) -> ApiResult<Outcome> {
        let functions = &self.0;
        let now = functions.clock.now();
        let lost = error("FUNCTION_RUN_LEASE_EXPIRED", "The process ended while the run was under way.", true);
        let verdict = Verdict { status: None, error: Some(lost), retryable: true };
        let mut connection = functions.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let run = store::runs::lock(&tx, id).await?.filter(|run| is_current(run, generation));
        let Some(mut run) = run else { return Ok(Outcome::Done) };
        let outcome = settle(&mut run, &verdict, now);
        if let Some(attempt) = &run.last_attempt {
            store::runs::end_attempt(&tx, attempt).await?;
        }
        store::runs::update(&tx, &run, now).await?;
        tx.commit().await?;
        Ok(outcome)
    }

    /// The attempt is durable before it is made. None: the run was cancelled or driven again at this moment.
    async fn begin(&self, id: &str, generation: u32) -> ApiResult<Option<(Run, Attempt)>> {
        let functions = &self.0;
        let now = functions.clock.now();
        let mut connection = functions.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let run = store::runs::lock(&tx, id).await?;
        let run = run.filter(|run| is_current(run, generation) && run.status != Status::Running);
        let Some(mut run) = run else { return Ok(None) };
        run.attempts += 1;
        run.attempts_total += 1;
        run.status = Status::Running;
        run.next_attempt_at = None;
        let attempt = Attempt {
            id: format!("fnatt_{}", hex::encode(rand::random::<[u8; 12]>())),
            number: run.attempts,
            started_at: now,
            completed_at: None,
            response_status: None,
            error: None,
        };
        store::runs::begin_attempt(&tx, &run.id, run.generation, &attempt).await?;
        store::runs::update(&tx, &run, now).await?;
        tx.commit().await?;
        Ok(Some((run, attempt)))
    }

    /// Err: why the run cannot go on now. None: all places are taken.
    async fn ready(&self, project: &ProjectId, function: &str) -> Result<Option<Ready>, String> {
        let functions = &self.0;
        let release = functions.release_with(project, function).await.map_err(|error| match error {
            FunctionError::NotFound => "The function is not deployed.".to_owned(),
            error => error.to_string(),
        })?;
        let place = functions.slots.try_take(project, 0).map_err(|error| error.to_string())?;
        let Some(place) = place else { return Ok(None) };
        // Counts as a call, so it comes last.
        let project = functions.runnable(project).await?;
        Ok(Some(Ready { project, release, place }))
    }

    async fn attempt(&self, ready: Ready, run: &Run, attempt: &Attempt) -> Result<FunctionResponse, FunctionError> {
        let functions = &self.0;
        let body = json!({
            "trigger": "function_run",
            "run_id": run.id,
            "generation": run.generation,
            "event_type": run.event_type,
            "idempotency_key": run.idempotency_key,
            "run_at": run.run_at,
            "attempt": {"attempt_id": attempt.id, "number": attempt.number, "max": run.retry.max_attempts},
            "source": run.source,
            "payload": run.payload,
        });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let pattern = format!("function_run:{}", run.function);
        for (name, value) in [
            ("x-run402-trigger", "function_run"),
            ("x-run402-run-id", &*run.id),
            ("x-run402-attempt-id", &*attempt.id),
            ("x-run402-idempotency-key", &*run.idempotency_key),
            ("x-run402-route-pattern", &*pattern),
        ] {
            // A key may hold characters beyond ASCII, which a header carries as bytes.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(name, value);
            }
        }
        let call = Call {
            project: ready.project,
            release: ready.release,
            function: run.function.clone(),
            kind: InvocationKind::FunctionRun,
            request_id: run.id.clone(),
            method: Method::POST,
            url: format!("{}/functions/v1/{}", functions.api_base, run.function),
            host: functions.api_host.clone(),
            headers,
            body: Bytes::from(body.to_string()),
            route: None,
            actor: None,
            depth: 0,
            run: Some(RunTag {
                run_id: run.id.clone(),
                attempt_id: attempt.id.clone(),
                idempotency_key: run.idempotency_key.clone(),
            }),
        };
        functions.call_in(ready.place, call).await
    }

    /// Writes down what came of the attempt, unless the run was cancelled or driven again meanwhile.
    async fn finish(&self, begun: &Run, mut attempt: Attempt, result: &Verdict) -> ApiResult<Outcome> {
        let functions = &self.0;
        let now = functions.clock.now();
        let mut connection = functions.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let run = store::runs::lock(&tx, &begun.id).await?;
        attempt.completed_at = Some(now);
        attempt.response_status = result.status;
        attempt.error.clone_from(&result.error);
        store::runs::end_attempt(&tx, &attempt).await?;
        let current = run.filter(|run| {
            run.status == Status::Running && run.generation == begun.generation && run.attempts == begun.attempts
        });
        let outcome = match current {
            None => Outcome::Done,
            Some(mut run) => {
                let outcome = settle(&mut run, result, now);
                store::runs::update(&tx, &run, now).await?;
                outcome
            }
        };
        tx.commit().await?;
        Ok(outcome)
    }
}

/// Whether a job of this generation still has something to do.
fn is_current(run: &Run, generation: u32) -> bool {
    run.generation == generation && !run.status.is_terminal()
}

/// What a run is after an attempt.
pub(super) fn settle(run: &mut Run, result: &Verdict, now: Timestamp) -> Outcome {
    if let Some(attempt) = &mut run.last_attempt
        && attempt.completed_at.is_none()
    {
        attempt.completed_at = Some(now);
        attempt.response_status = result.status;
        attempt.error.clone_from(&result.error);
    }
    run.next_attempt_at = None;
    run.last_error.clone_from(&result.error);
    let Some(_) = &result.error else {
        run.status = Status::Succeeded;
        run.completed_at = Some(now);
        return Outcome::Done;
    };
    if result.retryable && run.attempts < run.retry.max_attempts {
        let next = now.plus(SignedDuration::from_secs(i64::from(run.retry.delay(run.attempts))));
        run.status = Status::Retrying;
        run.next_attempt_at = Some(next);
        return Outcome::Again(next);
    }
    run.status = Status::Failed;
    run.completed_at = Some(now);
    Outcome::Done
}

/// What an answer means for the run: the function's word `retryable`, else 429 and 5xx are worth another attempt.
pub(super) fn judge(answer: Result<FunctionResponse, FunctionError>) -> Verdict {
    let failed = |status: Option<i32>, code: &str, message: &str, retryable| Verdict {
        status,
        error: Some(error(code, message, retryable)),
        retryable,
    };
    match answer {
        Ok(answer) if answer.status.is_success() => {
            Verdict { status: Some(i32::from(answer.status.as_u16())), error: None, retryable: false }
        }
        Ok(answer) => {
            let status = answer.status.as_u16();
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
            let word = |name: &str| body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            let code = word("error").or_else(|| word("code")).unwrap_or_else(|| format!("FUNCTION_RUN_HTTP_{status}"));
            let message = word("message").unwrap_or_else(|| format!("The function answered {}.", answer.status));
            let retryable = body["retryable"].as_bool().unwrap_or(status == 429 || status >= 500);
            failed(Some(i32::from(status)), &short(&code), &short(&message), retryable)
        }
        Err(FunctionError::Failed(FunctionFailure::Platform(_))) | Err(FunctionError::Other(_)) => {
            failed(None, "FUNCTION_RUN_PLATFORM_ERROR", "The platform could not run the function.", true)
        }
        Err(error) => {
            let error = ApiError::from(error);
            let status = error.status().as_u16();
            let retryable = status == 429 || status >= 500;
            failed(Some(i32::from(status)), error.code(), error.message(), retryable)
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::features::functions::executor::Thrown;

    fn answered(status: u16, body: &str) -> Result<FunctionResponse, FunctionError> {
        Ok(FunctionResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
            cache_bypass_tainted: false,
            cold: false,
        })
    }

    #[test]
    fn the_functions_word_decides_and_else_the_status() {
        let cases = [
            (answered(200, ""), None),
            (answered(204, ""), None),
            (answered(500, "boom"), Some(("FUNCTION_RUN_HTTP_500", true))),
            (answered(429, ""), Some(("FUNCTION_RUN_HTTP_429", true))),
            (answered(400, ""), Some(("FUNCTION_RUN_HTTP_400", false))),
            (answered(302, ""), Some(("FUNCTION_RUN_HTTP_302", false))),
            (answered(500, r#"{"error":"no","retryable":false}"#), Some(("no", false))),
            (answered(400, r#"{"code":"later","retryable":true}"#), Some(("later", true))),
            (answered(400, r#"{"retryable":"yes"}"#), Some(("FUNCTION_RUN_HTTP_400", false))),
            (Err(FunctionError::Failed(FunctionFailure::Timeout)), Some(("FUNCTION_TIMEOUT", true))),
            (
                Err(FunctionError::Failed(FunctionFailure::Platform("x".into()))),
                Some(("FUNCTION_RUN_PLATFORM_ERROR", true)),
            ),
            (
                Err(FunctionError::Failed(FunctionFailure::Threw(Thrown {
                    name: "Error".into(),
                    message: "secret".into(),
                    stack: String::new(),
                }))),
                Some(("FUNCTION_RUNTIME_ERROR", true)),
            ),
        ];
        for (answer, expected) in cases {
            let said = format!("{answer:?}");
            let verdict = judge(answer);
            let seen = verdict.error.as_ref().map(|error| (error["code"].as_str().unwrap(), verdict.retryable));
            assert_eq!(seen, expected, "{said}");
            assert!(!format!("{:?}", verdict.error).contains("secret"));
        }
    }
}
