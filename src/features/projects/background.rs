//! Work beside the requests: spare databases, usage counters, storage, unfinished purges.
//!
//! Every loop ends when the service stops, waits for the database to come back when it is away, and can be killed
//! anywhere: what it does is repeatable.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{Projects, registry::Live, service::SECRET_PURPOSE, store};
use crate::{
    common::{ProjectId, Slot},
    engines::postgres::DatabaseError,
};

/// How much usage a killed process may lose.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How soon quotas notice what other parts of the box changed without telling.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// How long a purge that failed waits for its next attempt.
const PURGE_RETRY_EVERY: Duration = Duration::from_secs(60);
/// A pause before a spare is made, so that a new project's first requests come first.
const SPARE_PAUSE: Duration = Duration::from_millis(100);
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

impl Projects {
    /// `last_slot`: the newest slot drawn before this process, if any.
    pub(super) fn start_background(self: &Arc<Self>, last_slot: Option<Slot>) {
        let projects = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Some(last_slot) = last_slot
                && let Err(error) = projects.remove_leftovers(&last_slot).await
            {
                tracing::warn!(%error, "leftover databases were not removed; the next start tries again");
            }
            projects.keep_spares().await;
        });
        self.every(FLUSH_EVERY, "usage counters", |projects| async move { projects.flush().await });
        self.every(REFRESH_EVERY, "quotas", |projects| async move { projects.refresh_touched().await });
        let storage = Duration::from_secs(self.settings.storage_interval_seconds.max(1));
        self.every(storage, "storage", |projects| async move { projects.measure_used().await });
        self.every(PURGE_RETRY_EVERY, "purges", |projects| async move { projects.resume_purges().await });
    }

    /// Repeats `work`, first at once. One run at a time; a failure is logged and the next run tries again.
    fn every<F, W>(self: &Arc<Self>, period: Duration, what: &'static str, work: F)
    where
        F: Fn(Arc<Self>) -> W + Send + 'static,
        W: Future<Output = Result<(), DatabaseError>> + Send,
    {
        let projects = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = projects.stopping.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                if let Err(error) = work(Arc::clone(&projects)).await {
                    tracing::warn!(%error, what, "background work on projects failed; it will be tried again");
                }
            }
        });
    }

    /// Keeps `projects.spare_databases` databases ready, one at a time.
    async fn keep_spares(&self) {
        loop {
            let pause = match self.add_missing_spare().await {
                Ok(true) => SPARE_PAUSE,
                Ok(false) => {
                    tokio::select! {
                        () = self.stopping.cancelled() => return,
                        () = self.spare_taken.notified() => SPARE_PAUSE,
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a spare database could not be made; trying again");
                    FAILURE_PAUSE
                }
            };
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn add_missing_spare(&self) -> Result<bool, DatabaseError> {
        let spares = store::count_spares(&self.control.get().await?).await?;
        if spares >= self.settings.spare_databases {
            return Ok(false);
        }
        self.make_spare().await?;
        Ok(true)
    }

    /// Makes one database and puts it into stock. If we die in between, the next start removes it.
    pub(super) async fn make_spare(&self) -> Result<(), DatabaseError> {
        let slot = store::next_slot(&self.control.get().await?).await?;
        let made = self.databases.make(slot).await?;
        let spare = store::Spare {
            slot: made.slot,
            sealed_secret: self.master_key.seal(SECRET_PURPOSE, made.secret.as_bytes()),
            bootstrap_version: super::databases::newest_bootstrap(),
            database_bytes: made.bytes,
        };
        store::add_spare(&self.control.get().await?, &spare).await
    }

    /// Databases and roles that no row names: cut off while being made, or made from an older template. Only slots
    /// up to `last_slot`: newer ones are being made by this process.
    async fn remove_leftovers(&self, last_slot: &Slot) -> Result<(), DatabaseError> {
        let existing = self.databases.existing().await?;
        let kept = store::kept_slots(&self.control.get().await?).await?;
        for slot in existing {
            if !kept.contains(&slot) && !is_newer(slot.as_str(), last_slot.as_str()) {
                tracing::info!(%slot, "removing a leftover database");
                self.databases.remove(&slot).await?;
            }
        }
        Ok(())
    }

    /// Writes the counted calls. Cheap when there are none.
    pub(super) async fn flush(&self) -> Result<(), DatabaseError> {
        let _turn = self.accounting.lock().await;
        let counted: Vec<(Live, i64)> = {
            let snapshot = self.registry.snapshot();
            let pending = snapshot.projects.values().map(|live| (live.clone(), live.runtime.pending_calls()));
            pending.filter(|(_, calls)| *calls > 0).collect()
        };
        if counted.is_empty() {
            return Ok(());
        }
        let projects: Vec<_> =
            counted.iter().map(|(live, calls)| (live.project.id.as_str().to_owned(), *calls)).collect();
        let mut organisations = std::collections::BTreeMap::new();
        for (live, calls) in &counted {
            *organisations.entry(live.project.organisation.0).or_insert(0) += calls;
        }
        let organisations: Vec<_> = organisations.into_iter().collect();

        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let totals = store::add_calls(&tx, &projects, &organisations).await?;
        tx.commit().await?;

        for (live, calls) in &counted {
            live.runtime.calls_written(*calls);
        }
        for (organisation, total) in totals {
            let written = organisations.iter().find(|(id, _)| *id == organisation.0).map_or(0, |(_, calls)| *calls);
            if let Some(pool) = self.registry.pool(organisation) {
                pool.written(written, total);
            }
        }
        Ok(())
    }

    /// Reads tiers and usage of organisations that were metered, and starts new months.
    async fn refresh_touched(&self) -> Result<(), DatabaseError> {
        let touched: Vec<_> = {
            let snapshot = self.registry.snapshot();
            snapshot.pools.values().filter(|pool| pool.take_touched()).map(|pool| pool.organisation.0).collect()
        };
        if touched.is_empty() {
            return Ok(());
        }
        self.refresh_organisations(&touched).await
    }

    /// Measures the databases of projects that were used, and sums up their organisations. Forgets full buckets of
    /// the rate limit on the way.
    async fn measure_used(&self) -> Result<(), DatabaseError> {
        self.rate.shrink();
        let used: Vec<Live> = {
            let snapshot = self.registry.snapshot();
            snapshot.projects.values().filter(|live| live.runtime.take_used()).cloned().collect()
        };
        // In portions: a thousand databases are three hundred thousand files.
        for portion in used.chunks(32) {
            if let Err(error) = self.measure(portion).await {
                used.iter().for_each(|live| live.runtime.mark_used());
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) async fn measure(&self, projects: &[Live]) -> Result<(), DatabaseError> {
        let slots: Vec<_> = projects.iter().map(|live| live.project.slot.clone()).collect();
        let sizes = self.databases.sizes(&slots).await?;
        let measured: Vec<(ProjectId, i64)> = projects
            .iter()
            .filter_map(|live| Some((live.project.id.clone(), *sizes.get(&live.project.slot)?)))
            .collect();
        if measured.is_empty() {
            return Ok(());
        }
        store::set_database_bytes(&self.control.get().await?, &measured).await?;
        let mut organisations: Vec<_> = projects.iter().map(|live| live.project.organisation.0).collect();
        organisations.sort_unstable();
        organisations.dedup();
        self.refresh_organisations(&organisations).await
    }
}

/// Whether slot `a` has a greater number than `b`; both are `p` and digits, at least four of them.
fn is_newer(a: &str, b: &str) -> bool {
    (a.len(), a) > (b.len(), b)
}

#[cfg(test)]
mod tests {
    use super::is_newer;

    #[test]
    fn slots_are_ordered_by_number() {
        for (a, b, newer) in
            [("p0002", "p0001", true), ("p0002", "p0002", false), ("p10000", "p9999", true), ("p9999", "p10000", false)]
        {
            assert_eq!(is_newer(a, b), newer, "{a} {b}");
        }
    }
}
