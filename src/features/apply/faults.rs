//! Points at which tests kill the process or make a step fail (`testing.*`). Each is passed once for each deploy that
//! gets there.

use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, raise};

use super::settings::TestingSettings;
use crate::common::{ApiError, ApiResult};

/// A moment of a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// The plan is marked committed; nothing was staged.
    Committing,
    /// The release row is written as staged.
    Staging,
    /// The gate is closed.
    Gating,
    /// The migrations ran in a transaction that is still open.
    Migrating,
    /// A migration outside a transaction is about to run.
    MigratingAlone,
    /// That migration ran, but nobody recorded it.
    MigratedAlone,
    /// The expose manifest is applied; the transaction is still open.
    SchemaSettling,
    /// Both transactions are complete and neither is committed.
    Activating,
    /// The project's database committed, the control database did not.
    BetweenCommits,
    /// Both committed; memory knows nothing of it.
    Activated,
}

impl Point {
    fn name(self) -> &'static str {
        match self {
            Self::Committing => "apply:committing",
            Self::Staging => "apply:staging",
            Self::Gating => "apply:gating",
            Self::Migrating => "apply:migrating",
            Self::MigratingAlone => "apply:migrating_alone",
            Self::MigratedAlone => "apply:migrated_alone",
            Self::SchemaSettling => "apply:schema_settling",
            Self::Activating => "apply:activating",
            Self::BetweenCommits => "apply:between_commits",
            Self::Activated => "apply:activated",
        }
    }
}

/// What tests asked for.
pub(super) struct Faults {
    settings: TestingSettings,
    failures_left: AtomicU32,
}

impl Faults {
    pub fn new(settings: TestingSettings) -> Self {
        let failures_left = AtomicU32::new(settings.fail_times);
        Self { settings, failures_left }
    }

    /// # Errors
    /// 503, when a test asked for it.
    pub fn pass(&self, point: Point) -> ApiResult<()> {
        let here = |wanted: &Option<String>| wanted.as_deref() == Some(point.name());
        if here(&self.settings.kill_at) {
            tracing::error!(point = point.name(), "killing this process because testing.kill_at says so");
            // If the kernel refuses to kill us, the test fails, which is all that matters here.
            let _ = raise(Signal::SIGKILL);
        }
        let left = |left: u32| left.checked_sub(1);
        if here(&self.settings.fail_at)
            && self.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok()
        {
            return Err(ApiError::unavailable("testing.fail_at asked for this failure."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_fails_as_often_as_asked_and_only_there() {
        let faults = Faults::new(TestingSettings {
            fail_at: Some("apply:activating".into()),
            fail_times: 2,
            ..TestingSettings::default()
        });
        assert!(faults.pass(Point::Staging).is_ok());
        assert!(faults.pass(Point::Activating).is_err());
        assert!(faults.pass(Point::Activating).is_err());
        assert!(faults.pass(Point::Activating).is_ok());
    }
}
