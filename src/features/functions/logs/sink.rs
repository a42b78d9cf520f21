//! From an invocation to the table.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time};
use tokio_util::sync::CancellationToken;

use super::redact::Redactor;
use crate::{
    common::{Clock, ProjectId, ReleaseId, Timestamp},
    engines::postgres::{Database, DatabaseError},
    features::functions::store,
};

/// Bytes of entries that wait to be written, at most; further ones are dropped, and counted.
const MAX_PENDING: usize = 16 * 1024 * 1024;
/// Entries of one statement.
const BATCH: usize = 500;
/// How long entries gather before they are written.
const GATHER: Duration = Duration::from_millis(150);
/// What an entry takes beside its text.
const ENTRY_OVERHEAD: usize = 200;

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
    Platform,
}

impl Stream {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Platform => "platform",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Bytes that are kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::features::functions) struct LogLimits {
    pub invocation: usize,
    pub line: usize,
    pub project: i64,
}

/// What an entry belongs to.
#[derive(Clone, Debug)]
pub(in crate::features::functions) struct Tags {
    pub project: ProjectId,
    pub function: String,
    pub release: ReleaseId,
    pub request_id: String,
    pub run_id: Option<String>,
    pub attempt_id: Option<String>,
}

#[derive(Clone, Debug)]
pub(in crate::features::functions) struct Entry {
    pub tags: Arc<Tags>,
    /// To the millisecond, as it is shown and asked for.
    pub at: Timestamp,
    pub stream: Stream,
    pub level: Level,
    pub message: String,
    pub redacted: bool,
}

/// Takes what one invocation writes.
#[derive(Clone)]
pub struct LogSink(Arc<Sink>);

struct Sink {
    queue: Arc<LogQueue>,
    tags: Arc<Tags>,
    redactor: Arc<Redactor>,
    /// Bytes this invocation may still write.
    left: Mutex<usize>,
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogSink({})", self.0.tags.request_id)
    }
}

impl LogSink {
    pub(in crate::features::functions) fn new(queue: &Arc<LogQueue>, tags: Tags, redactor: Arc<Redactor>) -> Self {
        let left = Mutex::new(queue.limits.invocation);
        Self(Arc::new(Sink { queue: Arc::clone(queue), tags: Arc::new(tags), redactor, left }))
    }

    /// One entry. Secrets are hidden, long text is cut, and an invocation that writes too much is cut off.
    pub fn write(&self, stream: Stream, level: Level, text: &str) {
        let sink = &*self.0;
        // Looked at a little beyond the cut, so that the cut does not leave half a secret.
        let window = floor(text, sink.queue.limits.line + sink.redactor.longest());
        let (mut message, redacted) = sink.redactor.redact(&text[..window]);
        if message.len() > sink.queue.limits.line || window < text.len() {
            message.truncate(floor(&message, sink.queue.limits.line));
            message.push_str(" …[truncated]");
        }
        if message.contains('\0') {
            // Postgres text cannot hold it.
            message = message.replace('\0', "\u{fffd}");
        }
        // What the platform says of the invocation is always kept; it is little.
        if stream != Stream::Platform {
            let mut left = sink.left.lock().unwrap_or_else(PoisonError::into_inner);
            if *left == 0 {
                return;
            }
            if message.len() > *left {
                message.truncate(floor(&message, *left));
                message.push_str(" …[the log of this invocation is full]");
                *left = 0;
            } else {
                // An empty line is an entry too.
                *left -= message.len().max(1);
            }
        }
        sink.queue.push(&sink.tags, stream, level, message, redacted);
    }
}

/// The largest boundary of a character at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
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

    fn push(&self, tags: &Arc<Tags>, stream: Stream, level: Level, message: String, redacted: bool) {
        let now = self.clock.now();
        let at = Timestamp::from_millis(now.as_millis()).unwrap_or(now);
        let size = message.len() + ENTRY_OVERHEAD;
        let mut pending = self.lock();
        if pending.bytes + size > MAX_PENDING {
            pending.dropped += 1;
            return;
        }
        pending.bytes += size;
        pending.entries.push_back(Entry { tags: Arc::clone(tags), at, stream, level, message, redacted });
        drop(pending);
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Entry> {
        let mut pending = self.lock();
        let dropped = std::mem::take(&mut pending.dropped);
        if dropped > 0 {
            tracing::warn!(dropped, "log entries of functions were dropped: they came faster than they are written");
        }
        let count = pending.entries.len().min(BATCH);
        let batch: Vec<Entry> = pending.entries.drain(..count).collect();
        pending.bytes -= batch.iter().map(|entry| entry.message.len() + ENTRY_OVERHEAD).sum::<usize>();
        batch
    }

    /// Projects whose log grew by a quarter of what it may have.
    fn too_long(&self, batch: &[Entry]) -> Vec<ProjectId> {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in batch {
            let size = i64::try_from(entry.message.len() + store::logs::OVERHEAD).unwrap_or(i64::MAX);
            let total = grown.entry(entry.tags.project.clone()).or_default();
            *total = total.saturating_add(size);
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
            if batch.is_empty() {
                return;
            }
            let written = async {
                let connection = database.get().await?;
                store::logs::insert(&connection, &batch).await?;
                for project in self.too_long(&batch) {
                    store::logs::cut(&connection, &project, self.limits.project).await?;
                }
                Ok::<_, DatabaseError>(())
            };
            if let Err(error) = written.await {
                tracing::warn!(%error, entries = batch.len(), "log entries of functions are lost");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(line: usize, invocation: usize) -> Arc<LogQueue> {
        LogQueue::new(LogLimits { invocation, line, project: 1_000_000 }, Clock::system())
    }

    fn sink(queue: &Arc<LogQueue>, secret: &str) -> LogSink {
        let tags = Tags {
            project: "prj_a".parse().unwrap(),
            function: "f".into(),
            release: "rel_a".parse().unwrap(),
            request_id: "req_1234".into(),
            run_id: None,
            attempt_id: None,
        };
        LogSink::new(queue, tags, Arc::new(Redactor::new([secret.to_owned()])))
    }

    fn messages(queue: &LogQueue) -> Vec<String> {
        queue.take().into_iter().map(|entry| entry.message).collect()
    }

    #[test]
    fn long_lines_are_cut_and_never_through_a_secret() {
        let queue = queue(10, 1000);
        let sink = sink(&queue, "topsecret");
        sink.write(Stream::Stdout, Level::Info, "0123456topsecret789");
        sink.write(Stream::Stdout, Level::Info, "ääääääääää");
        sink.write(Stream::Stdout, Level::Info, "0123456789");
        let seen = messages(&queue);
        assert_eq!(seen, ["0123456[re …[truncated]", "äääää …[truncated]", "0123456789"]);
    }

    #[test]
    fn an_invocation_that_writes_too_much_is_cut_off_except_for_the_platform() {
        let queue = queue(100, 10);
        let sink = sink(&queue, "topsecret");
        for text in ["12345678", "abcdef", "more"] {
            sink.write(Stream::Stderr, Level::Error, text);
        }
        sink.write(Stream::Platform, Level::Info, "done");
        assert_eq!(messages(&queue), ["12345678", "ab …[the log of this invocation is full]", "done"]);
    }

    #[test]
    fn empty_lines_and_nul_are_no_trouble() {
        let queue = queue(100, 2);
        let sink = sink(&queue, "topsecret");
        for text in ["", "\0", "", ""] {
            sink.write(Stream::Stdout, Level::Info, text);
        }
        // Two bytes of room: an empty line, then one that is cut.
        assert_eq!(messages(&queue), ["", " …[the log of this invocation is full]"]);
    }

    #[test]
    fn what_is_pending_is_bounded() {
        let queue = queue(1024 * 1024, usize::MAX);
        let sink = sink(&queue, "topsecret");
        let line = "x".repeat(1024 * 1024);
        for _ in 0..20 {
            sink.write(Stream::Stdout, Level::Info, &line);
        }
        assert!(queue.lock().bytes <= MAX_PENDING && queue.lock().dropped >= 4);
    }
}
