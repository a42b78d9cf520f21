//! Giving up root.
//!
//! Postgres refuses to run as root and the gateway has no business being root. Started as root, the process
//! binds its sockets, hands the data directory to the service user and becomes that user for good. All of it
//! happens before the runtime starts, while the process has a single thread.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, lchown},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        stat::{Mode, umask},
    },
    unistd::{Gid, Uid, User, geteuid, setgid, setgroups, setuid},
};

use super::{BootError, data_dir::create_private};

const DEFAULT_USER: &str = "run402";
const FALLBACK_USER: &str = "nobody";

/// Prepares the data directory and drops to the service user when started as root; otherwise only forbids
/// gaining privileges. Returns the path under which the directory can be reached from now on.
///
/// # Errors
/// One sentence when the user does not exist or cannot reach the directory.
pub fn drop_root(data_dir: &Path, user: Option<&str>) -> Result<PathBuf, BootError> {
    if !geteuid().is_root() {
        if let Some(user) = user
            && User::from_name(user).ok().flatten().is_none_or(|user| user.uid != geteuid())
        {
            return Err(BootError::new(format!(
                "only root can run as another user: start as {user}, or leave --user out."
            )));
        }
        create_private(data_dir)?;
        forbid_new_privileges()?;
        return Ok(data_dir.to_owned());
    }
    let user = service_user(user)?;
    create_private(data_dir)?;
    let data_dir = fs::canonicalize(data_dir).map_err(|error| BootError::io("resolve", data_dir, error))?;
    hand_over(&data_dir, user.uid, user.gid)?;
    let data_dir = if reachable(&data_dir, &user) { data_dir } else { alias(&data_dir, &user)? };
    become_user(&user)?;
    forbid_new_privileges()?;
    Ok(data_dir)
}

fn service_user(name: Option<&str>) -> Result<User, BootError> {
    let find = |name: &str| User::from_name(name).ok().flatten();
    let user = match name {
        Some(name) => find(name).ok_or_else(|| BootError::new(format!("there is no user {name} on this machine.")))?,
        None => find(DEFAULT_USER).or_else(|| find(FALLBACK_USER)).ok_or_else(|| {
            BootError::new(format!("there is neither a user {DEFAULT_USER} nor {FALLBACK_USER}: name one with --user."))
        })?,
    };
    if user.uid.is_root() {
        return Err(BootError::new("run402 does not run as root: name another user with --user."));
    }
    Ok(user)
}

/// Gives the directory and all in it to the user, the top last: a top that is his means that all of it is,
/// so a warm boot only looks, and a crash half way is made good next time.
fn hand_over(path: &Path, uid: Uid, gid: Gid) -> Result<(), BootError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| BootError::io("inspect", path, error))?;
    if metadata.uid() == uid.as_raw() {
        return Ok(());
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| BootError::io("read", path, error))? {
            let entry = entry.map_err(|error| BootError::io("read", path, error))?;
            hand_over(&entry.path(), uid, gid)?;
        }
    }
    lchown(path, Some(uid.as_raw()), Some(gid.as_raw())).map_err(|error| BootError::io("hand over", path, error))
}

/// Whether the user may pass through every directory above `path`.
fn reachable(path: &Path, user: &User) -> bool {
    path.ancestors().skip(1).filter_map(|ancestor| fs::metadata(ancestor).ok()).all(|metadata| {
        let search = if metadata.uid() == user.uid.as_raw() {
            0o100
        } else if metadata.gid() == user.gid.as_raw() {
            0o010
        } else {
            0o001
        };
        metadata.mode() & search != 0
    })
}

/// A second path to a directory the user cannot reach (say below /root): a bind mount that only this process
/// and its children see. The parents' permissions stay as they are.
fn alias(data_dir: &Path, user: &User) -> Result<PathBuf, BootError> {
    let metadata = fs::metadata(data_dir).map_err(|error| BootError::io("inspect", data_dir, error))?;
    let alias = PathBuf::from(format!("/run/run402/{:x}-{:x}", metadata.dev(), metadata.ino()));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&alias)
        .map_err(|error| BootError::io("create", &alias, error))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(None::<&str>, "/", None::<&str>, private, None::<&str>))
        .and_then(|()| mount(Some(data_dir), &alias, None::<&str>, MsFlags::MS_BIND, None::<&str>))
        .map_err(|_| {
            BootError::new(format!(
                "user {} cannot reach {}: choose a --data-dir below /var/lib, or open its parent directories.",
                user.name,
                data_dir.display()
            ))
        })?;
    Ok(alias)
}

fn become_user(user: &User) -> Result<(), BootError> {
    // Groups first: a plain user may not change them any more.
    setgroups(&[user.gid])
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .map_err(|error| BootError::new(format!("cannot become user {}: {error}.", user.name)))?;
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(BootError::new(format!("the switch to user {} could be undone; refusing to run.", user.name)));
    }
    Ok(())
}

/// The last step in both cases; from here on, what the process makes is its own only.
fn forbid_new_privileges() -> Result<(), BootError> {
    umask(Mode::from_bits_truncate(0o077));
    prctl::set_no_new_privs().map_err(|error| BootError::new(format!("cannot give up privileges: {error}.")))
}
