//! Durable background work in a table of a Postgres database.
//!
//! Who wants work done adds a job in the transaction of its cause ([`Queue::add`]) and wakes the queue once that has
//! committed. A worker of this process claims due jobs (`FOR UPDATE SKIP LOCKED`), holds each under a lease that it
//! renews, and hands it to the handler of its kind.
//!
//! Invariants:
//! - A job whose transaction committed is handled at least once, however the process ends. It can be handled twice
//!   (a crash between effect and answer), so handlers are idempotent.
//! - A lease belongs to one process: at the start every lease of an earlier process is void, and a job that lost its
//!   lease cannot be finished by who held it.
//! - Every begun attempt counts, also one that killed the process: a job that always does is given up in the end.
//! - A kind runs at most as many jobs at a time as its policy says, and none waits for another kind.
//!
//! The table is `migrations/control/V15__queue.sql`.

#[cfg(test)]
mod crash_tests;
mod job;
mod store;
#[cfg(test)]
mod tests;
mod worker;

pub use job::{Backoff, Count, Handler, Job, NewJob, Outcome, Policy, State};
pub use worker::{Queue, Waker};
