//! SKELETON. Assets: project-level files under `/_blob/` (contract 04 §6).

use std::{collections::HashSet, sync::Arc};

use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Transaction;

use crate::{
    common::{ApiError, ApiResult, ProjectId, Timestamp},
    engines::{blobs::Sha256Digest, postgres::DatabaseError},
    features::projects::Project,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    Public,
    Private,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExifPolicy {
    Keep,
    Strip,
}

/// One `assets.put[]` entry, validated (key rules, metadata rules: see `validate_key`, `validate_metadata`).
#[derive(Clone, Debug, PartialEq)]
pub struct AssetPut {
    pub key: String,
    pub sha256: Sha256Digest,
    pub size: u64,
    pub content_type: String,
    pub visibility: Visibility,
    pub immutable: bool,
    pub metadata: Option<Value>,
    pub exif_policy: ExifPolicy,
}

/// `assets.sync.confirm`, as echoed by the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncConfirm {
    pub base_revision: String,
    pub delete_set_digest: String,
    pub expected_delete_count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetSync {
    pub prefix: String,
    pub confirm: Option<SyncConfirm>,
}

/// The `assets` slice of a ReleaseSpec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssetSlice {
    pub put: Vec<AssetPut>,
    pub delete: Vec<String>,
    pub sync: Option<AssetSync>,
}

/// What a plan answers about the slice (contract 03 §5.1 `asset_entries`, `asset_deletes`, `asset_sync`).
#[derive(Clone, Debug, Default)]
pub struct AssetPlan {
    /// Wire rows `{key, sha256, size_bytes, content_type, visibility, immutable, status, asset_ref}`, one a put.
    pub entries: Vec<Value>,
    /// Keys that deletes and pruning remove.
    pub deletes: Vec<String>,
    /// The `asset_sync` block.
    pub sync: Option<Value>,
    /// Whether activating it would change anything.
    pub effective: bool,
}

/// 400 `INVALID_ASSET_KEY` when broken (contract 04 §6.1); the message only, so that each caller names its field.
pub fn validate_key(key: &str) -> Result<(), &'static str> {
    let _ = key;
    Ok(())
}

/// Checks and normalises metadata (null leaves dropped): `INVALID_ASSET_METADATA`.
pub fn validate_metadata(metadata: &Value) -> Result<Option<Value>, &'static str> {
    Ok(Some(metadata.clone()))
}

/// What `/_blob/<path>` is on a host of the project.
#[derive(Clone, Debug)]
pub struct ServedAsset {
    pub sha256: Sha256Digest,
    pub size: u64,
    pub content_type: String,
    /// True for immutable URLs and image variants.
    pub immutable: bool,
    pub visibility: Visibility,
    pub updated_at: Timestamp,
}

pub struct Assets {}

impl Assets {
    /// `arriving`: digests other slices of the same plan bring (`satisfied_by_plan`). Writes nothing.
    pub async fn plan(
        &self,
        project: &Project,
        slice: &AssetSlice,
        arriving: &HashSet<Sha256Digest>,
    ) -> ApiResult<AssetPlan> {
        let _ = (project, slice, arriving);
        Ok(AssetPlan::default())
    }

    /// Before any mutation, with all bytes present: makes image variants, checks sizes and the prune confirmation.
    ///
    /// # Errors
    /// 409 `PRUNE_CONFIRMATION_REQUIRED`, `ASSET_SYNC_DRIFT`; image errors of 04 §6.5.
    pub async fn stage(&self, project: &Project, slice: &AssetSlice) -> ApiResult<()> {
        let _ = (project, slice);
        Ok(())
    }

    /// Inside the activation transaction of the control database.
    ///
    /// # Errors
    /// 409 `ASSET_SYNC_DRIFT`.
    pub async fn activate(&self, tx: &Transaction<'_>, project: &Project, slice: &AssetSlice) -> ApiResult<()> {
        let _ = (tx, project, slice);
        Ok(())
    }

    /// After that commit: forget what was cached of the project.
    pub fn changed(&self, project: &ProjectId) {
        let _ = project;
    }

    /// What the decoded path after `/_blob/` names; private assets are answered as such, the caller decides.
    pub async fn resolve(&self, project: &ProjectId, path: &str) -> ApiResult<Option<Arc<ServedAsset>>> {
        let _ = (project, path);
        Ok(None)
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
        let _ = (project, key, asset, expires, signature);
        Err(ApiError::not_implemented("assets"))
    }

    /// Keeps tables tidy inside a purge.
    pub async fn forget(&self, tx: &Transaction<'_>, project: &ProjectId) -> Result<(), DatabaseError> {
        let _ = (tx, project);
        Ok(())
    }
}
