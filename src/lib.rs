//! run402, the appliance. One line per module; ARCHITECTURE.md tells how they fit together.

/// Words everyone uses: ids, errors, time, money, sealing, pagination.
pub mod common;
/// Embedded machines that know nothing of Run402.
pub mod engines;
/// The capabilities of Run402, one folder each.
pub mod features;
