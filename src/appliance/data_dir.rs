//! The data directory: everything the box must keep, readable by its service user only.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::BootError;

/// An open data directory, locked against a second appliance.
///
/// ```text
/// master.key         32 random bytes, hexadecimal (unless systemd hands the key over)
/// admin.sealed       the admin key, sealed with the master key
/// run402.lock        held while the appliance runs
/// run/               Postgres' socket
/// postgres/          the Postgres installation and its cluster
/// blobs.redb         the blob store
/// ```
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Opens the directory, making it if need be, and takes its lock.
    ///
    /// # Errors
    /// One sentence when others may read it, another appliance uses it, or it cannot be made.
    pub fn open(path: &Path) -> Result<Self, BootError> {
        create_private(path)?;
        refuse_if_open_to_others(path)?;
        let lock_path = path.join("run402.lock");
        let lock = private_file(&lock_path, false).map_err(|error| BootError::io("open", &lock_path, error))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|_| {
            BootError::new(format!(
                "another run402 already uses {}: stop it, or choose another --data-dir.",
                path.display()
            ))
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory with mode 0700. An existing empty one is tightened: nothing in it was exposed yet.
pub fn create_private(path: &Path) -> Result<(), BootError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| BootError::io("create", path, error))?;
    let is_empty = fs::read_dir(path).map_err(|error| BootError::io("read", path, error))?.next().is_none();
    if is_empty && mode(path)? & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|error| BootError::io("protect", path, error))?;
    }
    Ok(())
}

/// Others must not even list the directory: it holds keys and every tenant's data.
pub fn refuse_if_open_to_others(path: &Path) -> Result<(), BootError> {
    let mode = mode(path)?;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let command = if path.is_dir() { "chmod 700" } else { "chmod 600" };
    Err(BootError::new(format!(
        "{} is open to other users (mode {:03o}): run `{command} {}` and start again.",
        path.display(),
        mode & 0o777,
        path.display()
    )))
}

fn mode(path: &Path) -> Result<u32, BootError> {
    fs::metadata(path).map(|metadata| metadata.mode()).map_err(|error| BootError::io("inspect", path, error))
}

/// Opens a file for writing with mode 0600; `new` insists that it did not exist.
fn private_file(path: &Path, new: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(!new).create_new(new).truncate(false).mode(0o600).open(path)
}

/// Writes a new private file durably: whole or not at all, even across a power cut.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file(&temporary, true)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (parent, path)
    }

    #[test]
    fn an_empty_directory_is_tightened() {
        let (_parent, path) = directory(0o755);
        DataDir::open(&path).unwrap();
        assert_eq!(mode(&path).unwrap() & 0o777, 0o700);
    }

    #[test]
    fn a_used_directory_open_to_others_is_refused() {
        let (_parent, path) = directory(0o755);
        fs::write(path.join("something"), "").unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_second_appliance_is_refused() {
        let (_parent, path) = directory(0o700);
        let _first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("another run402"), "{error}");
    }

    #[test]
    fn private_files_are_replaced_whole() {
        let (_parent, path) = directory(0o700);
        let file = path.join("secret");
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(mode(&file).unwrap() & 0o777, 0o600);
    }
}
