//! Planning, staging and activating the assets of an apply, and finding them again.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};
use tokio_postgres::Transaction;

use super::{
    AssetPlan, AssetPut, AssetSettings, AssetSlice, ServedAsset,
    access::Signer,
    error::AssetError,
    images,
    keys::{LONG_SUFFIX, SUFFIX, immutable_path, variant_path},
    store::{self, NewRef, StoredImage, StoredVariant},
    sync::Prune,
    wire,
};
use crate::{
    common::{ApiResult, Clock, ProjectId, sealing::MasterKey},
    engines::{
        blobs::Sha256Digest,
        postgres::{Database, DatabaseError},
    },
    features::{
        content::{Content, Holder},
        hosts::Hosts,
        identity::Identity,
        projects::{self, Project, Projects},
    },
};

/// Resolved paths kept in memory.
const CACHED_PATHS: usize = 10_000;
/// How long an apply waits for its turn to encode an image.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the service is built from.
pub struct Dependencies {
    /// The control database.
    pub control: Database,
    pub clock: Clock,
    pub master_key: MasterKey,
    pub identity: Arc<Identity>,
    pub projects: Arc<Projects>,
    pub content: Arc<Content>,
    pub hosts: Arc<Hosts>,
    pub settings: AssetSettings,
}

/// The service.
pub struct Assets {
    pub(super) control: Database,
    pub(super) clock: Clock,
    pub(super) identity: Arc<Identity>,
    pub(super) projects: Arc<Projects>,
    pub(super) content: Arc<Content>,
    pub(super) hosts: Arc<Hosts>,
    pub(super) signer: Signer,
    pub(super) settings: AssetSettings,
    encodes: Arc<Semaphore>,
    waiting: AtomicUsize,
    paths: Mutex<HashMap<ProjectId, HashMap<String, Arc<ServedAsset>>>>,
    /// Grows with every change, so that an answer from before it is not kept.
    changes: AtomicU64,
}

/// Whether somebody waits for an image on the line, or an apply in the background.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    Impatient,
    Patient,
}

/// Holds the bytes of current assets and their variants.
fn live_holder() -> Holder {
    Holder { kind: "asset", id: "live".into() }
}

/// Holds the bytes of immutable URLs, past and present.
fn url_holder() -> Holder {
    Holder { kind: Holder::IMMUTABLE_REF, id: "urls".into() }
}

impl Assets {
    pub fn new(parts: Dependencies) -> Self {
        tracing::info!("HEIC images are refused: this build has no decoder for them");
        Self {
            signer: Signer::new(&parts.master_key),
            encodes: Arc::new(Semaphore::new(parts.settings.concurrent_encodes.clamp(1, 64) as usize)),
            waiting: AtomicUsize::new(0),
            paths: Mutex::default(),
            changes: AtomicU64::new(0),
            control: parts.control,
            clock: parts.clock,
            identity: parts.identity,
            projects: parts.projects,
            content: parts.content,
            hosts: parts.hosts,
            settings: parts.settings,
        }
    }

    /// What an apply of the slice would do. Writes nothing. `arriving`: digests that other slices of the same plan
    /// bring (`satisfied_by_plan`).
    ///
    /// # Errors
    /// The database's.
    pub async fn plan(
        &self,
        project: &Project,
        slice: &AssetSlice,
        arriving: &HashSet<Sha256Digest>,
    ) -> ApiResult<AssetPlan> {
        let digests = store::distinct(slice.put.iter().map(|put| put.sha256));
        let present = self.content.present(&project.id, &digests).await?;
        let connection = self.control.get().await?;
        let touched: Vec<&str> =
            slice.put.iter().map(|put| put.key.as_str()).chain(slice.delete.iter().map(String::as_str)).collect();
        let live = store::find(&**connection, &project.id, &touched).await?;
        let paths = assign_paths(&**connection, &project.id, &slice.put).await?;
        let sources = store::distinct(slice.put.iter().filter(|put| put.is_image()).map(|put| put.sha256));
        let images = store::images(&**connection, &project.id, &sources).await?;
        let prune = match &slice.sync {
            Some(sync) => {
                let below = store::below(&**connection, &project.id, &sync.prefix).await?;
                Some(Prune::new(sync, slice, &below))
            }
            None => None,
        };
        drop(connection);

        let urls = self.hosts.urls(&project.id);
        let entries = slice
            .put
            .iter()
            .zip(&paths)
            .map(|(put, path)| {
                let there = present.contains_key(&put.sha256);
                let status = match (there, arriving.contains(&put.sha256)) {
                    (true, _) => "present",
                    (false, true) => "satisfied_by_plan",
                    (false, false) => "upload_pending",
                };
                let image = images.get(&put.sha256).filter(|_| there);
                json!({
                    "key": put.key,
                    "sha256": put.sha256,
                    "size_bytes": put.size,
                    "content_type": put.content_type,
                    "visibility": put.visibility,
                    "immutable": put.immutable,
                    "status": status,
                    "asset_ref": wire::asset_ref(put, path.as_deref(), image, urls.as_deref()),
                })
            })
            .collect();
        let deleted = slice.delete.iter().filter(|key| live.contains_key(*key)).cloned();
        let pruned = prune.iter().flat_map(|prune| prune.deletes.iter().cloned());
        let mut deletes: Vec<String> = deleted.chain(pruned).collect();
        deletes.sort_unstable();
        deletes.dedup();
        let changes = slice.put.iter().any(|put| live.get(&put.key).is_none_or(|stored| !stored.is(put)));
        Ok(AssetPlan {
            entries,
            effective: changes || !deletes.is_empty(),
            deletes,
            sync: prune.map(|prune| prune.block()),
        })
    }

    /// Before any mutation, with all bytes present: makes image variants, checks sizes and the prune confirmation.
    ///
    /// # Errors
    /// 409 `PRUNE_CONFIRMATION_REQUIRED`, `ASSET_SYNC_DRIFT`, `CONTENT_MISSING`; 400 `INVALID_SPEC` for a wrong size;
    /// image errors of 04 §6.5.
    pub async fn stage(&self, project: &Project, slice: &AssetSlice) -> ApiResult<()> {
        if let Some(sync) = &slice.sync {
            let connection = self.control.get().await?;
            let below = store::below(&**connection, &project.id, &sync.prefix).await?;
            Prune::new(sync, slice, &below).check(sync)?;
        }
        self.check_sizes(project, &slice.put).await?;
        self.look_into(project, &slice.put, Queue::Patient).await
    }

    async fn check_sizes(&self, project: &Project, puts: &[AssetPut]) -> ApiResult<()> {
        let digests = store::distinct(puts.iter().map(|put| put.sha256));
        let present = self.content.present(&project.id, &digests).await?;
        for put in puts {
            match present.get(&put.sha256) {
                Some(size) if *size == put.size => {}
                Some(size) => return Err(AssetError::WrongSize { key: put.key.clone(), actual: *size }.into()),
                None => {
                    let sha256 = put.sha256.to_string();
                    return Err(AssetError::Missing { key: put.key.clone(), sha256 }.into());
                }
            }
        }
        Ok(())
    }

    /// Makes sure that the images among these were looked into and their variants are there.
    pub(super) async fn look_into(&self, project: &Project, puts: &[AssetPut], queue: Queue) -> ApiResult<()> {
        let sources = store::distinct(puts.iter().filter(|put| put.is_image()).map(|put| put.sha256));
        if sources.is_empty() {
            return Ok(());
        }
        let connection = self.control.get().await?;
        let known = store::images(&**connection, &project.id, &sources).await?;
        drop(connection);
        let variants = store::distinct(known.values().flat_map(|image| image.variants.iter().map(|v| v.sha256)));
        let present = self.content.present(&project.id, &variants).await?;
        for source in sources {
            let whole = known
                .get(&source)
                .is_some_and(|image| image.variants.iter().all(|variant| present.contains_key(&variant.sha256)));
            if !whole {
                self.analyse(project, source, queue).await?;
            }
        }
        Ok(())
    }

    async fn analyse(&self, project: &Project, source: Sha256Digest, queue: Queue) -> ApiResult<()> {
        let permit = self.encode_permit(queue).await?;
        // Read with the permit in hand: the bytes of the waiting take no memory.
        let limit = self.settings.max_image_bytes;
        let bytes = self.content.read(&project.id, source, limit).await?.ok_or(AssetError::ImageTooLarge)?;
        let patience = Duration::from_secs(self.settings.encode_seconds.max(1).into());
        let deadline = Instant::now() + patience;
        let work = spawn_blocking(move || {
            // Kept until the work really ends, whoever stops waiting for it.
            let _permit = permit;
            images::analyse(&bytes, deadline)
        });
        let found = timeout(patience, work).await.map_err(|_| AssetError::ImageTimeout)?;
        let found = found.map_err(|panic| {
            tracing::warn!(%panic, "an image decoder gave up");
            AssetError::ImageDecode("The image is damaged and cannot be decoded.")
        })??;

        let pictures = found.variants.iter().map(|variant| variant.bytes.clone()).collect();
        let stored = self.content.add_many(project, pictures).await?;
        let variants = found
            .variants
            .iter()
            .zip(stored)
            .map(|(variant, stored)| StoredVariant {
                kind: variant.kind.to_owned(),
                sha256: stored.digest,
                size: stored.size,
                width: variant.width,
                height: variant.height,
            })
            .collect();
        let image = StoredImage {
            width: found.size.map(|(width, _)| width),
            height: found.size.map(|(_, height)| height),
            format: found.format.map(str::to_owned),
            facts: found.facts,
            variants,
        };
        let mut connection = self.control.get().await?;
        let tx = connection.transaction().await?;
        if !self.content.lock(&tx, &project.id).await? {
            return Err(projects::deleted());
        }
        store::put_image(&tx, &project.id, source, &image).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn encode_permit(&self, queue: Queue) -> ApiResult<tokio::sync::OwnedSemaphorePermit> {
        let encodes = Arc::clone(&self.encodes);
        if let Ok(permit) = Arc::clone(&encodes).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::join(&self.waiting);
        if queue == Queue::Impatient && waiting.place > self.settings.queued_encodes as usize {
            return Err(AssetError::TooManyEncodes.into());
        }
        let permit = timeout(PATIENCE, encodes.acquire_owned()).await.ok().and_then(Result::ok);
        permit.ok_or_else(|| AssetError::TooManyEncodes.into())
    }

    /// Inside the activation transaction of the control database.
    ///
    /// # Errors
    /// 409 `ASSET_SYNC_DRIFT`.
    pub async fn activate(&self, tx: &Transaction<'_>, project: &Project, slice: &AssetSlice) -> ApiResult<()> {
        if slice.put.is_empty() && slice.delete.is_empty() && slice.sync.is_none() {
            return Ok(());
        }
        if !self.content.lock(tx, &project.id).await? {
            return Err(projects::deleted());
        }
        let mut deletes: Vec<String> = slice.delete.clone();
        if let Some(sync) = &slice.sync {
            let below = store::below(tx, &project.id, &sync.prefix).await?;
            let prune = Prune::new(sync, slice, &below);
            prune.check(sync)?;
            deletes.extend(prune.deletes);
        }
        let touched: Vec<&str> =
            slice.put.iter().map(|put| put.key.as_str()).chain(deletes.iter().map(String::as_str)).collect();
        let before = store::find(tx, &project.id, &touched).await?;
        let changed: Vec<&AssetPut> =
            slice.put.iter().filter(|put| before.get(&put.key).is_none_or(|stored| !stored.is(put))).collect();
        if !changed.is_empty() {
            self.write(tx, &project.id, &changed).await?;
        }
        let deletes: Vec<&str> = deletes.iter().map(String::as_str).collect();
        store::delete(tx, &project.id, &deletes).await?;
        let replaced = store::distinct(before.values().map(|stored| stored.sha256));
        let unneeded = store::unneeded(tx, &project.id, &replaced).await?;
        self.content.release(tx, &project.id, &live_holder(), &unneeded).await?;
        Ok(())
    }

    async fn write(&self, tx: &Transaction<'_>, project: &ProjectId, puts: &[&AssetPut]) -> ApiResult<()> {
        let now = self.clock.now();
        let owned: Vec<AssetPut> = puts.iter().map(|put| (*put).clone()).collect();
        let paths = assign_paths(tx, project, &owned).await?;
        let sources = store::distinct(puts.iter().filter(|put| put.is_image()).map(|put| put.sha256));
        let images = store::images(tx, project, &sources).await?;
        let mut refs = Vec::new();
        for (put, path) in puts.iter().zip(&paths) {
            if let Some(path) = path {
                refs.push(NewRef {
                    path: path.clone(),
                    key: put.key.clone(),
                    sha256: put.sha256,
                    size: put.size,
                    content_type: put.content_type.clone(),
                });
            }
            let variants = images.get(&put.sha256).filter(|_| put.is_image()).map_or(&[][..], |image| &image.variants);
            refs.extend(variants.iter().map(|variant| NewRef {
                path: variant_path(&put.key, &put.sha256, &variant.kind, &variant.sha256),
                key: put.key.clone(),
                sha256: variant.sha256,
                size: variant.size,
                content_type: "image/webp".into(),
            }));
        }
        let rows: Vec<_> = puts.iter().copied().zip(paths).collect();
        store::put(tx, project, &rows, now).await?;
        store::add_refs(tx, project, &refs, now).await?;
        let keys: Vec<&str> = puts.iter().map(|put| put.key.as_str()).collect();
        store::set_ref_visibility(tx, project, &keys).await?;

        let variants = images.values().flat_map(|image| image.variants.iter().map(|variant| variant.sha256));
        let live = store::distinct(puts.iter().map(|put| put.sha256).chain(variants));
        self.content.hold(tx, project, &live_holder(), &live).await?;
        let bound = store::distinct(refs.iter().map(|new| new.sha256));
        self.content.hold(tx, project, &url_holder(), &bound).await?;
        Ok(())
    }

    /// After that commit: forget what was cached of the project.
    pub fn changed(&self, project: &ProjectId) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).remove(project);
    }

    /// What the decoded path after `/_blob/` names; private assets are answered as such, the caller decides.
    ///
    /// # Errors
    /// The database's.
    pub async fn resolve(&self, project: &ProjectId, path: &str) -> ApiResult<Option<Arc<ServedAsset>>> {
        let cached = {
            let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
            paths.get(project).and_then(|paths| paths.get(path)).cloned()
        };
        if cached.is_some() {
            return Ok(cached);
        }
        if path.contains('\0') {
            return Ok(None);
        }
        let changes = self.changes.load(Ordering::SeqCst);
        let connection = self.control.get().await?;
        let Some((_, found)) = store::resolve(&connection, project, path).await? else { return Ok(None) };
        let found = Arc::new(found);
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked again under the lock, which `changed` takes after counting.
        if self.changes.load(Ordering::SeqCst) == changes {
            if paths.values().map(HashMap::len).sum::<usize>() >= CACHED_PATHS {
                paths.clear();
            }
            paths.entry(project.clone()).or_default().insert(path.to_owned(), Arc::clone(&found));
        }
        Ok(Some(found))
    }

    /// Whether `expires` and `signature` of a signed URL let this asset be read: contract 04 §6.7.
    ///
    /// # Errors
    /// 403 `SIGNATURE_INVALID`, `SIGNATURE_EXPIRED`.
    pub fn check_signature(
        &self,
        project: &ProjectId,
        key: &str,
        asset: &ServedAsset,
        expires: &str,
        signature: &str,
    ) -> ApiResult<()> {
        Ok(self.signer.check(project, key, &asset.sha256, expires, signature, self.clock.now())?)
    }

    /// Inside a transaction: the project has no assets any more. (A purge forgets them by itself.)
    pub async fn forget(&self, tx: &Transaction<'_>, project: &ProjectId) -> Result<(), DatabaseError> {
        store::forget(tx, project).await?;
        for holder in [live_holder(), url_holder()] {
            self.content.let_go(tx, project, &holder).await?;
        }
        Ok(())
    }
}

/// The immutable path of each put, if it gets one: eight digits of the digest, sixteen where those are taken by other
/// bytes.
async fn assign_paths<C: tokio_postgres::GenericClient>(
    client: &C,
    project: &ProjectId,
    puts: &[AssetPut],
) -> Result<Vec<Option<String>>, DatabaseError> {
    let short: Vec<Option<String>> =
        puts.iter().map(|put| put.immutable.then(|| immutable_path(&put.key, &put.sha256, SUFFIX))).collect();
    let asked: Vec<String> = short.iter().flatten().cloned().collect();
    if asked.is_empty() {
        return Ok(short);
    }
    let bound = store::bound(client, project, &asked).await?;
    let taken = |path: &String, put: &AssetPut| {
        bound.get(path).is_some_and(|(key, digest)| *key != put.key || *digest != put.sha256)
    };
    Ok(short
        .into_iter()
        .zip(puts)
        .map(|(path, put)| {
            path.map(|path| if taken(&path, put) { immutable_path(&put.key, &put.sha256, LONG_SUFFIX) } else { path })
        })
        .collect())
}

/// A place in the queue of images.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    place: usize,
}

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize) -> Self {
        Self { count, place: count.fetch_add(1, Ordering::SeqCst) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}
