//! The tiers on sale: the contract's numbers (01 §7.1) with the operator's changes on top. Challenges, answers and
//! ledger entries all take their price from here.

use serde::{Deserialize, Serialize};

use crate::{common::UsdMicros, features::orgs::Tier};

/// What a tier costs and allows (01 §7.1). Every number can be overridden in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierTerms {
    pub price: UsdMicros,
    pub lease_days: i64,
    /// Mebibytes, databases and blobs together, over all projects of the organisation.
    pub storage_mb: i64,
    /// Per lease, over all projects of the organisation.
    pub api_calls: i64,
    /// Per project.
    pub max_functions: i64,
    pub function_timeout_seconds: i64,
    pub function_memory_mb: i64,
    /// Per project.
    pub scheduled_functions: i64,
    pub min_cron_interval_minutes: i64,
    /// Per project.
    pub secrets: i64,
}

impl TierTerms {
    pub fn storage_bytes(&self) -> i64 {
        self.storage_mb.saturating_mul(1_048_576)
    }

    fn of(tier: Tier) -> Self {
        match tier {
            Tier::Prototype => Self {
                price: UsdMicros(100_000),
                lease_days: 7,
                storage_mb: 250,
                api_calls: 500_000,
                max_functions: 15,
                function_timeout_seconds: 10,
                function_memory_mb: 128,
                scheduled_functions: 1,
                min_cron_interval_minutes: 15,
                secrets: 10,
            },
            Tier::Hobby => Self {
                price: UsdMicros(5_000_000),
                lease_days: 30,
                storage_mb: 1_024,
                api_calls: 5_000_000,
                max_functions: 25,
                function_timeout_seconds: 30,
                function_memory_mb: 256,
                scheduled_functions: 3,
                min_cron_interval_minutes: 5,
                secrets: 50,
            },
            Tier::Team => Self {
                price: UsdMicros(20_000_000),
                lease_days: 30,
                storage_mb: 10_240,
                api_calls: 50_000_000,
                max_functions: 100,
                function_timeout_seconds: 60,
                function_memory_mb: 512,
                scheduled_functions: 10,
                min_cron_interval_minutes: 1,
                secrets: 200,
            },
        }
    }
}

/// `tiers.<name>.*`: what the operator changes of one tier.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TierOverrides {
    pub price_usd_micros: Option<i64>,
    pub lease_days: Option<i64>,
    pub storage_mb: Option<i64>,
    pub api_calls: Option<i64>,
    pub max_functions: Option<i64>,
    pub function_timeout_seconds: Option<i64>,
    pub function_memory_mb: Option<i64>,
    pub scheduled_functions: Option<i64>,
    pub min_cron_interval_minutes: Option<i64>,
    pub secrets: Option<i64>,
}

/// `tiers.function_floor.*`: what a function may have on any tier. The box belongs to its user, and clients refuse
/// locally to deploy more than the tier status allows, so the floor is generous (03 §2).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionFloor {
    pub timeout_seconds: i64,
    pub memory_mb: i64,
    pub scheduled_functions: i64,
}

impl Default for FunctionFloor {
    fn default() -> Self {
        Self { timeout_seconds: 60, memory_mb: 512, scheduled_functions: 1 }
    }
}

/// `tiers.*` settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TierSettings {
    pub prototype: TierOverrides,
    pub hobby: TierOverrides,
    pub team: TierOverrides,
    pub function_floor: FunctionFloor,
}

/// A setting is outside its range; the box does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("tiers.{scope}.{name} must be between {min} and {max}, not {value}")]
pub struct CatalogueError {
    scope: &'static str,
    name: &'static str,
    min: i64,
    max: i64,
    value: i64,
}

/// What a function may use on a tier, the floor included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionLimits {
    pub timeout_seconds: i64,
    pub memory_mb: i64,
    pub scheduled_functions: i64,
    pub min_cron_interval_minutes: i64,
}

/// The three tiers as this box sells them.
#[derive(Clone, Debug)]
pub struct Catalogue {
    prototype: TierTerms,
    hobby: TierTerms,
    team: TierTerms,
    floor: FunctionFloor,
    free: bool,
}

impl Catalogue {
    /// `free` is `billing.free`: prices are still shown, but a lease is recorded as having cost nothing.
    ///
    /// # Errors
    /// [`CatalogueError`] for the first setting outside its range.
    pub fn new(settings: &TierSettings, free: bool) -> Result<Self, CatalogueError> {
        let floor = settings.function_floor.clone();
        for (name, value) in [
            ("timeout_seconds", floor.timeout_seconds),
            ("memory_mb", floor.memory_mb),
            ("scheduled_functions", floor.scheduled_functions),
        ] {
            within("function_floor", name, value, 0, MANY)?;
        }
        Ok(Self {
            prototype: terms(Tier::Prototype, &settings.prototype)?,
            hobby: terms(Tier::Hobby, &settings.hobby)?,
            team: terms(Tier::Team, &settings.team)?,
            floor,
            free,
        })
    }

    pub fn terms(&self, tier: Tier) -> &TierTerms {
        match tier {
            Tier::Prototype => &self.prototype,
            Tier::Hobby => &self.hobby,
            Tier::Team => &self.team,
        }
    }

    /// What subscribing really costs on this box.
    pub fn charged(&self, tier: Tier) -> UsdMicros {
        if self.free { UsdMicros(0) } else { self.terms(tier).price }
    }

    pub fn function_limits(&self, tier: Tier) -> FunctionLimits {
        let terms = self.terms(tier);
        FunctionLimits {
            timeout_seconds: terms.function_timeout_seconds.max(self.floor.timeout_seconds),
            memory_mb: terms.function_memory_mb.max(self.floor.memory_mb),
            scheduled_functions: terms.scheduled_functions.max(self.floor.scheduled_functions),
            min_cron_interval_minutes: terms.min_cron_interval_minutes,
        }
    }

    /// One line for people.
    pub fn description(&self, tier: Tier) -> String {
        let terms = self.terms(tier);
        let name = match tier {
            Tier::Prototype => "Prototype (FREE: paid in testnet tokens)",
            Tier::Hobby => "Hobby",
            Tier::Team => "Team",
        };
        format!(
            "{name}: {} days, {} MB of storage, {} API calls, {} functions a project",
            terms.lease_days, terms.storage_mb, terms.api_calls, terms.max_functions
        )
    }
}

/// Larger than any sensible count, small enough to add up without overflow.
const MANY: i64 = 1_000_000_000_000;

fn terms(tier: Tier, overrides: &TierOverrides) -> Result<TierTerms, CatalogueError> {
    let scope = tier.as_str();
    let default = TierTerms::of(tier);
    let pick = |name, value: Option<i64>, default, min, max| within(scope, name, value.unwrap_or(default), min, max);
    Ok(TierTerms {
        // Not 0: the ledger has no empty entries. `billing.free` gives tiers away.
        price: UsdMicros(pick("price_usd_micros", overrides.price_usd_micros, default.price.0, 1, MANY)?),
        lease_days: pick("lease_days", overrides.lease_days, default.lease_days, 1, 36_500)?,
        // Not 0: clients divide by the two limits (02 §2.1).
        storage_mb: pick("storage_mb", overrides.storage_mb, default.storage_mb, 1, MANY)?,
        api_calls: pick("api_calls", overrides.api_calls, default.api_calls, 1, MANY)?,
        max_functions: pick("max_functions", overrides.max_functions, default.max_functions, 0, MANY)?,
        function_timeout_seconds: pick(
            "function_timeout_seconds",
            overrides.function_timeout_seconds,
            default.function_timeout_seconds,
            1,
            86_400,
        )?,
        function_memory_mb: pick(
            "function_memory_mb",
            overrides.function_memory_mb,
            default.function_memory_mb,
            1,
            MANY,
        )?,
        scheduled_functions: pick(
            "scheduled_functions",
            overrides.scheduled_functions,
            default.scheduled_functions,
            0,
            MANY,
        )?,
        min_cron_interval_minutes: pick(
            "min_cron_interval_minutes",
            overrides.min_cron_interval_minutes,
            default.min_cron_interval_minutes,
            1,
            MANY,
        )?,
        secrets: pick("secrets", overrides.secrets, default.secrets, 0, MANY)?,
    })
}

fn within(scope: &'static str, name: &'static str, value: i64, min: i64, max: i64) -> Result<i64, CatalogueError> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(CatalogueError { scope, name, min, max, value }) }
}
