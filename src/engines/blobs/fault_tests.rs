//! A disk that fails, a disk that stalls, and how often the disk is asked to flush.

use std::{
    collections::HashSet,
    fmt,
    io::{self, ErrorKind},
    ops::Bound,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use redb::{BackendError, StorageBackend, backends::FileBackend};
use tempfile::TempDir;

use super::{
    file::Opener,
    tests::{CHUNK, UNLIMITED, clock, content, pieces, put, read, sizes, sweep},
    *,
};

/// What the disk does.
#[derive(Default)]
struct Disk {
    /// No room for blocks that were never written; those that were can be overwritten.
    full: AtomicBool,
    /// Not even that.
    broken: AtomicBool,
    blocks: Mutex<HashSet<u64>>,
    flushes: AtomicU64,
    stalled: Mutex<bool>,
    stall_changed: Condvar,
    writers_waiting: AtomicBool,
}

impl Disk {
    fn write(&self, offset: u64, length: usize) -> io::Result<()> {
        let mut stalled = self.stalled.lock().unwrap();
        while *stalled {
            self.writers_waiting.store(true, Ordering::SeqCst);
            stalled = self.stall_changed.wait(stalled).unwrap();
        }
        drop(stalled);
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        let mut blocks = self.blocks.lock().unwrap();
        for block in offset / 4096..(offset + length as u64).div_ceil(4096) {
            if self.full.load(Ordering::SeqCst) && !blocks.contains(&block) {
                return Err(ErrorKind::StorageFull.into());
            }
            blocks.insert(block);
        }
        Ok(())
    }

    fn stall(&self, stalled: bool) {
        *self.stalled.lock().unwrap() = stalled;
        self.stall_changed.notify_all();
    }

    fn opener(self: &Arc<Self>) -> Opener {
        let disk = Arc::clone(self);
        Box::new(move |builder, file| {
            let file = FileBackend::new(file)?;
            builder.create_with_backend(Slow { file, disk: Arc::clone(&disk) })
        })
    }
}

struct Slow {
    file: FileBackend,
    disk: Arc<Disk>,
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl StorageBackend for Slow {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.flushes.fetch_add(1, Ordering::SeqCst);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(offset, data.len())?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

fn on(disk: &Arc<Disk>, dir: &TempDir, chunk_bytes: usize) -> RedbBlobs {
    RedbBlobs::open_with(dir.path(), sizes(chunk_bytes), clock(), disk.opener()).unwrap()
}

#[tokio::test]
async fn a_full_disk_refuses_writes_keeps_serving_and_recovers_by_itself() {
    let (dir, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
    let store = on(&disk, &dir, CHUNK);
    let before = content(1, 5 * CHUNK);
    let digest = put(&store, &before).await.digest;

    disk.full.store(true, Ordering::SeqCst);
    for length in [2_000_000, 400_000] {
        let error = store.put_many(vec![(None, Bytes::from(content(2, length)))]).await.unwrap_err();
        assert!(matches!(error, BlobError::Io(_)), "{error}");
        assert_eq!(read(&store, digest).await.unwrap(), before);
    }

    disk.full.store(false, Ordering::SeqCst);
    wait_for_recovery(&store).await;
    let after = content(3, 5 * CHUNK);
    let stored = put(&store, &after).await;
    assert!(stored.new);
    sweep(&store, &[digest, stored.digest], Duration::ZERO).await;
    assert_eq!(read(&store, digest).await.unwrap(), before);
    assert_eq!(read(&store, stored.digest).await.unwrap(), after);
    assert_eq!(store.stats().await.unwrap().unpublished, 0);
}

#[tokio::test]
async fn an_upload_cut_by_a_disk_error_fails_instead_of_missing_bytes() {
    let (dir, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
    let store = on(&disk, &dir, CHUNK);
    let content = content(1, 9 * CHUNK);
    let (head, tail) = content.split_at(5 * CHUNK);
    let fault = stream::once(async {
        // Answered after everything staged so far.
        store.check().await.unwrap();
        disk.broken.store(true, Ordering::SeqCst);
        assert!(store.put(None, UNLIMITED, pieces(b"something", 9)).await.is_err());
        disk.broken.store(false, Ordering::SeqCst);
        wait_for_recovery(&store).await;
        Ok(Bytes::new())
    });
    let source = pieces(head, 33).chain(fault).chain(pieces(tail, 33)).boxed();
    let error = store.put(None, UNLIMITED, source).await.unwrap_err();
    assert!(matches!(error, BlobError::UploadLost), "{error}");
    assert!(put(&store, &content).await.new);
    store.verify(Sha256Digest::of(&content)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_disk_that_comes_back_is_found_by_readers_alone() {
    let (dir, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
    let store = on(&disk, &dir, CHUNK);
    let digest = put(&store, b"something").await.digest;
    disk.broken.store(true, Ordering::SeqCst);
    assert!(store.delete(digest).await.is_err());
    assert!(store.check().await.is_err());
    disk.broken.store(false, Ordering::SeqCst);
    while store.get(digest, None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(&store, digest).await.unwrap(), "something");
}

async fn wait_for_recovery(store: &RedbBlobs) {
    while store.check().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_stalled_disk_stops_the_source() {
    const PIECE: usize = 10_000;
    let (dir, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
    let store = on(&disk, &dir, 60_000);
    disk.stall(true);
    let pulled = Arc::new(AtomicU64::new(0));
    let source = stream::iter(0..3200u32)
        .map(|n| {
            pulled.fetch_add(PIECE as u64, Ordering::SeqCst);
            Ok(Bytes::from(vec![n as u8; PIECE]))
        })
        .boxed();
    let upload = store.put(None, UNLIMITED, source);
    let watch = async {
        while !disk.writers_waiting.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Time for the source to run away, if it could.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = pulled.load(Ordering::SeqCst);
        disk.stall(false);
        before
    };
    let (stored, before) = tokio::join!(upload, watch);
    assert_eq!(stored.unwrap().size, 3200 * PIECE as u64);
    assert!(before < 2_000_000, "{before} of 32,000,000 bytes were taken while the disk stood still");
}

#[tokio::test]
async fn many_small_blobs_and_big_ones_cost_few_flushes() {
    let (dir, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
    let store = on(&disk, &dir, 60_000);
    let flushes = || disk.flushes.swap(0, Ordering::SeqCst);

    flushes();
    let batch = (0..1000u32).map(|n| (None, Bytes::from(n.to_string().repeat(100)))).collect();
    store.put_many(batch).await.unwrap();
    let batch = flushes();
    assert!(batch <= 3, "a batch of 1,000 took {batch}");

    let small = (0..400u32).map(|n| {
        let store = &store;
        async move { put(store, format!("file {n}").as_bytes()).await }
    });
    let small: Vec<_> = stream::iter(small).buffer_unordered(100).collect().await;
    let concurrent = flushes();
    assert!(concurrent < small.len() as u64 / 4, "400 puts, 100 at a time, took {concurrent}");

    let megabyte = Bytes::from(content(3, 1_000_000));
    store.put(None, UNLIMITED, stream::iter(0..20).map(|_| Ok(megabyte.clone())).boxed()).await.unwrap();
    let big = flushes();
    // Two for the commit, the others for each time the file doubles.
    assert!(big <= 10, "20 MB took {big}");
}
