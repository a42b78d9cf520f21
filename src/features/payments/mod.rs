//! Paid routes: offer a price, take a payment, sell exactly once (contract 01 §3), and the simulated chain's
//! doors: faucet, facilitator, JSON-RPC (§3.9, §5.2, §6.1).
//!
//! A paid route does three things with this module: [`Payments::admit`] once everything that could refuse the
//! request has been checked, [`Charge::settle`] inside the transaction of what it sells, [`Charge::finish`]
//! with the answer.
//!
//! Invariants:
//!
//! * Money and product commit together. Payment row, ledger entries, token transfer, product and stored
//!   answer are one transaction; there is no state in which one exists without the others.
//! * An authorisation buys once. Its row is unique; a copy gets the stored answer, a 409 while the first
//!   still runs, or a 402 when it is offered for something else.
//! * Real money is never touched: simulated payments refuse to offer a mainnet at start-up.
//! * Stored answers are sealed, because some (provisioning) hold keys.
//!
//! Locks are taken in one order everywhere: payment row, organisation, used authorisation, token balances.

mod challenge;
mod charge;
mod facilitator;
mod faucet;
mod in_flight;
mod routes;
mod rpc;
mod service;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use charge::Charge;
pub use routes::router;
pub use service::Payments;
pub use settings::{BillingSettings, FaucetSettings, InvalidSettings, PaymentMode, PaymentSettings, Settings};
pub use types::{Admission, Drip, Minted, PaidRequest, Price, Rail, Settlement, Verification};
