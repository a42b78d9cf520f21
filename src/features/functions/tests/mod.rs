//! The rules around functions, with an engine that answers from a script and a real control database.

mod invocation;
mod logs;
mod runs;
mod schedules;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    response::Response,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use url::Url;
use uuid::Uuid;

use super::{
    doors::{BrowserSessions, Edit, Releases, SecretValues},
    executor::{CheckFailure, Executor, FunctionFailure, FunctionResponse, FunctionVersion, Invocation},
    logs::LogQuery,
    service::{Dependencies, Functions},
    settings::FunctionSettings,
};
use crate::{
    common::{ApiResult, Clock, DeploymentId, OrganisationId, ProjectId, Timestamp, sealing::MasterKey},
    engines::{
        postgres::{
            Cluster, Database, Login, migrate,
            test_support::{TestBox, as_ordinary_user},
        },
        queue::Queue,
    },
    features::{
        auth::{Minted, RoutedRequest, RoutedVisitor},
        hosts::{HostNames, Hosts, SubdomainSettings},
        identity::{Identity, IdentitySettings, KeyRole},
        orgs::{LeaseSettings, Orgs},
        payments::{self, Payments},
        projects::{self, LimitSettings, Project, ProjectSettings, Projects, RateSettings},
        releases::{FileRef, FunctionClass, FunctionCode, FunctionState, ReleaseSource, ReleaseState, ServedRelease},
        tiers::{Catalogue, TierSettings, Tiers},
        user_keys::{Claims, UserKeys},
    },
};

mod control_migrations {
    refinery::embed_migrations!("migrations/control");
}

/// 2026-06-19T10:00:00Z
const NOW: i64 = 1_781_863_200_000;
const PROJECT: &str = "prj_alpha";
const SECRET: &str = "the-value-of-a-secret";

type Answer = Result<FunctionResponse, FunctionFailure>;

/// An engine that answers from a script.
struct Script(Box<dyn Fn(FunctionVersion, Invocation) -> BoxFuture<'static, Answer> + Send + Sync>);

impl Executor for Script {
    fn run<'a>(&'a self, version: &'a FunctionVersion, invocation: Invocation) -> BoxFuture<'a, Answer> {
        (self.0)(version.clone(), invocation)
    }

    fn check<'a>(&'a self, _: &'a ProjectId, _: &'a FunctionState) -> BoxFuture<'a, Result<(), CheckFailure>> {
        Box::pin(async { Ok(()) })
    }

    fn fingerprint(&self) -> &str {
        "script"
    }
}

/// An engine that answers at once.
fn script(answer: impl Fn(FunctionVersion, Invocation) -> Answer + Send + Sync + 'static) -> Script {
    Script(Box::new(move |version, invocation| {
        let answer = answer(version, invocation);
        Box::pin(async { answer })
    }))
}

fn ok(body: impl Into<Bytes>) -> FunctionResponse {
    FunctionResponse {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: body.into(),
        cache_bypass_tainted: false,
        cold: false,
    }
}

/// Releases in memory.
struct Shelf {
    live: Arc<Mutex<HashMap<ProjectId, Arc<ServedRelease>>>>,
    changes: broadcast::Sender<ProjectId>,
}

struct Source(Arc<Mutex<HashMap<ProjectId, Arc<ServedRelease>>>>);

impl ReleaseSource for Source {
    fn cached(&self, project: &ProjectId) -> Option<Arc<ServedRelease>> {
        self.0.lock().unwrap().get(project).cloned()
    }

    fn live<'a>(&'a self, project: &'a ProjectId) -> BoxFuture<'a, ApiResult<Option<Arc<ServedRelease>>>> {
        Box::pin(async { Ok(self.cached(project)) })
    }

    fn of_deployment<'a>(&'a self, _: &'a DeploymentId) -> BoxFuture<'a, ApiResult<Option<Arc<ServedRelease>>>> {
        Box::pin(async { Ok(None) })
    }
}

impl Shelf {
    fn put(&self, state: ReleaseState, at: Timestamp) {
        let project: ProjectId = PROJECT.parse().unwrap();
        let mut live = self.live.lock().unwrap();
        let generation = live.get(&project).map_or(1, |release| release.generation + 1);
        let release = ServedRelease {
            project: project.clone(),
            release: format!("rel_{generation}").parse().unwrap(),
            deployment: "dpl_1_a".parse().unwrap(),
            generation,
            activated_at: at,
            state: Arc::new(state),
            static_manifest_sha256: None,
            route_manifest_sha256: None,
        };
        live.insert(project.clone(), Arc::new(release));
        let _ = self.changes.send(project);
    }
}

impl Releases for Shelf {
    fn source(&self) -> Arc<dyn ReleaseSource> {
        Arc::new(Source(Arc::clone(&self.live)))
    }

    fn amend<'a>(&'a self, project: &'a Arc<Project>, _: &'a str, edit: Edit) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move {
            let release = self.live.lock().unwrap().get(&project.id).cloned();
            let release = release.expect("a release");
            let mut state = (*release.state).clone();
            edit(&mut state)?;
            self.put(state, release.activated_at);
            Ok(())
        })
    }

    fn adjust<'a>(&'a self, project: &'a Arc<Project>, edit: Edit) -> BoxFuture<'a, ApiResult<()>> {
        self.amend(project, "", edit)
    }

    fn changes(&self) -> broadcast::Receiver<ProjectId> {
        self.changes.subscribe()
    }

    fn deployed(&self) -> Vec<ProjectId> {
        self.live.lock().unwrap().keys().cloned().collect()
    }
}

struct OneSecret;

impl SecretValues for OneSecret {
    fn values<'a>(&'a self, _: &'a ProjectId) -> BoxFuture<'a, ApiResult<Vec<(String, String)>>> {
        let mine = [("API_KEY", SECRET), ("RUN402_PROJECT_ID", "not-yours")];
        Box::pin(async move { Ok(mine.map(|(name, value)| (name.to_owned(), value.to_owned())).into()) })
    }

    fn version(&self, _: &ProjectId) -> u64 {
        0
    }
}

/// Nobody, or one user.
#[derive(Default)]
struct Cookies {
    visitor: Mutex<Option<RoutedVisitor>>,
    /// Sessions whose requests were settled.
    settled: Mutex<Vec<Uuid>>,
    /// Sessions whose Bearers pass no gate any more.
    ended: Mutex<Vec<String>>,
}

impl BrowserSessions for Cookies {
    fn visitor<'a>(&'a self, _: RoutedRequest<'a>, _: i64) -> BoxFuture<'a, ApiResult<RoutedVisitor>> {
        Box::pin(async { Ok(self.visitor.lock().unwrap().clone().unwrap_or(RoutedVisitor::Anonymous)) })
    }

    fn is_signed_in<'a>(&'a self, claims: &'a Claims) -> BoxFuture<'a, ApiResult<bool>> {
        let ended = self.ended.lock().unwrap().iter().any(|id| claims.session_id.as_ref() == Some(id));
        Box::pin(async move { Ok(!ended) })
    }

    fn mint<'a>(&'a self, _: RoutedRequest<'a>, _: &'a HeaderValue) -> BoxFuture<'a, ApiResult<Minted>> {
        let cookie = HeaderValue::from_static("r402_session=x");
        Box::pin(async { Ok(Minted { body: json!({"ok": true}), cookie }) })
    }

    fn settle<'a>(&'a self, _: RoutedRequest<'a>, session: Uuid, _: &'a HeaderMap) -> BoxFuture<'a, ApiResult<()>> {
        self.settled.lock().unwrap().push(session);
        Box::pin(async { Ok(()) })
    }
}

/// A function with nothing special about it.
fn plain() -> FunctionState {
    let file = FileRef { sha256: crate::engines::blobs::Sha256Digest::of(b"code"), size: 4, content_type: None };
    FunctionState {
        runtime: "node22".into(),
        code: FunctionCode::Source(file),
        code_hash: "c0de".into(),
        timeout_seconds: 1,
        memory_mb: 128,
        deps: Vec::new(),
        schedule: None,
        require_auth: false,
        require_role: None,
        class: FunctionClass::Standard,
        capabilities: Vec::new(),
    }
}

fn scheduled(cron: &str) -> FunctionState {
    FunctionState { schedule: Some(cron.into()), ..plain() }
}

fn with(functions: impl IntoIterator<Item = (&'static str, FunctionState)>) -> ReleaseState {
    let functions: BTreeMap<_, _> = functions.into_iter().map(|(name, state)| (name.to_owned(), state)).collect();
    ReleaseState { functions, ..ReleaseState::default() }
}

/// A box with one project, without its HTTP surface.
struct Bench {
    _directory: TestBox,
    cluster: Cluster,
    database: Database,
    clock: Clock,
    identity: Arc<Identity>,
    projects: Arc<Projects>,
    user_keys: Arc<UserKeys>,
    shelf: Arc<Shelf>,
    cookies: Arc<Cookies>,
    functions: Arc<Functions>,
}

impl Bench {
    async fn new(executor: Script) -> Self {
        Self::with(executor, FunctionSettings { patience_seconds: 0, ..FunctionSettings::default() }).await
    }

    async fn with(executor: Script, settings: FunctionSettings) -> Self {
        let directory = TestBox::new();
        let cluster = directory.start().await;
        let control = Login::new("postgres", "postgres");
        migrate(&cluster, &control, control_migrations::migrations::runner()).await.unwrap();
        let database = cluster.database(control);
        let clock = Clock::fixed(Timestamp::from_millis(NOW).unwrap());
        let master = MasterKey::from_bytes([7; 32]);
        let public_url: Url = "http://localhost:4020/".parse().unwrap();
        let organisation = OrganisationId::generate();
        let connection = database.get().await.unwrap();
        connection
            .execute(
                "insert into organisations (id, tier, lease_started_at, lease_expires_at, lease_perpetual)
                 values ($1, 'team', now(), now() + interval '30 days', true)",
                &[&organisation.0],
            )
            .await
            .unwrap();
        connection
            .execute(
                "insert into projects (id, public_id, organisation_id, name, slot, platform_secret, bootstrap_version,
                                       usage_period_start)
                 values ($1, 'alpha1', $2, 'alpha', 'p9999', '', 1, now())",
                &[&PROJECT, &organisation.0],
            )
            .await
            .unwrap();
        drop(connection);
        let identity = Arc::new(Identity::new(
            IdentitySettings {
                public_url: public_url.clone(),
                accept_domains: Vec::new(),
                loopback: true,
                admin_wallets: Vec::new(),
                admin_key_hash: String::new(),
                rate_limits: false,
            },
            &master,
            clock.clone(),
        ));
        let orgs =
            Arc::new(Orgs::new(database.clone(), clock.clone(), Arc::clone(&identity), LeaseSettings::default()));
        let payments = Payments::new(
            database.clone(),
            clock.clone(),
            Arc::clone(&identity),
            Arc::clone(&orgs),
            master.clone(),
            public_url.as_str(),
            payments::Settings {
                payments: payments::PaymentSettings::default(),
                faucet: payments::FaucetSettings::default(),
                billing: payments::BillingSettings::default(),
                rate_limits: false,
            },
        );
        let payments = Arc::new(payments.unwrap());
        let catalogue = Catalogue::new(&TierSettings::default(), false).unwrap();
        let tiers =
            Arc::new(Tiers::new(database.clone(), clock.clone(), Arc::clone(&orgs), Arc::clone(&payments), catalogue));
        let names = HostNames { base: "localhost".into(), public_url: public_url.clone(), api_hosts: Vec::new() };
        let hosts = Arc::new(Hosts::new(database.clone(), clock.clone(), names, SubdomainSettings::default()));
        let projects = Arc::new(Projects::new(projects::Dependencies {
            control: database.clone(),
            cluster: cluster.clone(),
            clock: clock.clone(),
            master_key: master.clone(),
            identity: Arc::clone(&identity),
            orgs: Arc::clone(&orgs),
            payments,
            tiers: Arc::clone(&tiers),
            hosts,
            data_dir: directory.path(),
            settings: ProjectSettings { spare_databases: 0, ..ProjectSettings::default() },
            rates: RateSettings { enabled: false, ..RateSettings::default() },
            limits: LimitSettings::default(),
        }));
        projects.start().await.unwrap();
        let user_keys = Arc::new(UserKeys::start(database.clone(), master.clone(), clock.clone()).await.unwrap());
        let shelf = Arc::new(Shelf { live: Arc::default(), changes: broadcast::Sender::new(16) });
        let cookies = Arc::new(Cookies::default());
        let functions = Arc::new(Functions::new(Dependencies {
            control: database.clone(),
            clock: clock.clone(),
            identity: Arc::clone(&identity),
            orgs,
            tiers,
            projects: Arc::clone(&projects),
            user_keys: Arc::clone(&user_keys),
            releases: Arc::clone(&shelf) as _,
            secrets: Arc::new(OneSecret),
            sessions: Arc::clone(&cookies) as _,
            executor: Arc::new(executor),
            queue: Queue::new(database.clone(), clock.clone()).waker(),
            public_url,
            settings,
        }));
        Self {
            _directory: directory,
            cluster,
            database,
            clock,
            identity,
            projects,
            user_keys,
            shelf,
            cookies,
            functions,
        }
    }

    async fn stop(self) {
        self.functions.stop().await;
        self.projects.stop().await;
        self.cluster.stop().await;
    }

    fn deploy(&self, state: ReleaseState) {
        self.shelf.put(state, self.clock.now());
    }

    fn project(&self) -> Arc<Project> {
        self.projects.live(&PROJECT.parse().unwrap()).expect("the project")
    }

    fn key(&self, role: KeyRole) -> String {
        self.identity.mint_project_key(&PROJECT.parse().unwrap(), role)
    }

    /// A direct call with the anon key.
    async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Response {
        let request = Request::builder().method(method).uri(path).header("apikey", self.key(KeyRole::Anon));
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn send(&self, request: Request) -> Response {
        let name = request.uri().path().split('/').nth(3).unwrap_or_default().to_owned();
        self.functions.direct(&name, request).await
    }

    async fn logs(&self, function: &str) -> Vec<(String, String)> {
        self.functions.logs.write(&self.database).await;
        let query = LogQuery { tail: 1000, since: None, filter: None };
        let logs = self.functions.logs(&self.project(), function, &query).await.unwrap_or_else(|_| panic!("no logs"));
        logs.logs.into_iter().map(|entry| (entry.stream, entry.message)).collect()
    }

    /// Moves the clock, and waits for what that sets going.
    fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

/// Status, and the code of the error it carries.
fn refusal(response: &Response) -> (u16, String) {
    let error = response.extensions().get::<crate::common::ApiError>();
    (response.status().as_u16(), error.map(|error| error.code().to_owned()).unwrap_or_default())
}

async fn body(response: Response) -> Bytes {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap()
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&body(response).await).unwrap()
}

/// Runs `probe` until it yields a value.
async fn eventually<T, F: Future<Output = Option<T>>>(mut probe: impl FnMut() -> F) -> T {
    for _ in 0..400 {
        if let Some(value) = probe().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen");
}
