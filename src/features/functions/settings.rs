//! What the operator may set.

use serde::{Deserialize, Serialize};

use super::build::UserFilter;

/// `functions.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionSettings {
    /// Calls of one project that run at a time; further ones wait. Calls that functions make to this box are counted
    /// apart, by their depth.
    pub running_per_project: usize,
    /// Calls of one project that wait; the next is answered 503 `FUNCTION_BUSY`.
    pub queued_per_project: usize,
    /// Calls of all projects that run at a time. Who waits is served in turns, project by project.
    pub running: usize,
    /// Longest time a call waits for its turn, in seconds.
    pub patience_seconds: u64,
    /// Memory for compiled functions, in MiB.
    pub cache_mb: u32,
    /// Whether `https://api.run402.com`, asked by a function, is this box's API: published apps name it outright.
    pub cloud_alias: bool,
    /// Whether whoever calls a function that throws sees what it threw, with file and line. For development: callers
    /// are strangers.
    pub show_errors: bool,
    /// What happens to code that filters the rows of `db()` by user once more (05 §2.4).
    pub user_filter: UserFilter,
    /// How long log entries are kept, in hours.
    pub log_hours: u32,
    /// Log text one project keeps, in MiB; the oldest goes first.
    pub log_project_mb: u32,
    /// Log text of one invocation that is kept, in KiB.
    pub log_invocation_kb: u32,
    /// Longest log entry, in KiB; longer ones are cut.
    pub log_line_kb: u32,
}

impl Default for FunctionSettings {
    fn default() -> Self {
        Self {
            running_per_project: 4,
            queued_per_project: 16,
            running: 64,
            patience_seconds: 10,
            cache_mb: 128,
            cloud_alias: true,
            show_errors: false,
            user_filter: UserFilter::default(),
            log_hours: 24,
            log_project_mb: 10,
            log_invocation_kb: 64,
            log_line_kb: 16,
        }
    }
}
