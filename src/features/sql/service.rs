//! The rules around a call: quota, session, deadline, clean-up.
//!
//! A call runs in a task of its own. If the client goes away, the task is told to stop: it cancels the query, waits
//! until the transaction is gone, and announces a schema change if the commit had already happened. So neither a
//! running query nor a dirty session nor a stale catalog is ever left behind.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    common::{ApiError, ApiResult},
    engines::postgres::Connection,
    features::projects::{Passage, Project, Projects},
};

use super::{
    blocklist::Blocked,
    error::{Circumstances, Failure},
    execute::{Call, Outcome},
    introspect::{IntrospectError, introspect},
    script::{Mode, Reading, Refusal, Script, read},
    store,
    supervise::{GRACE, Interruption, supervise},
    types::{SchemaDocument, SqlAnswer, SqlRequest, SqlSettings},
};

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
        let passage = self.projects.enter(project)?;

        let stop = CancellationToken::new();
        let (answer, answered) = oneshot::channel();
        let job = Job {
            projects: Arc::clone(&self.projects),
            project: Arc::clone(project),
            settings: self.settings.clone(),
            request,
            script,
            stop: stop.clone(),
            _passage: passage,
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
        let mut owner = self.projects.owner_session(project).await?;
        let document = introspect(&mut owner, &project.slot.to_string()).await;
        if document.is_err() || store::clean_session(&owner).await.is_err() {
            owner.discard();
        }
        document.map_err(|error| match error {
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
    _passage: Passage,
}

impl Job {
    /// Runs the call and answers. A session that can be used again is cleaned only then, so that nobody waits for it.
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
        if result.is_err() || self.script.soils_session() {
            // Before the answer: the driver may hold a large part of a result that was refused.
            connection.discard();
            // Nobody listens if the client went away.
            let _ = answer.send(result);
            return;
        }
        let _ = answer.send(result);
        if !matches!(timeout(GRACE, store::clean_session(&connection)).await, Ok(Ok(()))) {
            connection.discard();
        }
    }

    async fn on(&self, connection: &Connection) -> ApiResult<SqlAnswer> {
        self.check_extensions(connection).await?;
        let started = Instant::now();
        let (result, interruption) = self.supervised(connection).await;
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
                let ran_out = interruption == Some(Interruption::Deadline)
                    || started.elapsed() + TIMER_SLACK >= self.settings.timeout();
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
    async fn supervised(&self, connection: &Connection) -> (Result<Outcome, Failure>, Option<Interruption>) {
        let process = match store::backend_process(connection).await {
            Ok(process) => process,
            Err(error) => return (Err(Failure::around(error, false)), None),
        };
        let call = Call {
            text: &self.request.sql,
            script: &self.script,
            params: &self.request.params,
            project: &self.project.id,
            settings: &self.settings,
            stop: &CancellationToken::new(),
        };
        supervise(connection, &call, &self.stop, self.terminate(process)).await
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
