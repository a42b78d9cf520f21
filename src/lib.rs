//! run402, the appliance. One line per module; ARCHITECTURE.md tells how they fit together.
//!
//! Dependencies point one way: appliance → edge → features → engines → common, and surfaces talk HTTP.

/// The composition root: configuration, privileges, boot and shutdown.
pub mod appliance;
/// Words everyone uses: ids, errors, time, money, sealing, pagination.
pub mod common;
/// What a socket sees: listeners, middleware, error envelope, OpenAPI, metrics.
pub mod edge;
/// Embedded machines that know nothing of Run402.
pub mod engines;
/// The capabilities of Run402, one folder each.
pub mod features;
