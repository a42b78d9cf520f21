//! The one thread that writes.
//!
//! redb has one writer at a time, so requests queue up here, and whatever has queued up while the last
//! transaction was being flushed goes into the next one together: a thousand small files cost a few flushes,
//! not a thousand. The queue is bounded, which is the backpressure of every upload.
//!
//! Staged chunks commit without a flush (`Durability::None`), a publication commits durably and takes
//! everything before it along. Durable commits use redb's quick repair: two flushes instead of one, but a
//! killed box opens a file of any size at once instead of reading all of it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::SignedDuration;
use redb::Durability;
use tokio::sync::{mpsc, oneshot};

use super::{
    BlobError, Meta, Sha256Digest, Stored,
    file::BlobFile,
    pins::{Pin, Pins},
    tables::{Group, Reaped, Tables},
};
use crate::common::{Clock, Timestamp};

/// Requests waiting for the writer. With full chunks of the default size this is 8 MiB.
pub(super) const QUEUE_LENGTH: usize = 32;
/// Content bytes after which a transaction takes no further request.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;
const BATCH_JOBS: usize = 256;
/// Staged bytes after which a durable commit is made though nobody waits for it, so that publishing a huge
/// blob does not stall everybody behind one huge flush.
const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;
/// Chunks removed in one transaction.
const REAP_CHUNKS: usize = 64;
/// A durable commit this young proves that writing works.
const PROOF_LASTS: Duration = Duration::from_secs(5);
/// Between attempts at opening a file that cannot be opened.
const REOPEN_INTERVAL: Duration = Duration::from_millis(250);
/// How long a blob is remembered as wanted again.
const TOUCH_LASTS: SignedDuration = SignedDuration::from_hours(1);
const TOUCHES_BEFORE_PRUNING: usize = 4096;

pub(super) type Reply<T> = oneshot::Sender<Result<T, BlobError>>;

/// What an upload is part of: chunks staged before a reopening are lost.
pub(super) type Epoch = u64;

pub(super) enum Job {
    /// Writes a chunk of an upload. The job keeps the pin, so that the group outlives a cancelled upload
    /// until its last chunk has been written and can be removed.
    Stage {
        pin: Arc<Pin>,
        epoch: Epoch,
        index: u32,
        chunk: Bytes,
        reply: Reply<()>,
    },
    /// Makes the pinned group the content of a blob. `epoch` is absent when the group was durable all along.
    Publish {
        pin: Arc<Pin>,
        epoch: Option<Epoch>,
        digest: Sha256Digest,
        size: u64,
        chunk_bytes: u32,
        reply: Reply<Stored>,
    },
    /// Stores blobs whose bytes are at hand: all or none.
    PutWhole {
        blobs: Vec<(Sha256Digest, Bytes)>,
        chunk_bytes: u32,
        reply: Reply<Vec<Stored>>,
    },
    /// Protects blobs from the sweep for a while; tells which exist.
    Touch {
        digests: Vec<Sha256Digest>,
        reply: Reply<Vec<bool>>,
    },
    Delete {
        digest: Sha256Digest,
        reply: Reply<bool>,
    },
    /// Deletes those of the blobs that are old enough and were not touched meanwhile; answers their sizes.
    DeleteUnreferenced {
        digests: Vec<Sha256Digest>,
        grace: SignedDuration,
        reply: Reply<Vec<u64>>,
    },
    /// One step of removing unpublished groups.
    Reap {
        reply: Reply<Reaped>,
    },
    /// Proves that durable writes work.
    Probe {
        reply: Reply<()>,
    },
    /// Nothing but a reason to look round.
    Wake,
    Shutdown {
        reply: Reply<()>,
    },
}

/// What uploads and the writer agree on.
#[derive(Debug)]
pub(super) struct Counters {
    next_group: AtomicU64,
    epoch: AtomicU64,
}

impl Counters {
    pub(super) fn new(last_group: Group) -> Arc<Self> {
        Arc::new(Self { next_group: AtomicU64::new(last_group.saturating_add(1)), epoch: AtomicU64::new(0) })
    }

    pub(super) fn new_group(&self) -> Group {
        self.next_group.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch.load(Ordering::SeqCst)
    }
}

/// Sends the answer once it is known whether the transaction committed.
type Answer = Box<dyn FnOnce(Option<&BlobError>)>;

pub(super) struct Writer {
    file: Arc<BlobFile>,
    pins: Arc<Pins>,
    counters: Arc<Counters>,
    clock: Clock,
    jobs: mpsc::Receiver<Job>,
    /// Blobs somebody wants again, and since when.
    touched: HashMap<Sha256Digest, Timestamp>,
    prune_touched_at: usize,
    undurable_bytes: u64,
    last_durable: Option<Instant>,
    /// Opening failed a moment ago; not again before this.
    reopen_after: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        file: Arc<BlobFile>,
        pins: Arc<Pins>,
        counters: Arc<Counters>,
        clock: Clock,
        jobs: mpsc::Receiver<Job>,
    ) -> Self {
        Self {
            file,
            pins,
            counters,
            clock,
            jobs,
            touched: HashMap::new(),
            prune_touched_at: TOUCHES_BEFORE_PRUNING,
            undurable_bytes: 0,
            last_durable: None,
            reopen_after: None,
        }
    }

    /// Works until it is told to stop or nobody can ask for anything any more.
    pub(super) fn run(mut self) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| self.wait()) {
            if self.file.is_suspect() {
                self.reopen();
            }
            match job {
                Job::Wake => {}
                Job::Shutdown { reply } => {
                    self.jobs.close();
                    let _ = reply.send(self.file.close());
                    return;
                }
                // The reaper is alone in its transaction: see `BlobFile::pin`.
                job @ Job::Reap { .. } => self.commit(vec![job]),
                job => {
                    let batch;
                    (batch, next) = self.gather(job);
                    self.commit(batch);
                }
            }
        }
    }

    /// The next request; removes garbage while there is none.
    fn wait(&mut self) -> Option<Job> {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            if !self.pins.take_garbage() {
                return self.jobs.blocking_recv();
            }
            let (reply, mut reaped) = oneshot::channel();
            self.commit(vec![Job::Reap { reply }]);
            match reaped.try_recv() {
                Ok(Ok(reaped)) if reaped.more => self.pins.note_garbage(),
                Ok(Ok(_)) => {}
                // The disk refuses; trying again before anybody asks for anything would only burn the processor.
                _ => return self.jobs.blocking_recv(),
            }
        }
    }

    /// `first` and what else waits already and may share its transaction; and the one that may not.
    fn gather(&mut self, first: Job) -> (Vec<Job>, Option<Job>) {
        let mut bytes = first.content_bytes();
        let mut batch = vec![first];
        while bytes < BATCH_BYTES && batch.len() < BATCH_JOBS {
            match self.jobs.try_recv() {
                Ok(Job::Wake) => {}
                Ok(job @ (Job::Reap { .. } | Job::Shutdown { .. })) => return (batch, Some(job)),
                Ok(job) => {
                    bytes = bytes.saturating_add(job.content_bytes());
                    batch.push(job);
                }
                Err(_) => break,
            }
        }
        (batch, None)
    }

    /// Applies the jobs in one transaction, then answers all of them.
    fn commit(&mut self, jobs: Vec<Job>) {
        let mut answers = Vec::with_capacity(jobs.len());
        let file = Arc::clone(&self.file);
        let result = file.with(|database| {
            let mut transaction = database.begin_write()?;
            let mut tables = Tables::open(&transaction)?;
            let room = file.has_room()?;
            for job in jobs {
                let (answer, fault) = self.apply(&mut tables, job, room);
                answers.push(answer);
                if let Some(fault) = fault {
                    return Err(fault);
                }
            }
            let (changed, written) = (tables.changed, tables.written);
            self.undurable_bytes = self.undurable_bytes.saturating_add(written);
            let durable = tables.durable || self.undurable_bytes >= CHECKPOINT_BYTES;
            drop(tables);
            if !changed {
                return Ok(transaction.abort()?);
            }
            if durable {
                transaction.set_quick_repair(true);
            } else {
                transaction.set_durability(Durability::None)?;
            }
            transaction.commit()?;
            if durable {
                self.undurable_bytes = 0;
                self.last_durable = Some(Instant::now());
            }
            Ok(())
        });
        let fault = result.err();
        for answer in answers {
            answer(fault.as_ref());
        }
        // Jobs after the one that failed were dropped unanswered; their callers see a closed channel.
        if let Some(fault) = fault {
            tracing::error!(cause = %fault, "writing the blob file failed");
            self.reopen();
        }
    }

    /// The answer to a job, and the fault that spoils the whole transaction if there was one.
    fn apply(&mut self, tables: &mut Tables<'_>, job: Job, room: bool) -> (Answer, Option<BlobError>) {
        let now = self.clock.now();
        match job {
            Job::Stage { reply, pin, .. } if !room => settle(reply, Err(BlobError::DiskFull), pin),
            Job::PutWhole { reply, .. } if !room => settle(reply, Err(BlobError::DiskFull), ()),
            Job::Stage { pin, epoch, index, chunk, reply } => {
                let result = self.check_epoch(epoch).and_then(|()| tables.stage(pin.group(), index, &chunk, now));
                // The pin goes with the answer: after the commit.
                settle(reply, result, pin)
            }
            Job::Publish { pin, epoch, digest, size, chunk_bytes, reply } => {
                let meta = Meta { digest, size, chunk_bytes, created_at: now };
                let result = epoch.map_or(Ok(()), |epoch| self.check_epoch(epoch));
                let result = result.and_then(|()| tables.publish(pin.group(), &meta));
                if result.is_ok() {
                    self.touch(digest, now);
                }
                settle(reply, result, pin)
            }
            Job::PutWhole { blobs, chunk_bytes, reply } => {
                let result = blobs
                    .iter()
                    .map(|(digest, content)| {
                        let meta = Meta { digest: *digest, size: content.len() as u64, chunk_bytes, created_at: now };
                        self.touch(*digest, now);
                        tables.put_whole(self.counters.new_group(), &meta, content)
                    })
                    .collect();
                settle(reply, result, ())
            }
            Job::Touch { digests, reply } => {
                let result = digests
                    .into_iter()
                    .map(|digest| {
                        let present = tables.row(&digest)?.is_some();
                        if present {
                            self.touch(digest, now);
                        }
                        Ok(present)
                    })
                    .collect();
                settle(reply, result, ())
            }
            Job::Delete { digest, reply } => {
                let result = tables.unpublish(&digest, now);
                self.pins.note_garbage();
                settle(reply, result.map(|size| size.is_some()), ())
            }
            Job::DeleteUnreferenced { digests, grace, reply } => {
                let result = self.delete_unreferenced(tables, &digests, grace, now);
                self.pins.note_garbage();
                settle(reply, result, ())
            }
            Job::Reap { reply } => {
                let result = tables.reap(REAP_CHUNKS, |group| self.pins.is_held(group));
                settle(reply, result, ())
            }
            Job::Probe { reply } => {
                let proven = self.last_durable.is_some_and(|last| last.elapsed() < PROOF_LASTS);
                let result = if proven { Ok(()) } else { tables.probe(now.as_millis().unsigned_abs()) };
                settle(reply, result, ())
            }
            Job::Wake => (Box::new(|_| {}), None),
            // Never reaches a batch; if it did, dropping the reply tells the caller that it did not happen.
            Job::Shutdown { .. } => (Box::new(|_| {}), None),
        }
    }

    fn delete_unreferenced(
        &mut self,
        tables: &mut Tables<'_>,
        digests: &[Sha256Digest],
        grace: SignedDuration,
        now: Timestamp,
    ) -> Result<Vec<u64>, BlobError> {
        let mut sizes = Vec::with_capacity(digests.len());
        for digest in digests {
            let Some(row) = tables.row(digest)? else { continue };
            let last_wanted = self.touched.get(digest).map_or(row.meta.created_at, |at| row.meta.created_at.max(*at));
            if now.since(last_wanted) >= grace {
                sizes.extend(tables.unpublish(digest, now)?);
            }
        }
        Ok(sizes)
    }

    fn check_epoch(&self, epoch: Epoch) -> Result<(), BlobError> {
        if epoch == self.counters.epoch() { Ok(()) } else { Err(BlobError::UploadLost) }
    }

    fn touch(&mut self, digest: Sha256Digest, now: Timestamp) {
        if self.touched.len() >= self.prune_touched_at {
            self.touched.retain(|_, at| now.since(*at) < TOUCH_LASTS);
            self.touched.shrink_to_fit();
            self.prune_touched_at = TOUCHES_BEFORE_PRUNING.max(self.touched.len().saturating_mul(2));
        }
        self.touched.insert(digest, now);
    }

    /// After a fault: whatever was not durable is gone, so uploads under way cannot go on.
    fn reopen(&mut self) {
        self.counters.epoch.fetch_add(1, Ordering::SeqCst);
        self.undurable_bytes = 0;
        self.last_durable = None;
        if self.reopen_after.is_some_and(|after| Instant::now() < after) {
            return;
        }
        match self.file.reopen() {
            Ok(()) => {
                self.reopen_after = None;
                tracing::info!("the blob file was opened again");
                self.pins.note_garbage();
            }
            // The next request tries again.
            Err(cause) => {
                self.reopen_after = Some(Instant::now() + REOPEN_INTERVAL);
                tracing::error!(%cause, "the blob file cannot be opened");
            }
        }
    }
}

impl Job {
    fn content_bytes(&self) -> u64 {
        match self {
            Self::Stage { chunk, .. } => chunk.len() as u64,
            Self::PutWhole { blobs, .. } => blobs.iter().map(|(_, content)| content.len() as u64).sum(),
            _ => 0,
        }
    }
}

/// Prepares the answer; `kept` is dropped after it was sent.
fn settle<T: 'static, K: 'static>(
    reply: Reply<T>,
    result: Result<T, BlobError>,
    kept: K,
) -> (Answer, Option<BlobError>) {
    let fault = result.as_ref().err().and_then(BlobError::fault).map(BlobError::Io);
    let answer = move |spoiled: Option<&BlobError>| {
        let result = match spoiled {
            Some(fault) => Err(fault.fault().map_or(BlobError::Closed, BlobError::Io)),
            None => result,
        };
        // Nobody listens when the caller was cancelled.
        let _ = reply.send(result);
        drop(kept);
    };
    (Box::new(answer), fault)
}
