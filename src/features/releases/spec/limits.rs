//! How large a spec and the release it makes may be.

/// What a changed file under a fingerprinted name means (contract 03 §4.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImmutableChange {
    /// 409 `STATIC_IMMUTABLE_PATH_CHANGED`.
    #[default]
    Refuse,
    /// The path is revalidated from now on, and the plan warns: for sites whose file names only look fingerprinted,
    /// such as those with dates in them.
    Downgrade,
}

/// Limits of the instance, of the organisation's tier (functions) and of the project's switches.
#[derive(Clone, Debug)]
pub struct SpecLimits {
    /// Seconds; the instance's and the tier's, whichever is smaller.
    pub max_timeout_seconds: u32,
    /// MiB; likewise.
    pub max_memory_mb: u32,
    /// Seconds and MiB when a function says nothing; never above the maxima.
    pub default_timeout_seconds: u32,
    pub default_memory_mb: u32,
    /// Functions of one release, and those of them with a schedule.
    pub max_functions: usize,
    pub max_scheduled_functions: usize,
    /// Scheduled functions of the tier's pool that other projects hold.
    pub scheduled_elsewhere: usize,
    pub min_cron_interval_minutes: u32,
    pub max_function_files: usize,
    pub max_site_files: usize,
    pub max_public_paths: usize,
    pub max_routes: usize,
    pub max_migrations: usize,
    /// Bytes of the SQL of one migration.
    pub max_migration_bytes: u64,
    pub max_secrets: usize,
    pub max_assets: usize,
    /// Bytes of one object.
    pub max_object_bytes: u64,
    pub immutable_change: ImmutableChange,
}

impl Default for SpecLimits {
    fn default() -> Self {
        Self {
            max_timeout_seconds: 900,
            max_memory_mb: 2048,
            default_timeout_seconds: 10,
            default_memory_mb: 128,
            max_functions: 200,
            max_scheduled_functions: 100,
            scheduled_elsewhere: 0,
            min_cron_interval_minutes: 1,
            max_function_files: 1_000,
            max_site_files: 25_000,
            max_public_paths: 25_000,
            max_routes: 100,
            max_migrations: 10_000,
            max_migration_bytes: 64 * 1024 * 1024,
            max_secrets: 500,
            max_assets: 50_000,
            max_object_bytes: 5 * 1024 * 1024 * 1024,
            immutable_change: ImmutableChange::Refuse,
        }
    }
}
