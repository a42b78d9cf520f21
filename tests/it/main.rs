//! Every integration test, in one binary because linking is the slow part of a test build.

#[path = "../support/mod.rs"]
mod support;

mod billing;
mod faucet;
mod identity;
mod payments;
mod service;
mod tiers;
