//! Releases in memory: where the live pointer of each project stands, and a bounded number of whole releases.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

use super::store::releases::{self, Pointer, Release};
use crate::{
    common::{ApiResult, DeploymentId, ProjectId, ReleaseId},
    engines::postgres::{Database, DatabaseError},
    features::releases::{ReleaseSource, ReleaseState, ServedRelease},
};

/// Every release has some weight, however few files it serves.
const LEAST_WEIGHT: usize = 16;
/// Changes kept for a listener that is behind; it is told when it missed some.
const CHANGES_KEPT: usize = 256;

struct Kept {
    release: Arc<ServedRelease>,
    used: AtomicU64,
}

#[derive(Default)]
struct Cache {
    releases: HashMap<ReleaseId, Kept>,
    deployments: HashMap<DeploymentId, ReleaseId>,
    weight: usize,
}

/// The releases that are served.
pub(super) struct Live {
    control: Database,
    /// Of every project that ever activated a release.
    pointers: RwLock<HashMap<ProjectId, Pointer>>,
    cache: RwLock<Cache>,
    /// Files of all releases in the cache, at most.
    capacity: usize,
    /// Says which projects have another live release.
    changes: broadcast::Sender<ProjectId>,
    ticks: AtomicU64,
    /// One reader of a large release at a time, so that a burst of requests reads it once.
    loading: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Live {
    pub fn new(control: Database, capacity: usize) -> Self {
        Self {
            control,
            pointers: RwLock::default(),
            cache: RwLock::default(),
            capacity,
            changes: broadcast::Sender::new(CHANGES_KEPT),
            ticks: AtomicU64::new(1),
            loading: Mutex::default(),
        }
    }

    /// Reads every live pointer.
    pub async fn start(&self) -> Result<(), DatabaseError> {
        let pointers = releases::pointers(&**self.control.get().await?).await?;
        *self.pointers.write().unwrap_or_else(PoisonError::into_inner) = pointers.into_iter().collect();
        Ok(())
    }

    pub fn pointer(&self, project: &ProjectId) -> Option<Pointer> {
        self.pointers.read().unwrap_or_else(PoisonError::into_inner).get(project).cloned()
    }

    /// From now on this is what the project serves.
    pub fn swap(&self, release: Arc<ServedRelease>) {
        let project = release.project.clone();
        let pointer = Pointer { release: release.release.clone(), generation: release.generation };
        self.keep(release);
        let mut pointers = self.pointers.write().unwrap_or_else(PoisonError::into_inner);
        // An activation that committed later may have come first.
        if pointers.get(&project).is_none_or(|known| known.generation <= pointer.generation) {
            pointers.insert(project.clone(), pointer);
        }
        drop(pointers);
        // Nobody need listen.
        let _ = self.changes.send(project);
    }

    /// Projects whose live release is another, from now on.
    pub fn changes(&self) -> broadcast::Receiver<ProjectId> {
        self.changes.subscribe()
    }

    /// Its bytes are gone.
    pub fn forget(&self, release: &ReleaseId) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.remove(release);
    }

    /// The project is gone.
    pub fn forget_project(&self, project: &ProjectId) {
        self.pointers.write().unwrap_or_else(PoisonError::into_inner).remove(project);
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let of_project: Vec<ReleaseId> = cache
            .releases
            .values()
            .filter(|kept| kept.release.project == *project)
            .map(|kept| kept.release.release.clone())
            .collect();
        for release in of_project {
            cache.remove(&release);
        }
    }

    /// Projects that have a pointer.
    pub fn projects(&self) -> Vec<ProjectId> {
        self.pointers.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A release by id, read if need be; none when it was never live or its bytes are gone.
    pub async fn release(&self, wanted: &ReleaseId) -> Result<Option<Arc<ServedRelease>>, DatabaseError> {
        if let Some(found) = self.find(wanted) {
            return Ok(Some(found));
        }
        let turn = self.turn(wanted.as_str());
        let _turn = turn.lock().await;
        if let Some(found) = self.find(wanted) {
            return Ok(Some(found));
        }
        let loaded = releases::load(&**self.control.get().await?, wanted).await;
        self.end_turn(wanted.as_str());
        Ok(loaded?.and_then(|(release, state)| self.keep_loaded(&release, state)))
    }

    async fn deployment(&self, deployment: &DeploymentId) -> Result<Option<Arc<ServedRelease>>, DatabaseError> {
        if let Some(found) = self.find_deployment(deployment) {
            return Ok(Some(found));
        }
        let turn = self.turn(deployment.as_str());
        let _turn = turn.lock().await;
        if let Some(found) = self.find_deployment(deployment) {
            return Ok(Some(found));
        }
        let loaded = releases::load_deployment(&**self.control.get().await?, deployment).await;
        self.end_turn(deployment.as_str());
        Ok(loaded?.and_then(|(release, state)| self.keep_loaded(&release, state)))
    }

    fn find_deployment(&self, deployment: &DeploymentId) -> Option<Arc<ServedRelease>> {
        let id = self.cache.read().unwrap_or_else(PoisonError::into_inner).deployments.get(deployment).cloned()?;
        self.find(&id)
    }

    fn find(&self, wanted: &ReleaseId) -> Option<Arc<ServedRelease>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        let kept = cache.releases.get(wanted)?;
        kept.used.store(self.ticks.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(Arc::clone(&kept.release))
    }

    fn keep_loaded(&self, release: &Release, state: ReleaseState) -> Option<Arc<ServedRelease>> {
        if !release.is_retained() {
            return None;
        }
        let served = Arc::new(ServedRelease {
            project: release.project.clone(),
            release: release.id.clone(),
            deployment: release.deployment.clone(),
            generation: release.generation?,
            activated_at: release.activated_at?,
            state: Arc::new(state),
            static_manifest_sha256: release.static_manifest_sha256.clone(),
            route_manifest_sha256: release.route_manifest_sha256.clone(),
        });
        // A newer activation of the same release may have been kept while we read.
        Some(self.keep(served))
    }

    /// Answers the newer of this one and the one that is kept already.
    fn keep(&self, release: Arc<ServedRelease>) -> Arc<ServedRelease> {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache.releases.get(&release.release)
            && known.release.generation > release.generation
        {
            return Arc::clone(&known.release);
        }
        cache.remove(&release.release);
        cache.weight += weight(&release);
        cache.deployments.insert(release.deployment.clone(), release.release.clone());
        let used = AtomicU64::new(self.ticks.fetch_add(1, Ordering::Relaxed));
        cache.releases.insert(release.release.clone(), Kept { release: Arc::clone(&release), used });
        while cache.weight > self.capacity && cache.releases.len() > 1 {
            let oldest = cache.releases.values().min_by_key(|kept| kept.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|kept| kept.release.release.clone()) else { break };
            cache.remove(&oldest);
        }
        release
    }

    fn turn(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(loading.entry(key.to_owned()).or_default())
    }

    fn end_turn(&self, key: &str) {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Cache {
    fn remove(&mut self, release: &ReleaseId) {
        if let Some(kept) = self.releases.remove(release) {
            self.weight = self.weight.saturating_sub(weight(&kept.release));
            self.deployments.remove(&kept.release.deployment);
        }
    }
}

fn weight(release: &ServedRelease) -> usize {
    let public = release.state.manifest.as_ref().map_or(0, |manifest| manifest.files.len());
    LEAST_WEIGHT + release.state.site.len().max(public)
}

impl ReleaseSource for Live {
    fn cached(&self, project: &ProjectId) -> Option<Arc<ServedRelease>> {
        let release = {
            let pointers = self.pointers.read().unwrap_or_else(PoisonError::into_inner);
            pointers.get(project)?.release.clone()
        };
        self.find(&release)
    }

    fn cached_deployment(&self, deployment: &DeploymentId) -> Option<Arc<ServedRelease>> {
        self.find_deployment(deployment)
    }

    fn live<'a>(&'a self, project: &'a ProjectId) -> BoxFuture<'a, ApiResult<Option<Arc<ServedRelease>>>> {
        Box::pin(async move {
            match self.pointer(project) {
                Some(pointer) => Ok(self.release(&pointer.release).await?),
                None => Ok(None),
            }
        })
    }

    fn of_deployment<'a>(
        &'a self,
        deployment: &'a DeploymentId,
    ) -> BoxFuture<'a, ApiResult<Option<Arc<ServedRelease>>>> {
        Box::pin(async move { Ok(self.deployment(deployment).await?) })
    }
}
