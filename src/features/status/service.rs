//! Probing, sampling and adding up.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use tokio::{sync::Mutex, time};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    store::{self, Counts},
    types::{Availability, Deployment, Health, Links, OperatorSettings, PaymentsInfo, StatusBody, Window},
};
use crate::{
    common::{Clock, Timestamp},
    engines::postgres::{Database, DatabaseError},
};

/// Longest time a probe may take before it counts as failed (01 §10).
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Probes begin this far apart at least, so that whoever asks for health without pause costs the database next to
/// nothing.
const PROBES_APART: Duration = Duration::from_millis(100);
const SAMPLE_EVERY: Duration = Duration::from_secs(60);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers whether a part of the box works right now.
pub type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// A part of the box that can be well or not.
pub struct Capability {
    /// Its name in `/health`: `postgres`, `postgrest`, `s3`, `cloudfront` as clients know them, or our own.
    pub name: &'static str,
    pub probe: Probe,
}

/// Capability → healthy.
type Checks = BTreeMap<&'static str, bool>;

/// The health of the box, now and over time.
pub struct Status {
    capabilities: Vec<Capability>,
    /// What `GET /status` lists as switched on.
    features: Vec<&'static str>,
    operator: OperatorSettings,
    payments: PaymentsInfo,
    health_url: String,
    database: Database,
    clock: Clock,
    started: Instant,
    /// Sums of the windows, refreshed with every sample so that `/status` costs no query.
    windows: ArcSwapOption<[Window; 3]>,
    /// The last probes and when they began. Held while they run: who asks meanwhile waits for them.
    latest: Mutex<Option<(Instant, Arc<Checks>)>>,
}

impl Status {
    pub fn new(
        capabilities: Vec<Capability>,
        features: Vec<&'static str>,
        operator: OperatorSettings,
        payments: PaymentsInfo,
        public_url: &Url,
        database: Database,
        clock: Clock,
    ) -> Self {
        Self {
            capabilities,
            features,
            operator,
            payments,
            health_url: format!("{}/health", public_url.as_str().trim_end_matches('/')),
            database,
            clock,
            started: Instant::now(),
            windows: ArcSwapOption::empty(),
            latest: Mutex::default(),
        }
    }

    /// How the capabilities were [`PROBES_APART`] ago at most.
    async fn probe(&self) -> Arc<Checks> {
        let mut latest = self.latest.lock().await;
        if let Some((began, checks)) = &*latest
            && began.elapsed() < PROBES_APART
        {
            return Arc::clone(checks);
        }
        let began = Instant::now();
        let checks = Arc::new(self.probe_now().await);
        *latest = Some((began, Arc::clone(&checks)));
        checks
    }

    /// Runs every probe at once.
    async fn probe_now(&self) -> Checks {
        let probes = self.capabilities.iter().map(|capability| async {
            let healthy = time::timeout(PROBE_LIMIT, (capability.probe)()).await.unwrap_or(false);
            (capability.name, healthy)
        });
        futures_util::future::join_all(probes).await.into_iter().collect()
    }

    pub(super) async fn health(&self) -> Health {
        let checks = self.probe().await;
        let healthy = checks.values().all(|healthy| *healthy);
        Health {
            status: if healthy { "healthy" } else { "degraded" },
            checks: checks.iter().map(|(name, healthy)| (*name, if *healthy { "ok" } else { "fail" })).collect(),
            version: VERSION,
        }
    }

    pub(super) async fn status(&self) -> StatusBody {
        let checks = self.probe().await;
        let healthy = checks.values().all(|healthy| *healthy);
        let [last_24h, last_7d, last_30d] = match self.windows.load_full() {
            Some(windows) => (*windows).clone(),
            None => std::array::from_fn(|_| window(&Counts::default(), 0)),
        };
        StatusBody {
            status: if healthy { "ok" } else { "degraded" },
            uptime_seconds: self.started.elapsed().as_secs(),
            deployment: Deployment { version: VERSION, topology: "single-node" },
            capabilities: self.features.clone(),
            operator: self.operator.clone(),
            schema_version: "run402-status-v1",
            service: "Run402",
            current_status: if healthy { "operational" } else { "degraded" },
            availability: Availability { last_24h, last_7d, last_30d },
            capability_status: checks
                .iter()
                .map(|(name, healthy)| (*name, if *healthy { "operational" } else { "degraded" }))
                .collect(),
            links: Links { health: self.health_url.clone() },
            payments: self.payments.clone(),
        }
    }

    /// Samples once a minute until `stop` is cancelled.
    pub async fn sample_forever(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = time::interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.sample().await {
                tracing::warn!(%error, "cannot record the availability probe");
            }
        }
    }

    async fn sample(&self) -> Result<(), DatabaseError> {
        let now = self.clock.now();
        store::record(&self.database, now, &json!(*self.probe().await)).await?;
        let mut windows = Vec::with_capacity(3);
        for days in [1, 7, 30] {
            let since = now.minus(SignedDuration::from_hours(24 * days));
            let counts = store::counts(&self.database, since).await?;
            windows.push(window(&counts, expected_probes(counts.first, now)));
        }
        if let Ok(windows) = <[Window; 3]>::try_from(windows) {
            self.windows.store(Some(Arc::new(windows)));
        }
        Ok(())
    }
}

/// How many probes there should be between the first one and now: a gap is a time the process was down.
fn expected_probes(first: Option<Timestamp>, now: Timestamp) -> i64 {
    first.map_or(0, |first| now.since(first).as_secs() / SAMPLE_EVERY.as_secs() as i64 + 1)
}

fn window(counts: &Counts, expected: i64) -> Window {
    let percent = |healthy: i64| {
        let total = expected.max(healthy);
        if total == 0 { 100.0 } else { (healthy as f64 / total as f64 * 10_000.0).round() / 100.0 }
    };
    let capabilities = counts
        .capabilities
        .iter()
        .map(|(name, healthy)| (name.clone(), json!({"uptime_pct": percent(*healthy)})))
        .collect::<Map<String, Value>>();
    Window {
        uptime_pct: percent(counts.healthy),
        total_probes: expected.max(counts.healthy),
        healthy_probes: counts.healthy,
        capabilities,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_probe_yet_is_a_clean_record() {
        let window = window(&Counts::default(), 0);
        assert_eq!((window.uptime_pct, window.total_probes, window.healthy_probes), (100.0, 0, 0));
    }

    #[test]
    fn downtime_counts_against_the_record() {
        let first = Timestamp::from_millis(0).unwrap();
        let expected = expected_probes(Some(first), first.plus(SignedDuration::from_secs(59 * 60)));
        assert_eq!(expected, 60);
        let counts =
            Counts { first: Some(first), healthy: 45, capabilities: BTreeMap::from([("postgres".into(), 60)]) };
        let window = window(&counts, expected);
        assert_eq!((window.uptime_pct, window.total_probes, window.healthy_probes), (75.0, 60, 45));
        assert_eq!(window.capabilities["postgres"]["uptime_pct"], 100.0);
    }
}
