//! The service: what memory knows of projects, sessions into their databases, and the metering of calls.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::Notify;
use tokio_postgres::Transaction;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Project,
    databases::{self, Databases, PLATFORM_ROLE},
    deleted,
    gate::{ClosedGate, Passage},
    metering::{Limits, Pool, Usage},
    registry::{Live, Registry, Runtime, Snapshot},
    settings::{LimitSettings, ProjectSettings, RateSettings},
    store::{self, OrganisationFacts},
    types::{OrganisationProject, OrganisationUsage},
};
use crate::{
    common::{
        ApiError, ApiResult, Category, Clock, MutationState, OrganisationId, ProjectId, Slot, Timestamp,
        rate::{Rate, RateLimiter},
        sealing::MasterKey,
    },
    engines::postgres::{Cluster, Connection, Database, DatabaseError, Pipeline},
    features::{
        hosts::Hosts,
        identity::{Identity, KeyRole, ProjectKey},
        orgs::{Orgs, Tier},
        payments::Payments,
        tiers::Tiers,
    },
};

pub(super) const SECRET_PURPOSE: &str = "platform secret of a project database";

/// What the service is built from.
pub struct Dependencies {
    /// The control database.
    pub control: Database,
    pub cluster: Cluster,
    pub clock: Clock,
    pub master_key: MasterKey,
    pub identity: Arc<Identity>,
    pub orgs: Arc<Orgs>,
    pub payments: Arc<Payments>,
    pub tiers: Arc<Tiers>,
    pub hosts: Arc<Hosts>,
    /// Whose disk must have room for new projects.
    pub data_dir: PathBuf,
    pub settings: ProjectSettings,
    pub rates: RateSettings,
    pub limits: LimitSettings,
}

/// The service could not start. Read by the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the roles shared by all projects could not be set up: {0}")]
    Cluster(#[source] DatabaseError),
    #[error("the template of project databases could not be built: {0}")]
    Template(#[source] DatabaseError),
    #[error("the projects could not be loaded: {0}")]
    Load(#[source] DatabaseError),
}

/// What the platform does inside a transaction of the owner role (02 §3.2). The payloads are described at
/// `internal.platform_step` in `migrations/project`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformStep {
    Verify,
    Grants,
    RecordMigration,
    RecordOperation,
    RecordManifest,
}

impl PlatformStep {
    fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Grants => "grants",
            Self::RecordMigration => "record_migration",
            Self::RecordOperation => "record_operation",
            Self::RecordManifest => "record_manifest",
        }
    }
}

/// The service.
pub struct Projects {
    pub(super) control: Database,
    pub(super) databases: Databases,
    pub(super) clock: Clock,
    pub(super) master_key: MasterKey,
    pub(super) identity: Arc<Identity>,
    pub(super) orgs: Arc<Orgs>,
    pub(super) payments: Arc<Payments>,
    pub(super) tiers: Arc<Tiers>,
    pub(super) hosts: Arc<Hosts>,
    pub(super) data_dir: PathBuf,
    pub(super) settings: ProjectSettings,
    limits: LimitSettings,
    pub(super) rate: RateLimiter<ProjectId>,
    pub(super) registry: Registry,
    /// Held while counters move between memory and the database, so that none is seen twice or lost.
    pub(super) accounting: tokio::sync::Mutex<()>,
    /// Held while a project's database and roles are dropped.
    pub(super) removal: tokio::sync::Mutex<()>,
    /// A spare was taken.
    pub(super) spare_taken: Notify,
    pub(super) stopping: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Projects {
    pub fn new(parts: Dependencies) -> Self {
        let rate = if parts.rates.enabled {
            RateLimiter::new(Rate::new(parts.rates.project_per_second, Duration::from_secs(1)))
        } else {
            RateLimiter::unlimited()
        };
        Self {
            control: parts.control,
            databases: Databases::new(parts.cluster, &parts.settings),
            clock: parts.clock,
            master_key: parts.master_key,
            identity: parts.identity,
            orgs: parts.orgs,
            payments: parts.payments,
            tiers: parts.tiers,
            hosts: parts.hosts,
            data_dir: parts.data_dir,
            settings: parts.settings,
            limits: parts.limits,
            rate,
            registry: Registry::default(),
            accounting: tokio::sync::Mutex::new(()),
            removal: tokio::sync::Mutex::new(()),
            spare_taken: Notify::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Makes the service ready: shared roles, template, the live projects in memory. Then starts the background
    /// work: unfinished purges, spare databases, usage counters, storage measurements. Idempotent on the database.
    ///
    /// # Errors
    /// [`StartError`] when the database refuses; nothing runs in the background then.
    pub async fn start(self: &Arc<Self>) -> Result<(), StartError> {
        self.databases.ensure_cluster().await.map_err(StartError::Cluster)?;
        let rebuilt = self.databases.ensure_template().await.map_err(StartError::Template)?;
        let last_slot = self.load(rebuilt).await.map_err(StartError::Load)?;
        self.start_background(last_slot);
        Ok(())
    }

    /// Ends the background work and writes the last counters.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.flush().await {
            tracing::warn!(%error, "the last usage counts were not written");
        }
    }

    /// Answers the newest slot drawn so far.
    async fn load(&self, template_rebuilt: bool) -> Result<Option<Slot>, DatabaseError> {
        let connection = self.control.get().await?;
        let last_slot = store::last_slot(&connection).await?;
        if template_rebuilt {
            // Their databases become leftovers, removed in the background.
            store::drop_spares(&connection).await?;
        }
        let loaded = store::live_projects(&connection).await?;
        let mut ids: Vec<Uuid> = loaded.iter().map(|project| project.organisation.0).collect();
        ids.sort_unstable();
        ids.dedup();
        store::start_monthly_period(&connection, &ids, month_of(self.clock.now()), self.clock.now()).await?;
        let facts = store::organisation_facts(&connection, &ids).await?;
        let pools: HashMap<_, _> =
            facts.iter().map(|facts| (facts.organisation, Arc::new(self.pool_from(facts)))).collect();
        let projects = loaded
            .into_iter()
            .filter_map(|project| {
                let pool = Arc::clone(pools.get(&project.organisation)?);
                let runtime = Arc::new(Runtime::new(project.bootstrap_version));
                let project = Arc::new(Project {
                    id: project.id,
                    organisation: project.organisation,
                    slot: project.slot,
                    archived: project.archived,
                });
                Some((project.id.clone(), Live { project, runtime, pool }))
            })
            .collect();
        self.registry.replace(Snapshot { projects, pools });
        Ok(last_slot)
    }

    /// From memory: no query.
    pub fn live(&self, id: &ProjectId) -> Option<Arc<Project>> {
        self.registry.find(id).map(|live| live.project)
    }

    /// Whether a live project is archived; `None` for one that is not live. From memory.
    pub fn is_archived(&self, id: &ProjectId) -> Option<bool> {
        self.registry.snapshot().projects.get(id).map(|live| live.project.archived)
    }

    /// The live project a key belongs to. No query.
    ///
    /// # Errors
    /// 401 `UNAUTHORIZED` when the project is unknown or purged.
    pub fn of_key(&self, key: &ProjectKey) -> ApiResult<Arc<Project>> {
        self.live(&key.project).ok_or_else(|| ApiError::unauthorized("This key belongs to no live project."))
    }

    /// As [`Projects::of_key`], for calls that an archived project does not serve.
    ///
    /// # Errors
    /// 401 `UNAUTHORIZED`, 403 `PROJECT_ARCHIVED`.
    pub fn serving(&self, key: &ProjectKey) -> ApiResult<Arc<Project>> {
        let project = self.of_key(key)?;
        if project.archived { Err(archived()) } else { Ok(project) }
    }

    /// The project in whose path a service key was sent, archived or not.
    ///
    /// # Errors
    /// 401 `UNAUTHORIZED` for a key of no live project, 403 `FORBIDDEN` for another project's key, 403
    /// `ADMIN_REQUIRED` for an anon key.
    pub fn of_service_key(&self, key: &ProjectKey, path_id: &str) -> ApiResult<Arc<Project>> {
        let project = self.of_key(key)?;
        if project.id.as_str() != path_id {
            return Err(ApiError::forbidden("FORBIDDEN", "This key belongs to another project than the path names."));
        }
        match key.role {
            KeyRole::Service => Ok(project),
            KeyRole::Anon => Err(service_key_required()),
        }
    }

    /// Rate limit, quota and metering of one data-plane call (02 §2.3), from memory. `grows` = may store more data.
    /// Calls that are refused here are not counted.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED`, 403 `QUOTA_EXCEEDED`, 401 `UNAUTHORIZED` when the project was purged a moment ago.
    pub fn meter(&self, project: &Project, grows: bool) -> ApiResult<()> {
        self.rate.check(&project.id, "This project sends more requests per second than it may. Slow down.")?;
        let snapshot = self.registry.snapshot();
        let Some(live) = snapshot.projects.get(&project.id) else {
            return Err(ApiError::unauthorized("This key belongs to no live project."));
        };
        live.pool.admit(grows)?;
        live.runtime.count_call();
        Ok(())
    }

    /// Whether the organisation may store this much more, from memory.
    ///
    /// # Errors
    /// 403 `QUOTA_EXCEEDED`; 401 `UNAUTHORIZED` when the project was purged a moment ago.
    pub fn room_for(&self, project: &Project, bytes: u64) -> ApiResult<()> {
        let snapshot = self.registry.snapshot();
        let live = snapshot
            .projects
            .get(&project.id)
            .ok_or_else(|| ApiError::unauthorized("This key belongs to no live project."))?;
        live.pool.room_for(bytes)
    }

    /// # Errors
    /// 403 `PROJECT_ARCHIVED`.
    pub fn refuse_archived(&self, project: &Project) -> ApiResult<()> {
        if project.archived { Err(archived()) } else { Ok(()) }
    }

    /// Enters the data plane of a project; hold the passage for as long as the request works on its database.
    ///
    /// # Errors
    /// 503 `MIGRATE_GATE_ACTIVE` while a deploy changes the schema; 401 `UNAUTHORIZED` when the project was purged a
    /// moment ago.
    pub fn enter(&self, project: &Project) -> ApiResult<Passage> {
        self.registry
            .find(&project.id)
            .ok_or_else(|| ApiError::unauthorized("This key belongs to no live project."))?
            .runtime
            .gate
            .enter()
    }

    /// Keeps new requests out of the project's data plane and waits for those under way.
    ///
    /// # Errors
    /// 503 `MIGRATE_GATE_ACTIVE` when they do not end within `patience`; 401 `UNAUTHORIZED` for a purged project.
    pub async fn close_gate(&self, project: &Project, patience: Duration) -> ApiResult<ClosedGate> {
        let live = self.registry.find(&project.id);
        let live = live.ok_or_else(deleted)?;
        live.runtime.gate.close(patience).await
    }

    /// A session logged in as the project's owner role (raw SQL, migrations).
    pub async fn owner_session(&self, project: &Project) -> Result<Connection, DatabaseError> {
        self.session(project, project.owner_role()).await
    }

    /// A session of the platform superuser in the project's database, with nothing but `pg_catalog` on its search
    /// path. Never runs user text.
    pub async fn platform_session(&self, project: &Project) -> Result<Connection, DatabaseError> {
        self.session(project, PLATFORM_ROLE.into()).await
    }

    /// A pooled session of the data API: logged in as the project's own REST role, which has no right but to take
    /// one of the four API roles.
    pub async fn rest_session(&self, project: &Project) -> Result<Connection<Pipeline>, DatabaseError> {
        self.ensure_current(project).await?;
        self.databases.pipeline(project.database(), project.rest_role()).await
    }

    async fn session(&self, project: &Project, role: String) -> Result<Connection, DatabaseError> {
        self.ensure_current(project).await?;
        self.databases.session(project.database(), role).await
    }

    /// A database made by an older run402 gets the newer bootstrap files before its first session.
    async fn ensure_current(&self, project: &Project) -> Result<(), DatabaseError> {
        let newest = databases::newest_bootstrap();
        let Some(live) = self.registry.find(&project.id) else {
            return Err(DatabaseError::Unavailable("the project was removed".into()));
        };
        if live.runtime.bootstrap_version() >= newest {
            return Ok(());
        }
        let _turn = live.runtime.migrating.lock().await;
        if live.runtime.bootstrap_version() < newest {
            self.databases.upgrade(&project.slot).await?;
            store::set_bootstrap_version(&self.control.get().await?, &project.id, newest).await?;
            live.runtime.set_bootstrap_version(newest);
        }
        Ok(())
    }

    /// Lets the platform act at the end of a transaction that ran user text as the owner role (02 §3.2), committing
    /// or failing with it.
    ///
    /// # Errors
    /// 409 `SQL_CONFLICT` when another transaction holds what the step changes. 500 when the step is refused: its payload is ours, so that is a fault of this box. The database's words are
    /// logged, not sent, because user SQL can have asked for parameters to be shown in them.
    pub async fn platform_step(
        &self,
        tx: &Transaction<'_>,
        project: &Project,
        step: PlatformStep,
        payload: &Value,
    ) -> ApiResult<()> {
        let connection = self.control.get().await?;
        let sealed = store::sealed_secret(&connection, &project.id).await?;
        drop(connection);
        let sealed = sealed.ok_or_else(deleted)?;
        let secret = self.master_key.open(SECRET_PURPOSE, &sealed).map_err(ApiError::internal)?;
        let secret = std::str::from_utf8(&secret).map_err(ApiError::internal)?;
        databases::platform_step(tx, secret, step.as_str(), payload).await.map_err(|error| {
            let code = error.code().map_or("no SQLSTATE", |code| code.code());
            // A lock that another transaction of the project holds; XX000 is how Postgres says that it changed the
            // same catalog row first.
            let in_the_way =
                matches!(code, "55P03" | "40P01" | "40001") || (step == PlatformStep::Grants && code == "XX000");
            if in_the_way {
                return step_conflict();
            }
            ApiError::internal(format!("the platform step {} failed: {code}", step.as_str()))
        })
    }

    /// Tells everyone that the project's schema changed.
    pub fn bump_schema_version(&self, project: &Project) {
        if let Some(live) = self.registry.find(&project.id) {
            live.runtime.bump_schema_version();
            live.runtime.mark_used();
        }
    }

    /// Grows with every change of the project's schema; 0 for a project that is gone. Starts anew with the process.
    pub fn schema_version(&self, project: &Project) -> u64 {
        self.registry.find(&project.id).map_or(0, |live| live.runtime.schema_version())
    }

    /// Reads an organisation's tier, usage and limits again. Called when its lease changed.
    pub async fn refresh_organisation(&self, organisation: OrganisationId) -> Result<(), DatabaseError> {
        self.refresh_organisations(&[organisation.0]).await
    }

    pub(super) async fn refresh_organisations(&self, ids: &[Uuid]) -> Result<(), DatabaseError> {
        let _turn = self.accounting.lock().await;
        let connection = self.control.get().await?;
        let now = self.clock.now();
        store::start_monthly_period(&connection, ids, month_of(now), now).await?;
        for facts in store::organisation_facts(&connection, ids).await? {
            if let Some(pool) = self.registry.pool(facts.organisation) {
                pool.set(facts.tier, usage_of(&facts), self.limits_of(facts.tier));
            }
        }
        Ok(())
    }

    /// Totals of an organisation's live projects (01 §7.2), counters not yet written included.
    pub async fn usage_of_organisation(
        &self,
        organisation: OrganisationId,
    ) -> Result<OrganisationUsage, DatabaseError> {
        self.flush().await?;
        let connection = self.control.get().await?;
        let facts = store::organisation_facts(&connection, &[organisation.0]).await?;
        let Some(facts) = facts.first() else { return Ok(OrganisationUsage::default()) };
        let projects = store::list(&connection, &[organisation.0], None, None).await?.len();
        let limits = self.limits_of(facts.tier);
        Ok(OrganisationUsage {
            projects: i64::try_from(projects).unwrap_or(i64::MAX),
            total_api_calls: facts.api_calls,
            total_storage_bytes: facts.storage_bytes,
            api_calls_limit: limits.api_calls,
            storage_bytes_limit: limits.storage_bytes,
        })
    }

    /// The live projects of an organisation, newest first (01 §7.2).
    pub async fn rows_of_organisation(
        &self,
        organisation: OrganisationId,
    ) -> Result<Vec<OrganisationProject>, DatabaseError> {
        let rows = store::list(&self.control.get().await?, &[organisation.0], None, None).await?;
        Ok(rows
            .into_iter()
            .map(|row| OrganisationProject {
                status: row.status(),
                archived: row.archived_at.is_some(),
                id: row.id,
                name: row.name,
                created_at: row.created_at,
            })
            .collect())
    }

    pub(super) fn limits_of(&self, tier: Option<Tier>) -> Limits {
        Limits::new(self.tiers.terms(tier.unwrap_or(Tier::Prototype)), &self.limits)
    }

    pub(super) fn pool_from(&self, facts: &OrganisationFacts) -> Pool {
        Pool::new(facts.organisation, facts.tier, usage_of(facts), self.limits_of(facts.tier))
    }
}

fn usage_of(facts: &OrganisationFacts) -> Usage {
    Usage { api_calls: facts.api_calls, storage_bytes: facts.storage_bytes }
}

/// The first moment of the UTC month.
pub(super) fn month_of(now: Timestamp) -> Timestamp {
    let zoned = now.0.to_zoned(jiff::tz::TimeZone::UTC);
    zoned.first_of_month().and_then(|day| day.start_of_day()).map_or(now, |start| Timestamp(start.timestamp()))
}

/// 409 `SQL_CONFLICT` of a platform step.
fn step_conflict() -> ApiError {
    ApiError::conflict(
        "SQL_CONFLICT",
        "Another transaction of this project holds what has to change. Try again shortly.",
    )
    .category(Category::Database)
    .retryable(true)
    .mutation_state(MutationState::RolledBack)
}

/// 403 `PROJECT_ARCHIVED`.
pub(super) fn archived() -> ApiError {
    ApiError::forbidden("PROJECT_ARCHIVED", "This project was archived by the operator of this box.")
        .category(Category::Lifecycle)
}

/// 403 `ADMIN_REQUIRED` for an anon key where the service key is needed.
fn service_key_required() -> ApiError {
    ApiError::forbidden("ADMIN_REQUIRED", "This route needs the project's service key, not its anon key.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_midnight_utc_of_its_first_day() {
        let at = |text: &str| Timestamp(text.parse().unwrap());
        for (now, expected) in [
            ("2026-06-19T10:00:00Z", "2026-06-01T00:00:00Z"),
            ("2026-06-01T00:00:00Z", "2026-06-01T00:00:00Z"),
            ("2025-12-31T23:59:59.999Z", "2025-12-01T00:00:00Z"),
        ] {
            assert_eq!(month_of(at(now)), at(expected), "{now}");
        }
    }
}
