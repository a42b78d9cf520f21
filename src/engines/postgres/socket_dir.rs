//! The directory of the server's socket: the only way in, so it is ours alone (0700).
//!
//! It is `<data>/run`, unless that makes the socket's path longer than the kernel takes. Then it is a directory
//! with an unguessable name under `$XDG_RUNTIME_DIR` or `/tmp`, and `<data>/run` is a link to it: that is how
//! the next start finds and replaces what a crash left, and how an operator finds the socket.

use std::{
    env, fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, symlink},
    },
    path::{Path, PathBuf},
};

use super::{StartError, bundle::private_directory, leftovers::remove_if_present};

/// The name libpq gives to the socket of port 5432; every Postgres client expects it.
pub(super) const SOCKET: &str = ".s.PGSQL.5432";
/// `sun_path` of unix(7), less the terminating zero.
const LONGEST_SOCKET_PATH: usize = 107;
const PREFIX: &str = "run402-";

#[derive(Debug)]
pub(super) struct SocketDir {
    path: PathBuf,
    /// `<data>/run` if that is only a link to `path`.
    link: Option<PathBuf>,
}

impl SocketDir {
    /// Makes a fresh directory. The server of the last run must be gone. Blocks.
    pub(super) fn prepare(data_dir: &Path) -> Result<Self, StartError> {
        let preferred = data_dir.join("run");
        replace_leftover(&preferred)?;
        if fits(&preferred) {
            private_directory(&preferred)?;
            let directory = Self { path: preferred, link: None };
            directory.clear()?;
            return Ok(directory);
        }
        let path = short_directory()?;
        if let Ok(found) = fs::symlink_metadata(&preferred)
            && found.is_dir()
        {
            fs::remove_dir_all(&preferred).map_err(StartError::file("removing", &preferred))?;
        }
        symlink(&path, &preferred).map_err(StartError::file("linking the socket directory as", &preferred))?;
        Ok(Self { path, link: Some(preferred) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// Removes the socket of a dead server and the lock file that would keep a new one out.
    pub(super) fn clear(&self) -> Result<(), StartError> {
        remove_if_present(&self.socket())?;
        remove_if_present(&self.path.join(format!("{SOCKET}.lock")))
    }

    /// After a clean stop. Failures leave something the next start replaces.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
        if let Some(link) = &self.link {
            let _ = fs::remove_file(link);
        }
    }
}

fn fits(directory: &Path) -> bool {
    directory.as_os_str().as_bytes().len() + 1 + SOCKET.len() <= LONGEST_SOCKET_PATH
}

/// A link is from an earlier run. Its target goes too, if it is the kind of directory we make and is ours.
fn replace_leftover(preferred: &Path) -> Result<(), StartError> {
    let Ok(target) = fs::read_link(preferred) else { return Ok(()) };
    let named_by_us = target.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    let ours = fs::symlink_metadata(&target)
        .is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw());
    if named_by_us && ours {
        fs::remove_dir_all(&target).map_err(StartError::file("removing the old socket directory", &target))?;
    }
    remove_if_present(preferred)
}

fn short_directory() -> Result<PathBuf, StartError> {
    let name = format!("{PREFIX}{:016x}", rand::random::<u64>());
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let mut last = io::Error::other("no place for it");
    for base in runtime.into_iter().chain([env::temp_dir(), PathBuf::from("/tmp")]) {
        let path = base.join(&name);
        if !fits(&path) {
            continue;
        }
        // Fails if the name exists, so nobody can have prepared it for us.
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) => last = error,
        }
    }
    Err(StartError::file("creating a short directory for the database socket in", "/tmp")(last))
}
