//! Billing: one balance for each organisation and the append-only ledger behind it (contract 01 §8).
//!
//! Invariants:
//! - Only [`post`] changes a balance, in the caller's transaction and under the organisation's row lock; every entry
//!   stores both balances after it, so the newest entry always equals the organisation's row.
//! - One kind of entry is posted once for one reference, so retries cannot pay twice.
//! - The available balance goes below zero only by an explicit correction of the box's owner.

mod ledger;
mod routes;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use ledger::{ADMIN_ADJUSTMENT, LedgerError, post};
pub use routes::router;
pub use service::Billing;
pub use types::{Balances, BillingAccount, Direction, Entry, History, HistoryEntry, PriceSettings};
