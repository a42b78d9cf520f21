//! The static manifest: which public path serves which file, and how long caches may keep it (contract 04 §2.1-2.6).

use super::types::{StaticManifest, StaticManifestMetadata};

impl StaticManifest {
    /// `static_manifest_sha256`.
    pub fn digest(&self) -> String {
        String::new()
    }

    /// `static_manifest_metadata`; `file_count` counts public paths.
    pub fn metadata(&self) -> StaticManifestMetadata {
        StaticManifestMetadata {
            file_count: 0,
            total_bytes: 0,
            cache_classes: Default::default(),
            cache_class_sources: Default::default(),
            spa_fallback: None,
        }
    }
}
