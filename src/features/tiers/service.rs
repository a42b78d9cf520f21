//! Setting tiers.
//!
//! Which action a request is (subscribe, renew, upgrade, downgrade) depends on the lease, and the price's ledger
//! kind depends on the action. The action is read first, so that refusals come before any money moves, and decided
//! again under the organisation's row lock. When another request changed the lease in between, nothing has been
//! settled yet: the transaction is rolled back and the request starts over with the new action. So the ledger always
//! names what really happened, and two parallel renewals both extend.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::json;
use tokio_postgres::Transaction;

use super::{
    catalogue::{Catalogue, FunctionLimits, TierTerms},
    change::{self, TierAction},
    inventory::ProjectInventory,
    types::{Quote, SingleTier, TierChange, TierSet, TierStatus},
};
use crate::{
    common::{ApiError, ApiResult, Clock, OrganisationId, Timestamp, UsdMicros, WalletAddress},
    engines::postgres::Database,
    features::{
        billing::{self, Direction, Entry},
        orgs::{Action, LifecycleState, Organisation, Orgs, Tier, organisation_not_found},
        payments::{Admission, Charge, PaidRequest, Payments, Price},
    },
};

/// How often a request starts over when others keep changing the same lease.
const ATTEMPTS: usize = 5;

/// The tiers service.
pub struct Tiers {
    database: Database,
    clock: Clock,
    orgs: Arc<Orgs>,
    payments: Arc<Payments>,
    catalogue: Catalogue,
}

/// A tier change decided under the organisation's row lock.
struct Order {
    organisation: Organisation,
    tier: Tier,
    action: TierAction,
    now: Timestamp,
}

impl Tiers {
    pub fn new(
        database: Database,
        clock: Clock,
        orgs: Arc<Orgs>,
        payments: Arc<Payments>,
        catalogue: Catalogue,
    ) -> Self {
        Self { database, clock, orgs, payments, catalogue }
    }

    pub fn terms(&self, tier: Tier) -> &TierTerms {
        self.catalogue.terms(tier)
    }

    /// What a function may use on a tier; what the tier status publishes and deploys must accept.
    pub fn function_limits(&self, tier: Tier) -> FunctionLimits {
        self.catalogue.function_limits(tier)
    }

    /// The price of subscribing, for the paid pipeline.
    pub fn subscription_price(&self, tier: Tier) -> Price {
        self.price(tier, TierAction::Subscribe)
    }

    fn price(&self, tier: Tier, action: TierAction) -> Price {
        let amount = self.catalogue.terms(tier).price;
        Price { amount, description: format!("Set {tier} tier ({amount} USDC)"), kind: action.ledger_kind() }
    }

    pub(super) fn quote(&self) -> Quote {
        Quote::of(&self.catalogue)
    }

    pub(super) fn single(&self, tier: Tier) -> SingleTier {
        SingleTier::of(&self.catalogue, tier)
    }

    pub(super) async fn status(&self, wallet: WalletAddress, projects: &dyn ProjectInventory) -> ApiResult<TierStatus> {
        let Some(organisation) = self.orgs.of_wallet(wallet).await? else { return Ok(TierStatus::orphan(wallet)) };
        let inventory = projects.inventory(organisation.id).await?;
        let active = self.orgs.has_active_tier(&organisation);
        Ok(TierStatus::of(wallet, &organisation, active, inventory, &self.catalogue))
    }

    /// `POST /tiers/v1/{tier}` (01 §7.3): checks, payment, change, answer. `wallet` is the signed-in one; without it
    /// the payer becomes the wallet.
    pub(super) async fn set(
        &self,
        request: &PaidRequest<'_>,
        tier: Tier,
        wallet: Option<WalletAddress>,
        projects: &dyn ProjectInventory,
    ) -> ApiResult<Response> {
        let mut buyer = wallet;
        for _ in 0..ATTEMPTS {
            let action = match buyer {
                Some(buyer) => self.check(buyer, tier, projects).await?,
                None => TierAction::Subscribe,
            };
            let charge = match self.payments.admit(request, &self.price(tier, action), wallet).await? {
                Admission::Replay(response) => return Ok(response),
                Admission::Charge(charge) => charge,
            };
            let beneficiary = charge.beneficiary();
            if buyer != Some(beneficiary) {
                // Only now it is known who pays and benefits: check that organisation before anything is settled.
                buyer = Some(beneficiary);
                continue;
            }
            if let Some(response) = self.carry_out(charge, beneficiary, tier, action).await? {
                return Ok(response);
            }
        }
        Err(ApiError::conflict(
            "TIER_CHANGED",
            "The organisation's tier is being changed by other requests. Try again.",
        )
        .retryable(true))
    }

    /// Everything that refuses a tier change before a payment is asked for; answers the action it would be.
    async fn check(&self, buyer: WalletAddress, tier: Tier, projects: &dyn ProjectInventory) -> ApiResult<TierAction> {
        let Some(organisation) = self.orgs.of_wallet(buyer).await? else { return Ok(TierAction::Subscribe) };
        self.orgs.authorize(buyer, organisation.id, Action::BillingWrite).await?;
        let action = change::decide(organisation.lease.as_ref(), tier, self.clock.now());
        if action == TierAction::Downgrade {
            let usage = projects.usage(organisation.id).await?;
            change::check_downgrade(tier, self.terms(tier), &usage)?;
        }
        Ok(action)
    }

    /// One transaction: lock, decide, settle, change, answer. None when the action is no longer the expected one;
    /// nothing has happened then.
    async fn carry_out(
        &self,
        mut charge: Charge,
        buyer: WalletAddress,
        tier: Tier,
        expected: TierAction,
    ) -> ApiResult<Option<Response>> {
        let mut connection = self.database.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let organisation = self.orgs.ensure_for_wallet(&tx, buyer).await?;
        let order = self.order(&tx, organisation, tier).await?;
        if order.action != expected {
            tx.rollback().await?;
            return Ok(None);
        }
        charge.settle(&tx, organisation).await?;
        let change = self.carry_out_order(&tx, &order).await?;
        let status = if order.action == TierAction::Subscribe { StatusCode::CREATED } else { StatusCode::OK };
        let body = serde_json::to_value(TierSet { wallet: buyer, change }).map_err(ApiError::internal)?;
        charge.finish(tx, status, body).await.map(Some)
    }

    /// Inside a transaction in which the charge was settled: sets the tier of the organisation, whose row it locks,
    /// and answers the body of 01 §7.3 without `wallet`. For provisioning with a first subscription; the downgrade
    /// check is the caller's, who knows that there is no active tier.
    pub async fn apply(
        &self,
        tx: &Transaction<'_>,
        organisation: OrganisationId,
        tier: Tier,
    ) -> ApiResult<serde_json::Value> {
        let order = self.order(tx, organisation, tier).await?;
        let change = self.carry_out_order(tx, &order).await?;
        serde_json::to_value(change).map_err(ApiError::internal)
    }

    async fn order(&self, tx: &Transaction<'_>, id: OrganisationId, tier: Tier) -> ApiResult<Order> {
        let organisation = self.orgs.lock(tx, id).await?.ok_or_else(organisation_not_found)?;
        // Whole milliseconds, as the API writes them, so that what is stored is what is answered.
        let now = self.clock.now();
        let now = Timestamp::from_millis(now.as_millis()).unwrap_or(now);
        let action = change::decide(organisation.lease.as_ref(), tier, now);
        Ok(Order { organisation, tier, action, now })
    }

    async fn carry_out_order(&self, tx: &Transaction<'_>, order: &Order) -> ApiResult<TierChange> {
        let Order { organisation, tier, action, now } = order;
        let current = organisation.lease.as_ref();
        let refund = change::refund(current, *action, organisation.lease_perpetual, *now);
        if refund > UsdMicros(0) {
            billing::post(
                tx,
                &Entry {
                    organisation: organisation.id,
                    direction: Direction::Credit,
                    kind: "tier_refund",
                    amount: refund,
                    reference: None,
                    metadata: json!({"from_tier": organisation.tier(), "to_tier": tier}),
                },
            )
            .await?;
        }
        let lease = change::next_lease(
            current,
            *action,
            *tier,
            self.terms(*tier).lease_days,
            self.catalogue.charged(*tier),
            *now,
        );
        self.orgs.set_lease(tx, organisation.id, lease, *action != TierAction::Renew).await?;
        // Read again: the charge and the refund moved the balance after the lock was taken.
        let after = self.orgs.lock(tx, organisation.id).await?.ok_or_else(organisation_not_found)?;
        let purged = organisation.lifecycle.state == LifecycleState::Purged;
        Ok(TierChange {
            action: *action,
            tier: *tier,
            previous_tier: organisation.tier().filter(|_| !purged),
            lease_started_at: lease.started_at,
            lease_expires_at: lease.expires_at,
            allowance_remaining_usd_micros: after.available,
        })
    }
}
