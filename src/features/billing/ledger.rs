//! Posting to the ledger: the only code that changes a balance.

use tokio_postgres::Transaction;

use super::{
    store,
    types::{Balances, Direction, Entry},
};
use crate::{
    common::{ApiError, UsdMicros},
    engines::postgres::DatabaseError,
};

/// The kind of entry by which the owner of the box corrects a balance, the only debit that may overdraw.
pub const ADMIN_ADJUSTMENT: &str = "admin_adjustment";

/// Why an entry was not posted. Callers turn the first two into their own answers; unhandled, they are faults of
/// this box (500).
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the balance does not cover the debit")]
    InsufficientFunds,
    #[error("this entry was posted before")]
    Duplicate,
    #[error("an entry needs a positive amount that the balance can take")]
    InvalidAmount,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for LedgerError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Database(error) => error.into(),
            error => ApiError::internal(error),
        }
    }
}

/// Posts one entry inside the caller's transaction, under the organisation's row lock (taken here), and answers both
/// balances after it. An entry whose kind and reference were posted before changes nothing.
///
/// # Errors
/// [`LedgerError`]; the transaction stays usable except after `Database`.
pub async fn post(tx: &Transaction<'_>, entry: &Entry<'_>) -> Result<Balances, LedgerError> {
    let before = store::lock_balances(tx, entry.organisation).await?;
    if let Some((reference_type, reference_id)) = entry.reference
        && store::is_posted(tx, entry.kind, reference_type, reference_id).await?
    {
        return Err(LedgerError::Duplicate);
    }
    let after = balances_after(before, entry.direction, entry.amount, entry.kind == ADMIN_ADJUSTMENT)?;
    if !store::insert_entry(tx, entry, after).await? {
        return Err(LedgerError::Duplicate);
    }
    store::write_balances(tx, entry.organisation, after).await?;
    Ok(after)
}

/// The balances after an entry. `may_overdraw` lets a debit go below zero.
pub(super) fn balances_after(
    before: Balances,
    direction: Direction,
    amount: UsdMicros,
    may_overdraw: bool,
) -> Result<Balances, LedgerError> {
    if amount.0 <= 0 {
        return Err(LedgerError::InvalidAmount);
    }
    let available = match direction {
        Direction::Credit => before.available.0.checked_add(amount.0),
        Direction::Debit => before.available.0.checked_sub(amount.0),
    }
    .ok_or(LedgerError::InvalidAmount)?;
    if direction == Direction::Debit && available < 0 && !may_overdraw {
        return Err(LedgerError::InsufficientFunds);
    }
    Ok(Balances { available: UsdMicros(available), held: before.held })
}
