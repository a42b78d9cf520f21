//! What the store promises, one sentence a test; and the tools the other test files share.

use std::{
    collections::HashSet,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use jiff::SignedDuration;
use tempfile::TempDir;

use super::{file::plain, settings::Sizes, *};
use crate::common::Clock;

/// Content bytes in a chunk of the test stores.
pub(super) const CHUNK: usize = 100;
pub(super) const UNLIMITED: u64 = u64::MAX;

pub(super) fn clock() -> Clock {
    Clock::fixed(Timestamp::from_millis(1_781_863_200_000).unwrap())
}

pub(super) fn open(dir: &TempDir, clock: &Clock) -> RedbBlobs {
    RedbBlobs::open_with(&dir.path().join("blobs"), sizes(CHUNK), clock.clone(), plain()).unwrap()
}

/// Sizes for tests, with so many content bytes in a chunk.
pub(super) fn sizes(chunk: usize) -> Sizes {
    Sizes { chunk: chunk as u32, cache: 1024 * 1024, min_free: 0 }
}

/// A store in a directory of its own.
pub(super) fn fresh() -> (RedbBlobs, Clock, TempDir) {
    let (dir, clock) = (TempDir::new().unwrap(), clock());
    (open(&dir, &clock), clock, dir)
}

/// `length` bytes that differ for every `seed` and from chunk to chunk.
pub(super) fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7) as u8 ^ (at as u8).wrapping_mul(seed | 1) ^ seed).collect()
}

/// `content` in pieces of `piece` bytes.
pub(super) fn pieces(content: &[u8], piece: usize) -> Source<'_> {
    stream::iter(content.chunks(piece)).map(|piece| Ok(Bytes::copy_from_slice(piece))).boxed()
}

pub(super) async fn put(store: &RedbBlobs, content: &[u8]) -> Stored {
    store.put(None, UNLIMITED, pieces(content, 33)).await.unwrap()
}

pub(super) async fn read(store: &RedbBlobs, digest: Sha256Digest) -> Option<Bytes> {
    match store.get(digest, None).await.unwrap() {
        Some(blob) => Some(blob.collect(UNLIMITED).await.unwrap()),
        None => None,
    }
}

/// Sweeps everything not in `live`.
pub(super) async fn sweep(store: &RedbBlobs, live: &[Sha256Digest], grace: Duration) -> SweepReport {
    let live: HashSet<_> = live.iter().copied().collect();
    store.sweep(&move |_| std::future::ready(Ok(live.clone())).boxed(), grace).await.unwrap()
}

/// A source that gives `content` and then never ends.
fn stuck(content: &[u8]) -> Source<'_> {
    pieces(content, 10).chain(stream::pending()).boxed()
}

#[tokio::test]
async fn blobs_of_every_length_read_back_whole() {
    let (store, _, _dir) = fresh();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 10 * CHUNK, 1234] {
        for piece in [1, 7, CHUNK, 5000] {
            let content = content(piece as u8, length);
            let digest = Sha256Digest::of(&content);
            let stored = store.put(Some(digest), UNLIMITED, pieces(&content, piece)).await.unwrap();
            assert_eq!((stored.digest, stored.size), (digest, length as u64));
            assert_eq!(read(&store, digest).await.unwrap(), content, "{length} bytes in pieces of {piece}");
            let meta = store.verify(digest).await.unwrap().unwrap();
            assert_eq!(meta.chunk_count(), length.div_ceil(CHUNK) as u64);
        }
    }
    assert_eq!(sweep(&store, &[], Duration::from_secs(1)).await.removed, 0);
    assert_eq!(store.stats().await.unwrap().unpublished, 0);
}

#[tokio::test]
async fn a_range_gives_exactly_its_bytes_in_chunks() {
    let (store, _, _dir) = fresh();
    let content = content(3, 3 * CHUNK + 17);
    let digest = put(&store, &content).await.digest;
    let size = content.len() as u64;
    let chunk = CHUNK as u64;
    for range in [
        0..0,
        0..1,
        0..chunk,
        0..chunk + 1,
        chunk - 1..chunk + 1,
        chunk..2 * chunk,
        17..size - 1,
        size - 1..size,
        size..size,
        5..u64::MAX,
        size..u64::MAX,
        size - 1..size + 1,
    ] {
        let mut blob = store.get(digest, Some(range.clone())).await.unwrap().unwrap();
        let end = range.end.min(size);
        assert_eq!(blob.range, range.start..end);
        let mut got = Vec::new();
        while let Some(piece) = blob.content.next().await {
            let piece = piece.unwrap();
            assert!(piece.len() <= CHUNK && !piece.is_empty());
            got.extend_from_slice(&piece);
        }
        assert_eq!(got, content[range.start as usize..end as usize], "{range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "the point of the test")]
    for range in [size + 1..size + 2, 5..4, u64::MAX..u64::MAX] {
        let error = store.get(digest, Some(range)).await.err().unwrap();
        assert!(matches!(error, BlobError::RangeNotSatisfiable { size: 317 }), "{error}");
    }
    assert!(store.get(Sha256Digest::of(b"absent"), Some(0..1)).await.unwrap().is_none());
}

#[tokio::test]
async fn bytes_with_another_digest_leave_nothing_visible() {
    let (store, _, _dir) = fresh();
    let wrong = Sha256Digest::of(b"something else");
    for length in [0, 10, 5 * CHUNK] {
        let content = content(9, length);
        let error = store.put(Some(wrong), UNLIMITED, pieces(&content, 33)).await.unwrap_err();
        assert!(matches!(error, BlobError::DigestMismatch { expected, .. } if expected == wrong), "{error}");
    }
    let batch = vec![(None, Bytes::from_static(b"good")), (Some(wrong), Bytes::from_static(b"bad"))];
    assert!(matches!(store.put_many(batch).await, Err(BlobError::DigestMismatch { .. })));
    assert!(store.list(None, 10).await.unwrap().is_empty());
    sweep(&store, &[], Duration::ZERO).await;
    assert_eq!(store.stats().await.unwrap().unpublished, 0);
}

#[tokio::test]
async fn existing_content_is_verified_again_and_stored_once() {
    let (store, _, _dir) = fresh();
    let content = content(9, 5 * CHUNK);
    let digest = put(&store, &content).await.digest;
    let again = store.put(Some(digest), UNLIMITED, pieces(&content, 33)).await.unwrap();
    assert_eq!(again, Stored { digest, size: content.len() as u64, new: false });
    assert!(!put(&store, &content).await.new);
    let error = store.put(Some(digest), UNLIMITED, pieces(b"other bytes", 3)).await.unwrap_err();
    assert!(matches!(error, BlobError::DigestMismatch { .. }), "{error}");
    assert_eq!(read(&store, digest).await.unwrap(), content);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.blobs, stats.bytes), (1, content.len() as u64));
}

#[tokio::test]
async fn more_bytes_than_allowed_are_refused_without_reading_on() {
    let (store, _, _dir) = fresh();
    for (length, limit) in [(1, 0), (CHUNK + 1, CHUNK), (10 * CHUNK, 3 * CHUNK + 5)] {
        let content = content(5, length);
        // The source never ends, so the refusal must come from what was read.
        let error = store.put(None, limit as u64, stuck(&content)).await.unwrap_err();
        assert!(matches!(error, BlobError::TooLarge { limit: told } if told == limit as u64), "{error}");
    }
    let exact = content(5, 3 * CHUNK);
    assert!(store.put(None, exact.len() as u64, pieces(&exact, 33)).await.is_ok());
    assert_eq!(store.stats().await.unwrap().blobs, 1);
}

#[tokio::test]
async fn a_failing_source_is_an_interruption_and_leaves_nothing() {
    let (store, _, _dir) = fresh();
    for length in [0, 10, 4 * CHUNK] {
        let content = content(5, length);
        let source = pieces(&content, 33).chain(stream::iter([Err("connection reset".into())])).boxed();
        let error = store.put(None, UNLIMITED, source).await.unwrap_err();
        assert!(matches!(error, BlobError::Interrupted(_)), "{error}");
    }
    assert_eq!(store.stats().await.unwrap().blobs, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_puts_of_the_same_content_all_succeed_and_one_is_new() {
    let (store, _, _dir) = fresh();
    let content = content(7, 20 * CHUNK);
    let digest = Sha256Digest::of(&content);
    let puts = (0..16).map(|at| {
        let (store, content) = (store.clone(), content.clone());
        tokio::spawn(async move {
            let expected = (at % 2 == 0).then_some(digest);
            store.put(expected, UNLIMITED, pieces(&content, 20 + at)).await.unwrap()
        })
    });
    let stored: Vec<_> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(stored.iter().filter(|stored| stored.new).count(), 1);
    assert!(stored.iter().all(|stored| stored.digest == digest));
    assert_eq!(read(&store, digest).await.unwrap(), content);
    sweep(&store, &[digest], Duration::ZERO).await;
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.blobs, stats.unpublished), (1, 0));
    assert_eq!(store.verify(digest).await.unwrap().unwrap().digest, digest);
}

#[tokio::test]
async fn an_unfinished_upload_is_invisible_spared_by_the_sweep_and_reclaimed_when_abandoned() {
    let (store, _, _dir) = fresh();
    let content = content(7, 20 * CHUNK);
    let mut upload = store.put(None, UNLIMITED, stuck(&content));
    while store.stats().await.unwrap().unpublished == 0 {
        assert!(futures_util::poll!(&mut upload).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(!store.has(Sha256Digest::of(&content)).await.unwrap());
    sweep(&store, &[], Duration::ZERO).await;
    assert_eq!(store.stats().await.unwrap().unpublished, 1);
    drop(upload);
    sweep(&store, &[], Duration::ZERO).await;
    assert_eq!(store.stats().await.unwrap().unpublished, 0);
}

#[tokio::test]
async fn uploads_abandoned_by_an_earlier_process_are_reclaimed_after_opening() {
    let (store, clock, dir) = fresh();
    let content = content(7, 20 * CHUNK);
    let mut upload = store.put(None, UNLIMITED, stuck(&content));
    while store.stats().await.unwrap().unpublished == 0 {
        assert!(futures_util::poll!(&mut upload).is_pending());
        tokio::task::yield_now().await;
    }
    // Closing flushes the staged chunks, as a durable commit of somebody else would have.
    store.shutdown().await.unwrap();
    drop(upload);
    let store = open(&dir, &clock);
    sweep(&store, &[], Duration::ZERO).await;
    assert_eq!(store.stats().await.unwrap().unpublished, 0);
}

#[tokio::test]
async fn a_reader_under_way_outlives_deletion_and_the_space_is_reclaimed_after_it() {
    let (store, _, _dir) = fresh();
    let content = content(7, 20 * CHUNK);
    let digest = put(&store, &content).await.digest;
    let mut blob = store.get(digest, None).await.unwrap().unwrap();
    let mut got = blob.content.next().await.unwrap().unwrap().to_vec();

    assert!(store.delete(digest).await.unwrap());
    assert!(!store.delete(digest).await.unwrap());
    assert!(store.get(digest, None).await.unwrap().is_none());
    sweep(&store, &[], Duration::ZERO).await;
    assert_eq!(store.stats().await.unwrap().unpublished, 1, "the reader holds the chunks");

    while let Some(chunk) = blob.content.next().await {
        got.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(got, content);
    drop(blob);
    sweep(&store, &[], Duration::ZERO).await;
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.blobs, stats.bytes, stats.unpublished), (0, 0, 0));
}

#[tokio::test]
async fn content_deleted_while_it_is_being_put_again_is_there_afterwards() {
    let (store, _, _dir) = fresh();
    let content = content(7, 20 * CHUNK);
    let digest = put(&store, &content).await.digest;
    let (halfway, go_on) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let gate = stream::once(async {
        halfway.notify_one();
        go_on.notified().await;
        Ok(Bytes::new())
    });
    let (head, tail) = content.split_at(350);
    let source = pieces(head, 33).chain(gate).chain(pieces(tail, 33)).boxed();
    let deletion = async {
        halfway.notified().await;
        assert!(store.delete(digest).await.unwrap());
        sweep(&store, &[], Duration::ZERO).await;
        go_on.notify_one();
    };
    let (stored, ()) = tokio::join!(store.put(Some(digest), UNLIMITED, source), deletion);
    assert_eq!(stored.unwrap(), Stored { digest, size: content.len() as u64, new: true });
    sweep(&store, &[digest], Duration::ZERO).await;
    assert_eq!(read(&store, digest).await.unwrap(), content);
}

#[tokio::test]
async fn the_sweep_takes_what_is_unreferenced_and_older_than_the_grace() {
    let (store, clock, _dir) = fresh();
    let old = put(&store, &content(1, 3 * CHUNK)).await.digest;
    let referenced = put(&store, &content(2, 50)).await.digest;
    let touched = put(&store, &content(3, 50)).await.digest;
    let put_again = put(&store, &content(4, 50)).await.digest;
    clock.advance(SignedDuration::from_mins(20));
    let young = put(&store, &content(5, 50)).await.digest;
    put(&store, &content(4, 50)).await;
    let asked = vec![touched, Sha256Digest::of(b"absent")];
    assert_eq!(store.touch(asked).await.unwrap(), [true, false]);

    let grace = Duration::from_secs(10 * 60);
    let report = sweep(&store, &[referenced], grace).await;
    assert_eq!(report, SweepReport { scanned: 5, removed: 1, removed_bytes: 300 });
    assert!(!store.has(old).await.unwrap());
    for kept in [referenced, touched, put_again, young] {
        assert!(store.has(kept).await.unwrap());
    }
    clock.advance(SignedDuration::from_mins(20));
    assert_eq!(sweep(&store, &[referenced], grace).await.removed, 3);
    assert!(read(&store, referenced).await.is_some());
}

#[tokio::test]
async fn a_touch_during_the_sweep_saves_the_blob() {
    let (store, clock, _dir) = fresh();
    let digest = put(&store, &content(1, 3 * CHUNK)).await.digest;
    clock.advance(SignedDuration::from_hours(48));
    let toucher = store.clone();
    let live = move |digests: Vec<Sha256Digest>| {
        let store = toucher.clone();
        async move {
            // The row that will reference the blob is not committed yet, so the answer is still "nobody".
            assert_eq!(store.touch(digests).await?, [true]);
            Ok(HashSet::new())
        }
        .boxed()
    };
    assert_eq!(store.sweep(&live, Duration::from_secs(60)).await.unwrap().removed, 0);
    assert!(store.has(digest).await.unwrap());
}

#[tokio::test]
async fn a_sweep_that_cannot_ask_removes_nothing() {
    let (store, _, _dir) = fresh();
    put(&store, b"x").await;
    let result = store.sweep(&|_| std::future::ready(Err("no database".into())).boxed(), Duration::ZERO).await;
    assert!(matches!(result, Err(BlobError::Liveness(_))));
    assert_eq!(store.stats().await.unwrap().blobs, 1);
}

#[tokio::test]
async fn a_sweep_covers_more_blobs_than_one_question() {
    let (store, _, _dir) = fresh();
    let blobs: Vec<_> = (0..SWEEP_BATCH + 50).map(|n| (None, Bytes::from(n.to_string()))).collect();
    let stored = store.put_many(blobs).await.unwrap();
    let kept: Vec<_> = stored.iter().step_by(10).map(|stored| stored.digest).collect();
    let report = sweep(&store, &kept, Duration::ZERO).await;
    assert_eq!(report.scanned as usize, stored.len());
    assert_eq!(report.removed as usize, stored.len() - kept.len());
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.blobs as usize, stats.unpublished), (kept.len(), 0));
}

#[tokio::test]
async fn a_batch_stores_small_large_empty_and_repeated_blobs() {
    let (store, _, _dir) = fresh();
    let large = content(7, 5 * CHUNK);
    let known = Sha256Digest::of(&large);
    let batch = vec![
        (Some(known), Bytes::from(large.clone())),
        (None, Bytes::new()),
        (None, Bytes::from_static(b"small")),
        (None, Bytes::from_static(b"small")),
    ];
    let stored = store.put_many(batch).await.unwrap();
    assert_eq!(stored.iter().map(|stored| stored.new).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(read(&store, known).await.unwrap(), large);
    assert_eq!(read(&store, stored[1].digest).await.unwrap(), "");
    assert_eq!(read(&store, stored[2].digest).await.unwrap(), "small");
    assert!(store.put_many(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn deleting_the_empty_blob_after_a_restart_spares_later_blobs() {
    let (store, clock, dir) = fresh();
    put(&store, b"").await;
    store.shutdown().await.unwrap();
    let store = open(&dir, &clock);
    let content = content(1, 3 * CHUNK);
    let digest = put(&store, &content).await.digest;
    assert!(store.delete(Sha256Digest::of(b"")).await.unwrap());
    sweep(&store, &[digest], Duration::ZERO).await;
    assert_eq!(read(&store, digest).await.unwrap(), content);
}

#[tokio::test]
async fn content_survives_a_restart_and_another_chunk_size() {
    let (store, clock, dir) = fresh();
    let content = content(1, 3 * CHUNK + 5);
    let digest = put(&store, &content).await.digest;
    store.shutdown().await.unwrap();
    let path = dir.path().join("blobs");
    let store = RedbBlobs::open_with(&path, sizes(64), clock, plain()).unwrap();
    assert_eq!(read(&store, digest).await.unwrap(), content);
    assert!(!put(&store, &content).await.new);
    let again = store.put(Some(digest), UNLIMITED, pieces(&content, 33)).await.unwrap();
    assert!(!again.new);
}

#[tokio::test]
async fn after_shutdown_everything_answers_closed() {
    let (store, _, _dir) = fresh();
    let content = content(1, 3 * CHUNK);
    let digest = put(&store, &content).await.digest;
    let mut blob = store.get(digest, None).await.unwrap().unwrap();
    store.shutdown().await.unwrap();
    assert!(matches!(store.put(None, UNLIMITED, pieces(b"x", 1)).await, Err(BlobError::Closed)));
    assert!(matches!(store.get(digest, None).await, Err(BlobError::Closed)));
    assert!(matches!(store.check().await, Err(BlobError::Closed)));
    assert!(matches!(store.shutdown().await, Err(BlobError::Closed)));
    assert!(blob.content.next().await.unwrap().is_ok(), "the first chunk is in memory");
    assert!(matches!(blob.content.next().await.unwrap(), Err(BlobError::Closed)));
    assert!(blob.content.next().await.is_none());
}

#[tokio::test]
async fn the_file_is_private_and_locked() {
    let (store, clock, dir) = fresh();
    store.check().await.unwrap();
    let path = dir.path().join("blobs");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("blobs.redb")), 0o600);
    assert!(matches!(RedbBlobs::open(path, &BlobSettings::default(), clock).await, Err(BlobError::Io(_))));
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_uploads_and_nothing_else() {
    let (store, clock, dir) = fresh();
    let kept = content(1, 3 * CHUNK);
    let digest = put(&store, &kept).await.digest;
    let other = put(&store, b"other").await.digest;
    store.shutdown().await.unwrap();
    let sizes = Sizes { min_free: u64::MAX, ..sizes(CHUNK) };
    let store = RedbBlobs::open_with(&dir.path().join("blobs"), sizes, clock, plain()).unwrap();
    for length in [1, 3 * CHUNK] {
        let content = content(2, length);
        let error = store.put(None, UNLIMITED, pieces(&content, 33)).await.unwrap_err();
        assert!(matches!(error, BlobError::DiskFull), "{error}");
    }
    assert!(!store.put(Some(digest), UNLIMITED, pieces(&kept, 33)).await.unwrap().new, "it is there already");
    assert_eq!(read(&store, digest).await.unwrap(), kept);
    assert!(store.delete(other).await.unwrap());
    assert_eq!(sweep(&store, &[], Duration::ZERO).await.removed, 1);
    store.check().await.unwrap();
}

/// A piece of a source that counts while it is alive.
struct Counted(Vec<u8>, Arc<AtomicI64>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len() as i64, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_upload_holds_one_piece_of_its_source_at_a_time() {
    const PIECE: usize = 3 * CHUNK + 1;
    let (store, _, _dir) = fresh();
    let (alive, most) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let source = stream::iter(0..200u8).map(|n| {
        let now = alive.fetch_add(PIECE as i64, Ordering::SeqCst) + PIECE as i64;
        most.fetch_max(now, Ordering::SeqCst);
        Ok(Bytes::from_owner(Counted(vec![n; PIECE], Arc::clone(&alive))))
    });
    let stored = store.put(None, UNLIMITED, source.boxed()).await.unwrap();
    assert_eq!(stored.size, 200 * PIECE as u64);
    assert_eq!(most.load(Ordering::SeqCst), PIECE as i64);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_big_blob_takes_little_more_room_than_its_bytes() {
    let (dir, clock) = (TempDir::new().unwrap(), clock());
    let store = RedbBlobs::open(dir.path().join("blobs"), &BlobSettings::default(), clock).await.unwrap();
    let megabyte = Bytes::from(content(3, 1_000_000));
    let source = stream::iter(0..24).map(|_| Ok(megabyte.clone())).boxed();
    let stored = store.put(None, UNLIMITED, source).await.unwrap();
    let disk = store.stats().await.unwrap().disk_bytes;
    assert!(disk < stored.size * 12 / 10, "{} bytes occupy {disk}", stored.size);
}
