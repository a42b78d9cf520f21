//! Settings of assets (`assets.*`). Every field has a default.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AssetSettings {
    /// Largest body of `POST /apply/v1/service-asset-put`, in bytes.
    pub max_put_bytes: u64,
    /// Largest image that is looked into, in bytes of its file.
    pub max_image_bytes: u64,
    /// Images worked on at a time; each may take 200 MB for as long as it does.
    pub concurrent_encodes: u32,
    /// Images waiting for that at most; further ones are refused with 429.
    pub queued_encodes: u32,
    /// Longest time one image may take.
    pub encode_seconds: u32,
}

impl Default for AssetSettings {
    fn default() -> Self {
        Self {
            max_put_bytes: 25 * 1024 * 1024,
            max_image_bytes: 64 * 1024 * 1024,
            concurrent_encodes: 2,
            queued_encodes: 4,
            encode_seconds: 10,
        }
    }
}
