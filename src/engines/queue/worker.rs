//! The one worker of this process: claims what is due, runs it, writes what became of it.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use jiff::SignedDuration;
use tokio::{sync::Notify, time};
use tokio_postgres::GenericClient;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    job::{Count, Handler, Job, NewJob, Outcome, Policy},
    store,
};
use crate::{
    common::{Clock, Timestamp},
    engines::postgres::{Database, DatabaseError},
};

/// How long a process is believed to run a job without saying so again. It renews three times as often.
const LEASE: Duration = Duration::from_secs(60);
/// Longest time between two looks at the table: for who forgot to wake us, and for clocks that jump.
const LONGEST_NAP: Duration = Duration::from_secs(1);
/// Between two looks for leases that ran out and for failed jobs nobody needs any more.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long a job that was given up can be looked at.
const FAILED_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long jobs under way may go on when the process stops. What is cut off runs again at the next start.
const LAST_WORDS: Duration = Duration::from_secs(2);

struct Line {
    handler: Arc<dyn Handler>,
    policy: Policy,
    running: Arc<AtomicUsize>,
}

/// The queue, and the worker on it.
pub struct Queue {
    database: Database,
    clock: Clock,
    /// This process, in leases.
    worker: Uuid,
    lease: Duration,
    lines: BTreeMap<&'static str, Line>,
    wake: Arc<Notify>,
    tasks: TaskTracker,
}

impl Queue {
    pub fn new(database: Database, clock: Clock) -> Self {
        Self {
            database,
            clock,
            worker: Uuid::new_v4(),
            lease: LEASE,
            lines: BTreeMap::new(),
            wake: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Jobs of `kind` are done by `handler`. Jobs of a kind without a handler wait.
    #[must_use]
    pub fn handle(mut self, kind: &'static str, policy: Policy, handler: Arc<dyn Handler>) -> Self {
        self.lines.insert(kind, Line { handler, policy, running: Arc::default() });
        self
    }

    /// Wakes the worker; for who adds jobs without holding the queue. See [`Waker`].
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Adds a job, best in the transaction of its cause; call [`Waker::wake`] once that has committed. False: an
    /// unfinished job of that key is there already.
    ///
    /// # Errors
    /// The database refused.
    pub async fn add<C: GenericClient>(client: &C, job: &NewJob<'_>, now: Timestamp) -> Result<bool, DatabaseError> {
        store::insert(client, job, now).await
    }

    /// Takes back a job that was not begun. False: there is none.
    ///
    /// # Errors
    /// The database refused.
    pub async fn take_back<C: GenericClient>(client: &C, kind: &str, key: &str) -> Result<bool, DatabaseError> {
        store::remove_waiting(client, kind, key).await
    }

    /// How many jobs of each kind are in which state.
    ///
    /// # Errors
    /// The database refused.
    pub async fn counts(&self) -> Result<Vec<Count>, DatabaseError> {
        store::counts(&self.database.get().await?).await
    }

    /// Works until `stop`. What an earlier process left running is begun anew first.
    pub async fn work(self: Arc<Self>, stop: CancellationToken) {
        let mut inherited = false;
        let mut swept = time::Instant::now();
        while !stop.is_cancelled() {
            if !inherited {
                inherited = self.logged(self.release(Some(self.worker))).await.is_some();
            } else if swept.elapsed() >= SWEEP_EVERY {
                swept = time::Instant::now();
                self.logged(self.sweep()).await;
            }
            let nap = self.logged(self.begin_due()).await.unwrap_or(LONGEST_NAP);
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => {}
                () = time::sleep(nap) => {}
            }
        }
        self.tasks.close();
        if time::timeout(LAST_WORDS, self.tasks.wait()).await.is_err() {
            tracing::info!(jobs = self.tasks.len(), "background jobs are cut off and run again at the next start");
        }
    }

    async fn logged<T>(&self, work: impl Future<Output = Result<T, DatabaseError>>) -> Option<T> {
        work.await.inspect_err(|error| tracing::warn!(%error, "the queue cannot be read right now")).ok()
    }

    async fn release(&self, not_of: Option<Uuid>) -> Result<(), DatabaseError> {
        let connection = self.database.get().await?;
        let now = self.clock.now();
        for (kind, line) in &self.lines {
            let released = store::release(&connection, kind, line.policy.max_attempts, not_of, now).await?;
            if released > 0 {
                tracing::info!(kind, released, "jobs were left running and begin anew");
            }
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<(), DatabaseError> {
        self.release(None).await?;
        store::forget_failed(&self.database.get().await?, self.clock.now().minus(FAILED_KEPT)).await?;
        Ok(())
    }

    /// Begins what is due, as far as there is room. Answers how long to wait for the next.
    async fn begin_due(self: &Arc<Self>) -> Result<Duration, DatabaseError> {
        let connection = self.database.get().await?;
        let mut nap = LONGEST_NAP;
        for (kind, due) in store::next_due(&connection).await? {
            let Some((&kind, line)) = self.lines.get_key_value(kind.as_str()) else { continue };
            let now = self.clock.now();
            if due > now {
                nap = nap.min(Duration::try_from(due.since(now)).unwrap_or(LONGEST_NAP));
                continue;
            }
            // A job that ends wakes the worker, so a full line need not be looked at before.
            let room = line.policy.concurrency.max(1).saturating_sub(line.running.load(Ordering::Acquire));
            if room == 0 {
                continue;
            }
            let claim = store::Claim { kind, limit: room, worker: self.worker, now, lease: self.lease };
            let jobs = store::claim(&connection, &claim).await?;
            if jobs.len() == room {
                nap = Duration::from_millis(10).min(nap);
            }
            for job in jobs {
                line.running.fetch_add(1, Ordering::AcqRel);
                let queue = Arc::clone(self);
                self.tasks.spawn(async move { queue.run(kind, job).await });
            }
        }
        // Never busy: a job that is due within the millisecond is due now.
        Ok(nap.max(Duration::from_millis(1)))
    }

    async fn run(self: Arc<Self>, kind: &'static str, job: Job) {
        let Some(line) = self.lines.get(kind) else { return };
        let _place = Place { running: Arc::clone(&line.running), wake: Arc::clone(&self.wake) };
        let (id, attempt) = (job.id, job.attempt);
        let work = AssertUnwindSafe(async { line.handler.handle(job).await }).catch_unwind();
        let outcome = tokio::select! {
            outcome = work => outcome.unwrap_or_else(|_| Outcome::Retry("The handler panicked.".into())),
            // Somebody else has the job now, and the effect is his.
            () = self.keep_lease(id, attempt) => return,
        };
        let mut pause = Duration::from_millis(100);
        // The effect is there; only its record is missing. Without it the job would run again after the lease.
        for _ in 0..5 {
            match self.record(line, id, attempt, &outcome).await {
                Ok(ours) => {
                    if !ours {
                        tracing::warn!(kind, id, "a job ended after its lease had");
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(kind, id, %error, "the end of a job is not recorded yet");
                    time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    /// Renews the lease for as long as it can; ends when it is lost.
    async fn keep_lease(&self, id: i64, attempt: u32) {
        loop {
            time::sleep(self.lease / 3).await;
            let renewed = async {
                let connection = self.database.get().await?;
                store::renew(&connection, id, self.worker, attempt, self.clock.now(), self.lease).await
            };
            if matches!(renewed.await, Ok(false)) {
                tracing::warn!(id, "a job lost its lease");
                return;
            }
        }
    }

    async fn record(&self, line: &Line, id: i64, attempt: u32, outcome: &Outcome) -> Result<bool, DatabaseError> {
        let connection = self.database.get().await?;
        let now = self.clock.now();
        let by = (self.worker, attempt);
        match outcome {
            Outcome::Done => store::finish(&connection, id, self.worker, attempt).await,
            Outcome::Again(at) => store::put_back(&connection, id, by, Some(*at), true, None, now).await,
            Outcome::Retry(error) if attempt < line.policy.max_attempts => {
                let pause = line.policy.backoff.after(attempt);
                let at = now.plus(SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX));
                store::put_back(&connection, id, by, Some(at), false, Some(error), now).await
            }
            Outcome::Retry(error) | Outcome::GiveUp(error) => {
                tracing::warn!(id, error, "a background job was given up");
                store::put_back(&connection, id, by, None, false, Some(error), now).await
            }
        }
    }
}

/// Tells the worker that there is something to do.
#[derive(Clone)]
pub struct Waker(Arc<Notify>);

impl Waker {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// A place in a line, given back also when a job is cut off.
struct Place {
    running: Arc<AtomicUsize>,
    wake: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.wake.notify_one();
    }
}
