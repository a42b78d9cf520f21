//! Snapshots of many projects: loaded on first use, one at a time per project, bounded in number.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwapOption;

use super::SchemaCache;
use crate::common::ProjectId;

/// A snapshot and how fresh it is.
#[derive(Clone)]
pub struct Snapshot {
    pub cache: Arc<SchemaCache>,
    /// Schema version of the project before the catalog was read.
    pub version: u64,
    /// When reading began: DDL committed before then is in it.
    pub read_at: Instant,
}

/// What a request needs of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    pub version: u64,
    /// Read no earlier than this; for a name that was not found.
    pub not_before: Option<Instant>,
}

impl Freshness {
    fn allows(self, snapshot: &Snapshot) -> bool {
        snapshot.version >= self.version && self.not_before.is_none_or(|moment| snapshot.read_at >= moment)
    }
}

#[derive(Default)]
struct Slot {
    current: ArcSwapOption<Snapshot>,
    /// Held while the catalog is read, so that it is read once for all who wait.
    loading: tokio::sync::Mutex<()>,
    /// Tick of the last use.
    used: AtomicU64,
}

/// The snapshots in memory.
pub struct Snapshots {
    slots: Mutex<HashMap<ProjectId, Arc<Slot>>>,
    capacity: usize,
    tick: AtomicU64,
}

impl Snapshots {
    /// At most `capacity` projects; the least recently used goes first.
    pub fn new(capacity: usize) -> Self {
        Self { slots: Mutex::default(), capacity: capacity.max(1), tick: AtomicU64::new(0) }
    }

    /// The project's snapshot, read with `load` if there is none that is fresh enough.
    ///
    /// # Errors
    /// Those of `load`.
    pub async fn get<E, F: Future<Output = Result<SchemaCache, E>>>(
        &self,
        project: &ProjectId,
        wanted: Freshness,
        load: impl FnOnce() -> F,
    ) -> Result<Arc<Snapshot>, E> {
        let slot = self.slot(project);
        let fresh = || slot.current.load_full().filter(|snapshot| wanted.allows(snapshot));
        if let Some(snapshot) = fresh() {
            return Ok(snapshot);
        }
        let _loading = slot.loading.lock().await;
        if let Some(snapshot) = fresh() {
            return Ok(snapshot);
        }
        let read_at = Instant::now();
        let cache = Arc::new(load().await?);
        let snapshot = Arc::new(Snapshot { cache, version: wanted.version, read_at });
        slot.current.store(Some(Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    fn slot(&self, project: &ProjectId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.tick.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = slots.get(project) {
            slot.used.store(now, Ordering::Relaxed);
            return Arc::clone(slot);
        }
        if slots.len() >= self.capacity {
            let oldest =
                slots.iter().min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed)).map(|(id, _)| id.clone());
            oldest.and_then(|id| slots.remove(&id));
        }
        let slot = Arc::new(Slot { used: AtomicU64::new(now), ..Slot::default() });
        slots.insert(project.clone(), Arc::clone(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::atomic::AtomicUsize};

    use super::*;

    fn project(name: &str) -> ProjectId {
        format!("prj_{name}").parse().unwrap()
    }

    async fn loads(snapshots: &Snapshots, name: &str, wanted: Freshness, count: &AtomicUsize) {
        let load = || async {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(SchemaCache::default())
        };
        snapshots.get(&project(name), wanted, load).await.unwrap();
    }

    #[tokio::test]
    async fn a_catalog_is_read_once_per_version_for_all_who_wait() {
        let snapshots = Snapshots::new(10);
        let count = AtomicUsize::new(0);
        let first = Freshness { version: 1, not_before: None };
        futures_util::future::join_all((0..5).map(|_| loads(&snapshots, "a", first, &count))).await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        loads(&snapshots, "a", Freshness { version: 2, not_before: None }, &count).await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
        loads(&snapshots, "a", Freshness { version: 2, not_before: Some(Instant::now()) }, &count).await;
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn the_least_recently_used_project_is_forgotten() {
        let snapshots = Snapshots::new(2);
        let count = AtomicUsize::new(0);
        let any = Freshness { version: 0, not_before: None };
        for name in ["a", "b", "a", "c", "a", "b"] {
            loads(&snapshots, name, any, &count).await;
        }
        // a, b, c, then b again: c pushed it out.
        assert_eq!(count.load(Ordering::SeqCst), 4);
    }
}
