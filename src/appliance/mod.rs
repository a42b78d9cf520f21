//! The composition root: configuration, privileges, boot and shutdown.
//!
//! Everything is put together here and nowhere else; below, parts know each other only through what they are
//! handed. Boot order: configuration, sockets, privileges, data directory, secrets, engines, services, edge.
//! Shutdown runs the other way round, so that an answered request is never lost.

mod app;
pub mod config;
pub mod data_dir;
pub mod logging;
pub mod privileges;
pub mod secrets;
pub mod serve;

use std::{io, path::Path};

pub use app::App;

/// Why the appliance could not start: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BootError(String);

impl BootError {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// "cannot <verb> <path>: <reason>"
    pub fn io(verb: &str, path: &Path, error: io::Error) -> Self {
        Self(format!("cannot {verb} {}: {error}.", path.display()))
    }
}
