//! The services, put together.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::FromRef};
use tokio::{runtime::Handle, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use utoipa_axum::router::OpenApiRouter;

use super::{BootError, config::Config, data_dir::DataDir};
use crate::{
    common::{Clock, sealing::MasterKey},
    edge::{self, Front, Greeting, Metrics},
    engines::{
        blobs::{BlobStore, RedbBlobs},
        postgres::{Cluster, Database, DatabaseError, Login, Unpacking, migrate},
        queue::Queue,
        sandbox::Sandbox,
    },
    features::{
        apply::{self, Apply},
        assets::{self, Assets},
        auth::{self, Auth, CaptureMailer},
        billing::{self, Billing},
        content::{self, Content},
        expose::{self, Expose},
        functions::{self, Builder, Deployed, FrontDoor, Functions, OwnHosts, Routed, SandboxExecutor, Signups},
        hosts::{HostNames, Hosts},
        idempotency::Idempotency,
        identity::{Identity, IdentitySettings, admin},
        orgs::{self, Orgs},
        payments::{self, Payments},
        projects::{self, ProjectSettings, Projects},
        rest::{self, Rest},
        secrets::{self, Secrets},
        sites::{self, Sites},
        sql::{self, Sql},
        status::{self, Capability, PaymentsInfo, Status},
        subdomains::{self, Subdomains},
        tiers::{self, Catalogue, ProjectInventory, Tiers},
        user_keys::UserKeys,
    },
};

/// This very program, also when its file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// The control database.
const CONTROL_DATABASE: &str = "run402";
const PLATFORM_ROLE: &str = "postgres";
/// How often the lease sweeper looks.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long a stop waits for deploys under way.
const DEPLOY_GRACE: Duration = Duration::from_secs(2);

mod control_migrations {
    refinery::embed_migrations!("migrations/control");
}

/// Every service, each behind one `Arc`; handlers take the one they need.
#[derive(Clone, FromRef)]
pub struct App {
    identity: Arc<Identity>,
    orgs: Arc<Orgs>,
    billing: Arc<Billing>,
    payments: Arc<Payments>,
    tiers: Arc<Tiers>,
    inventory: Arc<dyn ProjectInventory>,
    hosts: Arc<Hosts>,
    projects: Arc<Projects>,
    idempotency: Arc<Idempotency>,
    user_keys: Arc<UserKeys>,
    auth: Arc<Auth>,
    sql: Arc<Sql>,
    rest: Arc<Rest>,
    expose: Arc<Expose>,
    sites: Arc<Sites>,
    subdomains: Arc<Subdomains>,
    content: Arc<Content>,
    assets: Arc<Assets>,
    secrets: Arc<Secrets>,
    functions: Arc<Functions>,
    executor: Arc<SandboxExecutor>,
    queue: Arc<Queue>,
    apply: Arc<Apply>,
    status: Arc<Status>,
}

/// The embedded machines, kept to be stopped last.
pub struct Engines {
    cluster: Cluster,
    blobs: Arc<RedbBlobs>,
}

impl Engines {
    async fn start(config: &Config, data_dir: &DataDir, clock: &Clock) -> Result<Self, BootError> {
        let (cluster, blobs) = tokio::join!(
            Cluster::start(config.postgres.clone(), data_dir.path(), Unpacking::Isolated(OWN_PROGRAM.into())),
            RedbBlobs::open(data_dir.path().join("blobs"), &config.blobs, clock.clone()),
        );
        Ok(Self {
            cluster: cluster.map_err(|error| BootError::new(error.to_string()))?,
            blobs: Arc::new(blobs.map_err(|error| BootError::new(format!("the blob store does not open: {error}.")))?),
        })
    }

    pub async fn stop(self) {
        if let Err(error) = self.blobs.shutdown().await {
            tracing::warn!(%error, "the blob store did not close cleanly; it repairs itself at the next start");
        }
        self.cluster.stop().await;
    }
}

impl App {
    /// Starts the engines and builds the services on them.
    ///
    /// # Errors
    /// One sentence naming the part that does not start.
    pub async fn boot(
        config: &Config,
        data_dir: &DataDir,
        master: &MasterKey,
        admin_key: &str,
        public_url: &Url,
    ) -> Result<(Self, Engines), BootError> {
        let clock = Clock::system();
        let catalogue = Catalogue::new(&config.tiers, config.billing.free).map_err(refuse)?;
        let engines = Engines::start(config, data_dir, &clock).await?;
        let control = Login::new(CONTROL_DATABASE, PLATFORM_ROLE);
        prepare_control_database(&engines.cluster, &control).await?;
        let database = engines.cluster.database(control);

        let identity = Arc::new(Identity::new(identity_settings(config, admin_key, public_url), master, clock.clone()));
        let orgs = Arc::new(Orgs::new(database.clone(), clock.clone(), Arc::clone(&identity), config.lease.clone()));
        let billing = Arc::new(Billing::new(database.clone(), Arc::clone(&orgs), Arc::clone(&identity)));
        let payments = Payments::new(
            database.clone(),
            clock.clone(),
            Arc::clone(&identity),
            Arc::clone(&orgs),
            master.clone(),
            public_url.as_str(),
            payments::Settings {
                payments: config.payments.clone(),
                faucet: config.faucet.clone(),
                billing: config.billing.clone(),
                rate_limits: config.rate_limits.enabled,
            },
        );
        let payments = Arc::new(payments.map_err(refuse)?);
        let tiers =
            Arc::new(Tiers::new(database.clone(), clock.clone(), Arc::clone(&orgs), Arc::clone(&payments), catalogue));
        let hosts =
            Hosts::new(database.clone(), clock.clone(), host_names(config, public_url), config.subdomains.clone());
        let hosts = Arc::new(hosts);
        let projects = Arc::new(Projects::new(projects::Dependencies {
            control: database.clone(),
            cluster: engines.cluster.clone(),
            clock: clock.clone(),
            master_key: master.clone(),
            identity: Arc::clone(&identity),
            orgs: Arc::clone(&orgs),
            payments: Arc::clone(&payments),
            tiers: Arc::clone(&tiers),
            hosts: Arc::clone(&hosts),
            data_dir: data_dir.path().to_owned(),
            settings: ProjectSettings { free: config.billing.free, ..config.projects.clone() },
            rates: config.rate_limits.clone(),
            limits: config.limits.clone(),
        }));
        projects.start().await.map_err(refuse)?;
        hosts.start().await.map_err(refuse)?;
        let idempotency = Arc::new(Idempotency::new(database.clone(), master.clone(), clock.clone()));
        let sql = Arc::new(Sql::new(Arc::clone(&projects), config.sql.clone()));
        let user_keys = UserKeys::start(database.clone(), master.clone(), clock.clone()).await.map_err(refuse)?;
        let user_keys = Arc::new(user_keys);
        let auth = Auth::new(auth::Dependencies {
            control: database.clone(),
            clock: clock.clone(),
            master_key: master.clone(),
            identity: Arc::clone(&identity),
            projects: Arc::clone(&projects),
            user_keys: Arc::clone(&user_keys),
            hosts: Arc::clone(&hosts),
            mailer: Arc::new(CaptureMailer::new(clock.clone())),
            public_url: public_url.clone(),
            domain: config.domain.clone(),
            settings: config.auth.clone(),
            rate_limits: config.rate_limits.enabled,
            loopback: config.listen.ip().is_loopback(),
        });
        let auth = Arc::new(auth.map_err(refuse)?);
        let rest = Arc::new(Rest::new(rest::Dependencies {
            identity: Arc::clone(&identity),
            projects: Arc::clone(&projects),
            user_keys: Arc::clone(&user_keys) as _,
            clock: clock.clone(),
            public_url: public_url.clone(),
            settings: config.rest.clone(),
        }));
        let expose = Arc::new(Expose::new(Arc::clone(&projects)));
        let secrets = Arc::new(Secrets::new(secrets::Dependencies {
            control: database.clone(),
            clock: clock.clone(),
            master_key: master.clone(),
            orgs: Arc::clone(&orgs),
            tiers: Arc::clone(&tiers),
        }));
        let content = Content::new(content::Dependencies {
            control: database.clone(),
            clock: clock.clone(),
            master_key: master.clone(),
            identity: Arc::clone(&identity),
            orgs: Arc::clone(&orgs),
            projects: Arc::clone(&projects),
            blobs: Arc::clone(&engines.blobs) as _,
            staging_dir: data_dir.path().join("staging"),
            min_free_bytes: u64::from(config.blobs.min_free_mb) * 1024 * 1024,
            public_url: public_url.clone(),
            settings: config.content.clone(),
        });
        let assets = Arc::new(Assets::new(assets::Dependencies {
            control: database.clone(),
            clock: clock.clone(),
            master_key: master.clone(),
            identity: Arc::clone(&identity),
            projects: Arc::clone(&projects),
            content: Arc::clone(&content),
            hosts: Arc::clone(&hosts),
            settings: config.assets.clone(),
        }));
        let executor = Arc::new(executor(config, data_dir, master, public_url, &content, &hosts)?);
        let apply = Arc::new(Apply::new(apply::Dependencies {
            control: database.clone(),
            clock: clock.clone(),
            orgs: Arc::clone(&orgs),
            tiers: Arc::clone(&tiers),
            projects: Arc::clone(&projects),
            content: Arc::clone(&content),
            assets: Arc::clone(&assets),
            hosts: Arc::clone(&hosts),
            secrets: Arc::clone(&secrets),
            expose: Arc::clone(&expose),
            functions: Arc::new(Builder(Arc::clone(&executor) as _)),
            settings: config.apply.clone(),
            testing: config.testing.clone(),
        }));
        // Before anything is served: deploys that a crash interrupted are finished or given up.
        apply.start().await.map_err(refuse)?;
        let queue = Queue::new(database.clone(), clock.clone());
        let functions = Arc::new(Functions::new(functions::Dependencies {
            control: database.clone(),
            clock: clock.clone(),
            identity: Arc::clone(&identity),
            orgs: Arc::clone(&orgs),
            tiers: Arc::clone(&tiers),
            projects: Arc::clone(&projects),
            user_keys: Arc::clone(&user_keys),
            releases: Arc::new(Deployed(Arc::clone(&apply))),
            secrets: Arc::clone(&secrets) as _,
            sessions: Arc::clone(&auth) as _,
            executor: Arc::clone(&executor) as _,
            queue: queue.waker(),
            public_url: public_url.clone(),
            settings: config.functions.clone(),
        }));
        auth.set_signup_hook(Arc::new(Signups(Arc::downgrade(&functions))));
        let queue = Arc::new(functions::handle_runs(queue, &functions));
        let sites = Arc::new(Sites::new(sites::Dependencies {
            hosts: Arc::clone(&hosts),
            identity: Arc::clone(&identity),
            projects: Arc::clone(&projects),
            content: Arc::clone(&content),
            assets: Arc::clone(&assets),
            releases: apply.releases(),
            functions: Arc::new(Routed(Arc::clone(&functions))),
            store: Arc::clone(&engines.blobs) as _,
            settings: config.sites.clone(),
        }));
        let subdomains = Arc::new(Subdomains::new(subdomains::Dependencies {
            control: database.clone(),
            clock: clock.clone(),
            hosts: Arc::clone(&hosts),
            orgs: Arc::clone(&orgs),
            apply: Arc::clone(&apply),
        }));
        let status = Arc::new(Status::new(
            capabilities(&engines, &database),
            vec!["x402", "siwx", "postgres", "rest", "blob"],
            config.operator.clone(),
            PaymentsInfo {
                mode: payments.mode().as_str().into(),
                networks: payments.networks().into_iter().map(Into::into).collect(),
            },
            public_url,
            database,
            clock,
        ));
        let inventory: Arc<dyn ProjectInventory> = Arc::clone(&apply) as _;
        Ok((
            Self {
                identity,
                orgs,
                billing,
                payments,
                tiers,
                inventory,
                hosts,
                projects,
                idempotency,
                user_keys,
                auth,
                sql,
                rest,
                expose,
                sites,
                subdomains,
                content,
                assets,
                secrets,
                apply,
                functions,
                executor,
                queue,
                status,
            },
            engines,
        ))
    }

    /// Work that goes on beside requests, until `stop` is cancelled.
    pub fn start_background(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        tasks.spawn(Arc::clone(&self.status).sample_forever(stop.clone()));
        tasks.spawn(self.clone().sweep_forever(stop.clone()));
        tasks.spawn(Arc::clone(&self.content).run(stop.clone()));
        tasks.spawn(Arc::clone(&self.functions).work(stop.clone()));
        tasks.spawn(Arc::clone(&self.queue).work(stop.clone()));
    }

    /// Ends the services' own work and writes what must reach the database before it stops.
    pub async fn stop(self) {
        if time::timeout(DEPLOY_GRACE, self.apply.stop()).await.is_err() {
            tracing::info!("a deploy was cut off; it is settled at the next start");
        }
        self.functions.stop().await;
        self.projects.stop().await;
    }

    /// Everything behind the listener.
    pub fn front(&self, config: &Config, public_url: &Url) -> Arc<Front> {
        let metrics = Arc::new(Metrics::new(&self.executor));
        let api = self.router(config, Arc::clone(&metrics), Greeting::new(public_url, &config.domain));
        let timeout = Duration::from_secs(config.http.request_seconds);
        let (rest, hosts, sites) = (Arc::clone(&self.rest), Arc::clone(&self.hosts), Arc::clone(&self.sites));
        let front = Arc::new(Front::new(api, rest, hosts, sites, metrics, &config.trusted_proxies, timeout));
        let door: Arc<dyn FrontDoor> = Arc::clone(&front) as _;
        self.executor.open(Arc::downgrade(&door));
        front
    }

    fn router(&self, config: &Config, metrics: Arc<Metrics>, greeting: Greeting) -> Router {
        let api = OpenApiRouter::new()
            .merge(status::router())
            .merge(orgs::router())
            .merge(billing::router())
            .merge(payments::router())
            .merge(tiers::router())
            .merge(projects::router())
            .merge(sql::router())
            .merge(rest::router())
            .merge(expose::router())
            .merge(auth::router())
            .merge(content::router())
            .merge(assets::router())
            .merge(secrets::router())
            .merge(apply::router(config.apply.max_body_bytes))
            .merge(subdomains::router())
            .merge(functions::router())
            .merge(sites::router());
        edge::router(api, self.clone(), metrics, greeting, &config.http, &config.trusted_proxies)
    }

    /// Hourly housekeeping, also at start: lapsed leases (contract 01 §7.5), old idempotency keys, retired
    /// user keys. What fails is
    /// tried again with the next round.
    async fn sweep_forever(self, stop: CancellationToken) {
        let mut rounds = time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            if let Err(error) = self.idempotency.sweep().await {
                tracing::warn!(%error, "cannot forget old idempotency keys yet");
            }
            self.payments.shrink();
            if let Err(error) = self.user_keys.sweep().await {
                tracing::warn!(%error, "cannot forget retired user keys yet");
            }
            if let Err(error) = self.functions.sweep().await {
                tracing::warn!(%error, "cannot forget old logs of functions yet");
            }
            if let Err(error) = self.auth.sweep().await {
                tracing::warn!(%error, "cannot forget ended user sessions yet");
            }
            if let Err(error) = self.sweep_leases().await {
                tracing::warn!(%error, "the lease sweep failed");
            }
        }
    }

    async fn sweep_leases(&self) -> Result<(), DatabaseError> {
        for organisation in self.orgs.sweep().await?.purge {
            self.projects.purge_organisation(organisation).await?;
        }
        Ok(())
    }
}

fn refuse(error: impl std::fmt::Display) -> BootError {
    BootError::new(format!("{}.", error.to_string().trim_end_matches('.')))
}

async fn prepare_control_database(cluster: &Cluster, control: &Login) -> Result<(), BootError> {
    let explain = |error: &dyn std::fmt::Display| BootError::new(format!("the control database: {error}."));
    if !cluster.database_exists(CONTROL_DATABASE).await.map_err(|error| explain(&error))? {
        cluster.create_database_from("template0", CONTROL_DATABASE).await.map_err(|error| explain(&error))?;
    }
    migrate(cluster, control, control_migrations::migrations::runner()).await.map_err(|error| explain(&error))
}

fn identity_settings(config: &Config, admin_key: &str, public_url: &Url) -> IdentitySettings {
    IdentitySettings {
        public_url: public_url.clone(),
        accept_domains: config.siwx_accept_domains.clone(),
        loopback: config.listen.ip().is_loopback(),
        admin_wallets: config.admin.wallets.clone(),
        admin_key_hash: config.admin.key_hash.clone().unwrap_or_else(|| admin::hash_key(admin_key)),
        rate_limits: config.rate_limits.enabled,
    }
}

fn executor(
    config: &Config,
    data_dir: &DataDir,
    master: &MasterKey,
    public_url: &Url,
    content: &Arc<Content>,
    hosts: &Arc<Hosts>,
) -> Result<SandboxExecutor, BootError> {
    let (cache, key) = (data_dir.path().join("sandbox"), master.derive("compiled guest"));
    let sandbox = Sandbox::start(config.sandbox.clone(), cache, *key);
    let sandbox = sandbox.map_err(|error| BootError::new(format!("the function sandbox does not start: {error}.")))?;
    let cloud_alias = config.functions.cloud_alias;
    Ok(SandboxExecutor::new(functions::Parts {
        sandbox,
        content: Arc::clone(content),
        builder: functions::build::Builder::isolated(
            OWN_PROGRAM,
            functions::build::Options { user_filter: config.functions.user_filter },
        ),
        own: OwnHosts::new(Arc::clone(hosts), public_url.clone(), &config.domain, cloud_alias),
        kept_bytes: usize::try_from(config.functions.cache_mb).unwrap_or(usize::MAX).saturating_mul(1024 * 1024),
        runtime: Handle::current(),
    }))
}

fn host_names(config: &Config, public_url: &Url) -> HostNames {
    HostNames {
        base: config.domain.clone(),
        public_url: public_url.clone(),
        // Names that signatures may name are names the API is reached by.
        api_hosts: config.siwx_accept_domains.clone(),
    }
}

/// What `/health` checks, under the names clients know from the cloud (contract 01 §10): `postgres` is the server,
/// `postgrest` a pooled session as the data API uses, `s3` the blob store, `cloudfront` the edge that answers.
fn capabilities(engines: &Engines, database: &Database) -> Vec<Capability> {
    let cluster = engines.cluster.clone();
    let blobs = Arc::clone(&engines.blobs);
    let database = database.clone();
    vec![
        Capability {
            name: "postgres",
            probe: Box::new(move || {
                let cluster = cluster.clone();
                Box::pin(async move { cluster.ping().await.is_ok() })
            }),
        },
        Capability {
            name: "postgrest",
            probe: Box::new(move || {
                let database = database.clone();
                Box::pin(async move {
                    match database.get().await {
                        Ok(session) => session.simple_query("select 1").await.is_ok(),
                        Err(_) => false,
                    }
                })
            }),
        },
        Capability {
            name: "s3",
            probe: Box::new(move || {
                let blobs = Arc::clone(&blobs);
                Box::pin(async move { blobs.check().await.is_ok() })
            }),
        },
        Capability { name: "cloudfront", probe: Box::new(|| Box::pin(async { true })) },
    ]
}
