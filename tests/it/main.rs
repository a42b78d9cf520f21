//! Every integration test, in one binary because linking is the slow part of a test build.

#[path = "../support/mod.rs"]
mod support;

mod apply;
mod apply_crash;
mod apply_flips;
mod apply_migrations;
mod apply_spec;
mod assets;
mod auth;
mod billing;
mod boot;
mod browser;
mod clients;
mod content;
mod durability;
mod expose;
mod faucet;
mod function_builds;
mod functions;
mod hostile_sql;
mod identity;
mod isolation;
mod packages;
mod payments;
mod projects;
mod rest;
mod secrets;
mod service;
mod sites;
mod sql;
mod subdomains;
mod tiers;
