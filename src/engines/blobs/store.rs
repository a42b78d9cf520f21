//! [`RedbBlobs`]: the store in one redb file.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    Blob, BlobError, BlobSettings, BlobStore, LiveCheck, Meta, SWEEP_BATCH, Sha256Digest, Source, Stats, Stored,
    SweepReport, download,
    file::{self, BlobFile, Opener},
    pins::{Pin, Pins},
    settings::Sizes,
    tables::Row,
    upload,
    writer::{Counters, Epoch, Job, QUEUE_LENGTH, Reply, Writer},
};
use crate::common::Clock;

/// Blobs in `<dir>/blobs.redb`. Cheap to clone. The file is locked: one process at a time has it open.
#[derive(Clone)]
pub struct RedbBlobs {
    file: Arc<BlobFile>,
    pins: Arc<Pins>,
    counters: Arc<Counters>,
    writer: mpsc::Sender<Job>,
    chunk_bytes: u32,
    clock: Clock,
}

impl RedbBlobs {
    /// Opens the store, creating `dir` (0700) and the file (0600) if need be, and starts its writing thread,
    /// which ends after [`RedbBlobs::shutdown`] or with the last clone.
    ///
    /// # Errors
    /// [`BlobError::InvalidSetting`]; [`BlobError::Io`] when the file cannot be opened, because another
    /// process has it for instance.
    pub async fn open(dir: impl Into<PathBuf>, settings: &BlobSettings, clock: Clock) -> Result<Self, BlobError> {
        let sizes = settings.sizes()?;
        let dir = dir.into();
        let opened = spawn_blocking(move || Self::open_with(&dir, sizes, clock, file::plain()));
        opened.await.map_err(|_| BlobError::Closed)?
    }

    pub(super) fn open_with(dir: &Path, sizes: Sizes, clock: Clock, opener: Opener) -> Result<Self, BlobError> {
        let file = Arc::new(BlobFile::open(dir, sizes, opener)?);
        let counters = Counters::new(file.read(|snapshot| snapshot.last_group())?);
        let (writer, jobs) = mpsc::channel(QUEUE_LENGTH);
        let pins = Pins::new(writer.downgrade());
        let thread = Writer::new(Arc::clone(&file), Arc::clone(&pins), Arc::clone(&counters), clock.clone(), jobs);
        thread::Builder::new().name("blob-writer".into()).spawn(move || thread.run())?;
        Ok(Self { file, pins, counters, writer, chunk_bytes: sizes.chunk, clock })
    }

    /// Finishes what is queued, flushes and closes the file. Everything after that fails with
    /// [`BlobError::Closed`]. (A killed process loses nothing that was acknowledged either.)
    ///
    /// # Errors
    /// [`BlobError::Io`] when the last flush fails.
    pub async fn shutdown(&self) -> Result<(), BlobError> {
        self.ask(|reply| Job::Shutdown { reply }).await
    }

    /// Bytes in a full chunk of a new blob.
    pub(super) fn chunk_bytes(&self) -> u32 {
        self.chunk_bytes
    }

    pub(super) fn begin_upload(&self) -> (Arc<Pin>, Epoch) {
        // The epoch first: a reopening in between then makes the upload fail instead of lose bytes.
        let epoch = self.counters.epoch();
        (self.pins.upload(self.counters.new_group()), epoch)
    }

    /// Queues a job, waiting for room.
    pub(super) async fn send(&self, job: Job) -> Result<(), BlobError> {
        self.writer.send(job).await.map_err(|_| BlobError::Closed)
    }

    /// Queues a job and waits for its answer.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, BlobError> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply)).await?;
        answer.await.map_err(|_| BlobError::Closed)?
    }

    /// Finds a blob and keeps its chunks while the pin lives.
    pub(super) async fn pin(&self, digest: Sha256Digest) -> Result<Option<(Row, Arc<Pin>)>, BlobError> {
        self.blocking(move |file, pins| file.pin(pins, &digest)).await
    }

    /// Reads on the blocking pool. A fault wakes the writer, who opens the file anew.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<BlobFile>, &Arc<Pins>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let (file, pins) = (Arc::clone(&self.file), Arc::clone(&self.pins));
        let done = spawn_blocking(move || work(&file, &pins)).await;
        let result = done.map_err(|_| BlobError::Closed)?;
        if result.is_err() && self.file.is_suspect() {
            self.pins.wake_writer();
        }
        result
    }

    async fn run_sweep(&self, live: LiveCheck<'_>, grace: Duration) -> Result<SweepReport, BlobError> {
        let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
        self.reclaim().await?;
        let mut report = SweepReport::default();
        let mut after = None;
        loop {
            let page = self.list(after, SWEEP_BATCH).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.digest);
            report.scanned += page.len() as u64;
            let now = self.clock.now();
            let mut digests: Vec<_> =
                page.iter().filter(|meta| now.since(meta.created_at) >= grace).map(|meta| meta.digest).collect();
            if !digests.is_empty() {
                let wanted = live(digests.clone()).await.map_err(BlobError::Liveness)?;
                digests.retain(|digest| !wanted.contains(digest));
            }
            if digests.is_empty() {
                continue;
            }
            // The writer looks at age and touches again: much may have happened since the question was asked.
            let sizes = self.ask(|reply| Job::DeleteUnreferenced { digests, grace, reply }).await?;
            report.removed += sizes.len() as u64;
            report.removed_bytes += sizes.iter().sum::<u64>();
            self.reclaim().await?;
        }
        Ok(report)
    }

    /// Removes every unpublished group nobody holds.
    async fn reclaim(&self) -> Result<(), BlobError> {
        while self.ask(|reply| Job::Reap { reply }).await?.more {}
        Ok(())
    }
}

impl BlobStore for RedbBlobs {
    fn put<'a>(
        &'a self,
        expected: Option<Sha256Digest>,
        max_bytes: u64,
        source: Source<'a>,
    ) -> BoxFuture<'a, Result<Stored, BlobError>> {
        Box::pin(upload::put(self, expected, max_bytes, source))
    }

    fn put_many(&self, blobs: Vec<(Option<Sha256Digest>, Bytes)>) -> BoxFuture<'_, Result<Vec<Stored>, BlobError>> {
        Box::pin(upload::put_many(self, blobs))
    }

    fn get(&self, digest: Sha256Digest, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Option<Blob>, BlobError>> {
        Box::pin(self.blocking(move |file, pins| download::open(file, pins, digest, range)))
    }

    fn meta(&self, digest: Sha256Digest) -> BoxFuture<'_, Result<Option<Meta>, BlobError>> {
        Box::pin(self.blocking(move |file, _| file.read(|snapshot| Ok(snapshot.row(&digest)?.map(|row| row.meta)))))
    }

    fn touch(&self, digests: Vec<Sha256Digest>) -> BoxFuture<'_, Result<Vec<bool>, BlobError>> {
        Box::pin(self.ask(|reply| Job::Touch { digests, reply }))
    }

    fn delete(&self, digest: Sha256Digest) -> BoxFuture<'_, Result<bool, BlobError>> {
        Box::pin(self.ask(move |reply| Job::Delete { digest, reply }))
    }

    fn list(&self, after: Option<Sha256Digest>, limit: usize) -> BoxFuture<'_, Result<Vec<Meta>, BlobError>> {
        Box::pin(self.blocking(move |file, _| file.read(|snapshot| snapshot.list(after.as_ref(), limit))))
    }

    fn sweep<'a>(&'a self, live: LiveCheck<'a>, grace: Duration) -> BoxFuture<'a, Result<SweepReport, BlobError>> {
        Box::pin(self.run_sweep(live, grace))
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, BlobError>> {
        Box::pin(self.blocking(|file, _| {
            let (blobs, bytes, unpublished) = file.read(|snapshot| snapshot.counts())?;
            Ok(Stats { blobs, bytes, unpublished, disk_bytes: file.bytes_on_disk()? })
        }))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async {
            self.ask(|reply| Job::Probe { reply }).await?;
            self.blocking(|file, _| file.read(|snapshot| snapshot.probe())).await
        })
    }
}
