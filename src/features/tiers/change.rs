//! What setting a tier means for an organisation (01 §7.3), without a database.

use jiff::SignedDuration;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{catalogue::TierTerms, inventory::PoolUsage};
use crate::{
    common::{ApiError, Timestamp, UsdMicros},
    features::orgs::{Lease, Tier},
};

/// The kinds of tier change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TierAction {
    Subscribe,
    Renew,
    Upgrade,
    Downgrade,
}

impl TierAction {
    /// The ledger kind of its debit (01 §8.3).
    pub fn ledger_kind(self) -> &'static str {
        match self {
            Self::Subscribe => "tier_subscribe",
            Self::Renew => "tier_renew",
            Self::Upgrade => "tier_upgrade",
            Self::Downgrade => "tier_downgrade",
        }
    }
}

/// What setting `tier` does to an organisation with this lease. An expired lease counts as none, whatever else the
/// organisation is: past due, frozen, perpetual, or on a box that does not enforce leases.
pub fn decide(lease: Option<&Lease>, tier: Tier, now: Timestamp) -> TierAction {
    match lease {
        Some(lease) if now < lease.expires_at => match tier.cmp(&lease.tier) {
            std::cmp::Ordering::Equal => TierAction::Renew,
            std::cmp::Ordering::Greater => TierAction::Upgrade,
            std::cmp::Ordering::Less => TierAction::Downgrade,
        },
        _ => TierAction::Subscribe,
    }
}

/// The lease after a change that cost `charged`. A renewal extends from the current expiry and keeps the start;
/// everything else starts now.
pub fn next_lease(
    current: Option<&Lease>,
    action: TierAction,
    tier: Tier,
    lease_days: i64,
    charged: UsdMicros,
    now: Timestamp,
) -> Lease {
    let length = SignedDuration::from_secs(lease_days.saturating_mul(86_400));
    match (action, current) {
        (TierAction::Renew, Some(current)) => Lease {
            tier,
            started_at: current.started_at,
            expires_at: current.expires_at.plus(length),
            paid: UsdMicros(current.paid.0.saturating_add(charged.0)),
        },
        _ => Lease { tier, started_at: now, expires_at: now.plus(length), paid: charged },
    }
}

/// What an upgrade or downgrade gives back of the old lease: floor(paid × remaining ms / lease ms).
///
/// `paid` is what was paid for the whole span of the lease. For a lease that was never renewed that is the
/// contract's "old price"; with renewals it stays exact, and neither a price change nor a free box can make the
/// refund exceed what came in. A perpetual lease does not run down, so it refunds nothing.
pub fn refund(current: Option<&Lease>, action: TierAction, perpetual: bool, now: Timestamp) -> UsdMicros {
    let (Some(lease), TierAction::Upgrade | TierAction::Downgrade, false) = (current, action, perpetual) else {
        return UsdMicros(0);
    };
    let whole = lease.expires_at.as_millis().saturating_sub(lease.started_at.as_millis());
    let remaining = lease.expires_at.as_millis().saturating_sub(now.as_millis()).clamp(0, whole.max(0));
    if whole <= 0 {
        return UsdMicros(0);
    }
    let share = i128::from(lease.paid.0.max(0)) * i128::from(remaining) / i128::from(whole);
    UsdMicros(i64::try_from(share).unwrap_or(0))
}

/// Refuses a downgrade whose new limits are below what the organisation uses now.
///
/// Calls count too, although a new lease starts their counter again: otherwise a day on the large tier would buy
/// its whole allowance, and the refund the rest of its price.
///
/// # Errors
/// 400 `TIER_DOWNGRADE_NOT_ALLOWED` with `details{current,limits}`.
pub fn check_downgrade(tier: Tier, terms: &TierTerms, usage: &PoolUsage) -> Result<(), ApiError> {
    let exceeded = if usage.storage_bytes > terms.storage_bytes() {
        format!("storage of {} bytes exceeds new tier limits ({} bytes)", usage.storage_bytes, terms.storage_bytes())
    } else if usage.api_calls > terms.api_calls {
        format!("usage of {} API calls exceeds new tier limits ({})", usage.api_calls, terms.api_calls)
    } else {
        return Ok(());
    };
    Err(ApiError::bad_request(
        "TIER_DOWNGRADE_NOT_ALLOWED",
        format!("Cannot downgrade to {tier}: {exceeded}. Remove data first, or wait until the lease expires."),
    )
    .detail("current", json!({"api_calls": usage.api_calls, "storage_bytes": usage.storage_bytes}))
    .detail("limits", json!({"api_calls": terms.api_calls, "storage_bytes": terms.storage_bytes()})))
}
