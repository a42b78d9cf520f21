//! Puts the stages on a project's database: snapshots, connections, deadlines.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};
use url::Url;

use super::{
    error::{NativeError, RestError},
    exchange::{Exchange, ExchangeSettings},
    plan::{Plan, PlanSettings},
    request::{ApiRequest, HttpRequest, Target},
    response::{self, openapi::Location},
    schema_cache::{
        build,
        cache::{Freshness, Snapshot, Snapshots},
        store::{LoadError, read_catalog},
    },
    store,
    token::{Caller, KeySource, Surface, Tokens},
};
use crate::{
    common::{ApiError, ApiResult, Clock, to_the_end},
    engines::postgres::{Canceller, Connection, DatabaseError, Pipeline},
    features::{
        identity::{Identity, KeyRole, ProjectKey},
        projects::{Project, Projects},
    },
};

/// Between the server's own statement timeout and ours, which user SQL cannot change (02 §3.3).
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);
/// Between the cancellation of a query and the end of its connection.
const GRACE: Duration = Duration::from_secs(5);
/// A cancellation that arrives between two statements is lost, so it is repeated.
const CANCEL_INTERVAL: Duration = Duration::from_millis(250);

/// Codes of names that were not found: a newer catalog may know them.
const NAME_NOT_FOUND: [&str; 4] = ["PGRST200", "PGRST202", "PGRST204", "PGRST205"];

/// The catalog is not read again for an unknown name when it was read so shortly before: whoever guesses names must
/// not keep the database busy.
const MISSES_APART: Duration = Duration::from_millis(250);

/// `rest.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestSettings {
    /// Wall clock of one statement, in seconds.
    pub statement_timeout_seconds: u64,
    /// Most rows one read or call returns at its top level. None: no limit.
    pub max_rows: Option<i64>,
    /// Whether `select` may aggregate.
    pub aggregates: bool,
    /// Most bytes of one request body.
    pub max_body_bytes: usize,
    /// Whether `Prefer: tx=rollback` is honoured.
    pub transaction_end: bool,
    /// Whether the root document is served.
    pub root_document: bool,
    /// Catalog snapshots kept in memory.
    pub schema_snapshots: usize,
}

impl Default for RestSettings {
    fn default() -> Self {
        Self {
            statement_timeout_seconds: 30,
            max_rows: None,
            aggregates: true,
            max_body_bytes: 10 * 1024 * 1024,
            transaction_end: false,
            root_document: true,
            schema_snapshots: 256,
        }
    }
}

/// What the data API is built on.
pub struct Dependencies {
    pub identity: Arc<Identity>,
    pub projects: Arc<Projects>,
    pub user_keys: Arc<dyn KeySource>,
    pub clock: Clock,
    /// For the root document.
    pub public_url: Url,
    pub settings: RestSettings,
}

/// The data API of every project.
pub struct Rest {
    tokens: Tokens,
    projects: Arc<Projects>,
    snapshots: Snapshots,
    /// The same for every database of the server.
    timezones: OnceCell<HashSet<String>>,
    public_url: Url,
    settings: RestSettings,
}

/// An HTTP request to the data API, its body not yet read.
pub struct Incoming {
    pub surface: Surface,
    pub method: Method,
    /// After the API prefix, percent-encoded.
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
}

impl Rest {
    pub fn new(parts: Dependencies) -> Self {
        Self {
            tokens: Tokens::new(parts.identity, parts.user_keys, parts.clock),
            projects: parts.projects,
            snapshots: Snapshots::new(parts.settings.schema_snapshots),
            timezones: OnceCell::new(),
            public_url: parts.public_url,
            settings: parts.settings,
        }
    }

    pub fn settings(&self) -> &RestSettings {
        &self.settings
    }

    /// Who calls which project; counts the call.
    ///
    /// # Errors
    /// Those of [`Tokens::caller`]; 401 `UNAUTHORIZED` for a purged project, 403 `PROJECT_ARCHIVED`,
    /// 403 `QUOTA_EXCEEDED`, 429 `RATE_LIMITED`.
    pub fn admit(&self, incoming: &Incoming) -> Result<(Arc<Caller>, Arc<Project>), RestError> {
        let caller = self.tokens.caller(&incoming.headers, incoming.surface)?;
        let project = self.serving(&caller)?;
        let grows = matches!(incoming.method.as_str(), "POST" | "PUT" | "PATCH");
        self.projects.meter(&project, grows)?;
        Ok((caller, project))
    }

    fn serving(&self, caller: &Caller) -> ApiResult<Arc<Project>> {
        // Only the project of the key matters here; the role was judged with the token.
        self.projects.serving(&ProjectKey { project: caller.project.clone(), role: KeyRole::Anon })
    }

    /// Answers an admitted request. Runs to its end even when the client goes away: its connection is in the
    /// middle of a transaction.
    ///
    /// # Errors
    /// See contract 02 §7.14.
    pub async fn serve(
        self: Arc<Self>,
        incoming: Incoming,
        body: Bytes,
        caller: Arc<Caller>,
        project: Arc<Project>,
    ) -> Result<Response, RestError> {
        to_the_end(async move { self.answer(incoming, &body, caller, &project).await }).await
    }

    async fn answer(
        &self,
        incoming: Incoming,
        body: &Bytes,
        caller: Arc<Caller>,
        project: &Project,
    ) -> Result<Response, RestError> {
        let started = Instant::now();
        let _passage = self.projects.enter(project)?;
        let target = Target::parse(&incoming.path)?;
        let mut request = ApiRequest::parse(HttpRequest {
            method: &incoming.method,
            target: &target,
            query: &incoming.query,
            headers: &incoming.headers,
            body,
            schema_label: project.slot.as_str(),
        })?;
        if target == Target::Root && !self.settings.root_document {
            return Err(
                NativeError::new(StatusCode::NOT_FOUND, "PGRST126", "Root endpoint metadata is disabled").into()
            );
        }
        if request.preferences.timezone.is_some() {
            let known = self.known_timezones(project).await?;
            request.preferences = request.preferences.with_known_timezone(|name| known.contains(&name.to_lowercase()));
        }
        let exchange = Exchange {
            settings: self.exchange_settings(incoming.surface),
            surface: incoming.surface,
            caller,
            method: incoming.method,
            path: format!("/{}", incoming.path.trim_start_matches('/')),
            headers: incoming.headers,
            request,
        };
        let (snapshot, plan) = self.plan(&exchange, project, started).await?;
        let first = self.perform(&exchange, &snapshot, &plan, project).await;
        match &first {
            // Names were there in our snapshot but not in the database: DDL came between. Nothing was sent yet.
            Err(error) if matches!(error.code(), "42P01" | "42883") => {
                if self.projects.schema_version(project) == snapshot.version {
                    return first;
                }
                let (snapshot, plan) = self.plan(&exchange, project, started).await?;
                self.perform(&exchange, &snapshot, &plan, project).await
            }
            _ => first,
        }
    }

    fn exchange_settings(&self, surface: Surface) -> ExchangeSettings {
        ExchangeSettings {
            plan: PlanSettings {
                aggregates: self.settings.aggregates,
                max_rows: self.settings.max_rows,
                explain: surface == Surface::Admin,
            },
            statement_timeout: Duration::from_secs(self.settings.statement_timeout_seconds),
            transaction_end: self.settings.transaction_end,
        }
    }

    /// Plans against the newest snapshot; a name it does not know is looked up in one read after the request
    /// arrived, for DDL that did not go through us.
    async fn plan(
        &self,
        exchange: &Exchange,
        project: &Project,
        started: Instant,
    ) -> Result<(Arc<Snapshot>, Plan), RestError> {
        let snapshot = self.snapshot(project, None).await?;
        match exchange.plan(&snapshot.cache) {
            Ok(plan) => Ok((snapshot, plan)),
            Err(error)
                if NAME_NOT_FOUND.contains(&error.code.as_ref())
                    && started.saturating_duration_since(snapshot.read_at) >= MISSES_APART =>
            {
                let snapshot = self.snapshot(project, Some(started)).await?;
                let plan = exchange.plan(&snapshot.cache)?;
                Ok((snapshot, plan))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn snapshot(&self, project: &Project, not_before: Option<Instant>) -> Result<Arc<Snapshot>, RestError> {
        let wanted = Freshness { version: self.projects.schema_version(project), not_before };
        let load = || async {
            let mut connection = self.connect(project).await?;
            match read_catalog(&mut connection).await {
                Ok(catalog) => Ok(build::build(catalog)),
                Err(error) => {
                    // Perhaps in the middle of its transaction.
                    connection.discard();
                    Err(not_loadable(&error).into())
                }
            }
        };
        self.snapshots.get(&project.id, wanted, load).await
    }

    async fn perform(
        &self,
        exchange: &Exchange,
        snapshot: &Snapshot,
        plan: &Plan,
        project: &Project,
    ) -> Result<Response, RestError> {
        match plan {
            Plan::Describe(methods) => Ok(response::allow(methods)),
            Plan::Root(format) => {
                let location = self.location(exchange);
                let mut connection = self.connect(project).await?;
                let canceller = connection.canceller();
                let work = exchange.root_document(&mut connection, &snapshot.cache, &location, &format.content_type);
                let result = self.within_deadline(project, &canceller, work).await;
                finish(connection, result)
            }
            Plan::Statement(plan) => {
                let mut connection = self.connect(project).await?;
                let canceller = connection.canceller();
                let work = exchange.execute(&mut connection, plan);
                let result = self.within_deadline(project, &canceller, work).await;
                finish(connection, result)
            }
        }
    }

    async fn connect(&self, project: &Project) -> Result<Connection<Pipeline>, RestError> {
        self.projects.rest_session(project).await.map_err(|error| match error {
            DatabaseError::Unavailable(_) => NativeError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "PGRST000",
                "Database connection error. Retrying the connection.",
            )
            .into(),
            DatabaseError::Exhausted => NativeError::new(
                StatusCode::GATEWAY_TIMEOUT,
                "PGRST003",
                "Timed out acquiring connection from connection pool.",
            )
            .into(),
            error @ (DatabaseError::Query(_) | DatabaseError::Pipeline(_)) => RestError::Gateway(ApiError::from(error)),
        })
    }

    /// None when the connection did not come back from its statement even after it was cancelled.
    async fn within_deadline<T>(
        &self,
        project: &Project,
        canceller: &Canceller,
        work: impl Future<Output = Result<T, RestError>>,
    ) -> Option<Result<T, RestError>> {
        let mut work = std::pin::pin!(work);
        let deadline = Duration::from_secs(self.settings.statement_timeout_seconds) + DEADLINE_MARGIN;
        if let Ok(result) = timeout(deadline, &mut work).await {
            return Some(result);
        }
        let cancelling = async {
            loop {
                // One that does not get through is followed by the next.
                let _ = timeout(CANCEL_INTERVAL, canceller.cancel()).await;
                sleep(CANCEL_INTERVAL).await;
            }
        };
        tokio::select! {
            result = &mut work => Some(result),
            () = cancelling => None,
            () = sleep(GRACE) => {
                self.terminate(project, canceller).await;
                None
            }
        }
    }

    /// Ends a backend that does not listen to cancellation (02 §3.3): closing its connection would not, while it works.
    async fn terminate(&self, project: &Project, canceller: &Canceller) {
        let ended = async {
            let platform = self.projects.platform_session(project).await?;
            Ok::<_, DatabaseError>(store::terminate(&platform, canceller.pid()).await?)
        };
        match timeout(GRACE, ended).await {
            Ok(Ok(())) => tracing::warn!(project = %project.id, "a statement that ignored its cancellation was ended"),
            Ok(Err(error)) => tracing::error!(%error, project = %project.id, "a runaway statement cannot be ended"),
            Err(_) => tracing::error!(project = %project.id, "a runaway statement cannot be ended in time"),
        }
    }

    async fn known_timezones(&self, project: &Project) -> Result<&HashSet<String>, RestError> {
        self.timezones
            .get_or_try_init(|| async {
                let mut connection = self.connect(project).await?;
                let names = store::timezones(&mut connection).await.map_err(|error| not_loadable(&error.into()))?;
                Ok(names.into_iter().collect())
            })
            .await
    }

    fn location(&self, exchange: &Exchange) -> Location {
        let named = exchange.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let own = || match (self.public_url.host_str(), self.public_url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or("localhost").to_owned(),
        };
        Location {
            host: named.map_or_else(own, str::to_owned),
            base_path: match exchange.surface {
                Surface::Public => "/rest/v1/",
                Surface::Admin => "/admin/v1/rest/",
            },
            is_https: self.public_url.scheme() == "https",
        }
    }
}

/// Returns the connection to its pool, or closes it when nobody knows what it is doing.
fn finish<T>(connection: Connection<Pipeline>, result: Option<Result<T, RestError>>) -> Result<T, RestError> {
    result.unwrap_or_else(|| {
        connection.discard();
        Err(NativeError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "57014",
            "canceling statement due to statement timeout",
        )
        .into())
    })
}

fn not_loadable(error: &LoadError) -> NativeError {
    tracing::error!(%error, "the catalog of a project cannot be read");
    NativeError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "PGRST002",
        "Could not query the database for the schema cache. Retrying.",
    )
}
