//! Popular npm packages, bundled by esbuild as people bundle them, at work in the function sandbox; the npm package
//! `@run402/functions` among them. Each case runs in Node first: it asserts what Node does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use run402::engines::sandbox::{
    HostServices, Limits, LogLine, Modules, OutboundRequest, OutboundResponse, Request, Sandbox, SandboxSettings,
    ServiceError,
};
use url::Url;

use crate::clients::install;

/// A platform that has nothing: the cases bring their own answers.
struct Nothing;

#[async_trait]
impl HostServices for Nothing {
    fn log(&self, _: LogLine) {}

    fn owns(&self, _: &Url) -> bool {
        false
    }

    async fn dispatch(&self, request: OutboundRequest) -> Result<OutboundResponse, ServiceError> {
        Err(ServiceError::new(request.url))
    }

    async fn call(&self, name: &str, _: serde_json::Value, _: Vec<Bytes>) -> Result<Vec<u8>, ServiceError> {
        Err(ServiceError::new(name))
    }
}

const ENTRY: &str = "import * as cases from './cases.mjs';
export default async () => {
  const failures = [];
  for (const [name, run] of Object.entries(cases)) {
    try { await run(); } catch (error) { failures.push(`${name}: ${error?.stack ?? error} ${error?.message ?? ''}`); }
  }
  return Response.json(failures);
};";

/// Bundles, and runs the bundles in Node.
fn bundles() -> tempfile::TempDir {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox");
    let installation = install(&sources.join("packages"), "packages");
    // The cases reach for ../../functions, and imports resolve from where a file lies.
    let room = tempfile::Builder::new().prefix("run-").tempdir_in(&installation).expect("target/tmp is writable");
    let copy = |from: PathBuf, to: PathBuf| {
        fs::create_dir_all(&to).expect("target/tmp is writable");
        for entry in fs::read_dir(from).expect("the cases").flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("a case");
            }
        }
    };
    copy(sources.join("functions"), room.path().join("functions"));
    copy(sources.join("packages/cases"), room.path().join("packages/cases"));
    fs::copy(sources.join("packages/bundle.mjs"), room.path().join("packages/bundle.mjs")).expect("the bundler");
    let output = Command::new("node")
        .args(["bundle.mjs", "../bundles"])
        .current_dir(room.path().join("packages"))
        .output()
        .expect("Node is a prerequisite of the client tests");
    assert!(output.status.success(), "in Node: {}", String::from_utf8_lossy(&output.stderr));
    room
}

#[tokio::test]
async fn popular_packages_work_in_the_sandbox_as_they_do_in_node() {
    let room = tokio::task::spawn_blocking(bundles).await.expect("the bundler runs");
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sandbox-cache");
    let settings = SandboxSettings { max_instances: 20, threads: 1, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings, cache, [3; 32]).expect("the sandbox starts");
    let mut failures = Vec::new();
    let mut ran = 0;
    for entry in fs::read_dir(room.path().join("bundles")).expect("the bundles").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let files = BTreeMap::from([
            ("index.mjs".to_owned(), ENTRY.to_owned()),
            ("cases.mjs".to_owned(), fs::read_to_string(entry.path()).expect("a bundle")),
        ]);
        let outcome = async {
            let image = sandbox.compile(Modules { files, entry: "index.mjs".to_owned() }).await?;
            let limits = Limits { timeout: Duration::from_secs(60), ..Limits::default() };
            let program = Arc::new(sandbox.program(image, &BTreeMap::new(), limits));
            let request = Request { method: "GET".into(), url: "http://localhost/".into(), ..Request::default() };
            sandbox.call(&program, request, Arc::new(Nothing)).await
        };
        ran += 1;
        match outcome.await {
            Ok(answer) => {
                let failed: Vec<String> = serde_json::from_slice(&answer.body).expect("a list of failures");
                failures.extend(failed.into_iter().map(|failure| format!("{name}: {failure}")));
            }
            Err(failure) => failures.push(format!("{name}: {failure:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(ran >= 11, "{ran} bundles");
}
