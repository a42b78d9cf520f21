//! SKELETON: organisations, memberships, leases. Signatures are binding.
use serde::{Deserialize, Serialize};
use tokio_postgres::Transaction;

use crate::{
    common::{ApiResult, Clock, OrganisationId, PrincipalId, Timestamp, UsdMicros, WalletAddress},
    engines::postgres::{Database, DatabaseError},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Prototype,
    Hobby,
    Team,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleState {
    Active,
    PastDue,
    Frozen,
    Dormant,
    Purged,
}

/// Rights inside an organisation, weakest first (08 §3.1): a role has every right of those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Billing,
    Developer,
    Admin,
    Owner,
}

/// Lease of an organisation that has (had) a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub tier: Tier,
    pub started_at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Organisation {
    pub id: OrganisationId,
    pub display_name: Option<String>,
    pub lease: Option<Lease>,
    pub lease_perpetual: bool,
    pub lifecycle: Lifecycle,
    pub api_calls: i64,
    pub usage_period_start: Timestamp,
    pub available: UsdMicros,
    pub held: UsdMicros,
    pub email_credits: i64,
    pub created_at: Timestamp,
}

/// Where an organisation stands after its lease (01 §7.5), computed from timestamps and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    pub state: LifecycleState,
    pub entered_at: Option<Timestamp>,
    pub next_transition_at: Option<Timestamp>,
    pub purge_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Rename,
    ProjectCreate,
    ProjectRead,
    ProjectWrite,
    ProjectDelete,
    BillingRead,
    BillingWrite,
}

/// What a lapsed organisation may no longer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Provision,
    ControlPlane,
}

/// `lease.*` settings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseSettings {
    pub enforce: bool,
    pub default_perpetual: bool,
    pub purge_enabled: bool,
}
impl Default for LeaseSettings {
    fn default() -> Self {
        Self { enforce: false, default_perpetual: false, purge_enabled: true }
    }
}

pub struct Orgs {}
impl Orgs {
    pub fn new(
        _database: Database,
        _clock: Clock,
        _identity: std::sync::Arc<super::identity::Identity>,
        _settings: LeaseSettings,
    ) -> Self {
        todo!()
    }
    /// The wallet's organisation (01 §2.4): the one it was linked to, else the oldest it owns.
    pub async fn of_wallet(&self, _wallet: WalletAddress) -> Result<Option<Organisation>, DatabaseError> {
        todo!()
    }
    pub async fn find(&self, _id: OrganisationId) -> Result<Option<Organisation>, DatabaseError> {
        todo!()
    }
    /// The caller's role when it may do `action`; the same 403 `NOT_AUTHORIZED` for unknown and foreign organisations.
    pub async fn authorize(
        &self,
        _wallet: WalletAddress,
        _organisation: OrganisationId,
        _action: Action,
    ) -> ApiResult<Role> {
        todo!()
    }
    /// Ids of every organisation the wallet is an active member of.
    pub async fn memberships(&self, _wallet: WalletAddress) -> Result<Vec<(OrganisationId, Role)>, DatabaseError> {
        todo!()
    }
    /// 403 `PROJECT_PAST_DUE` / `PROJECT_FROZEN` / `PROJECT_DORMANT` with the lifecycle fields, when enforced.
    pub fn gate(&self, _organisation: &Organisation, _gate: Gate) -> ApiResult<()> {
        todo!()
    }
    /// Inside a transaction: the wallet's organisation, created with principal, wallet and owner membership if there is none.
    pub async fn ensure_for_wallet(
        &self,
        _tx: &Transaction<'_>,
        _wallet: WalletAddress,
    ) -> Result<OrganisationId, DatabaseError> {
        todo!()
    }
    /// Inside a transaction: principal and wallet rows exist.
    pub async fn ensure_principal(
        &self,
        _tx: &Transaction<'_>,
        _wallet: WalletAddress,
    ) -> Result<PrincipalId, DatabaseError> {
        todo!()
    }
    /// Inside a transaction: the organisation's row, locked for update.
    pub async fn lock(
        &self,
        _tx: &Transaction<'_>,
        _id: OrganisationId,
    ) -> Result<Option<Organisation>, DatabaseError> {
        todo!()
    }
    /// Inside a transaction: a new lease; lifecycle back to active; `reset_usage` starts a new usage period.
    pub async fn set_lease(
        &self,
        _tx: &Transaction<'_>,
        _id: OrganisationId,
        _lease: Lease,
        _reset_usage: bool,
    ) -> Result<(), DatabaseError> {
        todo!()
    }
}
