//! Everything that can be wrong with source, and how the answer of a deploy says it (contract 05 §2.4, §2.5, §12.4).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use super::modules::{self, BUILTINS};
use crate::features::functions::executor::BuildFailure;

/// Where an import stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Importer {
    pub file: String,
    /// From 1; None when it is not known.
    pub line: Option<u32>,
}

/// Why code cannot become a program. The sentences are for its author.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
pub enum Problem {
    #[error("{file} is not text in UTF-8: functions are source files, not archives or binaries")]
    NotText { file: String },
    #[error("the source is empty: write `export default async (req) => new Response(\"ok\")`")]
    Empty,
    /// More bytes than a function may have; `limit` and `size` are bytes.
    #[error("the code has {size} bytes and may have {limit}: leave out what is not needed, or minify the bundle")]
    TooLarge { size: u64, limit: u64 },
    /// Line and column from 1; the column counts characters.
    #[error("{file}:{line}:{column}: {message}")]
    Syntax { file: String, line: u32, column: u32, message: String },
    /// The entry exports nothing that can be called.
    #[error("{}", no_handler(*commonjs))]
    NoHandler { commonjs: bool },
    /// A module of Node that the sandbox does not have.
    #[error("{module} is not available in the function sandbox{}", modules::alternative(module))]
    UnsupportedBuiltin { module: String, importer: Importer },
    /// An export that a module does not have.
    #[error("{module} has no export named {export}")]
    MissingExport { module: String, export: String, importer: Importer },
    /// A package that is neither bundled nor a dependency.
    #[error("cannot resolve the package {package} (imported as {specifier}){}", modules::package_advice(package))]
    UnresolvedPackage { specifier: String, package: String, importer: Importer },
    /// A file that is not among the function's.
    #[error("cannot resolve {specifier} imported from {}: {}", importer.file, relative_advice(*single))]
    UnresolvedFile { specifier: String, single: bool, importer: Importer },
    /// An import by URL, an absolute path, or some other scheme.
    #[error("cannot import {specifier}: only files of the function, built-in modules and packages can be imported")]
    UnresolvedUrl { specifier: String, importer: Importer },
    #[error("{package} brings machine code, which functions cannot load{}", modules::native_alternative(package))]
    Native { package: String, importer: Importer },
    /// There is no package source to take dependencies from.
    #[error(
        "the dependency {dep} cannot be installed: this box has no package source. Bundle locally (for example with \
         esbuild --bundle --format=esm --platform=node --external:@run402/functions) and deploy one file without deps"
    )]
    DependencyUnavailable { dep: String },
    /// A filter that row level security makes redundant (05 §2.4).
    #[error(
        "{file}:{line}: db() already sees only the rows of the signed-in user, so .eq(\"user_id\", …) on it hides \
         mistakes in the policies. Remove the filter, use adminDb(), or say why in a comment on the line before: \
         // run402-allow-user-filter: reason"
    )]
    RedundantUserFilter { file: String, line: u32 },
    /// The parser took more memory, time or stack than a build may.
    #[error("the source is nested too deeply, or too intricate to be read within the limits of a build")]
    TooComplex,
}

fn no_handler(commonjs: bool) -> String {
    let form = "export default async (req) => new Response(\"ok\")";
    if commonjs {
        format!("the code assigns to module.exports, but functions are ES modules: write `{form}`")
    } else {
        format!("the code exports no handler: write `{form}`, or export a function named handler")
    }
}

fn relative_advice(single: bool) -> &'static str {
    if single {
        "this function is one file. Deploy it as `files` with an `entrypoint`, or bundle it"
    } else {
        "there is no such file in `files`"
    }
}

impl Problem {
    /// `details.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotText { .. } => "not_utf8",
            Self::Empty => "empty_source",
            Self::TooLarge { .. } => "bundle_too_large",
            Self::Syntax { .. } => "syntax_error",
            Self::NoHandler { .. } => "no_handler",
            Self::UnsupportedBuiltin { .. } => "unsupported_builtin",
            Self::MissingExport { .. } => "missing_export",
            Self::UnresolvedPackage { .. } | Self::UnresolvedFile { .. } | Self::UnresolvedUrl { .. } => {
                "unresolved_import"
            }
            Self::Native { .. } => "native_dependency",
            Self::DependencyUnavailable { .. } => "dependency_unavailable",
            Self::RedundantUserFilter { .. } => "redundant_user_filter",
            Self::TooComplex => "too_complex",
        }
    }

    /// The code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnresolvedPackage { .. } | Self::UnresolvedFile { .. } | Self::UnresolvedUrl { .. } => {
                "R402_BUNDLE_UNRESOLVED_IMPORT"
            }
            Self::Native { .. } => "R402_BUNDLE_NATIVE_DEP_UNSUPPORTED",
            Self::RedundantUserFilter { .. } => "R402_AUTH_REDUNDANT_USER_FILTER",
            _ => "FUNCTION_BUILD_FAILED",
        }
    }

    /// As the stage of a deploy, and a rebuild, report it.
    pub fn into_failure(self) -> BuildFailure {
        let (mut line, mut column) = (None, None);
        let mut details: Vec<(&'static str, Value)> = Vec::new();
        let import = |module: &String, importer: &Importer| {
            let mut details = vec![("module", json!(module)), ("supported_builtins", json!(BUILTINS))];
            // The engine does not say who asked for an export.
            if !importer.file.is_empty() {
                details.push(("importer", json!(importer.file)));
            }
            details
        };
        match &self {
            Self::Syntax { file, line: at, column: character, .. } => {
                (line, column) = (Some(*at), Some(*character));
                details.push(("file", json!(file)));
            }
            Self::RedundantUserFilter { file, line: at } => {
                line = Some(*at);
                details.push(("file", json!(file)));
            }
            Self::NotText { file } => details.push(("file", json!(file))),
            Self::TooLarge { size, limit } => {
                details.extend([("size_bytes", json!(size)), ("limit_bytes", json!(limit))]);
            }
            Self::DependencyUnavailable { dep } => details.push(("dep", json!(dep))),
            Self::MissingExport { module, export, importer } => {
                line = importer.line;
                details = import(module, importer);
                details.push(("export", json!(export)));
            }
            Self::UnsupportedBuiltin { module: named, importer }
            | Self::UnresolvedPackage { specifier: named, importer, .. }
            | Self::UnresolvedFile { specifier: named, importer, .. }
            | Self::UnresolvedUrl { specifier: named, importer }
            | Self::Native { package: named, importer } => {
                line = importer.line;
                details = import(named, importer);
            }
            Self::Empty | Self::NoHandler { .. } | Self::TooComplex => {}
        }
        BuildFailure { code: self.code(), reason: self.reason(), message: self.to_string(), line, column, details }
    }
}

/// What the author should know of code that does build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// `FUNCTION_BUNDLE_LARGE`, `FUNCTION_UNRESOLVED_DYNAMIC_IMPORT`, `R402_AUTH_UNKNOWN_EXPORT` or
    /// `R402_AUTH_REDUNDANT_USER_FILTER`.
    pub code: String,
    pub message: String,
    pub file: String,
    pub line: Option<u32>,
}
