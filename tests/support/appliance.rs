//! One running box: the real binary, a data directory of its own, a free port.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::Signal,
    unistd::{AccessFlags, Uid, User, access, chown},
};
use tempfile::TempDir;

use super::{Wallet, http::Api, process};

const BINARY: &str = env!("CARGO_BIN_EXE_run402");
/// Generous: a debug build extracting Postgres on two busy cores.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// The contract's bound for a clean stop.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The binary without what the developer has set in his environment for a box of his own.
pub fn program() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RUN402_") {
            command.env_remove(name);
        }
    }
    command
}

/// Settings of most boxes: nothing that slows a test down or makes it depend on its neighbours.
const UNLIMITED: [(&str, &str); 2] = [("faucet.cooldown_seconds", "0"), ("rate_limits.enabled", "false")];

/// How to start a box.
pub struct Plan {
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    listen: String,
    config: Option<PathBuf>,
    user: Option<User>,
}

impl Plan {
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets an environment variable of the process.
    #[allow(dead_code, reason = "benchmarks use it")]
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses this data directory instead of a fresh one.
    #[must_use]
    pub fn data_dir(mut self, dir: &Path) -> Self {
        self.data_dir = Some(dir.to_owned());
        self
    }

    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Reads this configuration file.
    #[must_use]
    pub fn config(mut self, file: &Path) -> Self {
        self.config = Some(file.to_owned());
        self
    }

    /// Starts the process as this user; only root can.
    #[must_use]
    pub fn started_by(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    pub fn boot(self) -> Appliance {
        Appliance::start(self)
    }

    /// Runs a box that is expected to refuse: its output once it has exited by itself.
    pub fn refusal(self) -> Output {
        let room = Room::new(&self);
        let mut child = self
            .command(&room.data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        process::guard(child.id());
        let status = wait_for_exit(&mut child, BOOT_LIMIT);
        let pid = child.id();
        if status.is_none() {
            process::signal(pid, Signal::SIGTERM);
        }
        let output = child.wait_with_output().expect("its output is readable");
        process::release(pid);
        assert!(status.is_some(), "it kept running instead of refusing: {output:?}");
        output
    }

    /// Starts it and does not wait for anything; for tests about the boot itself.
    pub fn spawn(self) -> Child {
        let data_dir = self.data_dir.as_deref().expect("a data directory that outlives the process");
        self.command(data_dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    }

    fn command(&self, data_dir: &Path) -> Command {
        let mut command = program();
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen", &self.listen])
            .args(["--set", &format!("postgres.install_dir={}", install_dir().display())])
            .current_dir("/")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        for (key, value) in &self.settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        if let Some(file) = &self.config {
            command.arg("--config").arg(file);
        }
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

/// The directories of one box, apart from the process so that a box can be killed and started again.
struct Room {
    data_dir: PathBuf,
    _temporary: Option<TempDir>,
}

impl Room {
    fn new(plan: &Plan) -> Self {
        if let Some(dir) = &plan.data_dir {
            return Self { data_dir: dir.clone(), _temporary: None };
        }
        let temporary = temporary_dir();
        let data_dir = temporary.path().join("data");
        if let Some(user) = &plan.user {
            own(temporary.path(), user);
        }
        Self { data_dir, _temporary: Some(temporary) }
    }
}

pub struct Appliance {
    child: Option<Child>,
    address: String,
    room: Room,
    /// How to start it again.
    plan: Plan,
}

impl Appliance {
    /// A box without rate limits and faucet pauses.
    pub fn plan() -> Plan {
        let plan = Self::default_plan();
        UNLIMITED.iter().fold(plan, |plan, (key, value)| plan.set(key, value))
    }

    /// A box as a user gets it.
    pub fn default_plan() -> Plan {
        Plan {
            settings: Vec::new(),
            environment: Vec::new(),
            data_dir: None,
            listen: "127.0.0.1:0".to_owned(),
            config: None,
            user: None,
        }
    }

    /// The box most tests share. Its admin list names [`Wallet::admin`].
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Appliance> = OnceLock::new();
        SHARED.get_or_init(|| {
            let admins = format!("[\"{}\"]", Wallet::admin().lower());
            Self::plan().set("admin.wallets", &admins).boot().keep_for_the_process()
        })
    }

    /// A shared box that enforces leases (off by default, ruling 2).
    pub fn enforcing() -> &'static Self {
        static ENFORCING: OnceLock<Appliance> = OnceLock::new();
        ENFORCING.get_or_init(|| {
            let admins = format!("[\"{}\"]", Wallet::admin().lower());
            Self::plan().set("admin.wallets", &admins).set("lease.enforce", "true").boot().keep_for_the_process()
        })
    }

    /// A shared box with every default limit in force.
    pub fn limited() -> &'static Self {
        static LIMITED: OnceLock<Appliance> = OnceLock::new();
        LIMITED.get_or_init(|| Self::default_plan().boot().keep_for_the_process())
    }

    /// For a static of a test module: those are never dropped, so the watchdog cleans up after them.
    #[must_use]
    pub fn keep_for_the_process(self) -> Self {
        if let Some(temporary) = &self.room._temporary {
            process::remove_at_exit(temporary.path());
        }
        self
    }

    fn start(plan: Plan) -> Self {
        let room = Room::new(&plan);
        let mut appliance = Self { child: None, address: String::new(), room, plan };
        appliance.launch();
        appliance
    }

    fn launch(&mut self) {
        let log_dir = self.log_dir();
        let stdout = File::create(log_dir.join("stdout")).expect("the log directory is writable");
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(log_dir.join("stderr"))
            .expect("the log directory is writable");
        let child =
            self.plan.command(&self.room.data_dir).stdout(stdout).stderr(stderr).spawn().expect("the binary starts");
        process::guard(child.id());
        self.child = Some(child);
        let deadline = Instant::now() + BOOT_LIMIT;
        self.address = self.until(deadline, "announce its address", |this| this.announced_address());
        self.until(deadline, "be healthy", |this| (status_of(&this.address, "/health") == Some(200)).then_some(()));
    }

    fn until<T>(&mut self, deadline: Instant, what: &str, probe: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            if let Some(value) = probe(self) {
                return value;
            }
            let exited = self.child.as_mut().and_then(|child| child.try_wait().expect("the child can be waited for"));
            if let Some(status) = exited {
                panic!("the box exited ({status}) before it could {what}:\n{}", self.log_tail());
            }
            assert!(Instant::now() < deadline, "the box did not {what} within {BOOT_LIMIT:?}:\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The `host:port` of its "listening on http://…" line.
    fn announced_address(&self) -> Option<String> {
        let output = fs::read_to_string(self.log_dir().join("stdout")).ok()?;
        let line = output.lines().find_map(|line| line.split("listening on http://").nth(1))?;
        let address = line.split_whitespace().next()?.trim_end_matches('/');
        output.contains('\n').then(|| address.to_owned())
    }

    /// Beside the data directory, never in it; or where `R402_TEST_LOGS` says, to read them after the run.
    pub fn log_dir(&self) -> PathBuf {
        let beside = self.room.data_dir.with_extension("logs");
        let dir = match std::env::var_os("R402_TEST_LOGS") {
            Some(kept) => Path::new(&kept).join(beside.strip_prefix("/").unwrap_or(&beside)),
            None => beside,
        };
        fs::create_dir_all(&dir).expect("the log directory can be made");
        dir
    }

    /// The end of what it logged, for the message of a failed test.
    pub fn log_tail(&self) -> String {
        let dir = self.log_dir();
        let text = ["stdout", "stderr"].map(|name| fs::read_to_string(dir.join(name)).unwrap_or_default()).join("\n");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    pub fn api(&self) -> Api {
        Api::new(&self.address)
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn data_dir(&self) -> &Path {
        &self.room.data_dir
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it is running").id()
    }

    /// The database's main process: of the processes working in the data directory, the parent of the others.
    pub fn postgres_pid(&self) -> Option<u32> {
        let servers = process::working_inside(&self.room.data_dir);
        let parent_of = |pid: &u32| process::status_field(*pid, "PPid").and_then(|ppid| ppid.parse::<u32>().ok());
        servers.iter().copied().find(|pid| parent_of(pid).is_none_or(|parent| !servers.contains(&parent)))
    }

    /// What `run402 admin token` prints.
    pub fn admin_key(&self) -> String {
        let output = program()
            .args(["admin", "token", "--data-dir"])
            .arg(&self.room.data_dir)
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "admin token failed: {output:?}");
        String::from_utf8(output.stdout).expect("the token is text").trim().to_owned()
    }

    /// SIGTERM, and the exit status if it came within the contract's five seconds.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        process::signal(child.id(), Signal::SIGTERM);
        let status = wait_for_exit(&mut child, STOP_LIMIT);
        if status.is_none() {
            kill_now(&mut child);
        }
        process::release(child.id());
        status
    }

    /// kill -9, as a power cut would end it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_now(&mut child);
            process::release(child.id());
        }
    }

    /// Changes a setting for the next start; none: as if it had never been set.
    pub fn reconfigure(&mut self, key: &str, value: Option<&str>) {
        self.plan.settings.retain(|(known, _)| known != key);
        self.plan.settings.extend(value.map(|value| (key.to_owned(), value.to_owned())));
    }

    /// Waits until the process has ended by itself.
    pub fn wait_until_dead(&mut self, within: Duration) {
        let child = self.child.as_mut().expect("it is running");
        assert!(wait_for_exit(child, within).is_some(), "it is still alive after {within:?}");
        process::release(child.id());
        self.child = None;
    }

    /// Starts it again on the same data directory, as its service manager would.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it is still running");
        self.launch();
    }

    /// Waits until `/health` answers 200 again.
    pub fn wait_until_healthy(&mut self, within: Duration) {
        self.until(Instant::now() + within, "recover", |this| {
            (status_of(&this.address, "/health") == Some(200)).then_some(())
        });
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.stop();
        // A box killed outright may have left its database behind.
        for pid in process::working_inside(&self.room.data_dir) {
            process::signal(pid, Signal::SIGKILL);
        }
        if thread::panicking() {
            eprintln!("--- log of the box ---\n{}", self.log_tail());
        }
    }
}

fn kill_now(child: &mut Child) {
    process::signal(child.id(), Signal::SIGKILL);
    child.wait().expect("the child can be waited for");
}

fn wait_for_exit(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The status of one GET, without a runtime: boxes are booted from synchronous code.
pub fn status_of(address: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&address.parse().ok()?, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer[9..]).ok()?.parse().ok()
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Whom the box becomes when root starts it and no `run402` user exists.
pub fn nobody() -> User {
    User::from_name("nobody").expect("the user database is readable").expect("the user nobody exists")
}

pub fn own(path: &Path, user: &User) {
    chown(path, Some(user.uid), Some(user.gid)).expect("root can give a directory away");
}

/// A fresh directory with a short name (a socket's path has at most 107 bytes) that a box started as root
/// can still traverse once it has become another user.
pub fn temporary_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("r402-").tempdir().expect("the temporary directory is writable");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("the mode can be set");
    dir
}

/// Where every box of every test run finds the unpacked database server, so that each saves 60 MB. Under the
/// target directory if we may write there and whoever the box becomes may go there.
fn install_dir() -> &'static Path {
    static INSTALL_DIR: OnceLock<PathBuf> = OnceLock::new();
    INSTALL_DIR.get_or_init(|| {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres");
        let dir = if shared.ancestors().skip(1).all(traversable) && is_usable(&shared) {
            shared
        } else {
            let own = std::env::temp_dir().join(format!("run402-tests-{}", Uid::effective()));
            assert!(is_usable(&own), "{} is not ours to write", own.display());
            own
        };
        if is_root() {
            own(&dir, &nobody());
        }
        dir
    })
}

fn traversable(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

fn is_usable(dir: &Path) -> bool {
    fs::create_dir_all(dir).is_ok() && access(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}
