//! What an earlier run may have left behind: a live server, or files of a dead one.
//!
//! Normally nothing is left: the server gets a signal when we die. But a kill can race with its start, and
//! files survive a power cut. Postgres itself only asks whether the process named in `postmaster.pid` exists,
//! so a stranger that got the number, or a zombie nobody reaps, would block it for ever. We ask the better
//! question: does any live Postgres process work in this data directory? It changes into it at start, and so
//! do its children, which hold its shared memory.
//!
//! Directories are compared by device and inode, because a leftover may see another path (container, mount
//! namespace). A zombie has no working directory and thus does not count.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::StartError;

/// How long an orphan may take for its shutdown checkpoint before it is told to exit at once.
const CLEAN_STOP: Duration = Duration::from_secs(15);
const FORCED_STOP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    parent: i32,
}

/// Stops whatever Postgres still works in `cluster`, then removes the files that say one does. Blocks.
pub(super) fn clear(cluster: &Path) -> Result<(), StartError> {
    stop_orphans(cluster)?;
    remove_if_present(&cluster.join("postmaster.pid"))
}

pub(super) fn remove_if_present(path: &Path) -> Result<(), StartError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StartError::file("removing the stale file", path)(error))
        }
        _ => Ok(()),
    }
}

/// A clean shutdown of a live postmaster; patience with children whose postmaster is dead, because they leave
/// by themselves; force when either takes too long.
fn stop_orphans(cluster: &Path) -> Result<(), StartError> {
    let started = Instant::now();
    let mut asked = HashSet::new();
    let mut forced = HashSet::new();
    loop {
        let left = servers_in(cluster).map_err(StartError::file("looking for a running server of", cluster))?;
        let Some(first) = left.first() else { return Ok(()) };
        if started.elapsed() > CLEAN_STOP + FORCED_STOP {
            return Err(StartError::Occupied { pid: first.pid, path: cluster.into() });
        }
        if started.elapsed() > CLEAN_STOP {
            for process in &left {
                if forced.insert(process.pid) {
                    tell(process.pid, Signal::SIGQUIT);
                }
            }
        } else if let Some(postmaster) = postmaster(&left, named_in_pid_file(cluster))
            && asked.insert(postmaster)
        {
            tracing::warn!(pid = postmaster, "stopping a database server that an earlier run left behind");
            tell(postmaster, Signal::SIGINT);
        }
        thread::sleep(POLL);
    }
}

/// The process that may be asked for a clean shutdown. It must be the head of the family *and* the one the
/// pid file names: to a child whose postmaster is dead the same signal means something else (the checkpointer
/// would write a checkpoint of memory that nobody vouches for). Such children notice and leave.
fn postmaster(processes: &[Process], named: Option<i32>) -> Option<i32> {
    let present = |pid: i32| processes.iter().any(|process| process.pid == pid);
    let named = named.filter(|pid| present(*pid))?;
    // A stranger's number in the file cannot be the head of this family.
    let head = processes.iter().all(|process| process.pid == named || present(process.parent));
    head.then_some(named)
}

fn named_in_pid_file(cluster: &Path) -> Option<i32> {
    fs::read_to_string(cluster.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

fn tell(pid: i32, signal: Signal) {
    if let Err(errno) = kill(Pid::from_raw(pid), signal) {
        tracing::debug!(pid, %signal, %errno, "a leftover database process could not be signalled");
    }
}

/// Live processes named `postgres` whose working directory is `cluster`.
pub(super) fn servers_in(cluster: &Path) -> io::Result<Vec<Process>> {
    let wanted = match fs::metadata(cluster) {
        Ok(found) => (found.dev(), found.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes come and go while we look, and those of other users hide their directory.
        let Ok(directory) = fs::metadata(entry.path().join("cwd")) else { continue };
        if (directory.dev(), directory.ino()) != wanted {
            continue;
        }
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        found.extend(parse_stat(pid, &stat));
    }
    Ok(found)
}

/// `/proc/PID/stat`: `pid (name) state parent …`; the name may itself hold spaces and parentheses.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (name == "postgres" && !matches!(state, "Z" | "X")).then_some(Process { pid, parent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_postgres_processes_count() {
        let cases = [
            ("7 (postgres) S 1 7 7 0", Some(Process { pid: 7, parent: 1 })),
            ("7 (postgres) Z 1 7 7 0", None),
            ("7 (bash) S 1 7 7 0", None),
            ("7 (postgres) x) S 1 7 7 0", None),
            ("garbage", None),
        ];
        for (stat, expected) in cases {
            assert_eq!(parse_stat(7, stat), expected, "{stat}");
        }
    }

    #[test]
    fn only_a_live_postmaster_is_asked_to_shut_down() {
        let process = |pid, parent| Process { pid, parent };
        let family = [process(11, 10), process(10, 1), process(12, 10)];
        assert_eq!(postmaster(&family, Some(10)), Some(10));
        assert_eq!(postmaster(&family, None), None, "no pid file");
        assert_eq!(postmaster(&family, Some(99)), None, "somebody else's pid file");
        let orphans = [process(11, 1)];
        assert_eq!(postmaster(&orphans, Some(10)), None, "its postmaster is dead");
    }

    #[test]
    fn a_missing_directory_has_no_servers() {
        assert_eq!(servers_in(Path::new("/nonexistent/cluster")).unwrap(), []);
    }
}
