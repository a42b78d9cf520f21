//! Where parts wait for the commit of their plan: small objects in a buffer, parts of huge ones in files.

use std::{
    collections::HashMap,
    fs::{self, File},
    hash::Hash,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{io::ReaderStream, sync::CancellationToken};

use super::{
    error::ContentError,
    settings::ContentSettings,
    store::{self, Part},
    types::ContentPlanId,
};
use crate::{
    common::{ApiError, ApiResult, ProjectId, ids},
    engines::{
        blobs::{BlobStore, Sha256Digest, Source},
        postgres::Database,
    },
};

/// The buffer is written when it holds this much, …
const BATCH_BYTES: usize = 1024 * 1024;
const BATCH_PARTS: usize = 1000;
/// … or when its oldest part has waited this long, or when a commit asks.
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// How long an upload waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a file read at a time when parts are put together.
const READ_BYTES: usize = 256 * 1024;
/// Pieces of a part on their way from the socket to the file.
const PIECES: usize = 4;
const MIB: usize = 1024 * 1024;
const KIB: usize = 1024;

/// A part in the buffer.
struct Buffered {
    part: Part,
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

enum Order {
    Write(Buffered),
    /// Answer when everything sent before is on disk.
    Flush {
        plan: ContentPlanId,
        done: oneshot::Sender<ApiResult<()>>,
    },
}

pub(super) struct Staging {
    control: Database,
    blobs: Arc<dyn BlobStore>,
    dir: PathBuf,
    min_free_bytes: u64,
    orders: mpsc::Sender<Order>,
    /// Taken by the task that writes.
    inbox: Mutex<Option<mpsc::Receiver<Order>>>,
    /// In KiB.
    room: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    of_project: Keyed<ProjectId, Semaphore>,
    per_project: usize,
}

/// The right to receive one upload.
pub(super) struct Turn {
    _of_project: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Staging {
    pub fn new(
        control: Database,
        blobs: Arc<dyn BlobStore>,
        dir: PathBuf,
        min_free_bytes: u64,
        settings: &ContentSettings,
    ) -> Self {
        let (orders, inbox) = mpsc::channel(1024);
        let at_least_one =
            |number: u32| usize::try_from(number.max(1)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            control,
            blobs,
            dir,
            min_free_bytes,
            orders,
            inbox: Mutex::new(Some(inbox)),
            room: Arc::new(Semaphore::new(at_least_one(settings.buffer_mb).saturating_mul(MIB / KIB).min(1 << 24))),
            uploads: Arc::new(Semaphore::new(at_least_one(settings.concurrent_uploads))),
            of_project: Keyed::default(),
            per_project: at_least_one(settings.concurrent_uploads_per_project),
        }
    }

    /// Waits for a turn to receive an upload of the project.
    pub async fn turn(&self, project: &ProjectId) -> Result<Turn, ContentError> {
        let of_project = self.of_project.get(project, || Semaphore::new(self.per_project));
        let turn = async {
            // The project's first: one that waits for itself must not keep others from uploading.
            let of_project = of_project.acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.uploads).acquire_owned().await.ok()?;
            Some(Turn { _of_project: of_project, _of_all: of_all })
        };
        timeout(TURN_WAIT, turn).await.ok().flatten().ok_or(ContentError::Busy)
    }

    /// Takes a verified small object into the buffer.
    pub async fn keep(&self, part: Part, bytes: Bytes) -> Result<(), ContentError> {
        let kib = u32::try_from(bytes.len().div_ceil(KIB).max(1)).unwrap_or(u32::MAX);
        let room = timeout(TURN_WAIT, Arc::clone(&self.room).acquire_many_owned(kib)).await;
        let room = room.ok().and_then(Result::ok).ok_or(ContentError::Busy)?;
        let order = Order::Write(Buffered { part, bytes, _room: room });
        self.orders.send(order).await.map_err(|_| ContentError::Busy)
    }

    /// When this answers, everything kept before is on disk and noted.
    ///
    /// # Errors
    /// The reason why something of this plan was not written since the last flush.
    pub async fn flush(&self, plan: &ContentPlanId) -> ApiResult<()> {
        let (done, answer) = oneshot::channel();
        let order = Order::Flush { plan: plan.clone(), done };
        self.orders.send(order).await.map_err(|_| ApiError::from(ContentError::Busy))?;
        answer.await.unwrap_or_else(|_| Err(ContentError::Busy.into()))
    }

    /// Writes the buffer in batches until the service stops. What is in it then is lost, as in a crash.
    pub async fn write_forever(&self, stop: CancellationToken) {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut inbox) = inbox else { return };
        // Plans that lost parts, until they ask.
        let mut failed: HashMap<ContentPlanId, ApiError> = HashMap::new();
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return,
                order = inbox.recv() => order,
            };
            let Some(first) = first else { return };
            let (batch, flush) = gather(first, &mut inbox).await;
            if !batch.is_empty()
                && let Err(error) = self.write(&batch).await
            {
                tracing::warn!(%error, parts = batch.len(), "buffered uploads were not written");
                for buffered in batch {
                    // Whoever is not noted here learns from the commit that parts are missing.
                    if failed.len() < 1024 {
                        failed.insert(buffered.part.plan, error.clone());
                    }
                }
            }
            if let Some((plan, done)) = flush {
                let _ = done.send(failed.remove(&plan).map_or(Ok(()), Err));
            }
        }
    }

    async fn write(&self, batch: &[Buffered]) -> ApiResult<()> {
        let blobs = batch.iter().map(|buffered| (Some(buffered.part.sha256), buffered.bytes.clone())).collect();
        self.blobs.put_many(blobs).await?;
        let parts: Vec<_> = batch.iter().map(|buffered| buffered.part.clone()).collect();
        store::record_parts(&self.control.get().await?, &parts).await?;
        Ok(())
    }

    /// Begins to write the part of a huge object to its file.
    pub async fn file_writer(&self, part: &PartName) -> Result<PartWriter, ContentError> {
        let (dir, target) = (self.dir_of(&part.plan), self.file_of(part));
        let (root, min_free) = (self.dir.clone(), self.min_free_bytes);
        let temporary = dir.join(format!("{}.new", ids::random_word(12)));
        let opened = spawn_blocking(move || {
            fs::create_dir_all(&dir)?;
            let disk = nix::sys::statvfs::statvfs(&root).map_err(io::Error::from)?;
            if disk.blocks_available().saturating_mul(disk.fragment_size()) <= min_free {
                return Err(ContentError::DiskFull);
            }
            Ok((File::create(&temporary)?, Temporary(temporary)))
        });
        let (file, temporary) = opened.await.map_err(|_| ContentError::Busy)??;
        let (pieces, inbox) = mpsc::channel(PIECES);
        let written = spawn_blocking(move || write_file(file, &temporary, &target, inbox));
        Ok(PartWriter { pieces, written })
    }

    /// The bytes of an object's parts, one after the other.
    pub fn assembled(&self, plan: &ContentPlanId, session: u32, parts: u32) -> Source<'static> {
        let files: Vec<_> =
            (1..=parts).map(|part| self.file_of(&PartName { plan: plan.clone(), session, part })).collect();
        stream::iter(files)
            .then(|path| async move {
                let file = tokio::fs::File::open(path).await?;
                Ok::<_, io::Error>(ReaderStream::with_capacity(file, READ_BYTES))
            })
            .try_flatten()
            .map_err(Into::into)
            .boxed()
    }

    /// Removes the files of a plan.
    pub async fn remove(&self, plan: &ContentPlanId) {
        remove_dir(self.dir_of(plan)).await;
    }

    /// Removes the files of plans that cannot be committed any more.
    pub async fn remove_leftovers(&self) -> ApiResult<()> {
        let root = self.dir.clone();
        let found = spawn_blocking(move || -> io::Result<Vec<String>> {
            match fs::read_dir(&root) {
                Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        });
        let found = found.await.map_err(ApiError::internal)?.map_err(ContentError::Staging)?;
        if found.is_empty() {
            return Ok(());
        }
        let open = store::open_plans(&self.control.get().await?, &found).await?;
        for name in found.into_iter().filter(|name| !open.contains(name)) {
            remove_dir(self.dir.join(name)).await;
        }
        Ok(())
    }

    fn dir_of(&self, plan: &ContentPlanId) -> PathBuf {
        self.dir.join(plan.as_str())
    }

    fn file_of(&self, part: &PartName) -> PathBuf {
        self.dir_of(&part.plan).join(format!("{}.{}", part.session, part.part))
    }
}

async fn remove_dir(path: PathBuf) {
    match tokio::fs::remove_dir_all(&path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "staged parts are removed later");
        }
        _ => {}
    }
}

/// The parts that are written together, and who waits for that.
async fn gather(
    first: Order,
    inbox: &mut mpsc::Receiver<Order>,
) -> (Vec<Buffered>, Option<(ContentPlanId, oneshot::Sender<ApiResult<()>>)>) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let deadline = Instant::now() + BATCH_WAIT;
    let mut next = Some(first);
    while let Some(order) = next {
        match order {
            Order::Flush { plan, done } => return (batch, Some((plan, done))),
            Order::Write(buffered) => {
                bytes += buffered.bytes.len();
                batch.push(buffered);
            }
        }
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_PARTS {
            break;
        }
        next = timeout_at(deadline, inbox.recv()).await.ok().flatten();
    }
    (batch, None)
}

/// Names the part of a huge object.
#[derive(Clone, Debug)]
pub(super) struct PartName {
    pub plan: ContentPlanId,
    pub session: u32,
    pub part: u32,
}

/// A part being written to its file by a thread of its own. Dropped before the end, it leaves nothing.
pub(super) struct PartWriter {
    pieces: mpsc::Sender<Piece>,
    written: tokio::task::JoinHandle<io::Result<Written>>,
}

enum Piece {
    Bytes(Bytes),
    /// Nothing follows, and the part should have this digest.
    End(Option<Sha256Digest>),
}

enum Written {
    Whole(Sha256Digest),
    WrongDigest,
    Abandoned,
}

impl PartWriter {
    pub async fn write(&self, piece: Bytes) {
        // The thread hangs up only when writing failed; `finish` has the reason.
        let _ = self.pieces.send(Piece::Bytes(piece)).await;
    }

    /// Makes the part durable under its name, in the place of an earlier one, if its digest is the announced one.
    pub async fn finish(self, announced: Option<Sha256Digest>) -> Result<Sha256Digest, ContentError> {
        let _ = self.pieces.send(Piece::End(announced)).await;
        match self.written.await.map_err(|_| ContentError::Busy)?? {
            Written::Whole(digest) => Ok(digest),
            Written::WrongDigest => Err(ContentError::WrongBytes),
            Written::Abandoned => Err(ContentError::Busy),
        }
    }
}

/// Removes the file unless it was given its name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write_file(
    mut file: File,
    temporary: &Temporary,
    target: &Path,
    mut pieces: mpsc::Receiver<Piece>,
) -> io::Result<Written> {
    let mut hasher = Sha256::new();
    let announced = loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(piece)) => {
                hasher.update(&piece);
                file.write_all(&piece)?;
            }
            Some(Piece::End(announced)) => break announced,
            None => return Ok(Written::Abandoned),
        }
    };
    let digest = Sha256Digest::from_bytes(hasher.finalize().into());
    if announced.is_some_and(|announced| announced != digest) {
        return Ok(Written::WrongDigest);
    }
    file.sync_all()?;
    fs::rename(&temporary.0, target)?;
    if let Some(dir) = target.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(Written::Whole(digest))
}

/// One shared thing for each key, for as long as somebody uses it.
pub(super) struct Keyed<K, T>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T> Default for Keyed<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone, T> Keyed<K, T> {
    pub fn get(&self, key: &K, make: impl FnOnce() -> T) -> Arc<T> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = map.get(key).and_then(Weak::upgrade) {
            return found;
        }
        map.retain(|_, shared| shared.strong_count() > 0);
        let made = Arc::new(make());
        map.insert(key.clone(), Arc::downgrade(&made));
        made
    }
}
