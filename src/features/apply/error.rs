//! The refusals of deploys, one constructor each (contract 03 §5.3, §6, §9.4, §10).

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::types::{BaseKind, Plan};
use crate::{
    common::{ApiError, Category, MutationState, NextAction, OperationId, PlanId, ReleaseId},
    engines::{blobs::Sha256Digest, postgres::DatabaseError},
    features::releases::{ChecksumMismatch, Warning},
};

/// A refusal before anything was changed.
fn refusal(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(status, code, message.into())
        .category(Category::Deploy)
        .retryable(false)
        .safe_to_retry(true)
        .mutation_state(MutationState::NotStarted)
        .extra("phase", "validate")
}

fn conflict(code: &'static str, message: impl Into<String>) -> ApiError {
    refusal(StatusCode::CONFLICT, code, message)
}

/// 400 `INVALID_SPEC` at a place of the request.
pub(super) fn invalid_spec(resource: &str, message: impl Into<String>) -> ApiError {
    refusal(StatusCode::BAD_REQUEST, "INVALID_SPEC", message)
        .mutation_state(MutationState::None)
        .extra("resource", resource)
        .extra("fix", json!({"action": "set_field", "path": resource}))
}

/// 404 `PLAN_NOT_FOUND`: unknown, expired or somebody else's.
pub(super) fn plan_not_found() -> ApiError {
    refusal(StatusCode::NOT_FOUND, "PLAN_NOT_FOUND", "There is no such plan, or it is too old. Plan again.")
        .category(Category::NotFound)
}

/// 404 `OPERATION_NOT_FOUND`.
pub(super) fn operation_not_found() -> ApiError {
    ApiError::not_found("OPERATION_NOT_FOUND", "There is no such operation.")
}

/// 404 `RELEASE_NOT_FOUND`.
pub(super) fn release_not_found() -> ApiError {
    ApiError::not_found("RELEASE_NOT_FOUND", "There is no such release.")
}

/// 409 `BASE_RELEASE_CONFLICT`: another deploy came first.
pub(super) fn base_conflict(kind: BaseKind, expected: Option<&ReleaseId>, current: Option<&ReleaseId>) -> ApiError {
    let again = kind == BaseKind::Current;
    let message = match kind {
        BaseKind::Current => "Another deploy became live since this plan was made. Plan again.",
        BaseKind::Empty => "The spec starts from nothing, but the project has a live release.",
        BaseKind::Pinned => "The release this spec is based on is not live any more.",
    };
    conflict("BASE_RELEASE_CONFLICT", message)
        .retryable(again)
        .safe_to_retry(again)
        .extra("phase", "apply")
        .extra("resource", "release")
        .detail("expected_base_release_id", expected.map(ReleaseId::as_str))
        .detail("current_release_id", current.map(ReleaseId::as_str))
}

/// 409 `CONTENT_MISSING`: bytes that the spec names were not uploaded.
pub(super) fn content_missing(missing: &[Sha256Digest]) -> ApiError {
    conflict("CONTENT_MISSING", format!("{} of the contents this plan names were not uploaded.", missing.len()))
        .retryable(true)
        .detail("missing", json!(missing))
        .next_action(NextAction::new("retry", "Upload the missing contents and commit again."))
}

/// 400 `INVALID_SPEC`: content is not as large as the spec says.
pub(super) fn wrong_size(digest: Sha256Digest, said: u64, is: u64) -> ApiError {
    invalid_spec("content", format!("The spec says that {digest} has {said} bytes, but it has {is}."))
        .detail("sha256", digest.to_string())
        .detail("size", is)
}

/// 409 `MIGRATION_CHECKSUM_MISMATCH` for an id applied with other SQL.
pub(super) fn checksum_mismatch(mismatch: ChecksumMismatch, phase: &'static str) -> ApiError {
    let id = mismatch.id.clone();
    let (applied, requested) = (mismatch.applied, mismatch.requested);
    conflict("MIGRATION_CHECKSUM_MISMATCH", mismatch.to_string())
        .safe_to_retry(false)
        .extra("phase", phase)
        .extra("resource", format!("database.migrations.{id}"))
        .detail("migration_id", id)
        .detail("applied_checksum", applied.to_string())
        .detail("requested_checksum", requested.to_string())
        .next_action(NextAction::new("edit_migration", "Give the changed SQL an id of its own."))
}

/// 409 `MIGRATION_CHECKSUM_MISMATCH` for SQL whose bytes are not those the spec names.
pub(super) fn wrong_checksum(id: &str, said: Sha256Digest, is: Sha256Digest) -> ApiError {
    conflict("MIGRATION_CHECKSUM_MISMATCH", format!("The SQL of the migration {id} does not have the given checksum."))
        .safe_to_retry(false)
        .extra("resource", format!("database.migrations.{id}"))
        .detail("migration_id", id)
        .detail("requested_checksum", said.to_string())
        .detail("actual_checksum", is.to_string())
}

/// 409 `MIGRATION_SQL_NOT_FOUND`.
pub(super) fn migration_sql_not_found(id: &str) -> ApiError {
    conflict("MIGRATION_SQL_NOT_FOUND", format!("The SQL of the migration {id} is not there any more. Plan again."))
        .retryable(true)
        .extra("resource", format!("database.migrations.{id}"))
        .detail("migration_id", id)
}

/// 422 `MISSING_REQUIRED_SECRET`; names only.
pub(super) fn missing_secrets(missing: &[String]) -> ApiError {
    let message = format!("These secrets are required and have no value: {}.", missing.join(", "));
    refusal(StatusCode::UNPROCESSABLE_ENTITY, "MISSING_REQUIRED_SECRET", message)
        .extra("resource", "secrets.require")
        .extra("affected", json!(missing))
        .detail("missing", json!(missing))
}

/// 422 `SECRET_NOT_FOUND`.
pub(super) fn secret_not_found(unknown: &[String]) -> ApiError {
    let message = format!("These secrets cannot be deleted because they have no value: {}.", unknown.join(", "));
    refusal(StatusCode::UNPROCESSABLE_ENTITY, "SECRET_NOT_FOUND", message)
        .extra("resource", "secrets.delete")
        .extra("affected", json!(unknown))
        .detail("missing", json!(unknown))
}

/// Promote (contract 03 §9.4).
pub(super) fn promote(status: StatusCode, code: &'static str, message: &str) -> ApiError {
    refusal(status, code, message)
}

/// 409 `PROMOTE_WARNING_REQUIRES_ACK`.
pub(super) fn promote_needs_ack(warnings: &[Warning]) -> ApiError {
    let codes: Vec<&str> = warnings.iter().filter(|warning| warning.requires_confirmation).map(|w| w.code).collect();
    conflict("PROMOTE_WARNING_REQUIRES_ACK", format!("Acknowledge first: {}.", codes.join(", ")))
        .extra("warnings", json!(warnings))
        .detail("codes", json!(codes))
        .next_action(NextAction::new("edit_request", "Send the codes in allow_warning_codes."))
}

/// 409 `NOT_RESUMABLE` or `INVALID_STATE`.
pub(super) fn not_resumable(code: &'static str, message: impl Into<String>) -> ApiError {
    conflict(code, message).mutation_state(MutationState::None).extra("phase", "resume")
}

/// What a crash or a lost task leaves: nothing of the deploy is live.
pub(super) fn interrupted(state: MutationState) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "INTERNAL_ERROR",
        "The box stopped while this deploy ran. The release before is still live; deploy again.",
    )
    .category(Category::Deploy)
    .retryable(true)
    .safe_to_retry(true)
    .mutation_state(state)
    .next_action(NextAction::new("retry", "Deploy again."))
}

/// A plan that nobody committed in time.
pub(super) fn expired() -> ApiError {
    refusal(StatusCode::CONFLICT, "PLAN_EXPIRED", "The plan was not committed in time. Plan again.").retryable(true)
}

/// An error of the control database while a release becomes live: what may pass is a 503, so that it is tried again.
pub(super) fn of_control(error: DatabaseError) -> ApiError {
    let code = error.sqlstate().map(|state| state.code().to_owned());
    match code.as_deref() {
        Some("40001" | "40P01" | "55P03") => {
            ApiError::unavailable("Another change of this project is in the way. It is tried again.").caused_by(error)
        }
        _ => error.into(),
    }
}

/// Whether trying the same again may help (contract 03 §8, activate).
pub(super) fn is_transient(error: &ApiError) -> bool {
    error.status() == StatusCode::SERVICE_UNAVAILABLE || error.code() == "SQL_CONFLICT"
}

/// The error as an operation keeps it.
pub(super) fn body(error: &ApiError, trace: &str, operation: &OperationId, plan: Option<&PlanId>) -> Value {
    if let Some(cause) = error.cause() {
        tracing::warn!(%operation, code = error.code(), %cause, "a deploy failed");
    }
    let mut body = with_ids(error.clone(), operation, plan).body(trace, false);
    // An operation keeps only what a client acts on.
    if let Some(body) = body.as_object_mut() {
        body.remove("retry_after");
        body.remove("retry_after_seconds");
    }
    body
}

/// Names the operation and the plan.
pub(super) fn with_ids(error: ApiError, operation: &OperationId, plan: Option<&PlanId>) -> ApiError {
    error.extra("operation_id", operation.as_str()).extra("plan_id", plan.map(PlanId::as_str))
}

/// Names the operation of a plan.
pub(super) fn of_plan(error: ApiError, plan: &Plan) -> ApiError {
    with_ids(error, &plan.operation, Some(&plan.id))
}
