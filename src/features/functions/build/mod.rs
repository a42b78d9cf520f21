//! From the stored code of a function to modules the sandbox links (contract 05 §2.4, §12.4): types are stripped,
//! imports resolved, and what cannot work is refused with its place in the author's own source.
//!
//! | room | what is there |
//! |---|---|
//! | [`isolate`] | the build in a process of its own, with limits |
//! | [`graph`], [`resolve`], [`modules`] | the files, their imports, and what exists here |
//! | [`source`] | one file: parsed, checked, compiled |
//! | [`strip`], [`bindings`], [`enums`], [`namespaces`] | TypeScript to JavaScript by edits of the text |
//! | [`edits`], [`maps`], [`text`] | edits, and the way back from a place in what they made |
//! | [`rules`] | rules of the platform about source |
//! | [`problem`], [`linked`] | everything that can be wrong, here and when the engine links |
//!
//! Invariants:
//! - Types become blanks, so lines of the generated text are those of the source, and columns are but for the few
//!   edits that [`maps`] keeps. Files keep their names.
//! - What runs is never made up: text that is no type is copied as it is.
//! - Source is hostile. A parser that recurses and tries again cannot be bounded from within, so
//!   [`Builder::isolated`] runs it where a full stack or a spent second costs one short-lived process and nothing
//!   else.

mod bindings;
mod edits;
mod enums;
mod graph;
mod isolate;
mod linked;
mod maps;
mod modules;
mod namespaces;
mod problem;
mod resolve;
mod rules;
mod source;
mod strip;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use graph::Built;
pub use isolate::{Builder, serve};
pub use linked::of_engine;
pub use maps::SourceMaps;
pub use problem::{Importer, Notice, Problem};
pub use rules::UserFilter;

/// Code of a function as a build takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub source: Source,
    /// npm specs (contract 05 §2.5).
    pub deps: Vec<String>,
}

/// Bytes of a function: `FunctionCode` of a release with its files read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Single(Bytes),
    /// `entrypoint` is one of the `files`.
    Files {
        entrypoint: String,
        files: BTreeMap<String, Bytes>,
    },
}

impl Source {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        match self {
            Self::Single(bytes) => bytes.len() as u64,
            Self::Files { files, .. } => files.values().map(|bytes| bytes.len() as u64).sum(),
        }
    }
}

/// What an operator may choose about builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub user_filter: UserFilter,
}

/// Builds in this process, for source that is trusted: see [`Builder`].
pub fn build(code: &Code, options: &Options) -> Result<Built, Problem> {
    graph::build(code, options)
}
