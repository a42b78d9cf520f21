use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::StartError;

/// Connections that stay free of the pools' budget: readiness probes, maintenance, and server processes that
/// have not yet noticed that we hung up.
const RESERVED_CONNECTIONS: usize = 8;

/// What a server process maps besides its memory and the page cache: program, libraries, other shared state.
const PROGRAM_MB: u64 = 128;

/// How the database server is run. The defaults fit a small box with a thousand mostly idle projects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSettings {
    /// Page cache of the server, in MiB. The kernel caches files as well.
    pub shared_buffers_mb: u32,
    /// Memory one session may take beyond the page cache, in MiB: a statement that wants more fails with
    /// SQLSTATE 53200 instead of starving its neighbours. Also bounds the largest value a session can send.
    pub session_memory_mb: u32,
    /// Connections the server accepts.
    pub max_connections: usize,
    /// Connections this process opens at most, over all databases and roles. At least 8 below
    /// `max_connections`.
    pub pool_budget: usize,
    /// Connections one role of one database gets at most.
    pub pool_max_per_login: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout_seconds: u64,
    /// How long a request waits for a free connection before it is answered 503.
    pub acquire_timeout_seconds: u64,
    /// How long the server may take to accept connections, crash recovery included.
    pub start_timeout_seconds: u64,
    /// Where the server's programs are extracted, for several boxes of one user to share. Default: inside the data
    /// directory.
    pub install_dir: Option<PathBuf>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            shared_buffers_mb: 32,
            session_memory_mb: 384,
            max_connections: 80,
            pool_budget: 60,
            pool_max_per_login: 8,
            idle_timeout_seconds: 60,
            acquire_timeout_seconds: 10,
            start_timeout_seconds: 60,
            install_dir: None,
        }
    }
}

impl ClusterSettings {
    pub(super) fn check(&self) -> Result<(), StartError> {
        let rules = [
            (self.shared_buffers_mb >= 1, "shared_buffers_mb must be at least 1"),
            (self.session_memory_mb >= 64, "session_memory_mb must be at least 64"),
            (self.pool_budget >= 1, "pool_budget must be at least 1"),
            (self.pool_max_per_login >= 1, "pool_max_per_login must be at least 1"),
            (
                self.max_connections >= self.pool_budget.saturating_add(RESERVED_CONNECTIONS),
                "max_connections must exceed pool_budget by at least 8",
            ),
            (self.acquire_timeout_seconds >= 1, "acquire_timeout_seconds must be at least 1"),
            (self.start_timeout_seconds >= 1, "start_timeout_seconds must be at least 1"),
            (self.max_connections <= 10_000, "max_connections must be at most 10000"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, sentence)) => Err(StartError::Settings(sentence)),
            None => Ok(()),
        }
    }

    /// Address space of one server process, in bytes: its own memory, the shared page cache, and the program itself.
    pub(super) fn address_space(&self) -> u64 {
        (u64::from(self.session_memory_mb) + u64::from(self.shared_buffers_mb) + PROGRAM_MB) << 20
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_seconds)
    }

    pub(super) fn acquire_timeout(&self) -> Duration {
        Duration::from_secs(self.acquire_timeout_seconds)
    }

    pub(super) fn start_timeout(&self) -> Duration {
        Duration::from_secs(self.start_timeout_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert!(ClusterSettings::default().check().is_ok());
    }

    #[test]
    fn a_budget_that_leaves_no_reserve_is_refused() {
        let settings = ClusterSettings { pool_budget: 75, ..ClusterSettings::default() };
        assert!(settings.check().unwrap_err().to_string().contains("pool_budget"));
    }

    #[test]
    fn missing_fields_take_their_defaults_and_unknown_ones_are_refused() {
        let settings: ClusterSettings = toml::from_str("pool_max_per_login = 3").unwrap();
        assert_eq!(settings, ClusterSettings { pool_max_per_login: 3, ..ClusterSettings::default() });
        assert!(toml::from_str::<ClusterSettings>("pool_maximum = 3").is_err());
    }
}
