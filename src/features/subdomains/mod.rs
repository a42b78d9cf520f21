//! `/subdomains/v1`: claim, list, delete (contract 04 §8), as changes of the release.
//!
//! Invariants:
//! - A claim or a delete goes through [`Apply::amend`], so that the next plan sees the names that are there.
//! - A claim for a deployment pins the name to it until the next activation re-points every name.

mod routes;
mod service;
mod types;

pub use routes::router;
pub use service::{Dependencies, Subdomains};
