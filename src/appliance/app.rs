//! The services, put together.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::FromRef};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use utoipa_axum::router::OpenApiRouter;

use super::{BootError, config::Config, data_dir::DataDir};
use crate::{
    common::{Clock, sealing::MasterKey},
    edge::{self, Metrics},
    engines::{
        blobs::{BlobStore, RedbBlobs},
        postgres::{Cluster, Login, migrate},
    },
    features::{
        billing::{self, Billing},
        identity::{Identity, IdentitySettings, admin},
        orgs::{self, Orgs},
        status::{self, Capability, PaymentsInfo, Status},
    },
};

/// The control database.
const CONTROL_DATABASE: &str = "run402";
const PLATFORM_ROLE: &str = "postgres";
/// How often the lease sweeper looks.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

mod control_migrations {
    refinery::embed_migrations!("migrations/control");
}

/// Every service, each behind one `Arc`; handlers take the one they need.
#[derive(Clone, FromRef)]
pub struct App {
    identity: Arc<Identity>,
    orgs: Arc<Orgs>,
    billing: Arc<Billing>,
    status: Arc<Status>,
}

/// The embedded machines, kept to be stopped last.
pub struct Engines {
    cluster: Cluster,
}

impl Engines {
    pub async fn stop(self) {
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
        let (cluster, blobs) = tokio::join!(
            Cluster::start(config.postgres.clone(), data_dir.path()),
            RedbBlobs::open(data_dir.path(), &config.blobs, clock.clone()),
        );
        let cluster = cluster.map_err(|error| BootError::new(error.to_string()))?;
        let blobs: Arc<dyn BlobStore> =
            Arc::new(blobs.map_err(|error| BootError::new(format!("the blob store does not open: {error}.")))?);
        let control = Login::new(CONTROL_DATABASE, PLATFORM_ROLE);
        prepare_control_database(&cluster, &control).await?;
        let database = cluster.database(control);

        let identity = Arc::new(Identity::new(identity_settings(config, admin_key, public_url), master, clock.clone()));
        let orgs = Arc::new(Orgs::new(database.clone(), clock.clone(), Arc::clone(&identity), config.lease.clone()));
        let billing = Arc::new(Billing::new(database.clone(), Arc::clone(&orgs), Arc::clone(&identity)));
        let status = Arc::new(Status::new(
            capabilities(&cluster, &blobs),
            vec!["siwx", "postgres", "blob"],
            config.operator.clone(),
            PaymentsInfo { mode: "simulated".into(), networks: vec![] },
            public_url,
            database,
            clock,
        ));
        Ok((Self { identity, orgs, billing, status }, Engines { cluster }))
    }

    /// Work that goes on beside requests, until `stop` is cancelled.
    pub fn start_background(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        tasks.spawn(Arc::clone(&self.status).sample_forever(stop.clone()));
    }

    /// What must reach the database before it stops.
    pub async fn flush(&self) {}

    pub fn router(&self, config: &Config) -> Router {
        let api = OpenApiRouter::new().merge(status::router()).merge(orgs::router()).merge(billing::router());
        edge::router(api, self.clone(), Arc::new(Metrics::new()), &config.http, &config.trusted_proxies)
    }
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
        rate_limits: true,
    }
}

/// What `/health` checks. The names are those clients know from the cloud (contract 01 §10).
fn capabilities(cluster: &Cluster, blobs: &Arc<dyn BlobStore>) -> Vec<Capability> {
    let postgres = cluster.clone();
    let blobs = Arc::clone(blobs);
    vec![
        Capability {
            name: "postgres",
            probe: Box::new(move || {
                let cluster = postgres.clone();
                Box::pin(async move { cluster.ping().await.is_ok() })
            }),
        },
        Capability {
            name: "s3",
            probe: Box::new(move || {
                let blobs = Arc::clone(&blobs);
                Box::pin(async move { blobs.check().await.is_ok() })
            }),
        },
    ]
}
