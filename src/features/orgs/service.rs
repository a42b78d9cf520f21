//! The rules of organisations.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio_postgres::Transaction;

use super::{
    lifecycle, roles,
    roles::{Action, Role},
    store::{self, Caller, Reading},
    types::{Announcement, Gate, Lease, LeaseSettings, LifecycleState, Organisation, Sweep},
};
use crate::{
    common::{ApiError, ApiResult, Clock, OrganisationId, PrincipalId, WalletAddress},
    engines::postgres::{Database, DatabaseError},
    features::identity::Identity,
};

/// The service. Membership is looked up for every request and never cached: revocation is immediate (08 §3.1).
pub struct Orgs {
    database: Database,
    clock: Clock,
    identity: Arc<Identity>,
    settings: LeaseSettings,
    /// When this process swept last. A monotonic clock, which stands still while the machine sleeps, because the
    /// notice before a purge counts running time.
    last_sweep: Mutex<Option<Instant>>,
}

impl Orgs {
    pub fn new(database: Database, clock: Clock, identity: Arc<Identity>, settings: LeaseSettings) -> Self {
        Self { database, clock, identity, settings, last_sweep: Mutex::new(None) }
    }

    fn caller(&self, wallet: WalletAddress) -> Caller {
        Caller::new(wallet, self.identity.principal_of(wallet))
    }

    fn reading(&self) -> Reading<'_> {
        Reading { now: self.clock.now(), settings: &self.settings }
    }

    /// The wallet's organisation (01 §2.4): the one it was linked to, else the oldest it owns. One query; an
    /// unknown wallet has none and nothing is written for it.
    pub async fn of_wallet(&self, wallet: WalletAddress) -> Result<Option<Organisation>, DatabaseError> {
        let connection = self.database.get().await?;
        store::of_wallet(&connection, &self.caller(wallet), &self.reading()).await
    }

    pub async fn find(&self, id: OrganisationId) -> Result<Option<Organisation>, DatabaseError> {
        let connection = self.database.get().await?;
        store::find(&connection, id, &self.reading()).await
    }

    /// The caller's role when it may do `action`.
    ///
    /// # Errors
    /// 403 `NOT_AUTHORIZED`, the same for unknown and foreign organisations; 401 `PRINCIPAL_DISABLED` for a member
    /// who was shut out of the box.
    pub async fn authorize(
        &self,
        wallet: WalletAddress,
        organisation: OrganisationId,
        action: Action,
    ) -> ApiResult<Role> {
        let connection = self.database.get().await?;
        let standing = store::standing(&connection, organisation, &self.caller(wallet)).await?;
        if standing.disabled {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "PRINCIPAL_DISABLED",
                "This account was disabled on this box. Ask its operator.",
            ));
        }
        roles::decide(standing.role, action)
    }

    /// Every organisation the wallet is an active member of, oldest first.
    pub async fn memberships(&self, wallet: WalletAddress) -> Result<Vec<(OrganisationId, Role)>, DatabaseError> {
        let connection = self.database.get().await?;
        store::memberships(&connection, &self.caller(wallet)).await
    }

    /// 403 `PROJECT_PAST_DUE` / `PROJECT_FROZEN` / `PROJECT_DORMANT` with the lifecycle fields, when enforced.
    pub fn gate(&self, organisation: &Organisation, gate: Gate) -> ApiResult<()> {
        lifecycle::refusal(organisation, gate).map_or(Ok(()), Err)
    }

    /// Whether the organisation has a tier that counts now: unexpired, perpetual, or on a box where leases are not
    /// enforced, where an expiry date is reported but has no effect (ruling 2 of 00).
    pub fn has_active_tier(&self, organisation: &Organisation) -> bool {
        organisation.lease.is_some() && organisation.lifecycle.state == LifecycleState::Active
    }

    /// Inside a transaction: the wallet's organisation, created with principal, wallet and owner membership if there
    /// is none. Concurrent calls for one wallet take turns and find the same organisation.
    pub async fn ensure_for_wallet(
        &self,
        tx: &Transaction<'_>,
        wallet: WalletAddress,
    ) -> Result<OrganisationId, DatabaseError> {
        let caller = self.caller(wallet);
        let reading = self.reading();
        store::ensure_principal(tx, &caller, reading.now).await?;
        if let Some(organisation) = store::of_wallet_in(tx, &caller, &reading).await? {
            return Ok(organisation.id);
        }
        let id = OrganisationId::generate();
        store::create(tx, id, &caller, self.settings.default_perpetual, reading.now).await?;
        Ok(id)
    }

    /// Inside a transaction: principal and wallet rows exist. Answers the principal the wallet belongs to.
    pub async fn ensure_principal(
        &self,
        tx: &Transaction<'_>,
        wallet: WalletAddress,
    ) -> Result<PrincipalId, DatabaseError> {
        let caller = self.caller(wallet);
        let stored = store::ensure_principal(tx, &caller, self.clock.now()).await?;
        Ok(stored.unwrap_or(caller.principal))
    }

    /// Inside a transaction: the organisation's row, locked for update.
    pub async fn lock(&self, tx: &Transaction<'_>, id: OrganisationId) -> Result<Option<Organisation>, DatabaseError> {
        store::lock(tx, id, &self.reading()).await
    }

    /// Inside a transaction: a new lease; lifecycle back to active; `reset_usage` starts a new usage period.
    pub async fn set_lease(
        &self,
        tx: &Transaction<'_>,
        id: OrganisationId,
        lease: Lease,
        reset_usage: bool,
    ) -> Result<(), DatabaseError> {
        store::set_lease(tx, id, &lease, reset_usage, self.clock.now()).await
    }

    /// Switches the organisation's clock off or on again (01 §7.6). Answers whether this pulled it back to `active`;
    /// none when there is no such organisation. Idempotent.
    pub async fn set_perpetual(&self, id: OrganisationId, perpetual: bool) -> Result<Option<bool>, DatabaseError> {
        let mut connection = self.database.get().await?;
        let tx = connection.transaction().await?;
        let Some(organisation) = self.lock(&tx, id).await? else { return Ok(None) };
        store::set_perpetual(&tx, id, perpetual, self.clock.now()).await?;
        tx.commit().await?;
        Ok(Some(perpetual && organisation.lifecycle.state != LifecycleState::Active))
    }

    /// Announces lifecycle changes and names the organisations whose projects are to be removed (01 §7.5). Run at
    /// start and at least hourly; idempotent, and safe beside requests: whoever gets a new lease meanwhile is left
    /// alone. Before removing anything, take [`Orgs::lock_for_purge`].
    pub async fn sweep(&self) -> Result<Sweep, DatabaseError> {
        let elapsed = self.running_time_since_last_sweep();
        let reading = self.reading();
        let connection = self.database.get().await?;
        let mut sweep = Sweep::default();
        for candidate in store::sweep_candidates(&connection, &reading).await? {
            let was_dormant = candidate.announced == LifecycleState::Dormant;
            let dormant_for = if was_dormant { candidate.dormant_for + elapsed } else { Duration::ZERO };
            let next = lifecycle::announce(candidate.by_clock, candidate.announced, dormant_for);
            let kept = if next == LifecycleState::Dormant { dormant_for } else { Duration::ZERO };
            if !store::record_announcement(&connection, &candidate, next, kept, reading.now).await? {
                continue;
            }
            if next != candidate.announced {
                sweep.announced.push(Announcement { organisation: candidate.id, from: candidate.announced, to: next });
            }
            if next == LifecycleState::Purged {
                sweep.purge.push(candidate.id);
            }
        }
        Ok(sweep)
    }

    /// Inside the transaction that marks projects for removal: whether the organisation is still to be purged, with
    /// its row locked so that no new lease can slip in between.
    pub async fn lock_for_purge(&self, tx: &Transaction<'_>, id: OrganisationId) -> Result<bool, DatabaseError> {
        let Some(organisation) = self.lock(tx, id).await? else { return Ok(false) };
        let announced = store::announced_state(tx, id).await?;
        Ok(organisation.lifecycle.state == LifecycleState::Purged && announced == Some(LifecycleState::Purged))
    }

    fn running_time_since_last_sweep(&self) -> Duration {
        let now = Instant::now();
        let mut last = self.last_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last))
    }
}
