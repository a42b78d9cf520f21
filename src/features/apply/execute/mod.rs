//! Carrying out a deploy (contract 03 §8): stage, gate, migrate, settle, activate.
//!
//! Everything that can fail slowly comes before the first change, and everything that becomes visible does so in one
//! transaction of the control database followed by one swap in memory. What a deploy changes in the project's own
//! database commits just before that, in a transaction that also leaves a marker: after a crash between the two the
//! marker says that the rest has to follow.
//!
//! Before each phase its name is made durable in the operation's row, so that a restart knows how far it came.

mod activate;
mod database;
pub(super) mod migrations;

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use serde_json::Value;

use self::migrations::Loaded;
use super::{
    error,
    faults::Point,
    service::Apply,
    store::{operations, plans, project as project_store, releases},
    types::{BaseKind, Kind, Operation, Status},
};
use crate::{
    common::{ApiError, ApiResult, DeploymentId, MutationState, OperationId, PlanId, ReleaseId, ids},
    engines::{blobs::Sha256Digest, postgres::DatabaseError},
    features::{
        assets::AssetSlice,
        content::Holder,
        projects::Project,
        releases::{FunctionCode, Migration, ReleaseState, Spec, route_manifest_digest},
    },
};

/// Attempts after which an activation that never reached the project's database is given up.
const MOST_ATTEMPTS: i32 = 20;
/// Pauses between attempts to record an outcome.
const RECORDING_PAUSES: [u64; 4] = [50, 250, 1_000, 4_000];

/// A deploy that passed its checks.
pub(super) struct Execution {
    pub project: Arc<Project>,
    pub operation: OperationId,
    pub plan: Option<PlanId>,
    pub trace: String,
    pub created_by: String,
    /// What must be live for it to become live.
    pub base: Option<ReleaseId>,
    pub base_kind: BaseKind,
    pub release: ReleaseId,
    pub deployment: DeploymentId,
    pub manifest_digest: Option<String>,
    pub state: Arc<ReleaseState>,
    pub pending: Pending,
    /// The release exists already and becomes live again.
    pub is_promote: bool,
    /// There is work in the project's database, and with it a marker.
    pub touches_database: bool,
    /// Contents the release needs.
    pub holds: Vec<Sha256Digest>,
}

/// What a deploy does besides making its release live.
#[derive(Default)]
pub(super) struct Pending {
    pub expose: Option<Value>,
    pub zero_downtime: bool,
    pub assets: Option<AssetSlice>,
    pub delete_secrets: Vec<String>,
    /// New ones, in the order they run.
    pub migrations: Vec<Loaded>,
}

impl Pending {
    /// Whether any of it happens in the project's database.
    pub fn touches_database(&self) -> bool {
        self.expose.is_some() || !self.migrations.is_empty()
    }
}

impl Execution {
    fn holder(&self) -> Holder {
        Holder { kind: "release", id: self.release.to_string() }
    }
}

/// Why an attempt stopped, and what becomes of the operation.
#[derive(Debug)]
pub(super) struct Stop {
    pub status: Status,
    pub error: ApiError,
}

impl Stop {
    /// Tried again if that may help, else the end.
    pub fn of(error: ApiError) -> Self {
        if error::is_transient(&error) { Self::pending(error) } else { Self::failed(error) }
    }

    pub fn failed(error: ApiError) -> Self {
        Self { status: Status::Failed, error }
    }

    fn pending(cause: ApiError) -> Self {
        let error =
            ApiError::unavailable("The release could not become live right now. The box tries again by itself.")
                .with_code("ACTIVATION_FAILED")
                .category(crate::common::Category::Deploy)
                .retryable(true)
                .safe_to_retry(true)
                .mutation_state(MutationState::NotStarted)
                .extra("phase", "activate")
                .extra("resource", "release")
                .caused_by(cause);
        Self { status: Status::ActivationPending, error }
    }
}

impl From<DatabaseError> for Stop {
    fn from(error: DatabaseError) -> Self {
        Self::of(error::of_control(error))
    }
}

impl From<tokio_postgres::Error> for Stop {
    fn from(error: tokio_postgres::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// Contents of the functions of a release.
pub(super) fn function_digests(state: &ReleaseState) -> Vec<Sha256Digest> {
    let codes = state.functions.values().map(|function| &function.code);
    codes
        .flat_map(|code| match code {
            FunctionCode::Source(source) => vec![source.sha256],
            FunctionCode::Files { files, .. } => files.values().map(|file| file.sha256).collect(),
        })
        .collect()
}

/// Every content a release needs to be served.
pub(super) fn needed(state: &ReleaseState) -> Vec<Sha256Digest> {
    let mut needed: Vec<Sha256Digest> = state.site.values().map(|file| file.sha256).collect();
    needed.extend(function_digests(state));
    needed.sort_unstable();
    needed.dedup();
    needed
}

impl Apply {
    /// Carries a deploy out to its end, whatever that is; it is found in the operation.
    ///
    /// # Errors
    /// When it could not begin: nothing was changed.
    pub(super) async fn execute(&self, execution: Execution) -> ApiResult<()> {
        self.faults.pass(Point::Committing)?;
        self.stage(&execution).await?;
        self.advance(&execution, None).await;
        Ok(())
    }

    /// Writes the staged release, its hold on its bytes, and that the operation executes: all or nothing.
    async fn stage(&self, execution: &Execution) -> ApiResult<()> {
        let now = self.clock.now();
        let (operation, release) = (&execution.operation, &execution.release);
        let digests = execution.state.manifest.as_ref().map(|manifest| manifest.digest());
        let routes = route_manifest_digest(&execution.state.routes);
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        if let Some(plan) = &execution.plan {
            plans::mark_committed(&tx, plan, now).await?;
        }
        operations::enter(&tx, operation, Status::Committing, now).await?;
        operations::enter(&tx, operation, Status::Staging, now).await?;
        if !execution.is_promote {
            let new = releases::New {
                id: release,
                project: &execution.project.id,
                parent: execution.base.as_ref(),
                deployment: &execution.deployment,
                manifest_digest: execution.manifest_digest.as_deref(),
                state: &execution.state,
                static_manifest_sha256: digests.as_deref(),
                route_manifest_sha256: routes.as_deref(),
                operation: Some(operation),
                plan: execution.plan.as_ref(),
                created_by: &execution.created_by,
            };
            releases::stage(&tx, &new, now).await?;
            self.content.hold(&tx, &execution.project.id, &execution.holder(), &execution.holds).await?;
        }
        operations::set_target(&tx, operation, release, execution.touches_database).await?;
        tx.commit().await?;
        Ok(())
    }

    /// One attempt to get from the staged release to the live one. `again`: the operation as it waited.
    pub(super) async fn advance(&self, execution: &Execution, again: Option<&Operation>) {
        let attempt = match self.faults.pass(Point::Staging) {
            Ok(()) => self.attempt(execution, again.is_some()).await,
            Err(error) => Err(Stop::of(error)),
        };
        let Err(stop) = attempt else { return };
        let attempts = again.map_or(0, |operation| operation.activate_attempts) + 1;
        for pause in RECORDING_PAUSES {
            match self.record(execution, &stop, attempts).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, operation = %execution.operation, "an outcome could not be recorded yet");
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }

    async fn attempt(&self, execution: &Execution, again: bool) -> Result<(), Stop> {
        if !execution.touches_database {
            if execution.state.functions.values().any(|function| function.require_role.is_some()) {
                let platform = self.projects.platform_session(&execution.project).await?;
                database::check_role_gate(&**platform, &execution.state, MutationState::NotStarted).await?;
            }
            return self.flip(execution, None).await;
        }
        let (registry, is_marked) = {
            let platform = self.projects.platform_session(&execution.project).await?;
            let registry = project_store::registry(&platform).await?;
            (registry, project_store::is_marked(&platform, &execution.operation).await?)
        };
        if is_marked {
            return self.flip(execution, None).await;
        }
        let mut remaining = Vec::new();
        for migration in &execution.pending.migrations {
            match registry.get(&migration.id) {
                None => remaining.push(migration),
                Some(applied) if applied.checksum == migration.checksum => {}
                Some(applied) => return Err(Stop::failed(migration.mismatch(applied.checksum))),
            }
        }
        // The gate opens when the new release is served.
        let _gate = if remaining.is_empty() || execution.pending.zero_downtime {
            None
        } else {
            if !again {
                self.enter(execution, Status::Gating).await?;
            }
            let patience = Duration::from_secs(self.settings.gate_wait_seconds);
            Some(self.projects.close_gate(&execution.project, patience).await.map_err(Stop::failed)?)
        };
        self.faults.pass(Point::Gating).map_err(Stop::of)?;
        if !again && !remaining.is_empty() {
            self.enter(execution, Status::Migrating).await?;
        }
        self.in_database(execution, &remaining, again).await
    }

    async fn enter(&self, execution: &Execution, status: Status) -> Result<(), Stop> {
        let connection = self.control.get().await?;
        Ok(operations::enter(&**connection, &execution.operation, status, self.clock.now()).await?)
    }

    /// Writes down why an attempt stopped.
    async fn record(&self, execution: &Execution, stop: &Stop, attempts: i32) -> Result<(), DatabaseError> {
        let now = self.clock.now();
        let body = error::body(&stop.error, &execution.trace, &execution.operation, execution.plan.as_ref());
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        match stop.status {
            Status::ActivationPending if attempts < MOST_ATTEMPTS || execution.touches_database => {
                let pause = SignedDuration::try_from(self.settings.pause_after(attempts)).unwrap_or_default();
                operations::postpone(&tx, &execution.operation, &body, now.plus(pause), now).await?;
            }
            Status::NeedsRepair => {
                operations::fail(&tx, &execution.operation, Status::NeedsRepair, &body, now).await?;
            }
            _ => {
                operations::fail(&tx, &execution.operation, Status::Failed, &body, now).await?;
                self.give_up(&tx, &execution.project.id, execution.plan.as_ref(), Some(&execution.release)).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Lets go of what a deploy that failed had kept for itself.
    pub(super) async fn give_up(
        &self,
        tx: &tokio_postgres::Transaction<'_>,
        project: &crate::common::ProjectId,
        plan: Option<&PlanId>,
        release: Option<&ReleaseId>,
    ) -> Result<(), DatabaseError> {
        if let Some(plan) = plan {
            self.content.forget_plan(tx, plan).await?;
        }
        if let Some(release) = release
            && releases::abandon(tx, release, self.clock.now()).await?
        {
            let holder = Holder { kind: "release", id: release.to_string() };
            self.content.let_go(tx, project, &holder).await?;
        }
        Ok(())
    }

    /// Tries an activation again that waited for it, or that a crash interrupted. The caller holds the project's turn.
    ///
    /// # Errors
    /// The control database failed.
    pub(super) async fn attempt_again(&self, operation: &Operation) -> ApiResult<()> {
        match self.rebuild(operation).await {
            Ok(execution) => {
                self.advance(&execution, Some(operation)).await;
                Ok(())
            }
            Err(error) if error::is_transient(&error) => Err(error),
            Err(error) => self.end_failed(operation, &error).await,
        }
    }

    /// Ends an operation that cannot go on.
    pub(super) async fn end_failed(&self, operation: &Operation, why: &ApiError) -> ApiResult<()> {
        let body = error::body(why, &ids::trace_id(), &operation.id, operation.plan.as_ref());
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        operations::fail(&tx, &operation.id, Status::Failed, &body, self.clock.now()).await?;
        self.give_up(&tx, &operation.project, operation.plan.as_ref(), operation.target.as_ref()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The execution of an operation, from its rows.
    async fn rebuild(&self, operation: &Operation) -> ApiResult<Execution> {
        let lost = || ApiError::internal(format!("the rows of {} are incomplete", operation.id));
        let project = self.projects.live(&operation.project).ok_or_else(error::operation_not_found)?;
        let target = operation.target.as_ref().ok_or_else(lost)?;
        let (plan, release, state) = {
            let connection = self.control.get().await?;
            let plan = match &operation.plan {
                Some(plan) => Some(plans::find(&**connection, plan).await?.ok_or_else(lost)?),
                None => None,
            };
            let (release, state) = releases::load(&**connection, target).await?.ok_or_else(lost)?;
            (plan, release, state)
        };
        let is_promote = operation.kind == Kind::Promote;
        let pending = match &plan {
            Some(plan) => {
                let spec = Spec::parse((*plan.spec).clone(), &self.box_limits())?;
                self.pending_of(&project, operation, &spec).await?
            }
            None => {
                Pending { expose: state.expose.clone().filter(|_| operation.touches_database), ..Pending::default() }
            }
        };
        let state = if is_promote { self.promoted(&project, state).await? } else { state };
        Ok(Execution {
            project,
            operation: operation.id.clone(),
            plan: operation.plan.clone(),
            trace: ids::trace_id(),
            created_by: operation.created_by.clone(),
            base: operation.base.clone(),
            base_kind: plan.as_ref().map_or(BaseKind::Current, |plan| plan.base_kind),
            release: release.id,
            deployment: release.deployment,
            manifest_digest: release.manifest_digest,
            holds: needed(&state),
            state: Arc::new(state),
            pending,
            is_promote,
            touches_database: operation.touches_database,
        })
    }

    /// What is still to be done of a spec.
    async fn pending_of(&self, project: &Project, operation: &Operation, spec: &Spec) -> ApiResult<Pending> {
        let migrations = if operation.touches_database {
            let (registry, is_marked) = {
                let platform = self.projects.platform_session(project).await?;
                (project_store::registry(&platform).await?, project_store::is_marked(&platform, &operation.id).await?)
            };
            let fresh = |migration: &&Migration| !is_marked && !registry.contains_key(&migration.id);
            let fresh: Vec<&Migration> = spec.database.migrations.iter().filter(fresh).collect();
            self.load_migrations(project, &fresh, self.box_limits().max_migration_bytes).await?
        } else {
            Vec::new()
        };
        Ok(Pending {
            expose: spec.database.expose.clone(),
            zero_downtime: spec.database.zero_downtime,
            assets: spec.assets.clone(),
            delete_secrets: spec.secrets.delete.clone(),
            migrations,
        })
    }
}
