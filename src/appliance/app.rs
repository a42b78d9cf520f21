//! The services, put together.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, extract::FromRef};
use tokio::time;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use utoipa_axum::router::OpenApiRouter;

use super::{BootError, config::Config, data_dir::DataDir};
use crate::{
    common::{Clock, sealing::MasterKey},
    edge::{self, Metrics},
    engines::{
        blobs::RedbBlobs,
        postgres::{Cluster, Login, migrate},
    },
    features::{
        billing::{self, Billing},
        identity::{self, Identity, IdentitySettings, admin},
        orgs::{self, Orgs},
        payments::{self, Payments},
        projects::{self, Projects},
        sql::{self, Sql},
        status::{self, Capability, Status},
        tiers::{self, Tiers},
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
