//! `POST /apply/v1/plans/:id/commit` (contract 03 §6): starts the work, which goes on without its caller, and waits a
//! while for its outcome.
//!
//! A commit is checked when its turn comes, before anything is changed. What these checks refuse is the answer of the
//! commit and leaves the plan as it was; only when the caller was told `running` meanwhile is it kept in the operation.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::{sync::watch, time::timeout};

use super::{
    error,
    execute::{Execution, Pending, migrations::Loaded, needed},
    plan::{Ground, check_sizes, materialise, parse, sql_digest},
    service::Apply,
    store::{operations, plans},
    types::{Committed, Operation, Plan, Status},
};
use crate::{
    common::{ApiError, ApiResult, DeploymentId, OperationId, PlanId, ReleaseId},
    engines::blobs::Sha256Digest,
    features::{
        content::Reference,
        projects::Project,
        releases::{Migration, MigrationPlan, MigrationSql, ReleaseSource, ReleaseState, Spec},
    },
};

/// Commits under way, by operation.
#[derive(Default)]
pub(super) struct Runs(Mutex<HashMap<OperationId, Arc<Run>>>);

/// One commit under way; any number of callers may wait for it.
pub(super) struct Run {
    outcome: watch::Sender<Option<ApiResult<()>>>,
    /// Somebody was told `running`, and will look at the operation for the outcome.
    promised: Mutex<bool>,
}

impl Runs {
    /// The run of an operation, and whether it has to be started.
    fn join(&self, operation: &OperationId) -> (Arc<Run>, bool) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = runs.get(operation) {
            return (Arc::clone(run), false);
        }
        let run = Arc::new(Run { outcome: watch::Sender::new(None), promised: Mutex::new(false) });
        runs.insert(operation.clone(), Arc::clone(&run));
        (run, true)
    }

    fn end(&self, operation: &OperationId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(operation);
    }

    /// Whether this process is at work on the operation.
    pub fn has(&self, operation: &OperationId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(operation)
    }
}

impl Run {
    /// The outcome, or none after `patience`: from then on a refusal goes to the operation.
    async fn wait(&self, patience: Duration) -> Option<ApiResult<()>> {
        let mut outcome = self.outcome.subscribe();
        let done = timeout(patience, outcome.wait_for(Option::is_some)).await;
        if let Ok(Ok(outcome)) = done {
            return outcome.clone();
        }
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let late = self.outcome.borrow().clone();
        *promised |= late.is_none();
        late
    }

    /// Publishes the outcome; tells whether somebody waits for it in the operation.
    fn finish(&self, outcome: ApiResult<()>) -> bool {
        let promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        self.outcome.send_replace(Some(outcome));
        *promised
    }
}

impl Apply {
    /// Commits a plan.
    ///
    /// # Errors
    /// Contract 03 §6: refusals before the start. Failures of the work itself are a `failed` answer.
    pub async fn commit(self: &Arc<Self>, headers: &HeaderMap, plan: &str, trace: &str) -> ApiResult<Committed> {
        let id: PlanId = plan.parse().map_err(|_| error::plan_not_found())?;
        let found = plans::find(&**self.control.get().await?, &id).await?;
        let plan = found.ok_or_else(error::plan_not_found)?;
        let (project, _) = self.writer(headers, &plan.project, error::plan_not_found).await?;
        let operation = self.operation(&plan.operation).await?;
        if !operation.status.is_open() && !self.runs.has(&operation.id) {
            return Ok(Committed::of(&operation));
        }
        if operation.status.is_open() && plan.expires_at <= self.clock.now() {
            return Err(error::plan_not_found());
        }
        let (run, is_new) = self.runs.join(&plan.operation);
        let (operation, patience) = (plan.operation.clone(), Duration::from_secs(self.settings.commit_wait_seconds));
        if is_new {
            let (apply, run, trace) = (Arc::clone(self), Arc::clone(&run), trace.to_owned());
            self.tasks.spawn(async move { apply.run(project, plan, run, trace).await });
        }
        match run.wait(patience).await {
            Some(Err(refusal)) => Err(refusal),
            Some(Ok(())) | None => Ok(Committed::of(&self.operation(&operation).await?)),
        }
    }

    pub(super) async fn operation(&self, id: &OperationId) -> ApiResult<Operation> {
        let found = operations::find(&**self.control.get().await?, id).await?;
        found.ok_or_else(error::operation_not_found)
    }

    /// The detached work of a commit.
    async fn run(self: Arc<Self>, project: Arc<Project>, plan: Plan, run: Arc<Run>, trace: String) {
        let worker = tokio::spawn({
            let (apply, project, plan, trace) = (Arc::clone(&self), Arc::clone(&project), plan.clone(), trace.clone());
            async move { apply.carry_out(&project, &plan, &trace).await }
        });
        let outcome = worker.await.unwrap_or_else(|panic| Err(ApiError::internal(panic)));
        let refusal = outcome.as_ref().err().map(|error| error::of_plan(error.clone(), &plan));
        // First the operation leaves the runs: who comes now reads the row.
        let promised = run.finish(outcome.map_err(|error| error::of_plan(error, &plan)));
        if let (true, Some(refusal)) = (promised, refusal) {
            let body = error::body(&refusal, &trace, &plan.operation, Some(&plan.id));
            if let Err(error) = self.fail_plan(&plan.id, &plan.operation, &body).await {
                tracing::warn!(%error, operation = %plan.operation, "a refusal could not be recorded");
            }
        }
        self.runs.end(&plan.operation);
    }

    /// Waits for its turn, checks, and executes. An error is a refusal: nothing was changed.
    async fn carry_out(&self, project: &Arc<Project>, plan: &Plan, trace: &str) -> ApiResult<()> {
        let _turn = self.turn(&project.id).await;
        let operation = self.operation(&plan.operation).await?;
        if !operation.status.is_open() {
            return Ok(());
        }
        self.settle_begun(project).await?;
        match self.prepare(project, plan, trace).await? {
            Prepared::NoChange => self.finish_unchanged(project, plan).await,
            Prepared::Execution(execution) => self.execute(*execution).await,
        }
    }

    /// What the project has begun before comes first: an activation that waits, or a deploy whose outcome could not be
    /// recorded. The caller holds the project's turn.
    pub(super) async fn settle_begun(&self, project: &Project) -> ApiResult<()> {
        let begun = operations::begun_of(&**self.control.get().await?, &project.id).await?;
        for operation in begun {
            self.settle(&operation).await?;
            let status = self.operation(&operation.id).await?.status;
            if status == Status::ActivationPending {
                return Err(ApiError::unavailable(
                    "An earlier deploy of this project waits to become live. Try again shortly.",
                )
                .detail("operation_id", operation.id.as_str()));
            }
        }
        Ok(())
    }

    /// The checks before the start, in the order of contract 03 §6, and everything the execution needs.
    async fn prepare(&self, project: &Arc<Project>, plan: &Plan, trace: &str) -> ApiResult<Prepared> {
        if self.projects.live(&project.id).is_none_or(|project| project.archived) {
            return Err(error::plan_not_found());
        }
        // The pointer first, because everything below is read for it.
        let pointer = self.live.pointer(&project.id);
        let is_stale = pointer.as_ref().map(|pointer| &pointer.release) != plan.base.as_ref();
        if plan.is_noop && !is_stale {
            return Ok(Prepared::NoChange);
        }

        let limits = self.box_limits();
        let (spec, _, references) = parse(Arc::clone(&plan.spec), limits.clone()).await?;
        let registry =
            if spec.database.migrations.is_empty() { BTreeMap::new() } else { self.registry(project).await? };
        self.check_content(project, &spec, &references, &registry).await?;
        let is_new = |migration: &&Migration| registry.get(&migration.id) != Some(&migration.checksum);
        let fresh: Vec<&Migration> = spec.database.migrations.iter().filter(is_new).collect();
        let loaded = self.load_migrations(project, &fresh, limits.max_migration_bytes).await?;
        if is_stale {
            let current = pointer.map(|pointer| pointer.release);
            return Err(error::base_conflict(plan.base_kind, plan.base.as_ref(), current.as_ref()));
        }

        let ground = Ground {
            live: self.live.live(&project.id).await?,
            base_kind: plan.base_kind,
            registry,
            stored_secrets: self.secrets.names(&project.id).await?.into_iter().collect(),
        };
        let (spec, state, ground) = tokio::task::spawn_blocking(move || {
            let migrations = MigrationPlan::against(&ground.registry, &spec.database.migrations)
                .map_err(|mismatch| error::checksum_mismatch(mismatch, "validate"))?;
            let state = materialise(&spec, &ground, &migrations, &limits)?;
            Ok::<_, ApiError>((spec, state, ground))
        })
        .await
        .map_err(ApiError::internal)??;
        check_secrets(&spec, &state, &ground.stored_secrets)?;
        self.hosts.check(&project.id, &state.subdomains).await?;
        let live = ground.live.as_ref().map(|live| &*live.state);
        self.build_functions(project, &state, live).await?;
        if let Some(slice) = &spec.assets {
            let patience = Duration::from_secs(self.settings.stage_timeout_seconds);
            let staged = timeout(patience, self.assets.stage(project, slice)).await;
            staged.map_err(|_| ApiError::unavailable("Staging the assets took too long. Try again."))??;
        }
        let pending = Pending {
            expose: spec.database.expose.clone(),
            zero_downtime: spec.database.zero_downtime,
            assets: spec.assets.clone(),
            delete_secrets: spec.secrets.delete.clone(),
            migrations: loaded,
        };
        Ok(Prepared::Execution(Box::new(self.execution(project, plan, state, pending, trace))))
    }

    /// All contents of a spec are there, with the sizes it says. Migrations that ran before need none.
    async fn check_content(
        &self,
        project: &Project,
        spec: &Spec,
        references: &[Reference],
        registry: &BTreeMap<String, Sha256Digest>,
    ) -> ApiResult<()> {
        let known = |migration: &&Migration| registry.get(&migration.id) == Some(&migration.checksum);
        let settled: HashSet<Sha256Digest> =
            spec.database.migrations.iter().filter(known).filter_map(sql_digest).collect();
        let digests: Vec<Sha256Digest> = references.iter().map(|reference| reference.sha256).collect();
        let present = self.content.present(&project.id, &digests).await?;
        let missing: Vec<Sha256Digest> =
            digests.into_iter().filter(|digest| !present.contains_key(digest) && !settled.contains(digest)).collect();
        if !missing.is_empty() {
            return Err(error::content_missing(&missing));
        }
        check_sizes(references, &present)
    }

    /// The work that makes the state of a plan live.
    fn execution(
        &self,
        project: &Arc<Project>,
        plan: &Plan,
        state: ReleaseState,
        pending: Pending,
        trace: &str,
    ) -> Execution {
        let now = self.clock.now();
        Execution {
            project: Arc::clone(project),
            operation: plan.operation.clone(),
            plan: Some(plan.id.clone()),
            trace: trace.to_owned(),
            created_by: plan.principal.clone(),
            base: plan.base.clone(),
            base_kind: plan.base_kind,
            release: ReleaseId::generate(now),
            deployment: DeploymentId::generate(now),
            manifest_digest: Some(plan.manifest_digest.clone()),
            holds: needed(&state),
            state: Arc::new(state),
            touches_database: pending.touches_database(),
            pending,
            is_promote: false,
        }
    }

    /// Reads and checks the SQL of new migrations.
    pub(super) async fn load_migrations(
        &self,
        project: &Project,
        fresh: &[&Migration],
        most: u64,
    ) -> ApiResult<Vec<Loaded>> {
        let mut loaded = Vec::with_capacity(fresh.len());
        for migration in fresh {
            let bytes = match &migration.sql {
                MigrationSql::Inline(text) => bytes::Bytes::from(text.clone()),
                MigrationSql::Ref(reference) => self
                    .content
                    .read(&project.id, reference.sha256, most)
                    .await?
                    .ok_or_else(|| error::migration_sql_not_found(&migration.id))?,
            };
            let (bytes, digest) = tokio::task::spawn_blocking(move || {
                let digest = Sha256Digest::of(&bytes);
                (bytes, digest)
            })
            .await
            .map_err(ApiError::internal)?;
            if digest != migration.checksum {
                return Err(error::wrong_checksum(&migration.id, migration.checksum, digest));
            }
            loaded.push(Loaded::read(migration, &bytes)?);
        }
        Ok(loaded)
    }

    /// A plan that changes nothing: the live release is the answer.
    async fn finish_unchanged(&self, project: &Project, plan: &Plan) -> ApiResult<()> {
        let live = self.live.live(&project.id).await?;
        let live = live.ok_or_else(|| error::base_conflict(plan.base_kind, plan.base.as_ref(), None))?;
        let urls = self.urls(project, &live.state, &live.deployment);
        let now = self.clock.now();
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        plans::mark_committed(&tx, &plan.id, now).await?;
        operations::finish(&tx, &plan.operation, &live.release, &urls, now).await?;
        self.content.forget_plan(&tx, &plan.id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends a plan that was never executed.
    pub(super) async fn fail_plan(&self, plan: &PlanId, operation: &OperationId, error: &Value) -> ApiResult<()> {
        let now = self.clock.now();
        let mut connection = self.control.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        plans::mark_committed(&tx, plan, now).await?;
        operations::fail(&tx, operation, Status::Failed, error, now).await?;
        self.content.forget_plan(&tx, plan).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Required secrets have values, and those to be deleted exist.
fn check_secrets(spec: &Spec, state: &ReleaseState, stored: &BTreeSet<String>) -> ApiResult<()> {
    let unset: Vec<String> = state.required_secrets.difference(stored).cloned().collect();
    if !unset.is_empty() {
        return Err(error::missing_secrets(&unset));
    }
    let unknown: Vec<String> = spec.secrets.delete.iter().filter(|key| !stored.contains(*key)).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(error::secret_not_found(&unknown)) }
}

/// What the checks give.
enum Prepared {
    NoChange,
    Execution(Box<Execution>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn every_caller_of_one_run_gets_its_outcome() {
        let runs = Runs::default();
        let id: OperationId = "op_1_a".parse().unwrap();
        let (first, starts) = runs.join(&id);
        let (second, again) = runs.join(&id);
        assert!(starts && !again && runs.has(&id));
        assert!(!first.finish(Err(error::plan_not_found())), "nobody was told to look at the operation");
        for run in [first, second] {
            assert_eq!(run.wait(PATIENCE).await.unwrap().unwrap_err().code(), "PLAN_NOT_FOUND");
        }
        runs.end(&id);
        assert!(!runs.has(&id));
    }

    #[tokio::test]
    async fn a_caller_who_did_not_wait_finds_the_refusal_in_the_operation() {
        let (run, _) = Runs::default().join(&"op_1_a".parse().unwrap());
        assert!(run.wait(PATIENCE).await.is_none());
        assert!(run.finish(Err(error::plan_not_found())));
    }
}
