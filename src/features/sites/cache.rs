//! Files in memory: small ones as they are, compressible ones also in the forms that were asked for.
//!
//! Keyed by digest, so that a redeploy of the same bytes stays warm. Bounded in bytes; what many ask for at once is
//! read and compressed once.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use tokio::{sync::Semaphore, task};

use super::{accept::Encoding, compress::compress};
use crate::engines::blobs::{BlobError, BlobStore, Sha256Digest};

/// Parts of the cache with a lock of their own.
const SHARDS: usize = 4;
/// The largest entry, as a share of the whole: a few big files must not push everything else out.
const ENTRY_SHARE: u64 = 16;
/// What an entry costs besides its bytes.
const ENTRY_OVERHEAD: u64 = 160;
/// Compressions at a time: they are long, and everything else needs the cores as well.
const COMPRESSIONS: usize = 1;

/// Why the bytes of a file cannot be served (contract 04 §2.10 `CONTENT_DIGEST_MISSING`).
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("the store does not have {0}")]
    Missing(Sha256Digest),
    #[error("{digest} has {actual} bytes in the store, {expected} are expected")]
    Size { digest: Sha256Digest, expected: u64, actual: u64 },
    #[error("the store failed: {0}")]
    Store(Arc<BlobError>),
    #[error("the work on a file was cut off")]
    CutOff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    digest: Sha256Digest,
    /// None: the bytes as they are.
    encoding: Option<Encoding>,
}

/// A form of a file.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Bytes(Bytes),
    /// Compressing it gains nothing: serve it as it is.
    NotSmaller,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Key, Form> for Weigh {
    fn weight(&self, _: &Key, form: &Form) -> u64 {
        match form {
            Form::Bytes(bytes) => ENTRY_OVERHEAD + bytes.len() as u64,
            Form::NotSmaller => ENTRY_OVERHEAD,
        }
    }
}

/// The cache in front of the blob store.
pub(super) struct Files {
    store: Arc<dyn BlobStore>,
    forms: Cache<Key, Form, Weigh>,
    largest: u64,
    compressing: Semaphore,
}

impl Files {
    /// `capacity`: bytes.
    pub fn new(store: Arc<dyn BlobStore>, capacity: u64) -> Self {
        let mut options = OptionsBuilder::new();
        options.shards(SHARDS).weight_capacity(capacity).estimated_items_capacity(1024);
        let forms = match options.build() {
            Ok(options) => {
                Cache::with_options(options, Weigh, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            // Every option it demands is set just above; were one missing, these are the same bounds.
            Err(_) => Cache::with_weighter(1024, capacity, Weigh),
        };
        Self { store, forms, largest: capacity / ENTRY_SHARE, compressing: Semaphore::new(COMPRESSIONS) }
    }

    pub fn store(&self) -> &Arc<dyn BlobStore> {
        &self.store
    }

    /// Whether a file of this size is kept in memory, and so may be compressed.
    pub fn keeps(&self, size: u64) -> bool {
        size <= self.largest
    }

    /// From memory only.
    pub fn cached(&self, digest: Sha256Digest, encoding: Option<Encoding>) -> Option<Form> {
        self.forms.get(&Key { digest, encoding })
    }

    /// The bytes of a file that is [kept](Self::keeps).
    ///
    /// # Errors
    /// [`FileError`]
    pub async fn plain(&self, digest: Sha256Digest, size: u64) -> Result<Bytes, FileError> {
        let read = async {
            let blob = self.store.get(digest, None).await.map_err(|error| FileError::Store(Arc::new(error)))?;
            let blob = blob.ok_or(FileError::Missing(digest))?;
            if blob.meta.size != size {
                return Err(FileError::Size { digest, expected: size, actual: blob.meta.size });
            }
            let bytes = blob.collect(size).await.map_err(|error| FileError::Store(Arc::new(error)))?;
            Ok(Form::Bytes(bytes))
        };
        match self.forms.get_or_insert_async(&Key { digest, encoding: None }, read).await? {
            Form::Bytes(bytes) => Ok(bytes),
            Form::NotSmaller => Err(FileError::CutOff),
        }
    }

    /// A compressed form of a file that is [kept](Self::keeps).
    ///
    /// # Errors
    /// [`FileError`]
    pub async fn packed(&self, digest: Sha256Digest, size: u64, encoding: Encoding) -> Result<Form, FileError> {
        let work = async {
            let plain = self.plain(digest, size).await?;
            let _turn = self.compressing.acquire().await.map_err(|_| FileError::CutOff)?;
            let packed =
                task::spawn_blocking(move || compress(encoding, &plain)).await.map_err(|_| FileError::CutOff)?;
            Ok(packed.map_or(Form::NotSmaller, Form::Bytes))
        };
        self.forms.get_or_insert_async(&Key { digest, encoding: Some(encoding) }, work).await
    }
}
