//! SKELETON: the tier catalogue and subscriptions. Signatures are binding.
use tokio_postgres::Transaction;

use crate::{
    common::{ApiResult, OrganisationId, UsdMicros},
    features::orgs::Tier,
};

/// What a tier costs and allows (01 §7.1). Every number can be overridden in the configuration.
#[derive(Clone, Debug)]
pub struct TierTerms {
    pub price: UsdMicros,
    pub lease_days: i64,
    pub storage_mb: i64,
    pub api_calls: i64,
    pub max_functions: i64,
    pub function_timeout_seconds: i64,
    pub function_memory_mb: i64,
    pub scheduled_functions: i64,
    pub min_cron_interval_minutes: i64,
    pub secrets: i64,
}

pub struct Tiers {}
impl Tiers {
    pub fn terms(&self, _tier: Tier) -> &TierTerms {
        todo!()
    }
    /// The price object of subscribing, for the paid pipeline.
    pub fn subscription_price(&self, _tier: Tier) -> super::payments::Price {
        todo!()
    }
    /// Inside a transaction in which the charge was settled: apply the tier to the (locked) organisation and return the body of 01 §7.3 without `wallet`.
    pub async fn apply(
        &self,
        _tx: &Transaction<'_>,
        _organisation: OrganisationId,
        _tier: Tier,
    ) -> ApiResult<serde_json::Value> {
        todo!()
    }
}
