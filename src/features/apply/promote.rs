//! `POST /apply/v1/releases/:id/promote` (contract 03 §9.4): a release that was live once becomes live again.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{
    error,
    execute::{Execution, Pending, needed},
    service::Apply,
    store::{operations, releases as release_store},
    types::{BaseKind, Kind, PromoteRequest, Status},
};
use crate::{
    common::{ApiError, ApiResult, MutationState, OperationId, ProjectId, ReleaseId},
    features::{
        projects::Project,
        releases::{self, PromoteDiff, ReleaseSource, ReleaseState, ServedRelease, Warning},
    },
};

/// A release that may become live again, beside the one that is.
struct Chosen {
    row: release_store::Release,
    state: ReleaseState,
    live: Arc<ServedRelease>,
    diff: PromoteDiff,
    warnings: Vec<Warning>,
}

impl Apply {
    /// Makes an earlier release of a project live again. Waits for the outcome, which does not depend on it.
    ///
    /// # Errors
    /// 404 `PROMOTE_TARGET_NOT_FOUND`; 400 `PROMOTE_PROJECT_MISMATCH`; 409 `PROMOTE_RELEASE_NOT_READY`,
    /// `PROMOTE_NO_OP`, `PROMOTE_WARNING_REQUIRES_ACK`, and what the execution refuses.
    pub async fn promote(
        self: &Arc<Self>,
        headers: &HeaderMap,
        release: &str,
        request: PromoteRequest,
        trace: &str,
    ) -> ApiResult<Value> {
        let mismatch = || {
            error::promote(
                StatusCode::BAD_REQUEST,
                "PROMOTE_PROJECT_MISMATCH",
                "Give the project of the release as `project`.",
            )
        };
        let named: ProjectId = request.project.as_deref().and_then(|id| id.parse().ok()).ok_or_else(mismatch)?;
        let (project, caller) = self.content.deployer(headers, &named).await?;
        let unknown = || error::promote(StatusCode::NOT_FOUND, "PROMOTE_TARGET_NOT_FOUND", "There is no such release.");
        let target: ReleaseId = release.parse().map_err(|_| unknown())?;
        let found = release_store::find(&**self.control.get().await?, &target).await?.ok_or_else(unknown)?;
        if found.project != project.id {
            return Err(mismatch());
        }
        let created_by = super::service::principal(&caller);
        let (apply, trace) = (Arc::clone(self), trace.to_owned());
        let work = self.tasks.spawn(async move {
            apply.carry_out_promote(&project, target, &request.allow_warning_codes, created_by, trace).await
        });
        work.await.map_err(ApiError::internal)?
    }

    async fn carry_out_promote(
        &self,
        project: &Arc<Project>,
        target: ReleaseId,
        allowed: &[String],
        created_by: String,
        trace: String,
    ) -> ApiResult<Value> {
        let _turn = self.turn(&project.id).await;
        self.settle_begun(project).await?;
        let Chosen { row, state, live, diff, warnings } = self.choose(project, &target, allowed).await?;
        let holds = needed(&state);
        let expose = state.expose.clone().filter(|expose| live.state.expose.as_ref() != Some(expose));
        let state = self.promoted(project, state).await?;

        let now = self.clock.now();
        let operation = OperationId::generate(now);
        let previous = live.release.clone();
        let pending = Pending { expose, ..Pending::default() };
        let new = operations::New {
            id: &operation,
            project: &project.id,
            plan: None,
            kind: Kind::Promote,
            status: Status::Committing,
            base: Some(&previous),
            target: Some(&target),
            touches_database: pending.touches_database(),
            created_by: &created_by,
        };
        operations::insert(&**self.control.get().await?, &new, now).await?;
        let execution = Execution {
            project: Arc::clone(project),
            operation: operation.clone(),
            plan: None,
            trace,
            created_by,
            base: Some(previous.clone()),
            base_kind: BaseKind::Current,
            release: target.clone(),
            deployment: row.deployment,
            manifest_digest: row.manifest_digest,
            holds,
            state: Arc::new(state),
            touches_database: pending.touches_database(),
            pending,
            is_promote: true,
        };
        if let Err(refusal) = self.execute(execution).await {
            let begun = self.operation(&operation).await?;
            self.end_failed(&begun, &refusal).await?;
            return Err(refusal);
        }
        let outcome = self.operation(&operation).await?;
        match outcome.status {
            Status::Ready => Ok(json!({
                "status": "ok",
                "release_id": target,
                "operation_id": operation,
                "previous_release_id": previous,
                "diff": diff,
                "warnings": warnings,
            })),
            _ => Err(refused(outcome.error.as_ref(), &operation)),
        }
    }

    /// The release to become live, if it may. The caller holds the project's turn.
    async fn choose(&self, project: &Project, target: &ReleaseId, allowed: &[String]) -> ApiResult<Chosen> {
        let refuse = |code, message| error::promote(StatusCode::CONFLICT, code, message);
        let not_ready =
            || refuse("PROMOTE_RELEASE_NOT_READY", "This release was never live, or its content is gone. Deploy anew.");
        let loaded = release_store::load(&**self.control.get().await?, target).await?;
        let (row, state) = loaded.ok_or_else(not_ready)?;
        let live = self.live.live(&project.id).await?.ok_or_else(not_ready)?;
        if live.release == *target {
            return Err(refuse("PROMOTE_NO_OP", "This release is live already."));
        }
        if !row.is_retained() {
            return Err(not_ready());
        }
        let diff = releases::promote_diff(&live.state, &state);
        let warnings = releases::promote_warnings(&diff);
        let is_open =
            |warning: &Warning| warning.requires_confirmation && !allowed.iter().any(|code| code == warning.code);
        if warnings.iter().any(is_open) {
            return Err(error::promote_needs_ack(&warnings));
        }
        let digests = needed(&state);
        let present = self.content.present(&project.id, &digests).await?;
        if present.len() < digests.len() {
            return Err(not_ready());
        }
        Ok(Chosen { row, state, live, diff, warnings })
    }

    /// The state a release has when it is live again: subdomains are not touched by a promote (contract 03 §9.4), so
    /// it keeps those of the release before it.
    pub(super) async fn promoted(&self, project: &Project, mut state: ReleaseState) -> ApiResult<ReleaseState> {
        if let Some(live) = self.live.live(&project.id).await? {
            state.subdomains.clone_from(&live.state.subdomains);
        }
        Ok(state)
    }
}

/// The error of a promote that did not end well, as an answer.
fn refused(body: Option<&Value>, operation: &OperationId) -> ApiError {
    let text = |key: &str| body.and_then(|body| body[key].as_str()).map(str::to_owned);
    let code = text("code").unwrap_or_else(|| "ACTIVATION_FAILED".into());
    let message = text("message").unwrap_or_else(|| "The release could not become live.".into());
    let flag = |key: &str| body.and_then(|body| body[key].as_bool()).unwrap_or(false);
    let status = if code == "ACTIVATION_FAILED" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT };
    let mut error = ApiError::new(status, code, message)
        .category(crate::common::Category::Deploy)
        .retryable(flag("retryable"))
        .safe_to_retry(flag("safe_to_retry"))
        .mutation_state(MutationState::RolledBack)
        .extra("operation_id", operation.as_str());
    for key in ["phase", "resource", "errors", "warnings"] {
        if let Some(value) = body.and_then(|body| body.get(key)) {
            error = error.extra(key, value.clone());
        }
    }
    error
}
