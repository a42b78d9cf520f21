//! What a job is, and what its handler says of it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::common::Timestamp;

/// Work to be done.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// Lower-case letters, digits and `_`, at most 63.
    pub kind: &'static str,
    /// Of unfinished jobs of one kind, one has this key; at most 512 bytes. None: any number may wait.
    pub key: Option<&'a str>,
    pub payload: Value,
    /// Not before then.
    pub run_at: Timestamp,
}

/// A job in the hands of its handler.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: i64,
    pub key: Option<String>,
    pub payload: Value,
    /// Attempts begun, this one included.
    pub attempt: u32,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Try again, after the policy's pause; given up after its last attempt.
    Retry(String),
    /// Come back at this time; the attempts begin anew. For work that is not finished rather than failed.
    Again(Timestamp),
    /// Trying again is of no use.
    GiveUp(String),
}

/// Does the jobs of one kind. Idempotent: the same job may come twice.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, job: Job) -> BoxFuture<'_, Outcome>;
}

/// How the jobs of a kind are run.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// At a time; at least 1.
    pub concurrency: usize,
    /// Begun attempts after which a job is given up; at least 1.
    pub max_attempts: u32,
    pub backoff: Backoff,
}

/// The pause after a failed attempt: doubled with each, from `min` to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

impl Backoff {
    /// The pause after the `attempt`th attempt.
    pub fn after(self, attempt: u32) -> Duration {
        let factor = 2u32.saturating_pow(attempt.saturating_sub(1));
        self.min.saturating_mul(factor).min(self.max)
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Waiting,
    Running,
    Failed,
}

/// How many jobs of a kind are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub kind: String,
    pub state: State,
    pub jobs: i64,
    /// When the first of them is due, or was.
    pub earliest: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff { min: Duration::from_secs(30), max: Duration::from_secs(100) };
        let pauses: Vec<_> = [1, 2, 3, 4, 40, u32::MAX].map(|attempt| backoff.after(attempt).as_secs()).into();
        assert_eq!(pauses, [30, 60, 100, 100, 100, 100]);
    }
}
