//! The blob store: immutable bytes, named by their SHA-256, on this machine's disk.
//!
//! [`BlobStore`] is what features see; [`RedbBlobs`] keeps the bytes in one redb file. The trait is
//! object-safe (its futures are boxed, which costs an allocation next to a disk access), so that another store,
//! S3-compatible for instance, can take its place behind an `Arc<dyn BlobStore>`.
//!
//! ## Promises
//! - **Durable, then visible.** When `put` answers, the blob survives a power cut; until then nobody sees it.
//! - **Bounded memory.** A blob of any size passes through in chunks: an upload holds about three of them, a
//!   reader one. The writer's queue is bounded, so a slow disk slows its clients down.
//! - **Killable anywhere.** Leftovers of unfinished uploads and deletions are known to the store and removed
//!   in small steps in the background.
//! - **Readers finish.** A stream that has begun ends with the bytes of its blob even if it is deleted
//!   meanwhile; the space is reclaimed after the last reader. Only shutting the store down cuts it off.
//!
//! ## Who references what
//! The store does not know. References live with the rows of the control database, and [`BlobStore::sweep`]
//! asks which blobs are still wanted. So that a blob cannot vanish between "it is there already" and the
//! commit of a row naming it, whoever means to reference an existing blob first calls [`BlobStore::touch`]
//! (a `put` of existing content does so by itself) and commits the row within the sweep's grace or an hour,
//! whichever is shorter. `has` and `meta` protect nothing.
//!
//! ## Code map
//! `tables` (what a transaction does), `file` (open, reopen, snapshots), `writer` (the writing thread),
//! `pins` (what is in use), `upload` and `download` (streams), `store` (the door).

mod digest;
mod download;
mod error;
mod file;
mod pins;
mod settings;
mod store;
mod tables;
mod upload;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, ops::Range, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use sha2::{Digest as _, Sha256};

pub use digest::{InvalidDigest, Sha256Digest};
pub use error::{BlobError, BoxError};
pub use settings::BlobSettings;
pub use store::RedbBlobs;

use crate::common::Timestamp;

/// The bytes of an upload, in pieces of any size.
pub type Source<'a> = BoxStream<'a, Result<Bytes, BoxError>>;

/// The bytes of a blob, one chunk at a time.
pub type Content = BoxStream<'static, Result<Bytes, BlobError>>;

/// Answers which of the given blobs (at most [`SWEEP_BATCH`]) are referenced.
pub type LiveCheck<'a> =
    &'a (dyn Fn(Vec<Sha256Digest>) -> BoxFuture<'a, Result<HashSet<Sha256Digest>, BoxError>> + Send + Sync);

/// Blobs a sweep asks about at a time.
pub const SWEEP_BATCH: usize = 1000;

/// What the store knows about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub digest: Sha256Digest,
    /// Bytes.
    pub size: u64,
    /// Bytes in every chunk but the last.
    pub chunk_bytes: u32,
    /// When it was first stored.
    pub created_at: Timestamp,
}

impl Meta {
    /// Number of chunks; an empty blob has none.
    pub fn chunk_count(&self) -> u64 {
        self.size.div_ceil(u64::from(self.chunk_bytes.max(1)))
    }

    fn chunk_len(&self, index: u32) -> u64 {
        let start = u64::from(index) * u64::from(self.chunk_bytes);
        self.size.saturating_sub(start).min(u64::from(self.chunk_bytes))
    }
}

/// The outcome of a `put`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub digest: Sha256Digest,
    /// Bytes.
    pub size: u64,
    /// False when the store had the content already.
    pub new: bool,
}

/// A blob being read.
pub struct Blob {
    pub meta: Meta,
    /// The bytes `content` gives: the range asked for, cut at the end of the blob.
    pub range: Range<u64>,
    pub content: Content,
}

impl Blob {
    /// All of the content at once. For blobs known to be small.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] beyond `max_bytes`, and whatever reading runs into.
    pub async fn collect(mut self, max_bytes: u64) -> Result<Bytes, BlobError> {
        let too_large = BlobError::TooLarge { limit: max_bytes };
        let length = self.range.end - self.range.start;
        if length > max_bytes {
            return Err(too_large);
        }
        let Some(first) = self.content.try_next().await? else { return Ok(Bytes::new()) };
        if first.len() as u64 == length {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(usize::try_from(length).map_err(|_| too_large)?);
        all.extend_from_slice(&first);
        while let Some(chunk) = self.content.try_next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

/// Sizes, for usage pages and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub blobs: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Uploads under way and deletions not yet finished.
    pub unpublished: u64,
    /// Bytes the store occupies on the disk. Deleting makes room for new blobs, and not always a smaller file.
    pub disk_bytes: u64,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Blobs looked at.
    pub scanned: u64,
    /// Blobs removed because nothing references them.
    pub removed: u64,
    /// Bytes of their content.
    pub removed_bytes: u64,
}

/// A content-addressed store of immutable bytes.
pub trait BlobStore: Send + Sync + 'static {
    /// Stores the bytes of `source`. Content that exists already is read to its end and verified, not stored.
    /// Dropping the future abandons the upload.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`], [`BlobError::TooLarge`], [`BlobError::Interrupted`] when the source
    /// fails, or the store's own failures. In every case nothing became visible.
    fn put<'a>(
        &'a self,
        expected: Option<Sha256Digest>,
        max_bytes: u64,
        source: Source<'a>,
    ) -> BoxFuture<'a, Result<Stored, BlobError>>;

    /// Stores many blobs at the price of one durable commit: all of them or none. The bytes are in memory, so
    /// the caller bounds their sum.
    ///
    /// # Errors
    /// As [`BlobStore::put`].
    fn put_many(&self, blobs: Vec<(Option<Sha256Digest>, Bytes)>) -> BoxFuture<'_, Result<Vec<Stored>, BlobError>>;

    /// Opens a blob, or a part of it (start included, end excluded, cut at the end of the blob); reads only
    /// the chunks the range touches. `None` when there is no such blob.
    ///
    /// # Errors
    /// [`BlobError::RangeNotSatisfiable`] when the range starts after the end of the blob or after its own end.
    fn get(&self, digest: Sha256Digest, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Option<Blob>, BlobError>>;

    /// What is known of a blob. A snapshot: see the module's head before relying on presence.
    fn meta(&self, digest: Sha256Digest) -> BoxFuture<'_, Result<Option<Meta>, BlobError>>;

    /// Whether the blob is there. A snapshot, as [`BlobStore::meta`].
    fn has(&self, digest: Sha256Digest) -> BoxFuture<'_, Result<bool, BlobError>> {
        Box::pin(async move { Ok(self.meta(digest).await?.is_some()) })
    }

    /// Protects the blobs that exist from the sweep for its grace, at most an hour, counted from now; tells
    /// for each whether it exists.
    fn touch(&self, digests: Vec<Sha256Digest>) -> BoxFuture<'_, Result<Vec<bool>, BlobError>>;

    /// Removes a blob whoever may reference it; tells whether it existed. Readers under way finish.
    fn delete(&self, digest: Sha256Digest) -> BoxFuture<'_, Result<bool, BlobError>>;

    /// Up to `limit` blobs in the order of their digests, beginning after `after`.
    fn list(&self, after: Option<Sha256Digest>, limit: usize) -> BoxFuture<'_, Result<Vec<Meta>, BlobError>>;

    /// Removes blobs that are not `live` and that nobody stored or touched during `grace`, and what abandoned
    /// uploads left behind. Works in small transactions; may be cancelled or killed anywhere.
    ///
    /// # Errors
    /// [`BlobError::Liveness`] when `live` fails: what was not asked about stays.
    fn sweep<'a>(&'a self, live: LiveCheck<'a>, grace: Duration) -> BoxFuture<'a, Result<SweepReport, BlobError>>;

    fn stats(&self) -> BoxFuture<'_, Result<Stats, BlobError>>;

    /// Proves that the store can read and durably write. Cheap enough for a health check every second.
    fn check(&self) -> BoxFuture<'_, Result<(), BlobError>>;

    /// Reads a blob to its end and compares its digest. `None` when there is no such blob.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] when the bytes are not what they were.
    fn verify(&self, digest: Sha256Digest) -> BoxFuture<'_, Result<Option<Meta>, BlobError>> {
        Box::pin(async move {
            let Some(mut blob) = self.get(digest, None).await? else { return Ok(None) };
            let mut hasher = Sha256::new();
            while let Some(chunk) = blob.content.next().await {
                (hasher, _) = upload::hash(hasher, chunk?).await?;
            }
            if Sha256Digest::from_bytes(hasher.finalize().into()) == digest {
                Ok(Some(blob.meta))
            } else {
                Err(BlobError::Damaged { digest, what: "its bytes have another SHA-256" })
            }
        })
    }
}
