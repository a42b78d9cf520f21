//! The service: what its parts share, and the one way a function is called.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::json;
use tokio::{sync::Notify, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::{
    doors::{BrowserSessions, Releases, SecretValues},
    error::FunctionError,
    executor::{
        Actor, Environment, Executor, FunctionFailure, FunctionResponse, FunctionVersion, Invocation, InvocationKind,
        RouteContext,
    },
    gate::Roles,
    headers::Told,
    logs::{Level, LogLimits, LogQueue, LogSink, Origin, Redactor, Said, Stream, Tags},
    settings::FunctionSettings,
    slots::{Place, SlotLimits, Slots},
    store,
};
use crate::{
    common::{ApiResult, Clock, ProjectId, Timestamp, sealing::sha256_hex, to_the_end},
    engines::{
        postgres::{Connection, Database, DatabaseError},
        queue::Waker,
    },
    features::{
        identity::{Identity, KeyRole},
        orgs::Orgs,
        projects::{Project, Projects},
        releases::{FunctionState, ReleaseSource, ReleaseState, ServedRelease},
        tiers::Tiers,
        user_keys::UserKeys,
    },
};

/// Largest body of a request and of an answer, in bytes.
pub(super) const MAX_BODY: usize = 6 * 1024 * 1024;
/// Projects whose environment is kept.
const KEPT_BASES: usize = 1_000;
/// How much longer than the function's own timeout we wait for an engine that does not keep it.
const GRACE: Duration = Duration::from_secs(5);
/// How long calls under way may go on when the process stops.
const LAST_CALLS: Duration = Duration::from_millis(1_500);

/// What the service is built from.
pub struct Dependencies {
    /// The control database.
    pub control: Database,
    pub clock: Clock,
    pub identity: Arc<Identity>,
    pub orgs: Arc<Orgs>,
    pub tiers: Arc<Tiers>,
    pub projects: Arc<Projects>,
    pub user_keys: Arc<UserKeys>,
    pub releases: Arc<dyn Releases>,
    pub secrets: Arc<dyn SecretValues>,
    pub sessions: Arc<dyn BrowserSessions>,
    pub executor: Arc<dyn Executor>,
    /// Wakes the queue that carries durable runs.
    pub queue: Waker,
    /// Base URL of the API.
    pub public_url: Url,
    pub settings: FunctionSettings,
}

/// The service.
pub struct Functions {
    pub(super) control: Database,
    pub(super) clock: Clock,
    pub(super) identity: Arc<Identity>,
    pub(super) orgs: Arc<Orgs>,
    pub(super) tiers: Arc<Tiers>,
    pub(super) projects: Arc<Projects>,
    pub(super) user_keys: Arc<UserKeys>,
    pub(super) releases: Arc<dyn ReleaseSource>,
    pub(super) editor: Arc<dyn Releases>,
    secrets: Arc<dyn SecretValues>,
    pub(super) sessions: Arc<dyn BrowserSessions>,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) queue: Waker,
    /// Without a trailing slash.
    pub(super) api_base: String,
    /// Host of the API, with its port when it is not the default.
    pub(super) api_host: String,
    pub(super) settings: FunctionSettings,
    pub(super) roles: Roles,
    pub(super) slots: Arc<Slots>,
    pub(super) logs: Arc<LogQueue>,
    /// Environments of the releases that were called lately.
    bases: Mutex<HashMap<ProjectId, Arc<Base>>>,
    /// Which functions the tables were last brought in line with, by project.
    pub(super) synced: Mutex<HashMap<ProjectId, String>>,
    /// When this process began.
    pub(super) started: Timestamp,
    /// Something about schedules changed.
    pub(super) rescheduled: Notify,
    /// Grows with each rebuild: no instance from before is used again.
    pub(super) builds: AtomicU64,
    pub(super) tasks: TaskTracker,
}

/// What the functions of a release are called with, as long as nothing of it changes.
struct Base {
    state: Arc<ReleaseState>,
    /// Generation of the release, version of the secrets, rebuilds, key of users' tokens.
    version: (i64, u64, u64, Option<String>),
    /// What all functions have in their environment.
    environment: Vec<(String, String)>,
    redactor: Arc<Redactor>,
    /// By function.
    prepared: Mutex<HashMap<String, Arc<Prepared>>>,
}

/// What does not differ from call to call.
struct Prepared {
    version: FunctionVersion,
    /// Of its log entries.
    origin: Arc<Origin>,
    environment: Arc<Environment>,
}

/// One call, decided and stripped: what is left is to run it.
pub(super) struct Call {
    pub project: Arc<Project>,
    pub release: Arc<ServedRelease>,
    pub function: String,
    pub kind: InvocationKind,
    pub request_id: String,
    pub method: Method,
    pub url: String,
    pub host: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub route: Option<RouteContext>,
    pub actor: Option<Actor>,
    pub depth: u8,
    /// Of a durable run.
    pub run: Option<RunTag>,
}

#[derive(Clone, Debug)]
pub(super) struct RunTag {
    pub run_id: String,
    pub attempt_id: String,
    pub idempotency_key: String,
}

impl Functions {
    pub fn new(parts: Dependencies) -> Self {
        let settings = parts.settings;
        let started = parts.clock.now();
        let limits = SlotLimits {
            per_project: settings.running_per_project,
            queued_per_project: settings.queued_per_project,
            total: settings.running,
            patience: Duration::from_secs(settings.patience_seconds),
        };
        let kib = |size: u32| usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(1024);
        let log_limits = LogLimits {
            invocation: kib(settings.log_invocation_kb),
            line: kib(settings.log_line_kb),
            project: i64::from(settings.log_project_mb) * 1024 * 1024,
        };
        Self {
            logs: LogQueue::new(log_limits, parts.clock.clone()),
            slots: Slots::new(limits),
            api_base: parts.public_url.as_str().trim_end_matches('/').to_owned(),
            api_host: authority(&parts.public_url),
            control: parts.control,
            clock: parts.clock,
            identity: parts.identity,
            orgs: parts.orgs,
            tiers: parts.tiers,
            projects: parts.projects,
            user_keys: parts.user_keys,
            releases: parts.releases.source(),
            editor: parts.releases,
            secrets: parts.secrets,
            sessions: parts.sessions,
            executor: parts.executor,
            queue: parts.queue,
            settings,
            roles: Roles::default(),
            bases: Mutex::default(),
            synced: Mutex::default(),
            started,
            rescheduled: Notify::new(),
            builds: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        }
    }

    /// Work beside requests, until `stop`: logs are written, schedules follow the releases and run.
    pub async fn work(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(
            Arc::clone(&self.logs).write_forever(self.control.clone(), stop.clone()),
            Arc::clone(&self).follow_releases(stop.clone()),
            Arc::clone(&self).run_schedules(stop),
        );
    }

    /// Waits a little for calls under way, and writes the last of their logs.
    pub async fn stop(&self) {
        self.tasks.close();
        if time::timeout(LAST_CALLS, self.tasks.wait()).await.is_err() {
            tracing::info!(calls = self.tasks.len(), "function calls are cut off");
        }
        self.logs.write(&self.control).await;
    }

    /// Forgets old log entries and the rest of projects that are gone. Run now and then.
    ///
    /// # Errors
    /// When the database is not reachable; the next run does it.
    pub async fn sweep(&self) -> Result<(), DatabaseError> {
        let hours = i64::from(self.settings.log_hours);
        let before = self.clock.now().minus(jiff::SignedDuration::from_hours(hours));
        let connection = self.control.get().await?;
        store::logs::sweep(&connection, before).await?;
        store::records::sweep(&connection).await
    }

    pub(super) async fn connection(&self) -> Result<Connection, DatabaseError> {
        self.control.get().await
    }

    /// The live release that has this function.
    ///
    /// # Errors
    /// [`FunctionError::NotFound`]; 503 when releases cannot be read.
    pub(super) async fn release_with(
        &self,
        project: &ProjectId,
        function: &str,
    ) -> Result<Arc<ServedRelease>, FunctionError> {
        let release = match self.releases.cached(project) {
            Some(release) => Some(release),
            None => self.releases.live(project).await?,
        };
        release.filter(|release| release.state.functions.contains_key(function)).ok_or(FunctionError::NotFound)
    }

    /// Headers that every invocation has (05 §8.3).
    pub(super) fn told(&self, call: &Call) -> Told {
        let mut told = Told::default()
            .with("x-run402-request-id", &*call.request_id)
            .with("x-run402-project-id", call.project.id.as_str())
            .with("x-run402-release-id", call.release.release.as_str())
            .with("x-run402-function-name", &*call.function)
            .with("x-run402-host", &*call.host);
        if let Some(i18n) = &call.release.state.i18n {
            // A locale is detected for routed requests; elsewhere there is only the default.
            told = told
                .with("x-run402-locale", &*i18n.default_locale)
                .with("x-run402-default-locale", &*i18n.default_locale);
        }
        told
    }

    /// Waits for a place, then runs the call to its end, also if the caller leaves meanwhile.
    ///
    /// # Errors
    /// [`FunctionError::Busy`], [`FunctionError::Loop`], [`FunctionError::Failed`].
    pub(super) async fn call(self: &Arc<Self>, call: Call) -> Result<FunctionResponse, FunctionError> {
        let place = self.slots.take(&call.project.id, call.depth).await?;
        self.call_in(place, call).await
    }

    /// As [`Functions::call`], in a place that was taken already.
    pub(super) async fn call_in(self: &Arc<Self>, place: Place, call: Call) -> Result<FunctionResponse, FunctionError> {
        let functions = Arc::clone(self);
        let running = AssertUnwindSafe(async move {
            let _place = place;
            functions.run(call).await
        });
        to_the_end(self.tasks.track_future(running.catch_unwind())).await.unwrap_or_else(|_| {
            tracing::error!("a function call ended in a panic");
            Err(FunctionError::Failed(FunctionFailure::Platform("a function call ended in a panic".to_owned())))
        })
    }

    async fn run(&self, call: Call) -> Result<FunctionResponse, FunctionError> {
        let state = call.release.state.functions.get(&call.function).ok_or(FunctionError::NotFound)?;
        let base = self.base(&call.release).await?;
        let prepared = prepared(&base, &call.release, &call.function, state);
        let version = &prepared.version;
        let tags = Tags {
            origin: Arc::clone(&prepared.origin),
            request_id: call.request_id.clone(),
            run_id: call.run.as_ref().map(|run| run.run_id.clone()),
            attempt_id: call.run.as_ref().map(|run| run.attempt_id.clone()),
        };
        let logs = LogSink::new(&self.logs, tags, Arc::clone(&base.redactor));
        let mut headers = call.headers.clone();
        self.told(&call).write(&mut headers);
        let i18n = call.release.state.i18n.as_ref();
        let invocation = Invocation {
            request_id: call.request_id.clone(),
            kind: call.kind,
            method: call.method.clone(),
            url: call.url.clone(),
            headers,
            body: call.body.clone(),
            host: call.host.clone(),
            locale: i18n.map(|i18n| i18n.default_locale.clone()),
            default_locale: i18n.map(|i18n| i18n.default_locale.clone()),
            actor: call.actor.clone(),
            route: call.route.clone(),
            idempotency_key: call.run.as_ref().map(|run| run.idempotency_key.clone()),
            environment: Arc::clone(&prepared.environment),
            depth: call.depth,
            logs: logs.clone(),
        };
        let started = time::Instant::now();
        logs.say(Level::Info, &Said::started(&call.request_id, call.method.as_str()));
        let answer = time::timeout(version.timeout + GRACE, self.executor.run(version, invocation)).await;
        let answer = answer.unwrap_or(Err(FunctionFailure::Timeout));
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match answer {
            Ok(response) => {
                let status = response.status.as_u16();
                logs.say(Level::Info, &Said::completed(&call.request_id, status, took, response.cold));
                Ok(response)
            }
            Err(failure) => {
                if let FunctionFailure::Threw(thrown) = &failure {
                    let stack = if thrown.stack.is_empty() { "" } else { "\n" };
                    let text = format!("{}: {}{stack}{}", thrown.name, thrown.message, thrown.stack);
                    logs.write(Stream::Stderr, Level::Error, &text);
                }
                let error = failure.to_string();
                let failed = FunctionError::Failed(failure);
                let status = status_of(&failed);
                logs.say(Level::Error, &Said::failed(&call.request_id, status, took, &error));
                Err(failed)
            }
        }
    }

    /// What is the same for all functions of a release, from memory when nothing changed.
    async fn base(&self, release: &ServedRelease) -> ApiResult<Arc<Base>> {
        let project = &release.project;
        // Read before the values: a change meanwhile makes what is kept look old, never new.
        // An instance keeps the keys it verifies users' tokens with: a new key wants new instances (06 §9.2).
        let keys = self.user_keys.signing_kid(project);
        let version = (release.generation, self.secrets.version(project), self.builds.load(Ordering::Relaxed), keys);
        let is_current = |base: &&Arc<Base>| base.version == version && Arc::ptr_eq(&base.state, &release.state);
        let kept = {
            let bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
            bases.get(project).filter(is_current).cloned()
        };
        if let Some(base) = kept {
            return Ok(base);
        }
        let secrets = self.secrets.values(project).await?;
        let key = |role| self.identity.mint_project_key(project, role);
        let (service_key, anon_key) = (key(KeyRole::Service), key(KeyRole::Anon));
        let hidden = secrets.iter().map(|(_, value)| value.clone());
        let redactor = Arc::new(Redactor::new(hidden.chain([service_key.clone(), anon_key.clone()])));
        let platform = [
            ("RUN402_API_BASE", self.api_base.clone()),
            ("RUN402_PROJECT_ID", project.to_string()),
            ("RUN402_SERVICE_KEY", service_key),
            ("RUN402_ANON_KEY", anon_key),
            ("RUN402_RELEASE_ID", release.release.to_string()),
            ("NODE_ENV", "production".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        // Platform values win over secrets of the same name.
        let is_taken = |name: &str| name == "RUN402_FUNCTION_NAME" || platform.iter().any(|(taken, _)| *taken == name);
        let mut environment: Vec<(String, String)> = secrets.into_iter().filter(|(name, _)| !is_taken(name)).collect();
        environment.extend(platform.map(|(name, value)| (name.to_owned(), value)));
        let state = Arc::clone(&release.state);
        let base = Arc::new(Base { state, version, environment, redactor, prepared: Mutex::default() });
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if bases.len() >= KEPT_BASES {
            bases.clear();
        }
        bases.insert(project.clone(), Arc::clone(&base));
        Ok(base)
    }
}

/// Version and environment (05 §8.2) of a function, made at its first call.
fn prepared(base: &Base, release: &ServedRelease, name: &str, state: &FunctionState) -> Arc<Prepared> {
    let mut kept = base.prepared.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(prepared) = kept.get(name) {
        return Arc::clone(prepared);
    }
    let mut environment = Vec::with_capacity(base.environment.len() + 1);
    environment.extend_from_slice(&base.environment);
    environment.push(("RUN402_FUNCTION_NAME".to_owned(), name.to_owned()));
    let identity =
        json!([release.release.as_str(), release.generation, state, environment, base.version.2, base.version.3]);
    let version = FunctionVersion {
        project: release.project.clone(),
        release: release.release.clone(),
        name: name.to_owned(),
        code: state.code.clone(),
        code_hash: state.code_hash.clone(),
        deps: state.deps.clone(),
        timeout: Duration::from_secs(u64::from(state.timeout_seconds)),
        memory_mb: state.memory_mb,
        class: state.class,
        instance: sha256_hex(identity.to_string().as_bytes()),
    };
    let origin = Arc::new(Origin {
        project: release.project.clone(),
        function: name.to_owned(),
        release: release.release.clone(),
    });
    let prepared = Arc::new(Prepared { version, origin, environment: Arc::new(Environment(environment)) });
    kept.insert(name.to_owned(), Arc::clone(&prepared));
    prepared
}

/// The status a caller gets for an error.
pub(super) fn status_of(error: &FunctionError) -> u16 {
    let FunctionError::Failed(failure) = error else { return 0 };
    crate::common::ApiError::from(FunctionError::Failed(failure.clone())).status().as_u16()
}

/// Host and, when it is not the scheme's, port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("localhost");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// `req_` and 24 hexadecimal digits.
pub(super) fn request_id() -> String {
    format!("req_{}", hex::encode(rand::random::<[u8; 12]>()))
}
