//! From a stream of bytes to a durable blob.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use sha2::{Digest as _, Sha256};
use tokio::{sync::oneshot, task::spawn_blocking};

use super::{
    BlobError, Sha256Digest, Source, Stored,
    pins::Pin,
    store::RedbBlobs,
    writer::{Epoch, Job},
};

/// Bytes hashed on the reactor; longer pieces go to the blocking pool.
const HASH_INLINE_BYTES: usize = 16 * 1024;

/// Reads at most `limit` bytes of a source.
struct Pieces<'a> {
    source: Source<'a>,
    limit: u64,
    size: u64,
}

impl Pieces<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        match self.source.next().await {
            None => Ok(None),
            Some(Err(cause)) => Err(BlobError::Interrupted(cause)),
            Some(Ok(piece)) => {
                self.size = self.size.saturating_add(piece.len() as u64);
                if self.size > self.limit {
                    return Err(BlobError::TooLarge { limit: self.limit });
                }
                Ok(Some(piece))
            }
        }
    }
}

/// An upload of more than one chunk, on its way to the disk.
struct Staging<'a> {
    store: &'a RedbBlobs,
    pin: Arc<Pin>,
    epoch: Epoch,
    next_index: u32,
    hasher: Sha256,
    /// The answer to the chunk before, collected when the next is ready: one chunk is being written while
    /// the next is being received and hashed.
    pending: Option<oneshot::Receiver<Result<(), BlobError>>>,
}

pub(super) async fn put(
    store: &RedbBlobs,
    expected: Option<Sha256Digest>,
    max_bytes: u64,
    source: Source<'_>,
) -> Result<Stored, BlobError> {
    let mut pieces = Pieces { source, limit: max_bytes, size: 0 };
    if let Some(digest) = expected
        && let Some((row, pin)) = store.pin(digest).await?
    {
        return confirm(store, digest, row.meta.chunk_bytes, pin, pieces).await;
    }

    let chunk_bytes = store.chunk_bytes() as usize;
    let mut staging: Option<Staging<'_>> = None;
    let mut buffer = BytesMut::new();
    while let Some(mut piece) = pieces.next().await? {
        while !piece.is_empty() {
            // A full buffer is staged only when more follows: what fits into one chunk needs no staging.
            if buffer.len() == chunk_bytes {
                let staging = staging.get_or_insert_with(|| Staging::new(store));
                let full = std::mem::replace(&mut buffer, BytesMut::with_capacity(chunk_bytes));
                staging.stage(full.freeze()).await?;
            }
            let taken = piece.split_to(piece.len().min(chunk_bytes - buffer.len()));
            buffer.extend_from_slice(&taken);
        }
    }
    let last = buffer.freeze();
    let Some(mut staging) = staging else {
        let (hasher, last) = hash(Sha256::new(), last).await?;
        let digest = finish(hasher, expected)?;
        let stored = store
            .ask(|reply| Job::PutWhole { blobs: vec![(digest, last)], chunk_bytes: store.chunk_bytes(), reply })
            .await?;
        return stored.first().copied().ok_or(BlobError::Closed);
    };
    staging.stage(last).await?;
    staging.publish(expected, pieces.size).await
}

impl<'a> Staging<'a> {
    fn new(store: &'a RedbBlobs) -> Self {
        let (pin, epoch) = store.begin_upload();
        Self { store, pin, epoch, next_index: 0, hasher: Sha256::new(), pending: None }
    }

    async fn stage(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        self.settle().await?;
        let (reply, pending) = oneshot::channel();
        let index = self.next_index;
        // 2^32 chunks of the smallest size are 48 TiB.
        self.next_index = index.checked_add(1).ok_or(BlobError::TooLarge { limit: u64::from(u32::MAX) })?;
        let pin = Arc::clone(&self.pin);
        self.store.send(Job::Stage { pin, epoch: self.epoch, index, chunk: chunk.clone(), reply }).await?;
        self.pending = Some(pending);
        (self.hasher, _) = hash(std::mem::take(&mut self.hasher), chunk).await?;
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), BlobError> {
        match self.pending.take() {
            Some(pending) => pending.await.map_err(|_| BlobError::Closed)?,
            None => Ok(()),
        }
    }

    async fn publish(mut self, expected: Option<Sha256Digest>, size: u64) -> Result<Stored, BlobError> {
        self.settle().await?;
        let digest = finish(self.hasher, expected)?;
        let (pin, epoch, chunk_bytes) = (self.pin, Some(self.epoch), self.store.chunk_bytes());
        self.store.ask(|reply| Job::Publish { pin, epoch, digest, size, chunk_bytes, reply }).await
    }
}

/// A put of content that is there already: the bytes must be the right ones, but need not be written. Should
/// the blob be deleted meanwhile, its pinned chunks are published again.
async fn confirm(
    store: &RedbBlobs,
    digest: Sha256Digest,
    chunk_bytes: u32,
    pin: Arc<Pin>,
    mut pieces: Pieces<'_>,
) -> Result<Stored, BlobError> {
    let mut hasher = Sha256::new();
    while let Some(piece) = pieces.next().await? {
        (hasher, _) = hash(hasher, piece).await?;
    }
    finish(hasher, Some(digest))?;
    let size = pieces.size;
    store.ask(|reply| Job::Publish { pin, epoch: None, digest, size, chunk_bytes, reply }).await
}

pub(super) async fn put_many(
    store: &RedbBlobs,
    blobs: Vec<(Option<Sha256Digest>, Bytes)>,
) -> Result<Vec<Stored>, BlobError> {
    let hashed = spawn_blocking(move || {
        blobs
            .into_iter()
            .map(|(expected, content)| {
                let digest = Sha256Digest::of(&content);
                check(digest, expected)?;
                Ok((digest, content))
            })
            .collect::<Result<Vec<_>, BlobError>>()
    });
    let blobs = hashed.await.map_err(|_| BlobError::Closed)??;
    store.ask(|reply| Job::PutWhole { blobs, chunk_bytes: store.chunk_bytes(), reply }).await
}

/// Feeds a piece to the hasher, off the reactor if it is long.
pub(super) async fn hash(mut hasher: Sha256, piece: Bytes) -> Result<(Sha256, Bytes), BlobError> {
    if piece.len() <= HASH_INLINE_BYTES {
        hasher.update(&piece);
        return Ok((hasher, piece));
    }
    let hashed = spawn_blocking(move || {
        hasher.update(&piece);
        (hasher, piece)
    });
    // The task fails only when the runtime shuts down.
    hashed.await.map_err(|_| BlobError::Closed)
}

fn finish(hasher: Sha256, expected: Option<Sha256Digest>) -> Result<Sha256Digest, BlobError> {
    let digest = Sha256Digest::from_bytes(hasher.finalize().into());
    check(digest, expected)?;
    Ok(digest)
}

fn check(actual: Sha256Digest, expected: Option<Sha256Digest>) -> Result<(), BlobError> {
    match expected {
        Some(expected) if expected != actual => Err(BlobError::DigestMismatch { expected, actual }),
        _ => Ok(()),
    }
}
