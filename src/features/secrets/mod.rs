//! Function secrets: named values of a project that its functions see in their environment (contract 05 §7).
//!
//! # Invariants
//! - A value goes in and reaches functions; no route, log line, error, release or plan ever shows one, nor anything
//!   derived from one.
//! - At rest a value is sealed for its project and key, so that a row copied elsewhere does not open.
//! - Values are gone with the first step of their project's purge.

mod routes;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use routes::router;
pub use service::{Dependencies, Secrets};
pub use types::{SecretEntry, SecretError, SecretValue};
