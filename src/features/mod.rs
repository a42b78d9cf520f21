//! The capabilities of Run402, one folder each. A feature uses another only through what its `mod.rs` exports.
//!
//! Order of dependence: identity ← orgs ← billing ← payments ← tiers ← projects ← sql ← expose; user_keys ← rest;
//! hosts ← projects ← content ← assets ← releases ← apply ← subdomains, sites ← functions; secrets
//! beside content; status looks
//! at all.

pub mod apply;
pub mod assets;
pub mod auth;
pub mod billing;
pub mod content;
pub mod expose;
pub mod functions;
pub mod hosts;
pub mod idempotency;
pub mod identity;
pub mod orgs;
pub mod payments;
pub mod projects;
pub mod releases;
pub mod rest;
pub mod secrets;
pub mod sites;
pub mod sql;
pub mod status;
pub mod subdomains;
pub mod tiers;
pub mod user_keys;
