//! The server's programs and the first data directory, unpacked from archives inside this binary.
//!
//! Both are unpacked beside their destination and renamed into place, so a directory that exists is whole,
//! whenever the box lost power. The programs are not synced: they can be unpacked again. The data directory
//! is, before its rename; it is made under a lock, because whoever made it for a server that was killed may still be
//! at it when the next server starts.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
};

use super::{ClusterSettings, StartError, Unpacking};

static INSTALL: &[u8] = include_bytes!(env!("POSTGRES_BUNDLE_INSTALL"));
static CLUSTER: &[u8] = include_bytes!(env!("POSTGRES_BUNDLE_CLUSTER"));

/// `18.4`.
pub(super) const VERSION: &str = env!("POSTGRES_BUNDLE_VERSION");
/// The version plus what this bundle was made from, because two run402 versions may pack one Postgres
/// differently.
const EDITION: &str = concat!(env!("POSTGRES_BUNDLE_VERSION"), "-", env!("POSTGRES_BUNDLE_KEY"));

const CLUSTER_PREFIX: &str = "cluster-";
const SYNC_WORKERS: usize = 8;

/// `18`: data directories of one major version are interchangeable.
pub(super) fn major() -> &'static str {
    VERSION.split_once('.').map_or(VERSION, |(major, _)| major)
}

/// Where everything of one box lies.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The box's data directory, absolute and without links.
    pub data_dir: PathBuf,
    /// The programs: `bin`, `lib`, `share`.
    pub install: PathBuf,
    /// The server's data directory. Named by major version, so that an upgrade can keep the old one.
    pub cluster: PathBuf,
}

/// Makes sure programs and data directory exist. Blocks: files.
pub(super) fn prepare(
    settings: &ClusterSettings,
    data_dir: &Path,
    unpacking: &Unpacking,
) -> Result<Places, StartError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(StartError::file("creating the data directory", data_dir))?;
    let data_dir = fs::canonicalize(data_dir).map_err(StartError::file("opening the data directory", data_dir))?;
    refuse_other_majors(&data_dir)?;
    let installs = settings.install_dir.clone().unwrap_or_else(|| data_dir.join("postgres"));
    let places = Places { install: installs.join(EDITION), cluster: data_dir.join(cluster_name()), data_dir };
    unpacking.run(&places)?;
    check_version(&places.cluster)?;
    Ok(places)
}

pub(super) fn is_unpacked(places: &Places) -> bool {
    has_programs(&places.install) && has_data(&places.cluster)
}

fn has_programs(install: &Path) -> bool {
    install.join("bin/postgres").exists()
}

fn has_data(cluster: &Path) -> bool {
    cluster.join("PG_VERSION").exists()
}

/// Unpacks what is missing.
pub(super) fn write_out(install: &Path, cluster: &Path) -> Result<(), StartError> {
    // Each is about half of the work of a first start.
    thread::scope(|scope| {
        let cluster = scope.spawn(|| unpack_cluster(cluster));
        let install = unpack_install(install);
        let cluster = cluster.join().unwrap_or(Err(StartError::Interrupted("unpacking the data directory failed")));
        install.and(cluster)
    })
}

fn unpack_install(install: &Path) -> Result<(), StartError> {
    if has_programs(install) {
        return Ok(());
    }
    let failed = || StartError::file("unpacking the database server to", install);
    let parent = install.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed())?;
    let aside = aside(install);
    let _ = fs::remove_dir_all(&aside);
    unpack_archive(INSTALL, &aside).map_err(failed())?;
    match fs::rename(&aside, install) {
        // Another box that shares the directory was faster.
        Err(_) if has_programs(install) => fs::remove_dir_all(&aside).map_err(failed()),
        outcome => outcome.map_err(failed()),
    }
}

fn unpack_cluster(cluster: &Path) -> Result<(), StartError> {
    let failed = || StartError::file("creating the database directory", cluster);
    let _lock = lock(&cluster.with_extension("lock")).map_err(failed())?;
    if has_data(cluster) {
        return Ok(());
    }
    let aside = cluster.with_extension("new");
    let _ = fs::remove_dir_all(&aside);
    private_directory(&aside)?;
    unpack_archive(CLUSTER, &aside).map_err(failed())?;
    // Renaming first could leave a whole-looking directory of empty files.
    sync_tree(&aside).map_err(failed())?;
    fs::rename(&aside, cluster).map_err(failed())?;
    let parent = cluster.parent().unwrap_or(Path::new("/"));
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed())
}

/// Waits for whoever holds the lock, which ends with the file returned.
fn lock(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

fn unpack_archive(archive: &[u8], destination: &Path) -> io::Result<()> {
    let mut tar = tar::Archive::new(zstd::stream::read::Decoder::with_buffer(archive)?);
    tar.set_preserve_mtime(false);
    // Ours alone, whatever the archive says.
    tar.set_mask(0o077);
    tar.unpack(destination)
}

/// Syncs a thousand files, several at a time so that they share the journal's commits. (`syncfs` is one call,
/// but waits for whatever else the machine has yet to write.)
fn sync_tree(root: &Path) -> io::Result<()> {
    let mut paths = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                paths.push(entry?.path());
            }
        }
    }
    thread::scope(|scope| {
        let workers: Vec<_> = paths
            .chunks(paths.len().div_ceil(SYNC_WORKERS))
            .map(|paths| scope.spawn(|| paths.iter().try_for_each(|path| fs::File::open(path)?.sync_all())))
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(io::Error::other("a worker crashed"))))
    })
}

/// A sibling no other process uses.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

/// Drops what earlier run402 versions unpacked for this major version. Programs of another major stay: they
/// are needed to read a data directory of theirs. Best effort, because nothing depends on it. Not in a shared
/// directory, where another box may still run them.
pub(super) fn forget_older_installs(settings: &ClusterSettings, places: &Places) {
    if settings.install_dir.is_some() {
        return;
    }
    let ours = format!("{}.", major());
    for entry in places.install.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(&ours) || name == EDITION {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "an old database server could not be removed");
        }
    }
}

/// The data must be of our major version, also if its directory was renamed.
fn check_version(cluster: &Path) -> Result<(), StartError> {
    let path = cluster.join("PG_VERSION");
    let found = fs::read_to_string(&path).map_err(StartError::file("reading", &path))?;
    if found.trim() == major() {
        return Ok(());
    }
    Err(StartError::WrongVersion { path: cluster.into(), found: found.trim().into(), ours: VERSION })
}

/// A box that has data of another major version only must not come up empty beside it.
fn refuse_other_majors(data_dir: &Path) -> Result<(), StartError> {
    if data_dir.join(cluster_name()).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(data_dir).map_err(StartError::file("reading", data_dir))?;
    let other = entries.flatten().map(|entry| entry.path()).find(|path| {
        let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(CLUSTER_PREFIX));
        named && path.join("PG_VERSION").exists() && path.extension().is_none()
    });
    other.map_or(Ok(()), |path| check_version(&path))
}

fn cluster_name() -> String {
    format!("{CLUSTER_PREFIX}{}", major())
}

/// Creates a directory only we can enter, or makes an existing one so.
pub(super) fn private_directory(path: &Path) -> Result<(), StartError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::metadata(path))
        .and_then(|found| match found.permissions().mode() & 0o077 {
            0 => Ok(()),
            _ => fs::set_permissions(path, fs::Permissions::from_mode(0o700)),
        })
        .map_err(StartError::file("creating the private directory", path))
}
