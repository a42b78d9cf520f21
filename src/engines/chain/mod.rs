//! The simulated chain: testnet tokens without a blockchain (contract 01 §3.5, §5).
//!
//! Curve and typed-data code, the x402 wire format, a token ledger on the `chain_*` tables and a JSON-RPC
//! façade that answers what wallets ask. It knows addresses, tokens and authorisations; it knows no
//! organisation, price or route.
//!
//! Invariants: a balance is never negative; an authorisation is used at most once; the sum of a token's
//! balances is what was minted; verification trusts the asset table of this box, never the payload.

pub mod assets;
pub mod eip3009;
pub mod jsonrpc;
pub mod ledger;
pub mod signature;
pub mod verify;
pub mod x402;
