//! Kill -9 in the middle of everything.
//!
//! The test starts itself again as a child that stores and deletes blobs and prints what was acknowledged.

use std::{
    collections::HashSet,
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{Rng, RngExt};
use redb::{Builder, backends::FileBackend};
use tempfile::TempDir;

use super::{
    tests::{UNLIMITED, pieces, sizes, sweep},
    *,
};
use crate::common::Clock;

const DIRECTORY: &str = "RUN402_TEST_BLOB_CRASH_DIRECTORY";
const CHILD: &str = "engines::blobs::crash_tests::child_stores_until_it_is_killed";
const ROUNDS: usize = 10;

/// Opens the store and tells whether redb had to repair the file by reading all of it.
fn open(dir: &Path) -> (RedbBlobs, bool) {
    let repaired = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&repaired);
    let opener = Box::new(move |_: &Builder, file| {
        let seen = Arc::clone(&seen);
        let mut builder = Builder::new();
        builder.set_cache_size(1024 * 1024).set_repair_callback(move |_| seen.store(true, Ordering::SeqCst));
        builder.create_with_backend(FileBackend::new(file)?)
    });
    let store = RedbBlobs::open_with(dir, sizes(12_000), Clock::system(), opener).unwrap();
    (store, repaired.load(Ordering::SeqCst))
}

fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Not a test by itself: the child of the one below.
#[test]
fn child_stores_until_it_is_killed() {
    let Ok(dir) = env::var(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let (store, _) = open(Path::new(&dir));
    runtime.block_on(async {
        let workers = (0..4).map(|_| tokio::spawn(work(store.clone())));
        futures_util::future::join_all(workers).await;
    });
}

async fn work(store: RedbBlobs) {
    // The parent kills this long before.
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let mut stored = Vec::new();
        let kind = rand::rng().random_range(0..4);
        match kind {
            0 => {
                // Never the same content twice: one worker would delete what another was just told is stored.
                let batch = (0..8).map(|n| (None, Bytes::from(random_bytes(16 + n * 300)))).collect();
                stored.extend(store.put_many(batch).await.unwrap());
            }
            1 => stored.push(store.put(None, UNLIMITED, pieces(&random_bytes(500), 100)).await.unwrap()),
            _ => {
                let content = random_bytes(rand::rng().random_range(16..400_000));
                let expected = Some(Sha256Digest::of(&content));
                stored.push(store.put(expected, UNLIMITED, pieces(&content, 30_000)).await.unwrap());
            }
        }
        for stored in &stored {
            println!("STORED {}", stored.digest);
        }
        if rand::rng().random_range(0..3) == 0 {
            let digest = stored[0].digest;
            println!("DELETING {digest}");
            store.delete(digest).await.unwrap();
        }
    }
}

/// Runs the child for a random while and kills it; what it had printed by then.
fn run_and_kill(dir: &Path) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([CHILD, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (started, first_line) = std::sync::mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let mut lines = Vec::new();
        for line in output.lines() {
            let line = line.unwrap();
            if line.contains("STORED") {
                let _ = started.send(());
            }
            lines.push(line);
        }
        lines
    });
    // A child that dies of itself ends the channel instead.
    let alive = first_line.recv_timeout(Duration::from_secs(20)).is_ok();
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..300)));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(alive && std::os::unix::process::ExitStatusExt::signal(&status) == Some(9), "the child failed: {status}");
    reader.join().unwrap()
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_kill_9() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = HashSet::new();
    for round in 0..ROUNDS {
        let path = dir.path().to_owned();
        for line in tokio::task::spawn_blocking(move || run_and_kill(&path)).await.unwrap() {
            // libtest may have put its own words before ours on the same line.
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                [.., "STORED", digest] => drop(acknowledged.insert(digest.parse::<Sha256Digest>().unwrap())),
                [.., "DELETING", digest] => drop(acknowledged.remove(&digest.parse().unwrap())),
                _ => {}
            }
        }
        let (store, repaired) = open(dir.path());
        assert!(!repaired, "round {round}: opening read the whole file");
        for digest in &acknowledged {
            assert!(store.has(*digest).await.unwrap(), "round {round}: {digest} was acknowledged and is gone");
        }
        let listed = store.list(None, usize::MAX).await.unwrap();
        for meta in &listed {
            store.verify(meta.digest).await.unwrap().unwrap();
        }
        let stats = store.stats().await.unwrap();
        assert_eq!(stats.blobs as usize, listed.len());
        assert_eq!(stats.bytes, listed.iter().map(|meta| meta.size).sum::<u64>());
        let keep: Vec<_> = listed.iter().map(|meta| meta.digest).collect();
        sweep(&store, &keep, Duration::ZERO).await;
        assert_eq!(store.stats().await.unwrap().unpublished, 0);
        store.shutdown().await.unwrap();
    }
    assert!(acknowledged.len() > ROUNDS);
    let mut database = redb::Database::open(dir.path().join("blobs.redb")).unwrap();
    assert!(database.check_integrity().unwrap());
}
