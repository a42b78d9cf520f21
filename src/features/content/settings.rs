//! Settings of content (`content.*`). Every field has a default.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContentSettings {
    /// Largest object, in bytes; larger ones are refused with 413 `CONTENT_TOO_LARGE`.
    pub max_object_bytes: u64,
    /// Objects up to this size are uploaded in one piece.
    pub single_max_bytes: u64,
    /// Size of the parts of larger objects; more where an object would have over 10,000 of them.
    pub part_bytes: u64,
    /// How long a part's URL works.
    pub url_seconds: u32,
    /// How long a content plan may be committed.
    pub plan_seconds: u32,
    /// How long bytes that nobody needs any more are kept. Longer than plans live.
    pub grace_seconds: u32,
    /// Seconds between two rounds of removing what nobody needs.
    pub sweep_seconds: u32,
    /// Uploads received at a time; further ones wait.
    pub concurrent_uploads: u32,
    /// Uploads of one project received at a time; further ones wait.
    pub concurrent_uploads_per_project: u32,
    /// MiB of small objects kept in memory until they are written together.
    pub buffer_mb: u32,
    /// How long an upload may send nothing before it is given up.
    pub idle_seconds: u32,
}

impl Default for ContentSettings {
    fn default() -> Self {
        Self {
            max_object_bytes: 5 * 1024 * 1024 * 1024,
            single_max_bytes: 64 * 1024 * 1024,
            part_bytes: 16 * 1024 * 1024,
            url_seconds: 3600,
            plan_seconds: 24 * 3600,
            grace_seconds: 24 * 3600,
            sweep_seconds: 600,
            concurrent_uploads: 64,
            concurrent_uploads_per_project: 16,
            buffer_mb: 16,
            idle_seconds: 30,
        }
    }
}

impl ContentSettings {
    pub(super) fn plan_lifetime(&self) -> SignedDuration {
        SignedDuration::from_secs(self.plan_seconds.max(1).into())
    }

    pub(super) fn url_lifetime(&self) -> SignedDuration {
        SignedDuration::from_secs(self.url_seconds.max(1).into())
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.into())
    }

    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds.max(1).into())
    }
}
