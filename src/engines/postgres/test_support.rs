//! For tests that need a database server.

use std::{any::type_name, env, os::unix::process::CommandExt, path::PathBuf, process::Command};

use super::{Cluster, ClusterSettings, Unpacking};

/// Set in the child process in which a test of root's runs.
const DROPPED: &str = "RUN402_TEST_DROPPED";

/// Runs an async test on a runtime of its own, and never as root, which Postgres refuses: root's test starts
/// the test binary again as `nobody`, for this one test. (The appliance drops root for good before it starts
/// the server; a test binary cannot, because its other tests write into root's source tree.)
///
/// Call it directly from the test function, with a closure: the closure's type names the test.
pub(crate) fn as_ordinary_user<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    if nix::unistd::geteuid().is_root() {
        assert!(env::var_os(DROPPED).is_none(), "the child process is still root");
        run_again_as_nobody(test_name(&body));
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(body());
    }
}

/// `run402::engines::x::tests::a_sentence::{{closure}}` is the type of a closure in the test
/// `engines::x::tests::a_sentence`.
fn test_name<T>(_: &T) -> &'static str {
    let closure = type_name::<T>();
    let (_, path) = closure.split_once("::").unwrap();
    path.split("::{{closure}}").next().unwrap()
}

fn run_again_as_nobody(test: &str) {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("a user `nobody`");
    let outcome = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DROPPED, "1")
        .current_dir("/")
        .uid(nobody.uid.as_raw())
        .gid(nobody.gid.as_raw())
        .output()
        .expect("the test binary must be executable by `nobody`");
    let said = [outcome.stdout, outcome.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(outcome.status.success() && said.contains("1 passed"), "as nobody: {said}");
    println!("{said}");
}

/// Settings that share one unpacked server among all tests of this user.
pub(crate) fn settings() -> ClusterSettings {
    let uid = nix::unistd::geteuid();
    ClusterSettings {
        install_dir: Some(env::temp_dir().join(format!("run402-test-postgres-{uid}"))),
        ..ClusterSettings::default()
    }
}

/// A data directory that goes away with the test. In memory where that is possible: the tests kill processes,
/// not machines, and a disk busy with a build would make them slow.
pub(crate) struct TestBox {
    pub directory: tempfile::TempDir,
}

impl TestBox {
    pub(crate) fn new() -> Self {
        let named = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("r402-");
            builder
        };
        Self { directory: named().tempdir_in("/dev/shm").or_else(|_| named().tempdir()).unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) async fn start(&self) -> Cluster {
        self.start_with(settings()).await
    }

    pub(crate) async fn start_with(&self, settings: ClusterSettings) -> Cluster {
        Cluster::start(settings, &self.path(), Unpacking::InProcess).await.unwrap()
    }
}
