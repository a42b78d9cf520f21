//! The tables of the file and what one transaction does to them. All blocking; no threads, no policy.
//!
//! Every chunk belongs to a *group*, and every group is named exactly once: by the index row of the blob it
//! is the content of, or by a row of `unpublished` while it is an upload or is being removed. So publishing
//! and deleting move one row whatever the size, and a crash never leaves chunks nobody knows of.

use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, TableError, WriteTransaction,
};

use super::{BlobError, Meta, Sha256Digest, Stored};
use crate::common::Timestamp;

/// Names the chunks of one upload.
pub(super) type Group = u64;

/// group, size in bytes, content bytes in a full chunk, milliseconds of the Unix epoch
type IndexRow = (Group, u64, u32, i64);

const INDEX: TableDefinition<&[u8; 32], IndexRow> = TableDefinition::new("index");
const CHUNKS: TableDefinition<(Group, u32), &[u8]> = TableDefinition::new("chunks");
/// Group → milliseconds of the Unix epoch when it began.
const UNPUBLISHED: TableDefinition<Group, i64> = TableDefinition::new("unpublished");
/// Counters that would cost a scan, and the health probe.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

const BYTES: &str = "bytes";
const LAST_GROUP: &str = "last_group";
const PROBE: &str = "probe";

/// An index row as the code uses it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) group: Group,
    pub(super) meta: Meta,
}

impl Row {
    fn new(digest: Sha256Digest, (group, size, chunk_bytes, created_at): IndexRow) -> Result<Self, BlobError> {
        let damaged = |what| BlobError::Damaged { digest, what };
        let created_at = Timestamp::from_millis(created_at).ok_or_else(|| damaged("its date is impossible"))?;
        if chunk_bytes == 0 {
            return Err(damaged("its chunk size is 0"));
        }
        Ok(Self { group, meta: Meta { digest, size, chunk_bytes, created_at } })
    }
}

/// What one step of the reaper did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reaped {
    /// Another step would find more.
    pub(super) more: bool,
}

/// The tables of a write transaction.
pub(super) struct Tables<'txn> {
    index: Table<'txn, &'static [u8; 32], IndexRow>,
    chunks: Table<'txn, (Group, u32), &'static [u8]>,
    unpublished: Table<'txn, Group, i64>,
    numbers: Table<'txn, &'static str, u64>,
    /// Whether there is anything to commit.
    pub(super) changed: bool,
    /// Whether the commit must be on disk before anybody hears of it.
    pub(super) durable: bool,
    /// Content bytes written in this transaction.
    pub(super) written: u64,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, BlobError> {
        Ok(Self {
            index: transaction.open_table(INDEX)?,
            chunks: transaction.open_table(CHUNKS)?,
            unpublished: transaction.open_table(UNPUBLISHED)?,
            numbers: transaction.open_table(NUMBERS)?,
            changed: false,
            durable: false,
            written: 0,
        })
    }

    pub(super) fn row(&self, digest: &Sha256Digest) -> Result<Option<Row>, BlobError> {
        let found = self.index.get(digest.as_bytes())?;
        found.map(|row| Row::new(*digest, row.value())).transpose()
    }

    /// Remembers that a group's number is taken, for good: two blobs sharing one would lose their bytes
    /// together. (The chunks do not tell, because an empty blob has none.)
    fn claim(&mut self, group: Group) -> Result<(), BlobError> {
        if self.numbers.get(LAST_GROUP)?.is_none_or(|last| last.value() < group) {
            self.numbers.insert(LAST_GROUP, group)?;
        }
        Ok(())
    }

    /// Writes one chunk of an upload. Not durable by itself.
    pub(super) fn stage(&mut self, group: Group, index: u32, chunk: &[u8], now: Timestamp) -> Result<(), BlobError> {
        if self.unpublished.get(group)?.is_none() {
            self.claim(group)?;
            self.unpublished.insert(group, now.as_millis())?;
        }
        self.write_chunk(group, index, chunk)
    }

    fn write_chunk(&mut self, group: Group, index: u32, chunk: &[u8]) -> Result<(), BlobError> {
        self.chunks.insert((group, index), chunk)?;
        self.changed = true;
        self.written = self.written.saturating_add(chunk.len() as u64);
        Ok(())
    }

    /// Makes an unpublished group the content of `meta.digest`. When the blob exists already the group stays
    /// unpublished, for the reaper.
    pub(super) fn publish(&mut self, group: Group, meta: &Meta) -> Result<Stored, BlobError> {
        if let Some(existing) = self.row(&meta.digest)? {
            return Ok(Stored { digest: meta.digest, size: existing.meta.size, new: false });
        }
        if self.unpublished.remove(group)?.is_none() {
            return Err(BlobError::UploadLost);
        }
        self.insert_row(group, meta)
    }

    /// Stores a blob whose bytes are all at hand.
    pub(super) fn put_whole(&mut self, group: Group, meta: &Meta, content: &[u8]) -> Result<Stored, BlobError> {
        if let Some(existing) = self.row(&meta.digest)? {
            return Ok(Stored { digest: meta.digest, size: existing.meta.size, new: false });
        }
        self.claim(group)?;
        for (index, chunk) in (0..).zip(content.chunks(meta.chunk_bytes as usize)) {
            self.write_chunk(group, index, chunk)?;
        }
        self.insert_row(group, meta)
    }

    fn insert_row(&mut self, group: Group, meta: &Meta) -> Result<Stored, BlobError> {
        let row = (group, meta.size, meta.chunk_bytes, meta.created_at.as_millis());
        self.index.insert(meta.digest.as_bytes(), row)?;
        self.add_bytes(|bytes| bytes.saturating_add(meta.size))?;
        self.changed = true;
        self.durable = true;
        Ok(Stored { digest: meta.digest, size: meta.size, new: true })
    }

    fn add_bytes(&mut self, change: impl FnOnce(u64) -> u64) -> Result<(), BlobError> {
        let bytes = self.numbers.get(BYTES)?.map_or(0, |bytes| bytes.value());
        self.numbers.insert(BYTES, change(bytes))?;
        Ok(())
    }

    /// Takes the blob out of the index; its chunks become the reaper's.
    pub(super) fn unpublish(&mut self, digest: &Sha256Digest, now: Timestamp) -> Result<Option<u64>, BlobError> {
        // Read raw, so that a damaged row can still be deleted.
        let Some((group, size, ..)) = self.index.remove(digest.as_bytes())?.map(|row| row.value()) else {
            return Ok(None);
        };
        self.unpublished.insert(group, now.as_millis())?;
        self.add_bytes(|bytes| bytes.saturating_sub(size))?;
        self.changed = true;
        self.durable = true;
        Ok(Some(size))
    }

    /// Removes up to `limit` chunks (and as many empty groups) of unpublished groups nobody holds. It must run
    /// in a transaction of its own: see [`super::file::BlobFile::pin`].
    pub(super) fn reap(&mut self, limit: usize, is_held: impl Fn(Group) -> bool) -> Result<Reaped, BlobError> {
        let mut left = limit;
        let mut reaped = Reaped::default();
        let mut groups = Vec::new();
        for entry in self.unpublished.iter()? {
            let group = entry?.0.value();
            if is_held(group) {
                continue;
            }
            if groups.len() == limit {
                reaped.more = true;
                break;
            }
            groups.push(group);
        }
        for group in groups {
            let keys = self
                .chunks
                .range((group, 0)..=(group, u32::MAX))?
                .take(left)
                .map(|entry| entry.map(|(key, _)| key.value()))
                .collect::<Result<Vec<_>, _>>()?;
            for key in &keys {
                self.chunks.remove(key)?;
            }
            self.changed = true;
            left -= keys.len();
            if left == 0 {
                reaped.more = true;
                break;
            }
            self.unpublished.remove(group)?;
        }
        // The last step makes the freed space usable again; the ones before it may be repeated after a crash.
        self.durable |= self.changed && !reaped.more;
        Ok(reaped)
    }

    /// Writes something and asks for it to be durable, to prove that this is possible.
    pub(super) fn probe(&mut self, value: u64) -> Result<(), BlobError> {
        self.numbers.insert(PROBE, value)?;
        self.changed = true;
        self.durable = true;
        Ok(())
    }
}

/// The tables as one read transaction sees them.
pub(super) struct Snapshot(ReadTransaction);

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self(transaction)
    }

    pub(super) fn row(&self, digest: &Sha256Digest) -> Result<Option<Row>, BlobError> {
        let index = self.0.open_table(INDEX)?;
        let found = index.get(digest.as_bytes())?;
        found.map(|row| Row::new(*digest, row.value())).transpose()
    }

    /// Up to `limit` blobs in the order of their digests, beginning after `after`.
    pub(super) fn list(&self, after: Option<&Sha256Digest>, limit: usize) -> Result<Vec<Meta>, BlobError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let index = self.0.open_table(INDEX)?;
        let from = after.map_or(Unbounded, |digest| Excluded(digest.as_bytes()));
        index
            .range::<&[u8; 32]>((from, Unbounded))?
            .take(limit)
            .map(|entry| {
                let (key, row) = entry?;
                Ok(Row::new(Sha256Digest::from_bytes(*key.value()), row.value())?.meta)
            })
            .collect()
    }

    /// Copies the bytes `range` of the chunk `index` of a blob.
    pub(super) fn chunk(
        &self,
        row: &Row,
        index: u32,
        range: std::ops::Range<usize>,
    ) -> Result<bytes::Bytes, BlobError> {
        let digest = row.meta.digest;
        let chunks = self.0.open_table(CHUNKS)?;
        let Some(chunk) = chunks.get((row.group, index))? else {
            return Err(BlobError::Damaged { digest, what: "a chunk is missing" });
        };
        let chunk = chunk.value();
        if chunk.len() as u64 != row.meta.chunk_len(index) {
            return Err(BlobError::Damaged { digest, what: "a chunk has the wrong length" });
        }
        chunk
            .get(range)
            .map(bytes::Bytes::copy_from_slice)
            .ok_or(BlobError::Damaged { digest, what: "a chunk is too short" })
    }

    /// The highest group number ever used.
    pub(super) fn last_group(&self) -> Result<Group, BlobError> {
        Ok(self.0.open_table(NUMBERS)?.get(LAST_GROUP)?.map_or(0, |last| last.value()))
    }

    /// (blobs, their bytes, unpublished groups)
    pub(super) fn counts(&self) -> Result<(u64, u64, u64), BlobError> {
        let bytes = self.0.open_table(NUMBERS)?.get(BYTES)?.map_or(0, |bytes| bytes.value());
        Ok((self.0.open_table(INDEX)?.len()?, bytes, self.0.open_table(UNPUBLISHED)?.len()?))
    }

    /// Reads from every table: the read half of the health check.
    pub(super) fn probe(&self) -> Result<(), BlobError> {
        let _ = self.0.open_table(INDEX)?.first()?;
        let _ = self.0.open_table(UNPUBLISHED)?.first()?;
        let _ = self.0.open_table(NUMBERS)?.get(PROBE)?;
        Ok(())
    }
}

/// Creates the tables, so that a snapshot can always open them.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(INDEX)?;
    transaction.open_table(CHUNKS)?;
    transaction.open_table(UNPUBLISHED)?;
    transaction.open_table(NUMBERS)?;
    Ok(())
}
