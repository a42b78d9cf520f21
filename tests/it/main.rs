//! Every integration test, in one binary because linking is the slow part of a test build.

#[path = "../support/mod.rs"]
mod support;

mod faucet;
mod identity;
mod service;
