//! Ledger entries and what the billing routes answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    common::{OrganisationId, Timestamp, UsdMicros},
    features::orgs::{Organisation, Tier},
};

/// Which way money moves, seen from the organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Credit,
    Debit,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Debit => "debit",
        }
    }
}

/// An entry to be posted.
pub struct Entry<'a> {
    pub organisation: OrganisationId,
    pub direction: Direction,
    /// `x402_payment`, `tier_subscribe`, `tier_renew`, `tier_upgrade`, `tier_downgrade`, `tier_refund`,
    /// `admin_adjustment`, … (01 §8.3)
    pub kind: &'a str,
    /// More than zero.
    pub amount: UsdMicros,
    /// (`reference_type`, `reference_id`): an entry of one kind is posted once for one reference.
    pub reference: Option<(&'a str, &'a str)>,
    /// A JSON object.
    pub metadata: Value,
}

/// An organisation's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balances {
    pub available: UsdMicros,
    pub held: UsdMicros,
}

/// The billing object (01 §8.2).
#[derive(Debug, Serialize, ToSchema)]
pub struct BillingAccount {
    #[schema(value_type = String, format = Uuid)]
    pub org_id: OrganisationId,
    #[schema(value_type = i64)]
    pub available_usd_micros: UsdMicros,
    #[schema(value_type = i64)]
    pub held_usd_micros: UsdMicros,
    pub email_credits_remaining: i64,
    pub tier: Option<Tier>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lease_expires_at: Option<Timestamp>,
    /// Always false: recharging by itself is not built yet.
    pub auto_recharge_enabled: bool,
    /// E-mail credits below which recharging would start.
    pub auto_recharge_threshold: i64,
}

/// The contract's default of `threshold` (01 §8.7).
const AUTO_RECHARGE_THRESHOLD: i64 = 2_000;

impl From<&Organisation> for BillingAccount {
    fn from(organisation: &Organisation) -> Self {
        Self {
            org_id: organisation.id,
            available_usd_micros: organisation.available,
            held_usd_micros: organisation.held,
            email_credits_remaining: organisation.email_credits,
            tier: organisation.tier(),
            lease_expires_at: organisation.lease.map(|lease| lease.expires_at),
            auto_recharge_enabled: false,
            auto_recharge_threshold: AUTO_RECHARGE_THRESHOLD,
        }
    }
}

/// One line of the ledger as it is read (01 §8.3).
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryEntry {
    /// Position in the ledger: the pagination key, not part of the answer.
    #[serde(skip)]
    pub sequence: i64,
    #[schema(value_type = String, format = Uuid)]
    pub id: Uuid,
    #[schema(value_type = Direction)]
    pub direction: String,
    pub kind: String,
    pub amount_usd_micros: i64,
    pub balance_after_available: i64,
    pub balance_after_held: i64,
    pub reference_type: Option<String>,
    pub reference_id: Option<String>,
    #[schema(value_type = Object)]
    pub metadata: Value,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A page of the ledger, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    #[schema(value_type = String, format = Uuid)]
    pub org_id: OrganisationId,
    pub entries: Vec<HistoryEntry>,
    pub has_more: bool,
    pub next_cursor: Option<String>,
}

/// `prices.*` settings: what is sold beside tiers (01 §8.9), in USD micros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceSettings {
    /// `POST /generate-image/v1`.
    pub generated_image_usd_micros: u32,
    /// 10,000 mails that never expire.
    pub email_pack_usd_micros: u32,
    /// Rent of a contract signer for a day.
    pub contract_wallet_day_usd_micros: u32,
    /// One signature by a contract signer.
    pub contract_signature_usd_micros: u32,
}

impl Default for PriceSettings {
    fn default() -> Self {
        Self {
            generated_image_usd_micros: 30_000,
            email_pack_usd_micros: 5_000_000,
            contract_wallet_day_usd_micros: 40_000,
            contract_signature_usd_micros: 5,
        }
    }
}
