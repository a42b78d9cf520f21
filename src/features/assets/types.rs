//! What an apply says about assets, and what serving needs of them.

use serde::Serialize;
use serde_json::Value;

use crate::{common::Timestamp, engines::blobs::Sha256Digest};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    Public,
    Private,
}

impl Visibility {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Public, Self::Private].into_iter().find(|visibility| visibility.as_str() == text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExifPolicy {
    Keep,
    Strip,
}

impl ExifPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Strip => "strip",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Keep, Self::Strip].into_iter().find(|policy| policy.as_str() == text)
    }
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

impl AssetPut {
    /// Whether its bytes are looked into as an image.
    pub(super) fn is_image(&self) -> bool {
        is_image(&self.content_type)
    }
}

/// `image/*` but for icons, which are plain files (contract 04 §6.5).
pub(super) fn is_image(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media_type.starts_with("image/") && !matches!(&*media_type, "image/x-icon" | "image/vnd.microsoft.icon")
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
