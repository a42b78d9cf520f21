//! The database file: opening, reopening after a fault, and short reads.
//!
//! redb refuses everything after an I/O error (a full disk, say) until its file is opened anew, so the handle
//! can be replaced under the readers. That is cheap because no read transaction outlives one blocking call.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, backends::FileBackend};

use super::{
    BlobError, Sha256Digest,
    pins::{Pin, Pins},
    settings::Sizes,
    tables::{self, Row, Snapshot},
};

const FILE_NAME: &str = "blobs.redb";

/// Makes a database of the opened file; tests put a disk that fails in between.
pub(super) type Opener = Box<dyn Fn(&Builder, File) -> Result<Database, DatabaseError> + Send + Sync>;

pub(super) struct BlobFile {
    path: PathBuf,
    sizes: Sizes,
    opener: Opener,
    database: RwLock<Option<Database>>,
    /// Somebody could not use the file; the writer shall open it anew.
    suspect: AtomicBool,
}

impl BlobFile {
    /// Opens `<dir>/blobs.redb`, creating both. The directory is made private (0700) and the file too (0600):
    /// it holds what projects keep private.
    pub(super) fn open(dir: &Path, sizes: Sizes, opener: Opener) -> Result<Self, BlobError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        let file = Self {
            path: dir.join(FILE_NAME),
            sizes,
            opener,
            database: RwLock::default(),
            suspect: AtomicBool::new(false),
        };
        let database = file.open_database()?;
        // The file's name must survive a power cut as well as its content.
        File::open(dir)?.sync_all()?;
        *file.exclusive() = Some(database);
        Ok(file)
    }

    fn open_database(&self) -> Result<Database, BlobError> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let path = self.path.display().to_string();
        let mut builder = Builder::new();
        builder.set_cache_size(self.sizes.cache).set_repair_callback(move |session| {
            tracing::warn!(path, progress = session.progress(), "the blob file needs a full repair");
        });
        let database = (self.opener)(&builder, file)?;
        // A full disk must not keep a store with content from opening, so only a new file is written to.
        if Snapshot::new(database.begin_read()?).probe().is_err() {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            tables::create(&transaction)?;
            transaction.commit()?;
        }
        Ok(database)
    }

    /// Opens the file anew after a fault. Commits that were not durable are gone.
    pub(super) fn reopen(&self) -> Result<(), BlobError> {
        let mut database = self.exclusive();
        // The old handle holds the lock of the file; nothing of what closing it may complain about is news.
        drop(database.take());
        *database = Some(self.open_database()?);
        self.suspect.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Closes the file for good. Everything committed is flushed.
    pub(super) fn close(&self) -> Result<(), BlobError> {
        match self.exclusive().take() {
            Some(database) => Ok(database.close()?),
            None => Ok(()),
        }
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::SeqCst)
    }

    /// Runs `work` on the database. Reopening waits for it, so it must be short.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, BlobError>) -> Result<T, BlobError> {
        match &*self.shared() {
            Some(database) => work(database),
            None => {
                self.suspect.store(true, Ordering::SeqCst);
                Err(BlobError::Closed)
            }
        }
    }

    /// Runs `work` on a snapshot.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Snapshot) -> Result<T, BlobError>) -> Result<T, BlobError> {
        let result = self.with(|database| work(&Snapshot::new(database.begin_read()?)));
        if let Err(BlobError::Io(cause)) = &result {
            tracing::error!(%cause, "reading the blob file failed");
            self.suspect.store(true, Ordering::SeqCst);
        }
        result
    }

    /// Finds a blob and keeps its chunks until the pin is dropped, even if it is deleted meanwhile.
    ///
    /// The row is looked up again after pinning. If that snapshot still shows it, the deletion commits later
    /// than the pin, and the reaper, which only takes groups whose deletion is committed, will see the pin.
    pub(super) fn pin(&self, pins: &Arc<Pins>, digest: &Sha256Digest) -> Result<Option<(Row, Arc<Pin>)>, BlobError> {
        let Some(mut row) = self.read(|snapshot| snapshot.row(digest))? else { return Ok(None) };
        loop {
            let pin = pins.reader(row.group);
            match self.read(|snapshot| snapshot.row(digest))? {
                Some(again) if again.group == row.group => return Ok(Some((again, pin))),
                Some(another) => row = another,
                None => return Ok(None),
            }
        }
    }

    /// Whether the disk has room for more than it must keep free. A full disk would still be survived, but
    /// this way it does not get that far.
    pub(super) fn has_room(&self) -> Result<bool, BlobError> {
        let disk = nix::sys::statvfs::statvfs(&self.path).map_err(io::Error::from)?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()) > self.sizes.min_free)
    }

    /// Bytes the file occupies on the disk (it is sparse where redb reserves room to grow).
    pub(super) fn bytes_on_disk(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        const BLOCK_BYTES: u64 = 512;
        Ok(fs::metadata(&self.path)?.blocks() * BLOCK_BYTES)
    }

    fn shared(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The opener of the product: the file itself.
pub(super) fn plain() -> Opener {
    Box::new(|builder, file| builder.create_with_backend(FileBackend::new(file)?))
}
