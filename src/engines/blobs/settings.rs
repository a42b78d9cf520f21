//! The knobs of the store.

use serde::{Deserialize, Serialize};

use super::BlobError;

/// Room left in a chunk's allocation for redb's page header and for a few small neighbours. redb allocates
/// powers of two, so a chunk of exactly 256 KiB would occupy 512 KiB of the file.
const CHUNK_OVERHEAD_BYTES: u32 = 4096;
const CHUNK_BYTES: std::ops::RangeInclusive<u32> = 16 * 1024..=1024 * 1024;

/// Settings of the blob store (`[blobs]` in the configuration file).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlobSettings {
    /// Bytes a chunk occupies in the file: a power of two from 16384 to 1048576. A chunk is what a read or
    /// an upload holds in memory at a time; bigger ones cost memory, smaller ones cost throughput. Changing it
    /// affects new blobs only.
    pub chunk_bytes: u32,
    /// Memory in MiB for recently used pages of the file, at least 1. The operating system caches the file
    /// besides, so this stays small.
    pub cache_mb: u32,
    /// MiB of the disk that blobs leave free: beyond that, uploads are refused while reading, deleting and the
    /// databases go on. 0 fills the disk.
    pub min_free_mb: u32,
}

/// The settings, checked and in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Content in a full chunk.
    pub(super) chunk: u32,
    pub(super) cache: usize,
    pub(super) min_free: u64,
}

impl Default for BlobSettings {
    fn default() -> Self {
        Self { chunk_bytes: 256 * 1024, cache_mb: 16, min_free_mb: 256 }
    }
}

impl BlobSettings {
    /// # Errors
    /// [`BlobError::InvalidSetting`] with a sentence for the operator.
    pub(super) fn sizes(&self) -> Result<Sizes, BlobError> {
        if !CHUNK_BYTES.contains(&self.chunk_bytes) || !self.chunk_bytes.is_power_of_two() {
            return Err(BlobError::InvalidSetting(format!(
                "blobs.chunk_bytes is {}; set it to a power of two from {} to {}.",
                self.chunk_bytes,
                CHUNK_BYTES.start(),
                CHUNK_BYTES.end()
            )));
        }
        let cache = usize::try_from(self.cache_mb)
            .ok()
            .filter(|mebibytes| *mebibytes > 0)
            .and_then(|mebibytes| mebibytes.checked_mul(1024 * 1024))
            .ok_or_else(|| BlobError::InvalidSetting("blobs.cache_mb is 0; set it to 1 or more.".into()))?;
        Ok(Sizes {
            chunk: self.chunk_bytes - CHUNK_OVERHEAD_BYTES,
            cache,
            min_free: u64::from(self.min_free_mb) * 1024 * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_what_a_configuration_leaves_out() {
        let settings: BlobSettings = toml::from_str("cache_mb = 8").unwrap();
        assert_eq!(settings, BlobSettings { chunk_bytes: 262_144, cache_mb: 8, min_free_mb: 256 });
        assert!(toml::from_str::<BlobSettings>("cash_mb = 8").is_err());
    }

    #[test]
    fn chunks_are_powers_of_two_within_bounds() {
        for (chunk_bytes, valid) in
            [(0, false), (4096, false), (16_384, true), (300_000, false), (1_048_576, true), (2_097_152, false)]
        {
            let settings = BlobSettings { chunk_bytes, ..BlobSettings::default() };
            assert_eq!(settings.sizes().is_ok(), valid, "{chunk_bytes}");
        }
        assert!(BlobSettings { cache_mb: 0, ..BlobSettings::default() }.sizes().is_err());
    }
}
