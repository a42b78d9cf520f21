//! Deployed functions seen, changed, removed and rebuilt (contract 05 §3).

use std::sync::{Arc, atomic::Ordering};

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::{
    doors::not_built,
    error::FunctionError,
    logs::{self, LogQuery},
    service::Functions,
    store::{self, records::Record},
    types::{
        Deleted, FunctionList, FunctionView, Logs, RUNTIME_VERSION, Rebuilt, RebuiltAll, ScheduleMeta, UpdateRequest,
        Updated,
    },
};
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::{
        orgs::{Action, Gate, Tier},
        projects::Project,
        releases::{
            FunctionClass, FunctionState, LEAST_MEMORY_MB, ReleaseState, RouteTarget, SESSION_MINT, Schedule,
            ServedRelease,
        },
        tiers::FunctionLimits,
    },
};

/// How the release that a delete makes explains itself.
const DELETED: &str = "DELETE /projects/v1/admin/{id}/functions";

impl Functions {
    /// Every function of the live release, by name.
    pub(super) async fn list(&self, project: &Project) -> ApiResult<FunctionList> {
        let Some(release) = self.releases.live(&project.id).await? else {
            return Ok(FunctionList { functions: Vec::new() });
        };
        Ok(FunctionList { functions: self.views(&release).await? })
    }

    /// # Errors
    /// [`FunctionError::NotFound`].
    pub(super) async fn get(&self, project: &Project, name: &str) -> Result<FunctionView, FunctionError> {
        let release = self.release_with(&project.id, name).await?;
        let views = self.views(&release).await?;
        views.into_iter().find(|view| view.name == name).ok_or(FunctionError::NotFound)
    }

    async fn views(&self, release: &ServedRelease) -> ApiResult<Vec<FunctionView>> {
        self.sync_with(release).await?;
        let connection = self.connection().await?;
        let mut records = store::records::of_project(&**connection, &release.project).await?;
        let mut schedules = store::schedules::of_project(&**connection, &release.project).await?;
        let functions = release.state.functions.iter().map(|(name, state)| {
            let meta = schedules.remove(&(name.clone(), String::new())).map(|(_, meta)| meta);
            self.view(name, state, records.remove(name), meta, release)
        });
        Ok(functions.collect())
    }

    fn view(
        &self,
        name: &str,
        state: &FunctionState,
        record: Option<Record>,
        meta: Option<ScheduleMeta>,
        release: &ServedRelease,
    ) -> FunctionView {
        let (created_at, updated_at) = record
            .as_ref()
            .map_or((release.activated_at, release.activated_at), |record| (record.created_at, record.updated_at));
        let fingerprint = record.as_ref().and_then(|record| record.fingerprint.as_deref());
        FunctionView {
            name: name.to_owned(),
            url: format!("{}/functions/v1/{name}", self.api_base),
            runtime: state.runtime.clone(),
            timeout: state.timeout_seconds,
            memory: state.memory_mb,
            schedule: state.schedule.clone(),
            schedule_meta: state.schedule.is_some().then(|| meta.unwrap_or_default()),
            created_at,
            updated_at,
            runtime_version: Some(RUNTIME_VERSION.to_owned()),
            deps_resolved: deps_resolved(state),
            runtime_stale: fingerprint.is_some_and(|built_by| built_by != self.executor.fingerprint()),
            code_hash: state.code_hash.clone(),
            class: match state.class {
                FunctionClass::Standard => "standard",
                FunctionClass::Ssr => "ssr",
            }
            .to_owned(),
            require_auth: state.require_auth,
            require_role: state.require_role.as_ref().map(|gate| json!(gate)),
            capabilities: state.capabilities.clone(),
        }
    }

    /// Changes the live function without a new release (05 §3.2).
    ///
    /// # Errors
    /// 400, 403 beyond the tier or in a frozen organisation, 404.
    pub(super) async fn update(
        &self,
        project: &Arc<Project>,
        name: &str,
        request: UpdateRequest,
    ) -> Result<Updated, FunctionError> {
        if request.is_empty() {
            return Err(FunctionError::invalid(
                "body",
                "Send at least one of schedule, config.timeout, config.memory.",
            ));
        }
        self.release_with(&project.id, name).await?;
        let (limits, tier) = self.limits(project).await?;
        let change = Change::of(name, &request, &limits, tier)?;
        if let Some(capabilities) = &request.capabilities
            && capabilities.iter().any(|capability| capability != SESSION_MINT)
        {
            return Err(FunctionError::invalid("capabilities", "The only capability is auth.sessionMint."));
        }
        if !change.is_empty() {
            let most = limits.scheduled_functions;
            let (function, tier) = (name.to_owned(), tier.to_string());
            let edit = move |state: &mut ReleaseState| -> ApiResult<()> {
                let scheduled = state.functions.values().filter(|other| other.schedule.is_some()).count();
                let target = state.functions.get_mut(&function).ok_or(FunctionError::NotFound)?;
                let scheduled = i64::try_from(scheduled).unwrap_or(i64::MAX);
                if matches!(change.schedule, Some(Some(_))) && target.schedule.is_none() && scheduled >= most {
                    return Err(over_tier(
                        "FUNCTION_SCHEDULE_LIMIT_EXCEEDED",
                        format!("The tier allows {most} scheduled functions."),
                        format!("functions.{function}.schedule"),
                        scheduled + 1,
                        &tier,
                        most,
                    )
                    .into());
                }
                change.apply(target);
                Ok(())
            };
            self.editor.adjust(project, Box::new(edit)).await?;
        }
        let release = self.release_with(&project.id, name).await?;
        self.sync_with(&release).await?;
        let view = self.get(project, name).await?;
        Ok(Updated {
            name: view.name,
            runtime: view.runtime,
            timeout: view.timeout,
            memory: view.memory,
            schedule: view.schedule,
            schedule_meta: view.schedule_meta,
            updated_at: view.updated_at,
            runtime_version: view.runtime_version,
            deps_resolved: view.deps_resolved,
        })
    }

    /// What the organisation's tier allows, when its lifecycle allows changes.
    async fn limits(&self, project: &Project) -> Result<(FunctionLimits, Tier), FunctionError> {
        let organisation = self.orgs.find(project.organisation).await?;
        if let Some(organisation) = &organisation {
            self.orgs.gate(organisation, Gate::ControlPlane)?;
        }
        let tier = organisation.and_then(|organisation| organisation.tier()).unwrap_or(Tier::Prototype);
        Ok((self.tiers.function_limits(tier), tier))
    }

    /// Removes the function from the live release, and with it schedule and unfinished runs (05 §3.3).
    ///
    /// # Errors
    /// [`FunctionError::NotFound`]; 403 in a frozen organisation.
    pub(super) async fn delete(&self, project: &Arc<Project>, name: &str) -> Result<Deleted, FunctionError> {
        self.release_with(&project.id, name).await?;
        self.limits(project).await?;
        let function = name.to_owned();
        let edit = move |state: &mut ReleaseState| -> ApiResult<()> {
            state.functions.remove(&function).ok_or(FunctionError::NotFound)?;
            // A route must have its target.
            let target = RouteTarget::Function { name: function };
            state.routes.retain(|route| route.target != target);
            Ok(())
        };
        self.editor.amend(project, DELETED, Box::new(edit)).await?;
        self.sync(&project.id).await?;
        self.cancel_runs_of(&project.id, name).await?;
        Ok(Deleted { status: "deleted", name: name.to_owned() })
    }

    /// Entries of a function's log (05 §3.5). A function that is gone answers as long as it has any.
    ///
    /// # Errors
    /// [`FunctionError::NotFound`].
    pub(super) async fn logs(&self, project: &Project, name: &str, query: &LogQuery) -> Result<Logs, FunctionError> {
        if let Err(error) = self.release_with(&project.id, name).await {
            let connection = self.connection().await?;
            if !store::logs::has_any(&connection, &project.id, name).await? {
                return Err(error);
            }
        }
        Ok(Logs { logs: logs::find(&self.control, &project.id, Some(name), query).await? })
    }

    /// The project of a caller who may rebuild: a wallet of its organisation.
    ///
    /// # Errors
    /// 401, 403 `NOT_AUTHORIZED`, 403 for a project key.
    pub(super) async fn rebuilder(&self, headers: &HeaderMap, id: &str) -> Result<Arc<Project>, FunctionError> {
        let Some(wallet) = self.identity.wallet(headers)? else {
            return Err(match self.identity.project_key(headers)? {
                Some(_) => {
                    ApiError::forbidden("FORBIDDEN", "Rebuilding is for the project's owners: sign with a wallet.")
                }
                None => ApiError::authentication_required("Sign this request with a wallet: send SIGN-IN-WITH-X."),
            }
            .into());
        };
        let id: Option<ProjectId> = id.parse().ok();
        let project = id.and_then(|id| self.projects.live(&id));
        let project = project.ok_or_else(|| ApiError::not_found("PROJECT_NOT_FOUND", "There is no such project."))?;
        self.orgs.authorize(wallet, project.organisation, Action::ProjectWrite).await?;
        Ok(project)
    }

    /// Builds the function anew from what is stored (05 §3.4).
    ///
    /// # Errors
    /// [`FunctionError::NotFound`], [`FunctionError::UnlockedDeps`], [`FunctionError::Build`].
    pub(super) async fn rebuild(&self, project: &ProjectId, name: &str) -> Result<Rebuilt, FunctionError> {
        let release = self.release_with(project, name).await?;
        let state = release.state.functions.get(name).ok_or(FunctionError::NotFound)?;
        if !state.deps.is_empty() {
            return Err(FunctionError::UnlockedDeps);
        }
        self.sync_with(&release).await?;
        self.executor.check(project, state).await.map_err(|failure| not_built(name, failure))?;
        self.builds.fetch_add(1, Ordering::Relaxed);
        let connection = self.connection().await?;
        let record = store::records::of_project(&**connection, project).await?.remove(name);
        let new_fingerprint = self.executor.fingerprint().to_owned();
        store::records::set_fingerprint(&**connection, project, name, &new_fingerprint).await?;
        Ok(Rebuilt {
            name: name.to_owned(),
            rebuilt: true,
            old_fingerprint: record.and_then(|record| record.fingerprint),
            new_fingerprint,
            runtime_version_before: Some(RUNTIME_VERSION.to_owned()),
            runtime_version_after: Some(RUNTIME_VERSION.to_owned()),
            code_hash: state.code_hash.clone(),
        })
    }

    /// Every function; a failure of one stops none of the others.
    pub(super) async fn rebuild_all(&self, project: &ProjectId) -> ApiResult<RebuiltAll> {
        let release = self.releases.live(project).await?;
        let names: Vec<String> = release.iter().flat_map(|release| release.state.functions.keys().cloned()).collect();
        let mut results = Vec::with_capacity(names.len());
        let mut rebuilt_count = 0;
        for name in &names {
            match self.rebuild(project, name).await {
                Ok(rebuilt) => {
                    rebuilt_count += 1;
                    results.push(json!(rebuilt));
                }
                Err(error) => {
                    let error = ApiError::from(error);
                    results.push(json!({
                        "name": name, "rebuilt": false, "code": error.code(), "error": error.message(),
                    }));
                }
            }
        }
        Ok(RebuiltAll { rebuilt_count, total: names.len(), results })
    }
}

/// `{}` without dependencies. Versions of dependencies are resolved by the engine's build, which records none yet.
fn deps_resolved(state: &FunctionState) -> Option<Value> {
    state.deps.is_empty().then(|| json!({}))
}

/// A change that is valid in itself and within the tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Change {
    schedule: Option<Option<String>>,
    timeout: Option<u32>,
    memory: Option<u32>,
    capabilities: Option<Vec<String>>,
}

impl Change {
    fn of(name: &str, request: &UpdateRequest, limits: &FunctionLimits, tier: Tier) -> Result<Self, FunctionError> {
        let tier = tier.to_string();
        let config = request.config.as_ref();
        let timeout = config.and_then(|config| config.timeout);
        if let Some(timeout) = timeout {
            if timeout < 1 {
                return Err(FunctionError::invalid("config.timeout", "config.timeout must be at least 1 second."));
            }
            if timeout > limits.timeout_seconds {
                let message = format!("The tier allows {} seconds.", limits.timeout_seconds);
                let field = format!("functions.{name}.config.timeout_seconds");
                let code = "FUNCTION_TIMEOUT_EXCEEDS_TIER";
                return Err(over_tier(code, message, field, timeout, &tier, limits.timeout_seconds));
            }
        }
        let memory = config.and_then(|config| config.memory);
        if let Some(memory) = memory {
            if memory < i64::from(LEAST_MEMORY_MB) {
                return Err(FunctionError::invalid("config.memory", "config.memory must be at least 128 MB."));
            }
            if memory > limits.memory_mb {
                let message = format!("The tier allows {} MB.", limits.memory_mb);
                let field = format!("functions.{name}.config.memory_mb");
                return Err(over_tier("FUNCTION_MEMORY_EXCEEDS_TIER", message, field, memory, &tier, limits.memory_mb));
            }
        }
        if let Some(Some(cron)) = &request.schedule {
            let schedule = Schedule::parse(cron).map_err(|error| FunctionError::BadSchedule(error.to_string()))?;
            let (interval, least) = (i64::from(schedule.shortest_interval()), limits.min_cron_interval_minutes);
            if interval < least {
                let message = format!("The tier allows a run every {least} minutes at most.");
                let field = format!("functions.{name}.schedule");
                let code = "FUNCTION_SCHEDULE_INTERVAL_TOO_SHORT";
                return Err(over_tier(code, message, field, interval, &tier, least));
            }
        }
        let small = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        Ok(Self {
            schedule: request.schedule.clone(),
            timeout: small(timeout),
            memory: small(memory),
            capabilities: request.capabilities.clone(),
        })
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn apply(&self, state: &mut FunctionState) {
        if let Some(schedule) = &self.schedule {
            state.schedule.clone_from(schedule);
        }
        state.timeout_seconds = self.timeout.unwrap_or(state.timeout_seconds);
        state.memory_mb = self.memory.unwrap_or(state.memory_mb);
        if let Some(capabilities) = &self.capabilities {
            state.capabilities.clone_from(capabilities);
        }
    }
}

fn over_tier(
    code: &'static str,
    message: String,
    field: String,
    value: i64,
    tier: &str,
    tier_max: i64,
) -> FunctionError {
    FunctionError::OverTier { code, message, field, value, tier: tier.to_owned(), tier_max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::functions::types::UpdateConfig;

    const LIMITS: FunctionLimits =
        FunctionLimits { timeout_seconds: 60, memory_mb: 512, scheduled_functions: 1, min_cron_interval_minutes: 15 };

    fn change(schedule: Option<&str>, timeout: Option<i64>, memory: Option<i64>) -> Result<Change, ApiError> {
        let request = UpdateRequest {
            schedule: schedule.map(|text| Some(text.to_owned())),
            config: Some(UpdateConfig { timeout, memory }),
            capabilities: None,
        };
        Change::of("f", &request, &LIMITS, Tier::Prototype).map_err(ApiError::from)
    }

    #[test]
    fn updates_within_the_tier_are_taken() {
        let taken = change(Some("*/15 * * * *"), Some(60), Some(128)).unwrap();
        assert_eq!((taken.timeout, taken.memory), (Some(60), Some(128)));
        assert!(change(None, None, None).unwrap().is_empty());
    }

    #[test]
    fn updates_beyond_the_tier_or_sense_are_refused() {
        let cases = [
            (None, Some(0), None, (400, "VALIDATION_ERROR")),
            (None, Some(61), None, (403, "FUNCTION_TIMEOUT_EXCEEDS_TIER")),
            (None, Some(i64::MAX), None, (403, "FUNCTION_TIMEOUT_EXCEEDS_TIER")),
            (None, None, Some(127), (400, "VALIDATION_ERROR")),
            (None, None, Some(513), (403, "FUNCTION_MEMORY_EXCEEDS_TIER")),
            (Some("@daily"), None, None, (400, "INVALID_SPEC")),
            (Some("*/5 * * * *"), None, None, (403, "FUNCTION_SCHEDULE_INTERVAL_TOO_SHORT")),
        ];
        for (schedule, timeout, memory, expected) in cases {
            let error = change(schedule, timeout, memory).unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), expected, "{schedule:?} {timeout:?} {memory:?}");
        }
    }
}
