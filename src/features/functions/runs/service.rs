//! Runs made, seen, cancelled and driven again (contract 05 §6.1-6.2).

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio_postgres::Transaction;

use super::{CreateRun, Handle, KIND, ListRuns, Redrive, Run, RunList, Status, types::next_actions};
use crate::{
    common::{ApiError, ApiResult, Page, ProjectId, Timestamp},
    engines::{
        postgres::DatabaseError,
        queue::{NewJob, Queue},
    },
    features::{
        functions::{
            error::FunctionError,
            logs::{self, Filter, LogQuery},
            service::Functions,
            store,
            types::Logs,
        },
        projects::Project,
    },
};

impl Functions {
    /// The project of a service key, in `Authorization` or `apikey`.
    ///
    /// # Errors
    /// 401, 403 for an anon key or a user's token.
    pub(in crate::features::functions) fn run_caller(&self, headers: &HeaderMap) -> ApiResult<Arc<Project>> {
        let is_user = |project: &Arc<Project>| self.user(project, headers).is_some();
        let keyed = self.identity.project_key(headers);
        if keyed.is_err()
            && let Some(apikey) = headers.get("apikey").and_then(|value| value.to_str().ok())
            && let Some(key) = self.identity.verify_project_key(apikey)
            && self.projects.live(&key.project).as_ref().is_some_and(is_user)
        {
            return Err(ApiError::forbidden(
                "ADMIN_REQUIRED",
                "Runs need the project's service key, not a user's token.",
            ));
        }
        let key = keyed?.ok_or_else(|| {
            ApiError::authentication_required("Send the project's service key as Authorization: Bearer <key>.")
        })?;
        let project = self.projects.serving(&key)?;
        self.projects.of_service_key(&key, project.id.as_str())
    }

    /// Makes a run, or finds the one that the key made. True: it is new.
    ///
    /// # Errors
    /// [`FunctionError::NotFound`], 409 `function_run_idempotency_conflict`.
    pub(in crate::features::functions) async fn create_run(
        &self,
        project: &Project,
        function: &str,
        wanted: CreateRun,
    ) -> Result<(bool, Handle), FunctionError> {
        self.release_with(&project.id, function).await?;
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let run = new_run(&project.id, function, wanted, now);
        let is_new = add(&tx, &run, now).await?;
        if is_new {
            tx.commit().await?;
            self.queue.wake();
            return Ok((true, run.handle(now, false)));
        }
        let known = store::runs::by_key(&tx, &project.id, function, &run.idempotency_key).await?;
        let Some(known) = known else {
            return Err(ApiError::conflict("CONFLICT", "The run was removed at this moment. Try again.").into());
        };
        if known.intent != run.intent {
            return Err(conflict(&known.id, known.status_at(now)).into());
        }
        Ok((false, known.handle(now, true)))
    }

    /// # Errors
    /// 400; 404 is not told from none, because runs outlive their function.
    pub(in crate::features::functions) async fn runs(
        &self,
        project: &Project,
        function: &str,
        query: &ListRuns,
    ) -> ApiResult<RunList> {
        let wanted = query.parse()?;
        let now = self.clock.now();
        let connection = self.connection().await?;
        let runs = store::runs::list(&connection, &project.id, function, &wanted, now).await?;
        let page = Page::from_fetched(runs, wanted.limit, |run| (run.created_at.0, run.id.clone()));
        let runs = page.rows.iter().map(|run| run.handle(now, false)).collect();
        Ok(RunList { runs, next_cursor: page.next_cursor })
    }

    /// # Errors
    /// 404 `function_run_not_found`.
    pub(in crate::features::functions) async fn run_of(&self, project: &Project, id: &str) -> ApiResult<Handle> {
        let connection = self.connection().await?;
        let run = store::runs::find(&**connection, id).await?.filter(|run| run.project == project.id);
        run.map(|run| run.handle(self.clock.now(), false)).ok_or_else(unknown)
    }

    /// # Errors
    /// 404 `function_run_not_found`.
    pub(in crate::features::functions) async fn run_logs(
        &self,
        project: &Project,
        id: &str,
        mut query: LogQuery,
    ) -> ApiResult<Logs> {
        self.run_of(project, id).await?;
        if !matches!(query.filter, Some(Filter::Attempt(_))) {
            query.filter = Some(Filter::Run(id.to_owned()));
        }
        let mut logs = logs::find(&self.control, &project.id, None, &query).await?;
        // An attempt of another run is none of this one's.
        logs.retain(|entry| entry.request_id == id);
        Ok(Logs { logs })
    }

    /// Ends a run that has not ended; one under way runs on, its result counts for nothing.
    ///
    /// # Errors
    /// 404 `function_run_not_found`.
    pub(in crate::features::functions) async fn cancel_run(&self, project: &Project, id: &str) -> ApiResult<Handle> {
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let run = store::runs::lock(&tx, id).await?.filter(|run| run.project == project.id);
        let mut run = run.ok_or_else(unknown)?;
        if !run.status.is_terminal() {
            cancel(&tx, &mut run, now).await?;
            tx.commit().await?;
        }
        Ok(run.handle(now, false))
    }

    /// Begins a failed, cancelled or expired run anew, now.
    ///
    /// # Errors
    /// 404 `function_run_not_found`.
    pub(in crate::features::functions) async fn redrive_run(
        &self,
        project: &Project,
        id: &str,
        wanted: &Redrive,
    ) -> ApiResult<Handle> {
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let run = store::runs::lock(&tx, id).await?.filter(|run| run.project == project.id);
        let mut run = run.ok_or_else(unknown)?;
        if matches!(run.status, Status::Failed | Status::Cancelled | Status::Expired) {
            run.status = Status::Queued;
            run.generation += 1;
            run.run_at = now;
            run.expires_at = None;
            run.attempts = 0;
            run.next_attempt_at = None;
            run.completed_at = None;
            run.retry = wanted.retry.unwrap_or(run.retry);
            run.updated_at = now;
            store::runs::update(&tx, &run, now).await?;
            enqueue(&tx, &run, now).await?;
            tx.commit().await?;
            self.queue.wake();
        }
        Ok(run.handle(now, false))
    }

    /// Every unfinished run of a function that was deleted.
    pub(in crate::features::functions) async fn cancel_runs_of(
        &self,
        project: &ProjectId,
        function: &str,
    ) -> ApiResult<()> {
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        for id in store::runs::unfinished(&tx, project, function).await? {
            if let Some(mut run) = store::runs::lock(&tx, &id).await?
                && !run.status.is_terminal()
            {
                cancel(&tx, &mut run, now).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }
}

fn new_run(project: &ProjectId, function: &str, wanted: CreateRun, now: Timestamp) -> Run {
    Run {
        id: format!("fnrun_{}", hex::encode(rand::random::<[u8; 12]>())),
        project: project.clone(),
        function: function.to_owned(),
        idempotency_key: wanted.idempotency_key,
        intent: wanted.intent,
        event_type: wanted.event_type,
        payload: wanted.payload,
        source: wanted.source,
        retry: wanted.retry,
        status: Status::Queued,
        generation: 1,
        run_at: wanted.run_at,
        expires_at: wanted.expires_at,
        attempts: 0,
        attempts_total: 0,
        next_attempt_at: None,
        last_error: None,
        created_at: now,
        updated_at: now,
        completed_at: None,
        last_attempt: None,
    }
}

/// The run and the job that carries it, in one transaction. False: its key is taken.
async fn add(tx: &Transaction<'_>, run: &Run, now: Timestamp) -> Result<bool, DatabaseError> {
    if !store::runs::insert(tx, run).await? {
        return Ok(false);
    }
    enqueue(tx, run, now).await?;
    Ok(true)
}

async fn enqueue(tx: &Transaction<'_>, run: &Run, now: Timestamp) -> Result<(), DatabaseError> {
    let payload = json!({"run_id": run.id, "generation": run.generation});
    let key = job_key(run);
    let job = NewJob { kind: KIND, key: Some(&key), payload, run_at: run.run_at };
    Queue::add(tx, &job, now).await?;
    Ok(())
}

fn job_key(run: &Run) -> String {
    format!("{}:{}", run.id, run.generation)
}

async fn cancel(tx: &Transaction<'_>, run: &mut Run, now: Timestamp) -> Result<(), DatabaseError> {
    run.status = Status::Cancelled;
    run.last_error = Some(error("FUNCTION_RUN_CANCELLED", "The run was cancelled.", false));
    run.next_attempt_at = None;
    run.completed_at = Some(now);
    run.updated_at = now;
    store::runs::update(tx, run, now).await?;
    Queue::take_back(tx, KIND, &job_key(run)).await?;
    Ok(())
}

/// `last_error`, and the error of an attempt.
pub(super) fn error(code: &str, message: &str, retryable: bool) -> Value {
    json!({"code": code, "message": message, "retryable": retryable})
}

fn unknown() -> ApiError {
    ApiError::not_found("function_run_not_found", "There is no such run in this project.")
}

/// 409 `function_run_idempotency_conflict`
fn conflict(known: &str, status: Status) -> ApiError {
    let message = "This idempotency key made a run with another intent. Use another key, or look at that run.";
    let mut actions = Vec::new();
    for action in next_actions(known, status) {
        let mut action = action;
        action["action"] = action["type"].clone();
        actions.push(action);
    }
    ApiError::new(StatusCode::CONFLICT, "function_run_idempotency_conflict", message)
        .detail("run_id", known)
        .extra("next_actions", Value::Array(actions))
}
