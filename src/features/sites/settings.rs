//! What the operator may set.

use serde::{Deserialize, Serialize};

/// `sites.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteSettings {
    /// Memory in MiB for small files and compressed forms that were asked for lately. A file larger than a sixteenth
    /// of it is read from the store each time and served uncompressed.
    pub cache_mb: u32,
    /// `Cache-Control` of assets under their mutable URL (contract 04 §6.6).
    pub blob_mutable_cache_control: String,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self { cache_mb: 64, blob_mutable_cache_control: "public, max-age=300, stale-while-revalidate=3600".to_owned() }
    }
}
