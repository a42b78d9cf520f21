//! Processes as the kernel sees them, and the watchdog that buries what a dying test process leaves behind.

use std::{
    collections::HashSet,
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A shell that lives as long as the test process plus a moment: it reads what to clean up from a pipe and
/// acts when the pipe closes, however the test process ended. `PR_SET_PDEATHSIG` would not do: the kernel
/// forgets it when the appliance drops its privileges.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
pids=' '; dirs=''
while read -r verb what; do
  case $verb in
    guard) pids="$pids$what " ;;
    release) pids=$(printf '%s' "$pids" | sed "s/ $what / /") ;;
    remove) dirs="$dirs $what" ;;
  esac
done
for pid in $pids; do kill -TERM "$pid" 2>/dev/null; done
tries=0
while [ $tries -lt 60 ]; do
  alive=''
  for pid in $pids; do [ -d "/proc/$pid" ] && alive=1; done
  [ -z "$alive" ] && break
  sleep 0.1; tries=$((tries + 1))
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
for dir in $dirs; do rm -rf -- "$dir"; done
"#;

struct Watchdog(Mutex<Child>);

impl Watchdog {
    fn get() -> &'static Self {
        static WATCHDOG_PROCESS: OnceLock<Watchdog> = OnceLock::new();
        WATCHDOG_PROCESS.get_or_init(|| {
            let child = Command::new("/bin/sh")
                .args(["-c", WATCHDOG])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .expect("the watchdog shell starts");
            Self(Mutex::new(child))
        })
    }

    fn tell(&self, line: &str) {
        let mut child = self.0.lock().expect("no test panics while talking to the watchdog");
        let pipe = child.stdin.as_mut().expect("the watchdog's stdin is piped");
        writeln!(pipe, "{line}").expect("the watchdog listens");
    }
}

/// The process dies with this test process unless it is released first.
pub fn guard(pid: u32) {
    Watchdog::get().tell(&format!("guard {pid}"));
}

pub fn release(pid: u32) {
    Watchdog::get().tell(&format!("release {pid}"));
}

/// The directory is removed when this test process ends.
pub fn remove_at_exit(dir: &Path) {
    Watchdog::get().tell(&format!("remove {}", dir.display()));
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).expect("a pid fits");
    // A process that is already gone is what the caller wanted.
    let _ = kill(Pid::from_raw(pid), signal);
}

pub fn is_alive(pid: u32) -> bool {
    // A zombie is dead for our purposes.
    status_field(pid, "State").is_some_and(|state| !state.starts_with('Z'))
}

/// A line of `/proc/<pid>/status`.
pub fn status_field(pid: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.split(':').next() == Some(field))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Every living descendant of a process, children first.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    let parents: Vec<(u32, u32)> =
        all_pids().into_iter().filter_map(|pid| Some((pid, status_field(pid, "PPid")?.parse().ok()?))).collect();
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

/// Living processes whose working directory lies inside `dir`: the server processes of its database.
pub fn working_inside(dir: &Path) -> Vec<u32> {
    all_pids()
        .into_iter()
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .filter(|pid| is_alive(*pid))
        .collect()
}

fn all_pids() -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Local ports on which the process accepts TCP connections.
pub fn listening_tcp_ports(pid: u32) -> Vec<u16> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let sockets: HashSet<String> = entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target: PathBuf| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/net/{table}")) else { continue };
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            // 0A is TCP_LISTEN; column 9 is the socket's inode (proc_pid_net(5)).
            if columns.get(3) == Some(&"0A") && columns.get(9).is_some_and(|inode| sockets.contains(*inode)) {
                let port = columns[1].rsplit(':').next().expect("address:port");
                ports.push(u16::from_str_radix(port, 16).expect("a port in hexadecimal"));
            }
        }
    }
    ports
}
