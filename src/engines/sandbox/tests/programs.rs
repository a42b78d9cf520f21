//! Runs tests/sandbox/*.mjs: each exported function is a case.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{Modules, get, program};

const ENTRY: &str = "import * as cases from './cases.mjs';
export default async () => {
  const failures = [];
  for (const [name, run] of Object.entries(cases)) {
    try { await run(); } catch (error) { failures.push(`${name}: ${error?.stack ?? error} ${error?.message ?? ''}`); }
  }
  return Response.json(failures);
};";

#[tokio::test]
async fn the_platform_behaves_like_nodes() {
    let mut failures = Vec::new();
    // Bundles of npm packages can be tried in passing: RUN402_SANDBOX_CASES names their directory.
    let extra = std::env::var_os("RUN402_SANDBOX_CASES").map(PathBuf::from);
    let directories = [Some(PathBuf::from("tests/sandbox")), extra].into_iter().flatten();
    let mut paths: Vec<_> =
        directories.flat_map(|directory| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path())).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "run.mjs" || !name.ends_with(".mjs") {
            continue;
        }
        let files = BTreeMap::from([
            ("index.mjs".to_owned(), ENTRY.to_owned()),
            ("cases.mjs".to_owned(), fs::read_to_string(&path).unwrap()),
        ]);
        let outcome = match program(Modules { files, entry: "index.mjs".to_owned() }).await {
            Ok(program) => get(&program).await,
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(answer) => {
                let failed: Vec<String> = serde_json::from_slice(&answer.body).unwrap();
                failures.extend(failed.into_iter().map(|failure| format!("{name}: {failure}")));
            }
            Err(failure) => failures.push(format!("{name}: {failure:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
