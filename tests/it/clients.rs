//! The published npm clients, unmodified, against a booted box.
//!
//! Packages are installed once per lockfile under `target/tmp`; Node 22 comes from npm too, so that the
//! machine's own Node need only be able to run npm.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::support::{Appliance, appliance::temporary_dir, process};

/// A suite runs in seconds; this is for a machine that is busy with something else.
const SUITE_LIMIT: Duration = Duration::from_secs(180);

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A directory whose `node_modules` is what the lockfile says.
fn installation() -> &'static Path {
    static INSTALLATION: OnceLock<PathBuf> = OnceLock::new();
    INSTALLATION.get_or_init(|| install(&sources(), "clients"))
}

/// Installs the packages of a manifest and its lockfile, once for each state of them.
pub fn install(sources: &Path, name: &str) -> PathBuf {
    const MANIFEST: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
    let mut hasher = DefaultHasher::new();
    for file in &MANIFEST[..2] {
        fs::read(sources.join(file)).expect("the manifest").hash(&mut hasher);
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = root.join(format!("{name}-{:016x}", hasher.finish()));
    if !dir.exists() {
        // Aside and renamed: an interrupted install must not look like a finished one.
        let aside = root.join(format!("{name}.new-{}", std::process::id()));
        let _ = fs::remove_dir_all(&aside);
        fs::create_dir_all(&aside).expect("target/tmp is writable");
        for file in MANIFEST {
            fs::copy(sources.join(file), aside.join(file)).expect("the manifest");
        }
        let output = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&aside)
            .output()
            .expect("npm is a prerequisite of the client tests");
        assert!(output.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&output.stderr));
        if fs::rename(&aside, &dir).is_err() {
            // Another test process was faster.
            fs::remove_dir_all(&aside).expect("our own directory");
        }
    }
    dir
}

fn node(installation: &Path) -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    installation.join(format!("node_modules/node-linux-{arch}/bin/node"))
}

/// Runs one suite file to its end and fails with everything it said.
fn run(suite: &str) {
    run_with(suite, &[]);
}

/// As [`run`], with further environment variables.
pub fn run_with(suite: &str, environment: &[(&str, &Path)]) {
    run_on(Appliance::shared(), suite, environment);
}

/// As [`run_with`], against a box of the suite's own.
fn run_on(appliance: &Appliance, suite: &str, environment: &[(&str, &Path)]) {
    let installation = installation();
    // Imports resolve from where a file lies, so the suites move in with their packages.
    let room = tempfile::Builder::new().prefix("run-").tempdir_in(installation).expect("target/tmp is writable");
    for entry in fs::read_dir(sources()).expect("the suites").flatten() {
        if entry.path().extension().is_some_and(|kind| kind == "mjs") {
            fs::copy(entry.path(), room.path().join(entry.file_name())).expect("a suite");
        }
    }
    let home = temporary_dir();
    let log = room.path().join("output");
    let output = fs::File::create(&log).expect("target/tmp is writable");
    let mut child = Command::new(node(installation))
        .args(["--import", "./preload.mjs", "--test-reporter=spec", "--test", suite])
        .current_dir(room.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("RUN402_API_BASE", appliance.base_url())
        .env("RUN402_CONFIG_DIR", home.path())
        .env("RUN402_TEST_ADMIN_KEY", appliance.admin_key())
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output)
        .spawn()
        .expect("Node starts");
    process::guard(child.id());
    let deadline = Instant::now() + SUITE_LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    process::release(child.id());
    let said = fs::read_to_string(&log).unwrap_or_default();
    let passed = status.is_some_and(|status| status.success());
    assert!(passed, "{suite} ended with {status:?}:\n{said}\n--- log of the box ---\n{}", appliance.log_tail());
    // A file that runs no test passes as well.
    assert!(said.lines().any(|line| line.contains("pass ") && !line.ends_with("pass 0")), "{said}");
}

#[test]
fn the_node_sdk_goes_from_faucet_to_sql() {
    run("journey.test.mjs");
}

#[test]
fn the_node_sdk_understands_every_refusal() {
    run("errors.test.mjs");
}

#[test]
fn keys_alone_work_with_the_isomorphic_sdk_and_the_functions_package() {
    run("isomorphic.test.mjs");
}

#[test]
fn postgrest_js_finds_everything_it_asks_for() {
    run("postgrest.test.mjs");
}

#[test]
fn the_sdk_and_the_functions_package_use_the_data_api() {
    run("rest.test.mjs");
}

#[test]
fn the_sdk_deploys_and_manages_functions() {
    run("functions.test.mjs");
}

#[test]
fn the_functions_package_works_where_a_function_brings_its_own_copy() {
    run("bundled.test.mjs");
}

#[test]
fn the_output_of_the_astro_integration_is_rendered_on_request() {
    let site = sources().join("astro");
    // Astro is large, and no other suite needs it: its packages are an installation of their own.
    let packages = install(&site, "astro");
    run_with("astro.test.mjs", &[("RUN402_TEST_ASTRO_SITE", &site), ("RUN402_TEST_ASTRO_PACKAGES", &packages)]);
}

#[test]
fn the_sdk_keeps_assets() {
    run("assets.test.mjs");
}

#[test]
fn the_sdk_manages_app_users() {
    run("auth.test.mjs");
}

#[test]
fn the_sdk_keeps_secrets() {
    run("secrets.test.mjs");
}

#[test]
fn the_sdk_deploys_sites_and_whole_releases() {
    run("deploy.test.mjs");
}

#[test]
fn every_part_and_read_of_an_apply_answers_the_sdk() {
    run("apply.test.mjs");
}

#[test]
fn the_sdk_sends_a_large_file_in_parts_and_again_after_an_interruption() {
    let part = (16 * 1024 * 1024).to_string();
    let appliance = Appliance::plan().set("content.single_max_bytes", &part).set("content.part_bytes", &part).boot();
    run_on(&appliance, "uploads.test.mjs", &[]);
}

#[test]
fn the_lockfiles_name_no_registry() {
    for dir in ["", "astro"] {
        let lockfile = fs::read_to_string(sources().join(dir).join("package-lock.json")).expect("the lockfile");
        assert!(!lockfile.contains("\"resolved\""), "write it with omit-lockfile-registry-resolved");
        assert!(!lockfile.contains("registry."), "the lockfile must work with any registry");
    }
}
