//! Removing what nobody needs, in the background. May be killed anywhere: every step stands for itself.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use jiff::SignedDuration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{Content, service::RENEW_AFTER, store};
use crate::{
    common::{ApiResult, ProjectId},
    engines::blobs::{BoxError, Sha256Digest},
};

/// Objects removed from a project in one transaction.
const BATCH: i64 = 1000;

impl Content {
    /// Writes buffered uploads, and sweeps every `content.sweep_seconds`, until `stop` is cancelled.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(self.staging.write_forever(stop.clone()), self.sweep_forever(&stop));
    }

    async fn sweep_forever(&self, stop: &CancellationToken) {
        let period = Duration::from_secs(self.settings.sweep_seconds.max(1).into());
        // Not at start: others have more to do then.
        let mut rounds = interval_at(Instant::now() + period, period);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                swept = self.sweep() => if let Err(error) = swept {
                    tracing::warn!(%error, cause = error.cause().map(tracing::field::display), "the content sweep failed; it is tried again");
                },
            }
        }
    }

    /// One round: expired plans, staged files, content nobody needs, and bytes no project has.
    pub(super) async fn sweep(&self) -> ApiResult<()> {
        let now = self.clock.now();
        store::forget_expired(&self.control.get().await?, now).await?;
        self.plans.retain_unexpired(now);
        self.staging.remove_leftovers().await?;

        // Content is marked as wanted once an hour at most, so it may be wanted for that much longer than it says.
        let grace = SignedDuration::try_from(self.settings.grace()).unwrap_or(SignedDuration::MAX);
        let cutoff = now.minus(grace.saturating_add(RENEW_AFTER));
        let projects = store::projects_with_old_content(&self.control.get().await?, cutoff).await?;
        for project in projects {
            while self.remove_unwanted(&project, cutoff).await? == BATCH {}
        }

        let live = |digests: Vec<Sha256Digest>| -> BoxFuture<'_, Result<HashSet<Sha256Digest>, BoxError>> {
            async move {
                let connection = self.control.get().await?;
                Ok(store::referenced(&connection, &digests).await?)
            }
            .boxed()
        };
        let report = self.blobs.sweep(&live, self.settings.grace()).await?;
        if report.removed > 0 {
            tracing::info!(blobs = report.removed, bytes = report.removed_bytes, "content nobody needs was removed");
        }
        Ok(())
    }

    async fn remove_unwanted(&self, project: &ProjectId, cutoff: crate::common::Timestamp) -> ApiResult<i64> {
        let mut connection = self.control.get().await?;
        let tx = connection.transaction().await?;
        if !store::lock_project(&tx, project).await? {
            return Ok(0);
        }
        let removed = store::remove_unwanted(&tx, project, cutoff, self.clock.now(), BATCH).await?;
        tx.commit().await?;
        Ok(removed)
    }
}
