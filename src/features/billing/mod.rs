//! SKELETON: the ledger of organisation balances. Signatures are binding.
use serde_json::Value;
use tokio_postgres::Transaction;

use crate::{
    common::{ApiError, OrganisationId, UsdMicros},
    engines::postgres::DatabaseError,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Credit,
    Debit,
}

pub struct Entry<'a> {
    pub organisation: OrganisationId,
    pub direction: Direction,
    /// `x402_payment`, `tier_subscribe`, `tier_renew`, `tier_upgrade`, `tier_downgrade`, `tier_refund`, `admin_adjustment`, …
    pub kind: &'a str,
    pub amount: UsdMicros,
    /// (reference_type, reference_id)
    pub reference: Option<(&'a str, &'a str)>,
    pub metadata: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balances {
    pub available: UsdMicros,
    pub held: UsdMicros,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the balance does not cover the debit")]
    InsufficientFunds,
    #[error("this entry was posted before")]
    Duplicate,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}
impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        ApiError::internal(error)
    }
}

/// Posts one entry inside the caller's transaction, under the organisation's row lock (taken here).
pub async fn post(_tx: &Transaction<'_>, _entry: &Entry<'_>) -> Result<Balances, LedgerError> {
    todo!()
}
