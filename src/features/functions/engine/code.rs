//! From stored bytes to modules.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    common::ProjectId,
    engines::{blobs::Sha256Digest, sandbox::Modules},
    features::{
        content::Content,
        functions::executor::{BuildFailure, CheckFailure},
        releases::FunctionCode,
    },
};

/// Largest code of a function, all files together (05 §2.4), in bytes.
const MAX_CODE: u64 = 25 * 1024 * 1024;
/// The file that a function of one source is, for stacks and messages.
const SINGLE: &str = "index.mjs";

/// The files of a function.
pub(super) struct Source {
    pub files: BTreeMap<String, Bytes>,
    pub entry: String,
}

/// Reads the bytes.
pub(super) async fn read(
    content: &Content,
    project: &ProjectId,
    name: &str,
    code: &FunctionCode,
) -> Result<Source, CheckFailure> {
    let (wanted, entry): (Vec<(String, Sha256Digest, u64)>, &str) = match code {
        FunctionCode::Source(file) => (vec![(SINGLE.to_owned(), file.sha256, file.size)], SINGLE),
        FunctionCode::Files { entrypoint, files } => {
            (files.iter().map(|(path, file)| (path.clone(), file.sha256, file.size)).collect(), entrypoint)
        }
    };
    let total = wanted.iter().fold(0_u64, |total, (_, _, size)| total.saturating_add(*size));
    if total > MAX_CODE {
        return Err(failed("bundle_too_large", format!("{name} has {total} bytes of code; {MAX_CODE} are the limit")));
    }
    let mut files = BTreeMap::new();
    for (path, digest, _) in wanted {
        let read = content.read(project, digest, MAX_CODE).await;
        let bytes = read.map_err(|error| CheckFailure::Platform(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| CheckFailure::Platform(format!("the bytes of {path} are gone")))?;
        files.insert(path, bytes);
    }
    Ok(Source { files, entry: entry.to_owned() })
}

/// Text the sandbox compiles.
pub(super) async fn modules(source: Source, name: &str, _deps: &[String]) -> Result<Modules, CheckFailure> {
    let mut files = BTreeMap::new();
    for (path, bytes) in source.files {
        let text = String::from_utf8(bytes.into())
            .map_err(|_| failed("syntax_error", format!("{path} of {name} is not valid UTF-8")))?;
        files.insert(path, text);
    }
    Ok(Modules { files, entry: source.entry })
}

fn failed(reason: &'static str, message: String) -> CheckFailure {
    CheckFailure::Build(BuildFailure { code: "FUNCTION_BUILD_FAILED", reason, message, line: None, column: None })
}
