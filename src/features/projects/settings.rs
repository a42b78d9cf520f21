//! Settings of projects. Every field has a default; a missing table means all of them.

use serde::{Deserialize, Serialize};

/// `projects.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectSettings {
    /// Databases kept ready, so that provisioning takes milliseconds. 0: each is made when it is asked for.
    pub spare_databases: usize,
    /// Projects this box holds at most; the next is refused with 503 `NO_SCHEMA_SLOTS`. None: as many as fit.
    pub max_projects: Option<u32>,
    /// Projects one organisation may have; the next is refused with 403 `QUOTA_EXCEEDED`. None: no cap.
    pub max_projects_per_organisation: Option<u32>,
    /// Free disk space below which no project is provisioned, in MiB.
    pub min_free_disk_mb: u64,
    /// Temporary files one session of a project may fill, in MiB.
    pub temp_file_limit_mb: u32,
    /// A backstop above the pools: connections Postgres accepts for each of a project's two logins.
    pub max_connections_per_login: u32,
    /// Seconds between two measurements of the databases that were used in between.
    pub storage_interval_seconds: u64,
    /// `billing.free`, no setting of its own: projects need no tier, the requested one is applied without a charge.
    #[serde(skip)]
    pub free: bool,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self {
            spare_databases: 2,
            max_projects: None,
            max_projects_per_organisation: None,
            min_free_disk_mb: 256,
            temp_file_limit_mb: 1024,
            max_connections_per_login: 16,
            storage_interval_seconds: 60,
            free: false,
        }
    }
}

/// `rate_limits.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateSettings {
    /// False switches every rate limit of this feature off.
    pub enabled: bool,
    /// Data-plane requests per second of one project; as many may come at once (02 §1.2).
    pub project_per_second: u32,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self { enabled: true, project_per_second: 100 }
    }
}

/// `limits.*`: quotas that replace those of every tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Metered calls of an organisation per period.
    pub api_calls: Option<i64>,
    /// Databases and blobs of an organisation, in MiB.
    pub storage_mb: Option<i64>,
}
