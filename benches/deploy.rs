//! Deploys through the published SDK, measured on the real binary: `cargo bench --bench deploy`.
//!
//! A site of 1,000 files and 10 MB: first deploy, unchanged redeploy, one changed file. Then one file of 300 MB, with
//! the peak memory of the box while it arrives. The times are those of `apply()` in the SDK, which hashes, plans,
//! uploads, commits and polls; needs Node 22 with npm.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the harness serves the integration tests first")]
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use support::{Appliance, appliance::temporary_dir, process};

/// Prints one line for each measure; run beside its packages.
const PROGRAM: &str = r#"
import { run402, fileSetFromDir } from "@run402/sdk/node";
import { performance } from "node:perf_hooks";

await run402().allowance.create();
await run402().allowance.faucet();
const r = run402();
await r.tier.set("prototype");
const { project_id } = await r.projects.provision({ name: "bench" });
const text = (seed, length) => {
  let state = seed * 2654435761 + 1, out = "";
  while (out.length < length) { state = (state * 1103515245 + 12345) % 2147483648; out += state.toString(36) + "\n"; }
  return out.slice(0, length);
};
const files = {};
for (let n = 0; n < 1000; n++) files[`page-${n}.txt`] = text(n, 10_000);
const timed = async (what, site) => {
  const started = performance.now();
  const events = [];
  await (await r.project(project_id)).apply({ site }, { onEvent: (event) => events.push(event.type) });
  const took = performance.now() - started;
  const uploads = globalThis.run402Uploads ?? 0;
  globalThis.run402Uploads = 0;
  console.log(`${what.padEnd(46)} ${took.toFixed(0).padStart(8)} ms   ${uploads} bytes uploaded`);
};
const realFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const method = init?.method ?? input.method ?? "GET";
  const body = init?.body;
  if (method === "PUT" && body) globalThis.run402Uploads = (globalThis.run402Uploads ?? 0) + (body.byteLength ?? body.size ?? body.length ?? 0);
  return realFetch(input, init);
};
await timed("deploy 1,000 files, 10 MB", { replace: files });
for (let n = 0; n < 5; n++) await timed("redeploy them unchanged", { replace: files });
await timed("one changed file by patch", { patch: { put: { "page-0.txt": "changed" } } });
console.log("READY");
await new Promise((resolve) => process.stdin.once("data", resolve));
const large = new Uint8Array(300 * 1024 * 1024);
for (let at = 0; at < large.length; at += 65_536) crypto.getRandomValues(large.subarray(at, at + 65_536));
await timed("deploy one file of 300 MB", { patch: { put: { "large.bin": large } } });
process.exit(0);
"#;

fn main() {
    let Some(installation) = installation() else {
        println!("run `cargo test --test it clients::` once: it installs the client packages this needs");
        return;
    };
    // The largest tier's storage is not what is measured here.
    let appliance = Appliance::plan().set("limits.storage_mb", "10000").boot();
    let room = tempfile::Builder::new().prefix("run-").tempdir_in(&installation).expect("target/tmp is writable");
    let home = temporary_dir();
    fs::write(room.path().join("deploy.mjs"), PROGRAM).expect("our own directory");
    fs::copy("tests/clients/preload.mjs", room.path().join("preload.mjs")).expect("the preload");
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let mut child = Command::new(installation.join(format!("node_modules/node-linux-{arch}/bin/node")))
        .args(["--import", "./preload.mjs", "deploy.mjs"])
        .current_dir(room.path())
        .env("HOME", home.path())
        .env("RUN402_API_BASE", appliance.base_url())
        .env("RUN402_CONFIG_DIR", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node starts");
    process::guard(child.id());
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut watcher = None;
    for line in std::io::BufRead::lines(output).map_while(Result::ok) {
        if line == "READY" {
            println!("{:<46} {:>8} MiB Pss", "memory before the large file", tree_pss_kib(appliance.pid()) / 1024);
            let (pid, stop, peak) = (appliance.pid(), Arc::clone(&stop), Arc::clone(&peak));
            watcher = Some(thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    peak.fetch_max(tree_pss_kib(pid), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            }));
            std::io::Write::write_all(&mut stdin, b"go\n").expect("Node reads");
        } else {
            println!("{line}");
        }
    }
    let status = child.wait().expect("our own child");
    process::release(child.id());
    stop.store(true, Ordering::Relaxed);
    if let Some(watcher) = watcher {
        watcher.join().expect("the watcher only reads");
        println!("{:<46} {:>8} MiB Pss", "peak memory while it arrived", peak.load(Ordering::Relaxed) / 1024);
    }
    assert!(status.success(), "the program ended with {status}");
}

/// What `tests/it/clients.rs` installed last.
fn installation() -> Option<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_TARGET_TMPDIR"))).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("clients-")))
        .max_by_key(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

/// Proportional set size of a process and all its children.
fn tree_pss_kib(pid: u32) -> u64 {
    let mut pids = process::descendants(pid);
    pids.push(pid);
    pids.iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok())
        })
        .sum()
}
