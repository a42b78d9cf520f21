//! Settings of deploys. Every field has a default; a missing table means all of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `apply.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApplySettings {
    /// Largest body of a plan request, in bytes. Clients upload larger specs as content.
    pub max_body_bytes: usize,
    /// Largest spec that was uploaded as content (`manifest_ref`), in bytes.
    pub max_manifest_bytes: u64,
    /// How long a plan waits to be committed, in hours.
    pub plan_hours: u32,
    /// How long a commit waits for the outcome before it answers `running`, in seconds.
    pub commit_wait_seconds: u64,
    /// Wall clock of staging, in seconds.
    pub stage_timeout_seconds: u64,
    /// Wall clock of all migrations of one deploy, in seconds.
    pub migration_timeout_seconds: u64,
    /// How long one statement of a migration waits for a lock, in seconds.
    pub lock_timeout_seconds: u64,
    /// How long running requests of the project may delay a migration, in seconds.
    pub gate_wait_seconds: u64,
    /// First and longest pause before an activation that failed for a passing reason is tried again, in seconds.
    pub retry_first_seconds: u64,
    pub retry_longest_seconds: u64,
    /// Releases a project keeps at least, besides the live one and its parent.
    pub retained_releases: u32,
    /// Every release younger than this many days is kept.
    pub retained_days: u32,
    /// Files of all releases kept in memory.
    pub cached_files: usize,
    /// Whether removing a function, or more than a tenth of the site, asks for a confirmation. Directory deploys and
    /// function deploys of the clients cannot give one.
    pub confirm_removals: bool,
    /// Whether other bytes under a file name that looks fingerprinted only warn, instead of being refused.
    pub downgrade_immutable: bool,
}

impl Default for ApplySettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 8 * 1024 * 1024,
            max_manifest_bytes: 64 * 1024 * 1024,
            plan_hours: 24,
            commit_wait_seconds: 10,
            stage_timeout_seconds: 300,
            migration_timeout_seconds: 300,
            lock_timeout_seconds: 10,
            gate_wait_seconds: 10,
            retry_first_seconds: 5,
            retry_longest_seconds: 600,
            retained_releases: 20,
            retained_days: 30,
            cached_files: 500_000,
            confirm_removals: false,
            downgrade_immutable: false,
        }
    }
}

impl ApplySettings {
    /// The pause before attempt `attempts + 1` of an activation.
    pub(super) fn pause_after(&self, attempts: i32) -> Duration {
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(20);
        let seconds = self.retry_first_seconds.saturating_mul(1 << doublings);
        Duration::from_secs(seconds.min(self.retry_longest_seconds))
    }
}

/// `testing.*`: for tests of this program only. Empty, as they always should be, they cost nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TestingSettings {
    /// The process kills itself, as `kill -9` would, when a deploy reaches this point (`apply::faults` names them).
    pub kill_at: Option<String>,
    /// The step at this point fails as if the database had been lost …
    pub fail_at: Option<String>,
    /// … so many times.
    pub fail_times: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let settings = ApplySettings::default();
        for (attempts, seconds) in [(0, 5), (1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (1_000, 600)] {
            assert_eq!(settings.pause_after(attempts), Duration::from_secs(seconds), "{attempts}");
        }
    }
}
