//! One entry, and what it belongs to.

use std::sync::Arc;

use crate::common::{ProjectId, ReleaseId, Timestamp};

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
    Platform,
}

impl Stream {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Platform => "platform",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The function that writes: the same for all its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::functions) struct Origin {
    pub project: ProjectId,
    pub function: String,
    pub release: ReleaseId,
}

/// What the entries of one invocation belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::functions) struct Tags {
    pub origin: Arc<Origin>,
    pub request_id: String,
    pub run_id: Option<String>,
    pub attempt_id: Option<String>,
}

#[derive(Clone, Debug)]
pub(in crate::features::functions) struct Entry {
    pub tags: Arc<Tags>,
    /// To the millisecond, as it is shown and asked for.
    pub at: Timestamp,
    pub stream: Stream,
    pub level: Level,
    pub message: String,
    pub redacted: bool,
}

impl Entry {
    /// Bytes it counts for in the project's limit.
    pub fn size(&self) -> usize {
        /// What an entry counts for beside its text.
        const OVERHEAD: usize = 100;
        self.message.len() + OVERHEAD
    }
}
