//! Presence: which bytes a project has, and who needs them.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use jiff::SignedDuration;
use tokio::sync::Semaphore;
use tokio_postgres::Transaction;
use url::Url;

use super::{
    Holder, Reference,
    settings::ContentSettings,
    staging::{Keyed, Staging},
    store,
    types::ContentPlanId,
    uploads::PlanCache,
    urls::UploadUrls,
};
use crate::{
    common::{ApiResult, Clock, PlanId, ProjectId, Timestamp, sealing::MasterKey},
    engines::{
        blobs::{BlobStore, Sha256Digest, Source, Stored},
        postgres::{Database, DatabaseError},
    },
    features::{
        identity::Identity,
        orgs::Orgs,
        projects::{self, Project, Projects},
    },
};

/// Content asked for within this time need not be marked again: a deploy that changes nothing writes nothing.
pub(super) const RENEW_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// Memory that content plans may take while they are read, in KiB.
const BODIES_KIB: usize = 64 * 1024;

/// What the service is built from.
pub struct Dependencies {
    /// The control database.
    pub control: Database,
    pub clock: Clock,
    pub master_key: MasterKey,
    pub identity: Arc<Identity>,
    pub orgs: Arc<Orgs>,
    pub projects: Arc<Projects>,
    pub blobs: Arc<dyn BlobStore>,
    /// Where parts of huge objects wait: a directory of this feature alone.
    pub staging_dir: PathBuf,
    /// What uploads leave free on the disk.
    pub min_free_bytes: u64,
    pub public_url: Url,
    pub settings: ContentSettings,
}

/// The service.
pub struct Content {
    pub(super) control: Database,
    pub(super) clock: Clock,
    pub(super) identity: Arc<Identity>,
    pub(super) orgs: Arc<Orgs>,
    pub(super) projects: Arc<Projects>,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) urls: UploadUrls,
    pub(super) staging: Staging,
    pub(super) plans: PlanCache,
    /// Held while a content plan is committed.
    pub(super) committing: Keyed<ContentPlanId, tokio::sync::Mutex<()>>,
    /// Room for the bodies of content plans, in KiB.
    pub(super) bodies: Arc<Semaphore>,
    pub(super) settings: ContentSettings,
}

impl Content {
    pub fn new(parts: Dependencies) -> Arc<Self> {
        Arc::new(Self {
            urls: UploadUrls::new(&parts.master_key, &parts.public_url),
            staging: Staging::new(
                parts.control.clone(),
                Arc::clone(&parts.blobs),
                parts.staging_dir,
                parts.min_free_bytes,
                &parts.settings,
            ),
            plans: PlanCache::default(),
            committing: Keyed::default(),
            bodies: Arc::new(Semaphore::new(BODIES_KIB)),
            control: parts.control,
            clock: parts.clock,
            identity: parts.identity,
            orgs: parts.orgs,
            projects: parts.projects,
            blobs: parts.blobs,
            settings: parts.settings,
        })
    }

    /// Which of these the project has, with their true sizes; those it has are protected from the sweep for its
    /// grace. One query, and one more when some of them were not asked for during the last hour.
    pub async fn present(
        &self,
        project: &ProjectId,
        digests: &[Sha256Digest],
    ) -> ApiResult<HashMap<Sha256Digest, u64>> {
        if digests.is_empty() {
            return Ok(HashMap::new());
        }
        let now = self.clock.now();
        let connection = self.control.get().await?;
        let found = store::present(&connection, project, digests, now.minus(RENEW_AFTER)).await?;
        let mut present = HashMap::with_capacity(found.len());
        let mut due = Vec::new();
        for (object, old) in found {
            if old {
                due.push(object.sha256);
            } else {
                present.insert(object.sha256, object.size);
            }
        }
        if !due.is_empty() {
            present.extend(store::renew(&connection, project, &due, now).await?);
        }
        Ok(present)
    }

    /// Inside a transaction of the control database: an uncommitted plan names this content until then, so that the
    /// anon key may upload it and the sweep keeps it. Forgotten by [`Content::forget_plan`] or by time.
    pub async fn expect(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        plan: &PlanId,
        content: &[Reference],
        until: Timestamp,
    ) -> Result<(), DatabaseError> {
        store::expect(tx, project, plan, content, until).await
    }

    pub async fn forget_plan(&self, tx: &Transaction<'_>, plan: &PlanId) -> Result<(), DatabaseError> {
        store::forget_plan(tx, plan).await
    }

    /// Inside a transaction: `holder` needs these bytes, besides what it holds already, until it lets go. The project
    /// must have them. Locks the project's row.
    pub async fn hold(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        holder: &Holder,
        digests: &[Sha256Digest],
    ) -> Result<(), DatabaseError> {
        store::hold(tx, project, holder, digests).await
    }

    /// Inside a transaction: `holder` needs nothing any more. Locks the project's row.
    pub async fn let_go(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        holder: &Holder,
    ) -> Result<(), DatabaseError> {
        store::let_go(tx, project, holder, None, self.clock.now()).await
    }

    /// Inside a transaction: `holder` does not need these any more. Locks the project's row.
    pub async fn release(
        &self,
        tx: &Transaction<'_>,
        project: &ProjectId,
        holder: &Holder,
        digests: &[Sha256Digest],
    ) -> Result<(), DatabaseError> {
        if digests.is_empty() {
            return Ok(());
        }
        store::let_go(tx, project, holder, Some(digests), self.clock.now()).await
    }

    /// Inside a transaction: locks the row of a live project, as everything does that changes what is held. False
    /// when it is being purged or gone.
    pub async fn lock(&self, tx: &Transaction<'_>, project: &ProjectId) -> Result<bool, DatabaseError> {
        store::lock_project(tx, project).await
    }

    /// Stores bytes for the project directly (service-asset-put, image variants): durable and present at return.
    ///
    /// # Errors
    /// 403 `QUOTA_EXCEEDED`; 413 `CONTENT_TOO_LARGE`; those of the blob store.
    pub async fn add(&self, project: &Project, max_bytes: u64, source: Source<'_>) -> ApiResult<Stored> {
        self.projects.room_for(project, 1)?;
        let stored = self.blobs.put(None, max_bytes, source).await?;
        // Checked again, because only now the size is known. What is refused here nobody references.
        self.projects.room_for(project, stored.size)?;
        self.add_present(project, &[Reference { sha256: stored.digest, size: stored.size }]).await?;
        Ok(stored)
    }

    /// As [`Content::add`] for several objects in memory, at the price of one.
    ///
    /// # Errors
    /// As [`Content::add`].
    pub async fn add_many(&self, project: &Project, objects: Vec<Bytes>) -> ApiResult<Vec<Stored>> {
        let bytes = objects.iter().map(|object| object.len() as u64).sum();
        self.projects.room_for(project, bytes)?;
        let stored = self.blobs.put_many(objects.into_iter().map(|object| (None, object)).collect()).await?;
        let content: Vec<_> =
            stored.iter().map(|stored| Reference { sha256: stored.digest, size: stored.size }).collect();
        self.add_present(project, &content).await?;
        Ok(stored)
    }

    async fn add_present(&self, project: &Project, content: &[Reference]) -> ApiResult<()> {
        let mut connection = self.control.get().await?;
        let tx = connection.transaction().await?;
        if !store::lock_project(&tx, &project.id).await? {
            return Err(projects::deleted());
        }
        let grown = store::add(&tx, &project.id, content, self.clock.now()).await?;
        tx.commit().await?;
        drop(connection);
        self.storage_changed(project, grown).await;
        Ok(())
    }

    /// Quotas notice at once what grew.
    pub(super) async fn storage_changed(&self, project: &Project, change: i64) {
        if change == 0 {
            return;
        }
        if let Err(error) = self.projects.refresh_organisation(project.organisation).await {
            tracing::debug!(%error, "the quota is read again later");
        }
    }

    /// The bytes, when the project has them and they are not larger than `max_bytes`.
    pub async fn read(&self, project: &ProjectId, digest: Sha256Digest, max_bytes: u64) -> ApiResult<Option<Bytes>> {
        let size = store::size_of(&self.control.get().await?, project, digest).await?;
        if size.is_none_or(|size| size > max_bytes) {
            return Ok(None);
        }
        match self.blobs.get(digest, None).await? {
            Some(blob) => Ok(Some(blob.collect(max_bytes).await?)),
            None => Ok(None),
        }
    }

    /// The store itself, for serving: who serves has a release or asset row that names the digest.
    pub fn store(&self) -> &Arc<dyn BlobStore> {
        &self.blobs
    }
}
