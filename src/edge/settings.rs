//! Limits and logging, as configured.

use serde::{Deserialize, Serialize};

/// Bounds on what one request or one stranger may cost (`http.*`). Features add their own beside these.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Largest request body of routes that set no limit of their own, in bytes.
    pub body_bytes: usize,
    /// Longest time a request may take, in seconds; long uploads and streams are not cut by it.
    pub request_seconds: u64,
    /// Longest time a client may take to send its request headers, in seconds, and so how long an idle connection is
    /// kept. Longer than the 90 s common client pools keep theirs: a request must not cross our hanging up.
    pub header_seconds: u64,
    /// Open connections at a time; further ones wait in the accept queue.
    pub connections: usize,
    /// Threads that serve requests; 0 takes half of the processors, at least one. Postgres and functions have threads
    /// of their own, and on a small machine every request that is handed from thread to thread takes from theirs.
    pub threads: usize,
}

impl HttpSettings {
    /// How many threads serve requests.
    pub fn worker_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2)),
            threads => threads,
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { body_bytes: 64 * 1024, request_seconds: 330, header_seconds: 100, connections: 4096, threads: 0 }
    }
}

/// `log.*`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A filter such as `info` or `info,run402::features::payments=debug`.
    pub level: String,
    /// `human`, `json`, or `auto`: human in a terminal, JSON otherwise.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info,refinery_core=warn".into(), format: LogFormat::Auto }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}
