//! Durable runs (contract 05 §6): a call that is promised, tried again, and remembered.
//!
//! A run is a row; a job of the queue carries each of its generations to its end. The row decides: whatever the queue
//! repeats after a crash finds there what has happened already.

mod carry;
mod request;
mod service;
mod types;

pub(super) use carry::Carrier;
pub(super) use request::{CreateRun, ListRuns, Redrive, Selection};
pub(super) use types::{Attempt, Handle, Run, RunList, Status};

use std::time::Duration;

use crate::engines::queue::{Backoff, Policy};

/// The queue's name for runs.
pub(super) const KIND: &str = "function_run";

/// Failures of a run are counted in its row; the queue repeats only what the database kept us from writing down.
pub(super) const POLICY: Policy = Policy {
    concurrency: 32,
    max_attempts: 1_000,
    backoff: Backoff { min: Duration::from_secs(1), max: Duration::from_secs(60) },
};
