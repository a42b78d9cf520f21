//! The rules around a call: quota, session, deadline, clean-up.
//!
//! A call runs in a task of its own. If the client goes away, the task is told to stop: it cancels the query, waits
//! until the transaction is gone, and announces a schema change if the commit had already happened. So neither a
//! running query nor a dirty session nor a stale catalog is ever left behind.

use std::{pin::pin, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{CancelToken, NoTls};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    common::{ApiError, ApiResult},
    engines::postgres::Connection,
    features::projects::{Project, Projects},
};

use super::{
    blocklist::Blocked,
    error::{Circumstances, Failure},
    execute::{Call, Outcome},
    introspect::{IntrospectError, introspect},
    script::{Mode, Reading, Refusal, Script, read},
    store,
    types::{SchemaDocument, SqlAnswer, SqlRequest, SqlSettings},
};

/// Between the cancellation of a query and the end of its session (contract 02 §3.3).
const GRACE: Duration = Duration::from_secs(5);

/// A cancellation that arrives between two statements is lost, so it is repeated.
const CANCEL_INTERVAL: Duration = Duration::from_millis(250);

/// `statement_timeout` fires at about our own deadline; one of them wins by this much at most.
const TIMER_SLACK: Duration = Duration::from_millis(250);

/// Texts above this size are read off the reactor.
const LARGE_TEXT: usize = 64 * 1024;

/// Raw SQL and schema introspection.
pub struct Sql {
    projects: Arc<Projects>,
    settings: SqlSettings,
}

impl Sql {
    pub fn new(projects: Arc<Projects>, settings: SqlSettings) -> Self {
        Self { projects, settings }
    }

    /// Limits in force.
    pub fn settings(&self) -> &SqlSettings {
        &self.settings
    }

    /// Counts a call whose request could not be read (every call counts, contract 02 §2.3).
    ///
    /// # Errors
    /// Those of [`Projects::meter`].
    pub fn count_unreadable(&self, project: &Project) -> ApiResult<()> {
        self.projects.meter(project, false)
    }

    /// Runs a call as the project's owner role.
    ///
    /// # Errors
    /// 400 `VALIDATION_ERROR`, `SQL_ERROR`, `RESULT_TOO_LARGE`; 403 `FORBIDDEN` (blocked), `QUOTA_EXCEEDED`;
    /// 408 `SQL_TIMEOUT`; 409 `SQL_CONFLICT`; 429; 503 `SERVICE_UNAVAILABLE` (contract 02 §4.4, §4.5).
    pub async fn execute(&self, project: &Arc<Project>, request: SqlRequest) -> ApiResult<SqlAnswer> {
        let request = Arc::new(request);
        let reading = read_off_reactor(&request).await?;
        self.projects.meter(project, reading.grows)?;
        let script = reading.script.map_err(|refusal| refusal.into_api_error(&request.sql))?;

        let stop = CancellationToken::new();
        let (answer, answered) = oneshot::channel();
        let job = Job {
            projects: Arc::clone(&self.projects),
            project: Arc::clone(project),
            settings: self.settings.clone(),
            request,
            script,
            stop: stop.clone(),
        };
        tokio::spawn(job.run(answer).in_current_span());
        let _stop_if_dropped = stop.drop_guard();
        answered.await.map_err(ApiError::internal)?
    }

    /// The tables of a project. Not metered.
    ///
    /// # Errors
    /// 503 `SERVICE_UNAVAILABLE`; 500.
    pub async fn schema(&self, project: &Project) -> ApiResult<SchemaDocument> {
        let mut platform = self.projects.platform_session(project).await?;
        introspect(&mut platform, &project.slot.to_string()).await.map_err(|error| match error {
            IntrospectError::Database(error) => error.into(),
            error @ IntrospectError::Document(_) => ApiError::internal(error),
        })
    }
}

async fn read_off_reactor(request: &Arc<SqlRequest>) -> ApiResult<Reading> {
    let with_parameters = !request.params.is_empty();
    if request.sql.len() < LARGE_TEXT {
        return Ok(read(&request.sql, with_parameters));
    }
    let request = Arc::clone(request);
    tokio::task::spawn_blocking(move || read(&request.sql, with_parameters)).await.map_err(ApiError::internal)
}

/// A call in its own task.
struct Job {
    projects: Arc<Projects>,
    project: Arc<Project>,
    settings: SqlSettings,
    request: Arc<SqlRequest>,
    script: Script,
    stop: CancellationToken,
}

/// Why a call ended before its statements did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    Deadline,
    /// The client went away.
    Abandoned,
}

impl Job {
    /// Runs the call, answers, and only then cleans the session.
    async fn run(self, answer: oneshot::Sender<ApiResult<SqlAnswer>>) {
        let session = tokio::select! {
            session = self.projects.owner_session(&self.project) => session,
            () = self.stop.cancelled() => return,
        };
        let connection = match session {
            Ok(connection) => connection,
            Err(error) => {
                let _ = answer.send(Err(error.into()));
                return;
            }
        };
        let result = self.on(&connection).await;
        let reusable = result.is_ok() && !self.script.soils_session();
        // Nobody listens if the client went away.
        let _ = answer.send(result);
        if !reusable || !matches!(timeout(GRACE, store::clean_session(&connection)).await, Ok(Ok(()))) {
            connection.discard();
        }
    }

    async fn on(&self, connection: &Connection) -> ApiResult<SqlAnswer> {
        self.check_extensions(connection).await?;
        let started = Instant::now();
        let (result, interruption) = self.supervise(connection).await;
        match result {
            Ok(outcome) => {
                if outcome.schema_changed {
                    self.projects.bump_schema_version(&self.project);
                }
                Ok(SqlAnswer {
                    schema: self.project.slot.to_string(),
                    rows: outcome.rows,
                    row_count: outcome.row_count,
                    fields: outcome.fields,
                })
            }
            Err(failure) => {
                let ran_out =
                    interruption == Some(Interruption::Deadline) || started.elapsed() + TIMER_SLACK >= self.limit();
                let circumstances = Circumstances {
                    timed_out: ran_out.then_some(self.settings.timeout_seconds),
                    outside_transaction: self.script.mode == Mode::Alone,
                };
                if circumstances.outside_transaction || matches!(failure, Failure::Lost { committing: true, .. }) {
                    // It may have happened all the same.
                    self.projects.bump_schema_version(&self.project);
                }
                Err(failure.into_api_error(&self.request.sql, circumstances))
            }
        }
    }

    fn limit(&self) -> Duration {
        self.settings.timeout()
    }

    /// `CREATE EXTENSION IF NOT EXISTS` of what is installed does nothing and is let through.
    async fn check_extensions(&self, connection: &Connection) -> ApiResult<()> {
        if self.script.extensions.is_empty() {
            return Ok(());
        }
        let installed = store::installed_extensions(connection).await?;
        if self.script.extensions.iter().all(|name| installed.contains(name)) {
            return Ok(());
        }
        let refusal = Refusal::Blocked(Blocked::extension("CREATE"));
        let hint = format!("Extensions cannot be added. Installed are: {}.", installed.join(", "));
        Err(refusal.into_api_error(&self.request.sql).hint(hint))
    }

    /// Runs the statements under the deadline and under the client's eyes.
    async fn supervise(&self, connection: &Connection) -> (Result<Outcome, Failure>, Option<Interruption>) {
        let process = match store::backend_process(connection).await {
            Ok(process) => process,
            Err(error) => return (Err(Failure::around(error, false)), None),
        };
        let stop = CancellationToken::new();
        let call = Call {
            text: &self.request.sql,
            script: &self.script,
            params: &self.request.params,
            project: &self.project.id,
            settings: &self.settings,
            stop: &stop,
        };
        let mut run = pin!(call.run(connection));
        let interruption = tokio::select! {
            result = &mut run => return (result, None),
            () = sleep(self.limit()) => Interruption::Deadline,
            () = self.stop.cancelled() => Interruption::Abandoned,
        };
        stop.cancel();
        let result = tokio::select! {
            result = &mut run => result,
            () = cancel_for(connection.cancel_token(), GRACE) => {
                self.terminate(process).await;
                // The session is gone or will be with its socket; the transaction goes with it.
                timeout(GRACE, &mut run).await.unwrap_or(Err(Failure::Stopped))
            }
        };
        (result, Some(interruption))
    }

    async fn terminate(&self, process: i32) {
        let terminated = timeout(GRACE, async {
            let platform = self.projects.platform_session(&self.project).await?;
            store::terminate(&platform, process).await.map_err(ApiError::from)
        });
        match terminated.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(project = %self.project.id, %error, "could not end an SQL session"),
            Err(_) => tracing::warn!(project = %self.project.id, "ending an SQL session took too long"),
        }
    }
}

/// Cancels whatever the session runs, again and again, for so long.
async fn cancel_for(token: CancelToken, duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until {
        // One that does not get through is followed by the next.
        let _ = timeout(CANCEL_INTERVAL, token.cancel_query(NoTls)).await;
        sleep(CANCEL_INTERVAL).await;
    }
}

impl SqlRequest {
    /// Reads a request body (contract 02 §4.1): JSON `{sql|query, params?}`, or the SQL itself. Without a content
    /// type that decides, a JSON object with `sql` is taken as JSON and all else as SQL.
    ///
    /// # Errors
    /// 400 `VALIDATION_ERROR`.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> ApiResult<Self> {
        let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        let text = std::str::from_utf8(body).map_err(|_| ApiError::validation("sql", "The body is not UTF-8 text."))?;
        let request = if media_type.eq_ignore_ascii_case("application/json") {
            let value = serde_json::from_str(text)
                .map_err(|error| ApiError::validation("body", format!("The body is not valid JSON: {error}.")))?;
            Self::from_json(value)?
        } else if media_type.eq_ignore_ascii_case("text/plain") {
            Self { sql: text.into(), params: Vec::new() }
        } else {
            match serde_json::from_str(text) {
                Ok(value @ Value::Object(_)) if value.get("sql").is_some() => Self::from_json(value)?,
                _ => Self { sql: text.into(), params: Vec::new() },
            }
        };
        if request.sql.trim().is_empty() {
            return Err(ApiError::validation("sql", "The SQL is empty."));
        }
        if request.sql.contains('\0') {
            return Err(ApiError::validation("sql", "The SQL holds a NUL character."));
        }
        Ok(request)
    }

    fn from_json(value: Value) -> ApiResult<Self> {
        let Value::Object(mut object) = value else {
            return Err(ApiError::validation("body", "The body must be a JSON object with sql."));
        };
        let sql = object.remove("sql").or_else(|| object.remove("query"));
        let Some(Value::String(sql)) = sql else {
            return Err(ApiError::validation("sql", "sql must be a string."));
        };
        let params = match object.remove("params") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(params)) => params,
            Some(_) => return Err(ApiError::validation("params", "params must be an array.")),
        };
        Ok(Self { sql, params })
    }
}
