//! The store against a map, under random histories.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use jiff::SignedDuration;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    tests::{CHUNK, UNLIMITED, clock, content, open, pieces, read, sweep},
    *,
};

const GRACE: Duration = Duration::from_secs(60);

/// Which of a few contents; few, so that histories meet the same one again.
type Which = u8;

fn bytes_of(which: Which) -> Vec<u8> {
    let lengths = [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK, 4 * CHUNK + 50];
    content(which, lengths[which as usize % lengths.len()])
}

#[derive(Clone, Debug)]
enum Step {
    Put { which: Which, piece: usize, announced: bool },
    PutMany(Vec<Which>),
    Get { which: Which, from: u64, to: u64 },
    Delete(Which),
    Touch(Vec<Which>),
    Sweep { live: Vec<Which> },
    Wait { seconds: i64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0..9u8;
    let some = proptest::collection::vec(0..9u8, 0..5);
    let step = prop_oneof![
        4 => (which.clone(), 1..300usize, any::<bool>())
            .prop_map(|(which, piece, announced)| Step::Put { which, piece, announced }),
        1 => some.clone().prop_map(Step::PutMany),
        3 => (which.clone(), 0..500u64, 0..500u64).prop_map(|(which, from, to)| Step::Get { which, from, to }),
        2 => which.prop_map(Step::Delete),
        1 => some.clone().prop_map(Step::Touch),
        2 => some.prop_map(|live| Step::Sweep { live }),
        1 => (1..90i64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..25)
}

/// Digest → content and when it was last stored or touched.
type Model = BTreeMap<Sha256Digest, (Vec<u8>, Timestamp)>;

async fn live_through(steps: Vec<Step>) {
    let (dir, clock) = (TempDir::new().unwrap(), clock());
    let mut store = open(&dir, &clock);
    let mut model = Model::new();
    // Touches are forgotten by a restart; what a blob falls back to is when it was stored.
    let mut stored_at: BTreeMap<Sha256Digest, Timestamp> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Put { which, piece, announced } => {
                let content = bytes_of(which);
                let digest = Sha256Digest::of(&content);
                let source = pieces(&content, piece);
                let stored = store.put(announced.then_some(digest), UNLIMITED, source).await.unwrap();
                let new = model.insert(digest, (content.clone(), clock.now())).is_none();
                assert_eq!(stored, Stored { digest, size: content.len() as u64, new });
                if new {
                    stored_at.insert(digest, clock.now());
                }
            }
            Step::PutMany(all) => {
                let batch = all.iter().map(|which| (None, Bytes::from(bytes_of(*which)))).collect();
                for (which, stored) in all.iter().zip(store.put_many(batch).await.unwrap()) {
                    let new = model.insert(stored.digest, (bytes_of(*which), clock.now())).is_none();
                    assert_eq!(stored.new, new);
                    if new {
                        stored_at.insert(stored.digest, clock.now());
                    }
                }
            }
            Step::Get { which, from, to } => {
                let digest = Sha256Digest::of(&bytes_of(which));
                let got = store.get(digest, Some(from..to)).await;
                match model.get(&digest) {
                    None => assert!(got.unwrap().is_none()),
                    Some((content, _)) if from > to || from > content.len() as u64 => {
                        assert!(matches!(got, Err(BlobError::RangeNotSatisfiable { .. })));
                    }
                    Some((content, _)) => {
                        let to = (to as usize).min(content.len());
                        let got = got.unwrap().unwrap().collect(UNLIMITED).await.unwrap();
                        assert_eq!(got, content[from as usize..to]);
                    }
                }
            }
            Step::Delete(which) => {
                let digest = Sha256Digest::of(&bytes_of(which));
                assert_eq!(store.delete(digest).await.unwrap(), model.remove(&digest).is_some());
            }
            Step::Touch(all) => {
                let digests: Vec<_> = all.iter().map(|which| Sha256Digest::of(&bytes_of(*which))).collect();
                let present = store.touch(digests.clone()).await.unwrap();
                for (digest, present) in digests.iter().zip(present) {
                    let entry = model.get_mut(digest);
                    assert_eq!(present, entry.is_some());
                    if let Some((_, wanted)) = entry {
                        *wanted = clock.now();
                    }
                }
            }
            Step::Sweep { live } => {
                let live: Vec<_> = live.iter().map(|which| Sha256Digest::of(&bytes_of(*which))).collect();
                let report = sweep(&store, &live, GRACE).await;
                let live: HashSet<_> = live.into_iter().collect();
                let before = model.len();
                let grace = SignedDuration::try_from(GRACE).unwrap();
                model.retain(|digest, (_, wanted)| live.contains(digest) || clock.now().since(*wanted) < grace);
                assert_eq!(report.removed as usize, before - model.len());
                assert_eq!(store.stats().await.unwrap().unpublished, 0);
            }
            Step::Wait { seconds } => clock.advance(SignedDuration::from_secs(seconds)),
            Step::Restart => {
                store.shutdown().await.unwrap();
                store = open(&dir, &clock);
                for (digest, (_, wanted)) in &mut model {
                    *wanted = stored_at[digest];
                }
            }
        }
    }
    let listed = store.list(None, usize::MAX).await.unwrap();
    assert!(listed.iter().map(|meta| &meta.digest).eq(model.keys()));
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.blobs as usize, model.len());
    assert_eq!(stats.bytes as usize, model.values().map(|(content, _)| content.len()).sum::<usize>());
    for (digest, (content, _)) in &model {
        assert_eq!(read(&store, *digest).await.unwrap(), content);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_behaves_as_a_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live_through(steps));
    }
}
