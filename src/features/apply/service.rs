//! What deploys are built on, and what they share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::{OwnedMutexGuard, broadcast};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    commit::Runs,
    faults::Faults,
    functions::FunctionBuilder,
    live::Live,
    settings::{ApplySettings, TestingSettings},
    store::releases,
};
use crate::{
    common::{ApiError, ApiResult, Clock, DeploymentId, ProjectId, ReleaseId},
    engines::postgres::Database,
    features::{
        assets::Assets,
        content::{Caller, Content},
        expose::Expose,
        hosts::Hosts,
        orgs::{Orgs, Tier},
        projects::{Project, Projects},
        releases::{ImmutableChange, ReleaseSource, ReleaseState, ServedRelease, SpecLimits},
        secrets::Secrets,
        tiers::Tiers,
    },
};

/// What the service is built from.
pub struct Dependencies {
    /// The control database.
    pub control: Database,
    pub clock: Clock,
    pub orgs: Arc<Orgs>,
    pub tiers: Arc<Tiers>,
    pub projects: Arc<Projects>,
    pub content: Arc<Content>,
    pub assets: Arc<Assets>,
    pub hosts: Arc<Hosts>,
    pub secrets: Arc<Secrets>,
    pub expose: Arc<Expose>,
    pub functions: Arc<dyn FunctionBuilder>,
    pub settings: ApplySettings,
    pub testing: TestingSettings,
}

/// The service.
pub struct Apply {
    pub(super) control: Database,
    pub(super) clock: Clock,
    orgs: Arc<Orgs>,
    tiers: Arc<Tiers>,
    pub(super) projects: Arc<Projects>,
    pub(super) content: Arc<Content>,
    pub(super) assets: Arc<Assets>,
    pub(super) hosts: Arc<Hosts>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) expose: Arc<Expose>,
    pub(super) functions: Arc<dyn FunctionBuilder>,
    pub(super) settings: ApplySettings,
    pub(super) faults: Faults,
    pub(super) live: Arc<Live>,
    /// Held by whatever changes the live release of a project.
    turns: Turns,
    /// Held while a plan is looked for and, if there is none, written.
    pub(super) plan_turns: Turns,
    /// Commits under way.
    pub(super) runs: Runs,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
}

impl Apply {
    pub fn new(parts: Dependencies) -> Self {
        let live = Arc::new(Live::new(parts.control.clone(), parts.settings.cached_files));
        Self {
            control: parts.control,
            clock: parts.clock,
            orgs: parts.orgs,
            tiers: parts.tiers,
            projects: parts.projects,
            content: parts.content,
            assets: parts.assets,
            hosts: parts.hosts,
            secrets: parts.secrets,
            expose: parts.expose,
            functions: parts.functions,
            settings: parts.settings,
            faults: Faults::new(parts.testing),
            live,
            turns: Turns::default(),
            plan_turns: Turns::default(),
            runs: Runs::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// Limits in force.
    pub fn settings(&self) -> &ApplySettings {
        &self.settings
    }

    /// Where served releases come from.
    pub fn releases(&self) -> Arc<dyn ReleaseSource> {
        Arc::clone(&self.live) as _
    }

    /// Projects whose live release is another, from now on.
    pub fn changes(&self) -> broadcast::Receiver<ProjectId> {
        self.live.changes()
    }

    /// Projects that have a live release.
    pub fn deployed(&self) -> Vec<ProjectId> {
        self.live.projects()
    }

    /// A release that was live at some time, read if need be; none when it was never live or its bytes are gone.
    ///
    /// # Errors
    /// 503 when the control database failed.
    pub async fn release(&self, id: &ReleaseId) -> ApiResult<Option<Arc<ServedRelease>>> {
        Ok(self.live.release(id).await?)
    }

    /// Waits until nothing else changes the project's live release.
    pub(super) async fn turn(&self, project: &ProjectId) -> OwnedMutexGuard<()> {
        self.turns.take(project).await
    }

    /// Limits of specs of this project: those of the box, and for functions those of the organisation's tier.
    pub(super) async fn spec_limits(&self, project: &Project) -> ApiResult<SpecLimits> {
        let organisation = self.orgs.find(project.organisation).await?;
        let tier = organisation.and_then(|organisation| organisation.tier()).unwrap_or(Tier::Prototype);
        let functions = self.tiers.function_limits(tier);
        let whole = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        let connection = self.control.get().await?;
        let elsewhere = releases::scheduled_elsewhere(&**connection, project.organisation, &project.id).await?;
        let limits = SpecLimits::default();
        Ok(SpecLimits {
            max_timeout_seconds: limits.max_timeout_seconds.min(whole(functions.timeout_seconds)),
            max_memory_mb: limits.max_memory_mb.min(whole(functions.memory_mb)),
            max_scheduled_functions: usize::try_from(functions.scheduled_functions.max(0)).unwrap_or(usize::MAX),
            scheduled_elsewhere: usize::try_from(elsewhere.max(0)).unwrap_or(usize::MAX),
            min_cron_interval_minutes: whole(functions.min_cron_interval_minutes),
            ..self.box_limits()
        })
    }

    /// Limits of the box alone: for specs that were accepted before.
    pub(super) fn box_limits(&self) -> SpecLimits {
        let immutable_change =
            if self.settings.downgrade_immutable { ImmutableChange::Downgrade } else { ImmutableChange::Refuse };
        SpecLimits { immutable_change, ..SpecLimits::default() }
    }

    /// Where a release will be found (contract 04 §1.6): strings only, under these keys only.
    pub(super) fn urls(&self, project: &Project, state: &ReleaseState, deployment: &DeploymentId) -> Value {
        let claimed = self.hosts.names(&project.id);
        // The oldest claim comes first, so a name that is only claimed now comes after those that stay.
        let first = claimed.iter().find(|name| state.subdomains.contains(name)).or_else(|| state.subdomains.first());
        let known = self.hosts.urls(&project.id);
        let site = match (first, &known) {
            (Some(name), _) => self.hosts.subdomain_url(name),
            (None, Some(urls)) => urls.public.clone(),
            (None, None) => self.hosts.deployment_url(deployment),
        };
        let public_id = known.map(|urls| urls.public_id.clone()).unwrap_or_default();
        json!({
            "project": site,
            "site_url": site,
            "release": self.hosts.deployment_url(deployment),
            "deployment_id": deployment.as_str(),
            "project_public_id": public_id,
        })
    }

    /// Who calls, for a list that names no project: then only a key can tell which one is meant.
    ///
    /// # Errors
    /// 400 `PROJECT_REQUIRED` for a wallet alone; those of [`Content::caller`].
    pub(super) async fn key_holder(&self, headers: &HeaderMap) -> ApiResult<Arc<Project>> {
        match self.content.caller(headers, None).await {
            Ok((project, _)) => Ok(project),
            Err(error) if error.code() == "INVALID_SPEC" => Err(error
                .with_code("PROJECT_REQUIRED")
                .with_message("Send the project's key as apikey, to say which project is meant.")),
            Err(error) => Err(error),
        }
    }

    /// Who calls, for a row of `project` that only its own callers may know of.
    ///
    /// # Errors
    /// Those of [`Content::caller`]; `unknown` when the row is another project's.
    pub(super) async fn reader(
        &self,
        headers: &HeaderMap,
        project: &ProjectId,
        unknown: impl FnOnce() -> ApiError,
    ) -> ApiResult<Arc<Project>> {
        match self.content.caller(headers, Some(project)).await {
            Ok((found, _)) if found.id == *project => Ok(found),
            Ok(_) => Err(unknown()),
            Err(error) if is_foreign(&error) => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// As [`Apply::reader`], for what only a deployer may do.
    pub(super) async fn writer(
        &self,
        headers: &HeaderMap,
        project: &ProjectId,
        unknown: impl FnOnce() -> ApiError,
    ) -> ApiResult<(Arc<Project>, String)> {
        match self.content.deployer(headers, project).await {
            Ok((found, caller)) => Ok((found, principal(&caller))),
            Err(error) if is_foreign(&error) => Err(unknown()),
            Err(error) => Err(error),
        }
    }
}

/// How a caller stands in `created_by`.
pub(super) fn principal(caller: &Caller) -> String {
    match caller {
        Caller::Deployer { wallet, .. } => wallet.to_string(),
        Caller::Key(_) => "system".into(),
    }
}

/// Refusals that would tell a stranger that the row exists.
fn is_foreign(error: &ApiError) -> bool {
    matches!(error.code(), "NOT_AUTHORIZED" | "PROJECT_NOT_FOUND" | "FORBIDDEN")
}

/// One lock for each project, as long as somebody holds or wants it.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<ProjectId, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    pub async fn take(&self, project: &ProjectId) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() > 1_000 {
                locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(locks.entry(project.clone()).or_default())
        };
        lock.lock_owned().await
    }
}
