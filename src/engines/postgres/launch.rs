//! One server process: how it is started, watched and signalled.
//!
//! The process gets SIGINT (fast shutdown) from the kernel when *the thread that started it* ends. So that
//! thread does nothing else: it starts the process, waits for it, and reports how it ended. A thread of the
//! async runtime may come and go and would take the server with it.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::{AccessFlags, Pid, access, getpid, getppid, setsid},
};
use postgresql_commands::{CommandBuilder, postgres::PostgresBuilder};
use tokio::sync::{oneshot, watch};

use super::{ClusterSettings, StartError, bundle::Places};

/// Lines of the server's log kept for error messages.
const REMEMBERED_LINES: usize = 8;
/// A line longer than this is cut; the server does not write such lines on its own.
const LONGEST_LINE: u64 = 16 * 1024;

/// The command line. Everything is set here and nothing in `postgresql.conf`, so a data directory cannot
/// carry settings that this version does not know about.
pub(super) fn command(settings: &ClusterSettings, places: &Places, socket_dir: &Path) -> Command {
    let mut builder = PostgresBuilder::new()
        .program_dir(places.install.join("bin"))
        .data_dir(&places.cluster)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    for (name, value) in parameters(settings, socket_dir) {
        builder = builder.runtime_param(OsString::from(name), value);
    }
    builder.build()
}

fn parameters(settings: &ClusterSettings, socket_dir: &Path) -> Vec<(&'static str, OsString)> {
    let fixed = [
        // Reached through the socket only. A client that must find us is us.
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("password_encryption", "scram-sha-256"),
        ("allow_alter_system", "off"),
        // A commit that was answered is on the disk.
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        // `replica`, so that WAL can be archived without a restart; nothing streams it from us.
        ("wal_level", "replica"),
        ("max_wal_senders", "0"),
        ("max_replication_slots", "0"),
        ("max_wal_size", "256MB"),
        ("min_wal_size", "32MB"),
        // Small and quiet when idle: no I/O workers, no replication launcher, few helpers, and a vacuum round
        // that does not visit a thousand databases every minute.
        ("io_method", "sync"),
        ("max_logical_replication_workers", "0"),
        ("max_worker_processes", "2"),
        ("max_parallel_workers", "2"),
        ("max_parallel_workers_per_gather", "1"),
        ("max_parallel_maintenance_workers", "1"),
        ("autovacuum_max_workers", "2"),
        ("autovacuum_worker_slots", "2"),
        ("autovacuum_naptime", "5min"),
        ("huge_pages", "off"),
        // Our queries are short; compiling one costs more than it saves.
        ("jit", "off"),
        // To us, line by line. Level `log` leaves out the errors of statements, whose details quote rows: the
        // caller gets those, the log must not.
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
        ("log_line_prefix", ""),
        ("log_min_messages", "log"),
        ("log_min_error_statement", "panic"),
        ("log_statement", "none"),
        ("log_checkpoints", "off"),
        ("log_autovacuum_min_duration", "-1"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("default_text_search_config", "pg_catalog.english"),
        ("dynamic_shared_memory_type", dynamic_shared_memory()),
    ];
    let mut parameters: Vec<_> = fixed.into_iter().map(|(name, value)| (name, value.into())).collect();
    parameters.push(("shared_buffers", format!("{}MB", settings.shared_buffers_mb).into()));
    parameters.push(("max_connections", settings.max_connections.to_string().into()));
    parameters.push(("unix_socket_directories", quoted_in_list(socket_dir)));
    parameters
}

/// Segments for parallel queries live in `/dev/shm`; some containers lack it, and files do instead.
fn dynamic_shared_memory() -> &'static str {
    let writable = access("/dev/shm", AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    if writable { "posix" } else { "mmap" }
}

/// The setting is a comma-separated list whose entries may be quoted like identifiers.
fn quoted_in_list(path: &Path) -> OsString {
    let mut quoted = vec![b'"'];
    for &byte in path.as_os_str().as_bytes() {
        if byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    OsString::from_vec(quoted)
}

/// A started server. Dropping it asks the server to shut down, without waiting.
#[derive(Debug)]
pub(super) struct Running {
    pid: Pid,
    /// `true` once the process is reaped, after which its number may belong to someone else. Held while a
    /// signal is sent.
    reaped: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<String>>,
    log: LogTail,
}

impl Running {
    /// Starts the process.
    ///
    /// `address_space` bounds each server process, in bytes.
    pub(super) async fn start(mut command: Command, address_space: u64) -> Result<Self, StartError> {
        let program = PathBuf::from(command.get_program());
        prepare(&mut command, address_space);
        let (started, start) = oneshot::channel();
        let (ended, exit) = watch::channel(None);
        let reaped = Arc::new(Mutex::new(false));
        let log = LogTail::default();
        let (parent_reaped, parent_log) = (Arc::clone(&reaped), log.clone());
        thread::Builder::new()
            .name("postgres-parent".into())
            .spawn(move || parent(command, started, &parent_reaped, &ended, &parent_log))
            .map_err(StartError::file("starting a thread for", &program))?;
        let pid = start
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the thread that starts it ended")))
            .map_err(StartError::file("starting", &program))?;
        Ok(Self { pid, reaped, exit, log })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits for the end of the process and says how it ended. Cancellation-safe.
    pub(super) async fn exited(&mut self) -> String {
        match self.exit.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "its end was not reported".into(),
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped && let Err(errno) = kill(self.pid, signal) {
            tracing::warn!(pid = self.pid.as_raw(), %signal, %errno, "the database server could not be signalled");
        }
    }

    /// The last lines of the log so far.
    pub(super) fn last_words_now(&self) -> Vec<String> {
        self.log.lines()
    }

    /// The last lines of the log; after an exit, waits a moment for the rest to arrive.
    pub(super) async fn last_words(&self) -> Vec<String> {
        let mut complete = self.log.complete.subscribe();
        let _ = tokio::time::timeout(Duration::from_millis(200), complete.wait_for(|complete| *complete)).await;
        self.log.lines()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::SIGINT);
    }
}

/// What happens between fork and exec.
#[expect(unsafe_code, reason = "the one place; see the SAFETY comment")]
fn prepare(command: &mut Command, address_space: u64) {
    let environment: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command.env_clear().envs(environment).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let parent = getpid();
    let set_up = move || {
        // A Ctrl-C on our terminal is for us; we decide when the server stops.
        setsid()?;
        prctl::set_no_new_privs()?;
        // Inherited by every session, where a tenant may raise `work_mem` as he likes.
        setrlimit(Resource::RLIMIT_AS, address_space, address_space)?;
        prctl::set_pdeathsig(Signal::SIGINT)?;
        // We may have died before the line above; then nobody would ever send that signal.
        if getppid() != parent {
            return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure runs in the forked child of a process with many threads, so it may only use
    // async-signal-safe operations: it makes six system calls, allocates nothing and takes no lock
    // (`from_raw_os_error` stores a number).
    unsafe {
        command.pre_exec(set_up);
    }
}

/// The body of the thread that owns the process.
fn parent(
    mut command: Command,
    started: oneshot::Sender<io::Result<Pid>>,
    reaped: &Mutex<bool>,
    ended: &watch::Sender<Option<String>>,
    log: &LogTail,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    if let Some(stderr) = child.stderr.take() {
        let log = log.clone();
        let reader = thread::Builder::new().name("postgres-log".into()).spawn(move || log.follow(stderr));
        if let Err(error) = reader {
            tracing::error!(%error, "the database server's log cannot be read");
        }
    }
    // Process numbers are positive and fit.
    let pid = Pid::from_raw(child.id().cast_signed());
    // If nobody waits for the answer any more, nobody will stop the server either.
    let abandoned = started.send(Ok(pid)).is_err();
    if abandoned {
        let _ = kill(pid, Signal::SIGINT);
    }
    // Wait without reaping first: until `reaped` is set under the lock, the number stays ours.
    while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    let status = child.wait();
    *reaped = true;
    drop(reaped);
    ended.send_replace(Some(describe(status)));
}

fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("it ended with {status}"),
        Err(error) => format!("its end is unknown: {error}"),
    }
}

/// The server's log: passed on to ours, and the last lines remembered.
#[derive(Clone, Debug)]
struct LogTail {
    lines: Arc<Mutex<VecDeque<String>>>,
    complete: Arc<watch::Sender<bool>>,
}

impl Default for LogTail {
    fn default() -> Self {
        Self { lines: Arc::default(), complete: Arc::new(watch::channel(false).0) }
    }
}

impl LogTail {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Reads until every process of the server has closed the pipe.
    fn follow(&self, stderr: impl Read) {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => self.record(String::from_utf8_lossy(&line).trim_end()),
            }
        }
        self.complete.send_replace(true);
    }

    fn record(&self, line: &str) {
        match severity(line) {
            Severity::Fatal => tracing::error!(target: "postgres", "{line}"),
            Severity::Refusal => tracing::warn!(target: "postgres", "{line}"),
            Severity::Routine => tracing::debug!(target: "postgres", "{line}"),
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == REMEMBERED_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Severity {
    Fatal,
    Refusal,
    Routine,
}

/// How lines begin that tell of something we did ourselves.
const OUR_DOING: [&str; 3] =
    ["the database system is", "connection to client lost", "terminating connection due to administrator command"];

fn severity(line: &str) -> Severity {
    match line.split_once(':') {
        Some(("PANIC", _)) => Severity::Fatal,
        // Our own probes while it starts and stops, and sessions that we ended.
        Some(("FATAL", rest)) if OUR_DOING.iter().any(|words| rest.trim_start().starts_with(words)) => {
            Severity::Routine
        }
        Some(("FATAL" | "ERROR" | "WARNING", _)) => Severity::Refusal,
        _ => Severity::Routine,
    }
}

/// The file the server's programs are in, for backups.
pub(super) fn program(places: &Places, name: &str) -> Option<PathBuf> {
    let path = places.install.join("bin").join(name);
    fs::metadata(&path).is_ok().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_keep_their_weight() {
        for (line, expected) in [
            ("PANIC:  could not write to file", Severity::Fatal),
            ("FATAL:  the database system is starting up", Severity::Routine),
            ("FATAL:  connection to client lost", Severity::Routine),
            ("FATAL:  terminating connection due to administrator command", Severity::Routine),
            ("FATAL:  could not create lock file", Severity::Refusal),
            ("LOG:  database system is ready to accept connections", Severity::Routine),
            ("no colon at all", Severity::Routine),
        ] {
            assert_eq!(severity(line), expected, "{line}");
        }
    }

    #[test]
    fn only_the_last_lines_are_remembered() {
        let log = LogTail::default();
        let text: String = (0..20).map(|number| format!("LOG:  line {number}\n")).collect();
        log.follow(text.as_bytes());
        assert_eq!(log.lines().len(), REMEMBERED_LINES);
        assert_eq!(log.lines().last().map(String::as_str), Some("LOG:  line 19"));
    }

    #[test]
    fn durability_and_isolation_are_not_settings() {
        let parameters = parameters(&ClusterSettings::default(), Path::new("/data/a,\"b/run"));
        let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        for (name, expected) in [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("listen_addresses", ""),
            ("unix_socket_directories", "\"/data/a,\"\"b/run\""),
        ] {
            assert_eq!(value(name), Some(expected.into()), "{name}");
        }
    }
}
