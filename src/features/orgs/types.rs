//! Organisations, their leases and the words for both.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::common::{OrganisationId, Timestamp, UsdMicros};

/// The tiers on sale, cheapest first (01 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Prototype,
    Hobby,
    Team,
}

/// The text names no tier.
#[derive(Debug, thiserror::Error)]
#[error("not a tier: expected prototype, hobby or team")]
pub struct UnknownTier;

impl Tier {
    pub const ALL: [Self; 3] = [Self::Prototype, Self::Hobby, Self::Team];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prototype => "prototype",
            Self::Hobby => "hobby",
            Self::Team => "team",
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Self, UnknownTier> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text).ok_or(UnknownTier)
    }
}

/// Where an organisation stands after its lease (01 §7.5), in the order it passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleState {
    Active,
    PastDue,
    Frozen,
    Dormant,
    Purged,
}

impl LifecycleState {
    pub const ALL: [Self; 5] = [Self::Active, Self::PastDue, Self::Frozen, Self::Dormant, Self::Purged];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Frozen => "frozen",
            Self::Dormant => "dormant",
            Self::Purged => "purged",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Lease of an organisation that has (had) a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub tier: Tier,
    pub started_at: Timestamp,
    pub expires_at: Timestamp,
    /// What was paid for the whole span from start to expiry; a refund is the unused share of it.
    pub paid: UsdMicros,
}

/// An organisation as it stood when it was read. `lifecycle` is computed for that moment.
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

impl Organisation {
    pub fn tier(&self) -> Option<Tier> {
        self.lease.map(|lease| lease.tier)
    }
}

/// Where an organisation stands after its lease (01 §7.5), computed from timestamps and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    pub state: LifecycleState,
    /// When the state began by the lease's clock; the start of the lease while active, none without a lease.
    pub entered_at: Option<Timestamp>,
    /// None when the clock stands still: perpetual, not enforced, or at its last stop.
    pub next_transition_at: Option<Timestamp>,
    /// When the organisation's projects are due for removal; none when they never are.
    pub purge_at: Option<Timestamp>,
}

/// What a lapsed organisation may no longer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Creating projects and `POST /message/v1`: closed from `past_due`.
    Provision,
    /// Deploys, secrets, domains, uploads, renames: closed from `frozen`. Reads, deletes and billing have no gate.
    ControlPlane,
}

/// `lease.*` settings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseSettings {
    /// Whether an expired lease has consequences (ruling 2 of 00). Off: leases are reported and renewable, an
    /// organisation with a tier stays `active`, and nothing is ever frozen or purged.
    pub enforce: bool,
    /// Whether new organisations are born with a perpetual lease.
    pub default_perpetual: bool,
    /// Whether dormant organisations lose their projects 104 days after the lease. Off: they stay dormant.
    pub purge_enabled: bool,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { enforce: false, default_perpetual: false, purge_enabled: true }
    }
}

/// What a sweep of the lifecycles found (01 §7.5).
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// State changes announced by this sweep, for notifications and caches.
    pub announced: Vec<Announcement>,
    /// Organisations whose projects must be removed now. Repeated by every sweep until the organisation has a new
    /// lease, so that a crash in the middle of a removal is made good.
    pub purge: Vec<OrganisationId>,
}

/// One announced state change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub organisation: OrganisationId,
    pub from: LifecycleState,
    pub to: LifecycleState,
}
