//! What the tier routes answer.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    catalogue::{Catalogue, FunctionLimits, TierTerms},
    change::TierAction,
    inventory::{Inventory, ProjectEntry},
};
use crate::{
    common::{ProjectId, Timestamp, UsdMicros, WalletAddress},
    features::orgs::{LifecycleState, Organisation, Tier},
};

/// The network every payment mode serves (01 §3.3).
const NETWORK: &str = "eip155:84532";

/// `GET /tiers/v1`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quote {
    tiers: QuotedTiers,
    auth: AuthHelp,
}

#[derive(Debug, Serialize, ToSchema)]
struct QuotedTiers {
    prototype: QuotedTier,
    hobby: QuotedTier,
    team: QuotedTier,
}

/// One tier of the catalogue (01 §7.1).
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotedTier {
    #[schema(example = "$0.10")]
    price: String,
    lease_days: i64,
    storage_mb: i64,
    api_calls: i64,
    max_functions: i64,
    description: String,
}

/// How to sign requests and pay.
#[derive(Debug, Serialize, ToSchema)]
struct AuthHelp {
    header: &'static str,
    encoding: &'static str,
    statement: &'static str,
    chain_id: &'static str,
    r#type: &'static str,
    lifetime_seconds: u32,
    payment_header: &'static str,
}

/// `GET /tiers/v1/{tier}`, kept for old clients.
#[derive(Debug, Serialize, ToSchema)]
pub struct SingleTier {
    tier: Tier,
    #[schema(value_type = i64)]
    price_usd_micros: UsdMicros,
    network: &'static str,
    #[serde(flatten)]
    terms: QuotedTier,
}

impl QuotedTier {
    fn of(catalogue: &Catalogue, tier: Tier) -> Self {
        let terms = catalogue.terms(tier);
        Self {
            price: terms.price.to_string(),
            lease_days: terms.lease_days,
            storage_mb: terms.storage_mb,
            api_calls: terms.api_calls,
            max_functions: terms.max_functions,
            description: catalogue.description(tier),
        }
    }
}

impl Quote {
    pub(super) fn of(catalogue: &Catalogue) -> Self {
        Self {
            tiers: QuotedTiers {
                prototype: QuotedTier::of(catalogue, Tier::Prototype),
                hobby: QuotedTier::of(catalogue, Tier::Hobby),
                team: QuotedTier::of(catalogue, Tier::Team),
            },
            auth: AuthHelp {
                header: "SIGN-IN-WITH-X",
                encoding: "standard base64 of a JSON object with the fields of an EIP-4361 message and its signature",
                statement: "Sign in to Run402",
                chain_id: NETWORK,
                r#type: "eip191",
                lifetime_seconds: 300,
                payment_header: "PAYMENT-SIGNATURE",
            },
        }
    }
}

impl SingleTier {
    pub(super) fn of(catalogue: &Catalogue, tier: Tier) -> Self {
        Self {
            tier,
            price_usd_micros: catalogue.terms(tier).price,
            network: NETWORK,
            terms: QuotedTier::of(catalogue, tier),
        }
    }
}

/// `GET /tiers/v1/status` (01 §7.2). Every field is always present.
#[derive(Debug, Serialize, ToSchema)]
pub struct TierStatus {
    #[schema(value_type = String)]
    wallet: WalletAddress,
    tier: Option<Tier>,
    #[schema(value_type = Option<String>, format = DateTime)]
    lease_started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    lease_expires_at: Option<Timestamp>,
    /// Whether the tier counts: unexpired, perpetual, or on a box that does not enforce leases, where the expiry
    /// date is only reported.
    active: bool,
    organization_lifecycle_state: Option<LifecycleState>,
    lease_perpetual: Option<bool>,
    pool_usage: PoolUsageAnswer,
    projects: Vec<ProjectAnswer>,
    /// Always empty: project transfers are not built yet, so none can be pending.
    #[schema(value_type = Vec<Object>)]
    incoming_transfers: [(); 0],
    function_limits: Option<FunctionLimitsAnswer>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct PoolUsageAnswer {
    projects: i64,
    total_api_calls: i64,
    total_storage_bytes: i64,
    api_calls_limit: i64,
    storage_bytes_limit: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct ProjectAnswer {
    #[schema(value_type = String)]
    id: ProjectId,
    name: String,
    tier: Option<Tier>,
    status: String,
    pinned: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    effective_status: &'static str,
    organization_lifecycle_state: LifecycleState,
    lease_perpetual: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct FunctionLimitsAnswer {
    max_function_timeout_seconds: i64,
    max_function_memory_mb: i64,
    max_scheduled_functions: i64,
    min_cron_interval_minutes: i64,
    current_scheduled_functions: i64,
}

impl TierStatus {
    /// A wallet without an organisation: nulls and zeros.
    pub(super) fn orphan(wallet: WalletAddress) -> Self {
        Self {
            wallet,
            tier: None,
            lease_started_at: None,
            lease_expires_at: None,
            active: false,
            organization_lifecycle_state: None,
            lease_perpetual: None,
            pool_usage: PoolUsageAnswer::default(),
            projects: Vec::new(),
            incoming_transfers: [],
            function_limits: None,
        }
    }

    pub(super) fn of(
        wallet: WalletAddress,
        organisation: &Organisation,
        active: bool,
        inventory: Inventory,
        catalogue: &Catalogue,
    ) -> Self {
        let tier = organisation.tier();
        let terms = tier.map(|tier| catalogue.terms(tier));
        Self {
            wallet,
            tier,
            lease_started_at: organisation.lease.map(|lease| lease.started_at),
            lease_expires_at: organisation.lease.map(|lease| lease.expires_at),
            active,
            organization_lifecycle_state: Some(organisation.lifecycle.state),
            lease_perpetual: Some(organisation.lease_perpetual),
            pool_usage: PoolUsageAnswer {
                projects: inventory.usage.projects,
                total_api_calls: inventory.usage.api_calls,
                total_storage_bytes: inventory.usage.storage_bytes,
                api_calls_limit: terms.map_or(0, |terms| terms.api_calls),
                storage_bytes_limit: terms.map_or(0, TierTerms::storage_bytes),
            },
            projects: inventory.projects.into_iter().map(|entry| ProjectAnswer::of(entry, organisation)).collect(),
            incoming_transfers: [],
            function_limits: tier
                .map(|tier| FunctionLimitsAnswer::of(catalogue.function_limits(tier), inventory.scheduled_functions)),
        }
    }
}

impl ProjectAnswer {
    fn of(entry: ProjectEntry, organisation: &Organisation) -> Self {
        let state = organisation.lifecycle.state;
        Self {
            effective_status: effective_status(&entry, state),
            id: entry.id,
            name: entry.name,
            tier: organisation.tier(),
            status: entry.status,
            pinned: organisation.lease_perpetual,
            created_at: entry.created_at,
            organization_lifecycle_state: state,
            lease_perpetual: organisation.lease_perpetual,
        }
    }
}

/// Deletion and moderation win over the organisation's state (01 §7.5). The word for projects whose organisation
/// is being purged is `deleted` as well.
fn effective_status(entry: &ProjectEntry, state: LifecycleState) -> &'static str {
    match (entry.status.as_str(), entry.archived, state) {
        ("purging" | "purged", _, _) => "deleted",
        (_, true, _) => "archived",
        (_, false, LifecycleState::Purged) => "deleted",
        (_, false, state) => state.as_str(),
    }
}

impl FunctionLimitsAnswer {
    fn of(limits: FunctionLimits, current_scheduled_functions: i64) -> Self {
        Self {
            max_function_timeout_seconds: limits.timeout_seconds,
            max_function_memory_mb: limits.memory_mb,
            max_scheduled_functions: limits.scheduled_functions,
            min_cron_interval_minutes: limits.min_cron_interval_minutes,
            current_scheduled_functions,
        }
    }
}

/// The answer of setting a tier (01 §7.3) without its `wallet`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TierChange {
    pub action: TierAction,
    pub tier: Tier,
    pub previous_tier: Option<Tier>,
    #[schema(value_type = String, format = DateTime)]
    pub lease_started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub lease_expires_at: Timestamp,
    /// The organisation's available balance after the change.
    #[schema(value_type = i64)]
    pub allowance_remaining_usd_micros: UsdMicros,
}

/// The answer of `POST /tiers/v1/{tier}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TierSet {
    #[schema(value_type = String)]
    pub wallet: WalletAddress,
    #[serde(flatten)]
    pub change: TierChange,
}
