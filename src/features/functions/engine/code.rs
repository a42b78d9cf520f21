//! From stored bytes to what the builder takes.

use std::collections::BTreeMap;

use crate::{
    common::ProjectId,
    features::{
        content::Content,
        functions::{
            build::{Code, Source},
            executor::CheckFailure,
        },
        releases::{FileRef, FunctionCode},
    },
};

/// Largest code of a function, all files together (05 §2.4), in bytes. The builder has the sentence for what is larger;
/// here it only keeps what is not read out of memory.
const MAX_CODE: u64 = 32 * 1024 * 1024;

/// Reads the code of a function.
pub(super) async fn read(
    content: &Content,
    project: &ProjectId,
    code: &FunctionCode,
    deps: &[String],
) -> Result<Code, CheckFailure> {
    let read = async |file: &FileRef| {
        let read = content.read(project, file.sha256, MAX_CODE).await;
        let bytes = read.map_err(|error| CheckFailure::Platform(error.to_string()))?;
        bytes.ok_or_else(|| CheckFailure::Platform(format!("the bytes {} of a function are gone", file.sha256)))
    };
    let source = match code {
        FunctionCode::Source(file) => Source::Single(read(file).await?),
        FunctionCode::Files { entrypoint, files } => {
            let mut left = MAX_CODE;
            let mut bytes = BTreeMap::new();
            for (path, file) in files {
                left = left.checked_sub(file.size).ok_or_else(|| too_large(files.values()))?;
                bytes.insert(path.clone(), read(file).await?);
            }
            Source::Files { entrypoint: entrypoint.clone(), files: bytes }
        }
    };
    Ok(Code { source, deps: deps.to_vec() })
}

fn too_large<'a>(files: impl Iterator<Item = &'a FileRef>) -> CheckFailure {
    let size = files.fold(0_u64, |size, file| size.saturating_add(file.size));
    CheckFailure::Build(crate::features::functions::build::Problem::TooLarge { size, limit: MAX_CODE }.into_failure())
}
