//! From invocations to the table.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::spawn_blocking, time};
use tokio_util::sync::CancellationToken;

use super::{
    entry::{Entry, Level, Stream, Tags},
    segment::Segment,
};
use crate::{
    common::{Clock, ProjectId, Timestamp},
    engines::postgres::{Database, DatabaseError},
    features::functions::store,
};

/// Bytes of entries that wait to be written, at most; further ones are dropped, and counted.
const MAX_PENDING: usize = 16 * 1024 * 1024;
/// Bytes of entries of one statement, if one of them is not larger.
const BATCH: usize = 2 * 1024 * 1024;
/// How long entries gather before they are written.
const GATHER: Duration = Duration::from_millis(150);
/// What an entry takes beside its text.
const ENTRY_OVERHEAD: usize = 200;

/// Bytes that are kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::features::functions) struct LogLimits {
    pub invocation: usize,
    pub line: usize,
    pub project: i64,
}

#[derive(Default)]
struct Pending {
    entries: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
}

/// Entries on their way to the table.
pub(in crate::features::functions) struct LogQueue {
    limits: LogLimits,
    clock: Clock,
    pending: Mutex<Pending>,
    arrived: Notify,
    /// Bytes written for each project since its log was last cut.
    grown: Mutex<HashMap<ProjectId, i64>>,
}

impl LogQueue {
    pub fn new(limits: LogLimits, clock: Clock) -> Arc<Self> {
        Arc::new(Self { limits, clock, pending: Mutex::default(), arrived: Notify::new(), grown: Mutex::default() })
    }

    pub fn limits(&self) -> &LogLimits {
        &self.limits
    }

    pub fn push(&self, tags: &Arc<Tags>, stream: Stream, level: Level, message: String, redacted: bool) {
        let now = self.clock.now();
        let at = Timestamp::from_millis(now.as_millis()).unwrap_or(now);
        let entry = Entry { tags: Arc::clone(tags), at, stream, level, message, redacted };
        let size = taken(&entry);
        let mut pending = self.lock();
        if pending.bytes + size > MAX_PENDING {
            pending.dropped += 1;
            return;
        }
        pending.bytes += size;
        pending.entries.push_back(entry);
        drop(pending);
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest that wait, as many as one statement takes.
    pub fn take(&self) -> Vec<Entry> {
        let mut pending = self.lock();
        let dropped = std::mem::take(&mut pending.dropped);
        let batch: Vec<Entry> = if pending.bytes <= BATCH {
            pending.bytes = 0;
            std::mem::take(&mut pending.entries).into()
        } else {
            let (mut count, mut bytes) = (0, 0);
            for size in pending.entries.iter().map(taken) {
                if count > 0 && bytes + size > BATCH {
                    break;
                }
                (count, bytes) = (count + 1, bytes + size);
            }
            pending.bytes -= bytes;
            pending.entries.drain(..count).collect()
        };
        drop(pending);
        if dropped > 0 {
            tracing::warn!(dropped, "log entries of functions were dropped: they came faster than they are written");
        }
        batch
    }

    /// Projects whose log grew by a quarter of what it may have.
    fn too_long(&self, segments: &[Segment]) -> Vec<ProjectId> {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in segments {
            let total = grown.entry(segment.project.clone()).or_default();
            *total = total.saturating_add(segment.size);
        }
        grown.extract_if(|_, grown| *grown > self.limits.project / 4).map(|(project, _)| project).collect()
    }

    /// Writes what arrives, until `stop`; then what is left.
    pub async fn write_forever(self: Arc<Self>, database: Database, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.arrived.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = time::sleep(GATHER) => {}
            }
            self.write(&database).await;
        }
        self.write(&database).await;
    }

    /// Writes everything that is pending.
    pub async fn write(&self, database: &Database) {
        loop {
            let batch = self.take();
            let entries = batch.len();
            if entries == 0 {
                return;
            }
            let written = async {
                let packed = spawn_blocking(move || Segment::of(batch)).await;
                let segments = packed.map_err(|error| DatabaseError::Unavailable(error.to_string()))?;
                let connection = database.get().await?;
                store::logs::insert(&connection, &segments).await?;
                for project in self.too_long(&segments) {
                    store::logs::cut(&connection, &project, self.limits.project).await?;
                }
                Ok::<_, DatabaseError>(())
            };
            if let Err(error) = written.await {
                tracing::warn!(%error, entries, "log entries of functions are lost");
                return;
            }
        }
    }
}

/// Bytes an entry takes while it waits.
fn taken(entry: &Entry) -> usize {
    entry.message.len() + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::functions::logs::Origin;

    fn filled(lengths: impl IntoIterator<Item = usize>) -> Arc<LogQueue> {
        let limits = LogLimits { invocation: 0, line: 0, project: 1_000_000 };
        let queue = LogQueue::new(limits, Clock::system());
        let (project, release) = ("prj_a".parse().unwrap(), "rel_a".parse().unwrap());
        let origin = Arc::new(Origin { project, function: "f".into(), release });
        let tags = Arc::new(Tags { origin, request_id: "req_1234".into(), run_id: None, attempt_id: None });
        for length in lengths {
            queue.push(&tags, Stream::Stdout, Level::Info, "x".repeat(length), false);
        }
        queue
    }

    #[test]
    fn what_is_pending_is_bounded() {
        let queue = filled([1024 * 1024; 20]);
        assert!(queue.lock().bytes <= MAX_PENDING && queue.lock().dropped >= 4);
    }

    #[test]
    fn entries_leave_in_order_and_in_bounded_batches() {
        let mega = 1024 * 1024;
        let queue = filled([mega, 1, 5 * mega, 2, mega, 3]);
        let mut taken = Vec::new();
        loop {
            let batch: Vec<usize> = queue.take().iter().map(|entry| entry.message.len()).collect();
            if batch.is_empty() {
                break;
            }
            taken.push(batch);
        }
        assert_eq!(taken, [vec![mega, 1], vec![5 * mega], vec![2, mega, 3]]);
        assert_eq!(queue.lock().bytes, 0);
    }
}
