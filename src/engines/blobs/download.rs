//! From a blob to a stream of bytes.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::task::spawn_blocking;

use super::{
    Blob, BlobError, Content, Meta, Sha256Digest,
    file::BlobFile,
    pins::{Pin, Pins},
    tables::{Row, Snapshot},
};

/// A read under way.
struct Reading {
    file: Arc<BlobFile>,
    row: Row,
    /// What is still to be read.
    range: Range<u64>,
    /// Keeps the chunks. A read of one chunk needs none, being one snapshot.
    pin: Option<Arc<Pin>>,
}

/// Finds the blob and reads its first chunk, all in one blocking call: small blobs are complete then.
pub(super) fn open(
    file: &Arc<BlobFile>,
    pins: &Arc<Pins>,
    digest: Sha256Digest,
    asked: Option<Range<u64>>,
) -> Result<Option<Blob>, BlobError> {
    let opened = file.read(|snapshot| {
        let Some(row) = snapshot.row(&digest)? else { return Ok(None) };
        let range = clip(&row.meta, asked.clone())?;
        let first = read_chunk(snapshot, &row, &range)?;
        Ok(Some((row, range, first)))
    })?;
    let Some((row, range, first)) = opened else { return Ok(None) };
    let rest = range.start + first.len() as u64..range.end;
    if rest.is_empty() {
        let content = stream::iter((!first.is_empty()).then_some(Ok(first))).boxed();
        return Ok(Some(Blob { meta: row.meta, range, content }));
    }
    let Some((row, pin)) = file.pin(pins, &digest)? else { return Ok(None) };
    // Deleted and stored again in between, with chunks of another size perhaps: `first` is right all the same.
    let reading = Reading { file: Arc::clone(file), row, range: rest, pin: Some(pin) };
    let content = stream::iter([Ok(first)]).chain(reading.stream()).boxed();
    Ok(Some(Blob { meta: row.meta, range, content }))
}

impl Reading {
    fn stream(self) -> Content {
        stream::unfold(Some(self), |reading| async move {
            let mut reading = reading?;
            if reading.range.is_empty() {
                return None;
            }
            let read = spawn_blocking(move || {
                let chunk = reading.file.read(|snapshot| read_chunk(snapshot, &reading.row, &reading.range))?;
                reading.range.start += chunk.len() as u64;
                if reading.range.is_empty() {
                    // The last chunk is in memory: let the reaper have the rest however slow the client is.
                    reading.pin = None;
                }
                Ok((chunk, reading))
            });
            match read.await {
                Ok(Ok((chunk, reading))) => Some((Ok(chunk), Some(reading))),
                Ok(Err(error)) => Some((Err(error), None)),
                // The task fails only when the runtime shuts down.
                Err(_) => Some((Err(BlobError::Closed), None)),
            }
        })
        .boxed()
    }
}

/// The part of `range` that lies in the chunk `range` starts in. Not empty unless `range` is.
fn read_chunk(snapshot: &Snapshot, row: &Row, range: &Range<u64>) -> Result<Bytes, BlobError> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let damaged = || BlobError::Damaged { digest: row.meta.digest, what: "its size is impossible" };
    let chunk_bytes = u64::from(row.meta.chunk_bytes);
    let index = u32::try_from(range.start / chunk_bytes).map_err(|_| damaged())?;
    let chunk_start = u64::from(index) * chunk_bytes;
    let end = range.end.min(chunk_start + chunk_bytes);
    let within = |at: u64| usize::try_from(at - chunk_start).map_err(|_| damaged());
    snapshot.chunk(row, index, within(range.start)?..within(end)?)
}

fn clip(meta: &Meta, asked: Option<Range<u64>>) -> Result<Range<u64>, BlobError> {
    match asked {
        None => Ok(0..meta.size),
        Some(range) if range.start > meta.size || range.start > range.end => {
            Err(BlobError::RangeNotSatisfiable { size: meta.size })
        }
        Some(range) => Ok(range.start..range.end.min(meta.size)),
    }
}
