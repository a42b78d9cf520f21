//! Why an apply failed, for the caller (contract 02 §4.5, §6.3).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::{
    common::{ApiError, ApiResult, Category, MutationState, NextAction},
    engines::postgres::DatabaseError,
};

use super::{
    store::SnapshotError,
    types::{Findings, Issue},
};

/// Why a manifest was not applied, read or validated.
#[derive(Debug, thiserror::Error)]
pub enum ExposeError {
    /// 400 `INVALID_EXPOSE_MANIFEST`.
    #[error("the manifest has {} errors", .0.errors.len())]
    Invalid(Findings),
    /// A statement made from the manifest was refused: 400 `SQL_ERROR`, 408 `SQL_TIMEOUT`, 409 `SQL_CONFLICT`.
    #[error("{path}: {source}")]
    Statement { path: String, source: tokio_postgres::Error },
    /// 503, 500; 409 `SQL_CONFLICT` for a lock.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// 500.
    #[error("the catalog could not be read: {0}")]
    Document(#[from] serde_json::Error),
    /// Of another feature.
    #[error(transparent)]
    Other(#[from] ApiError),
}

impl From<tokio_postgres::Error> for ExposeError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<SnapshotError> for ExposeError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Database(error) => error.into(),
            SnapshotError::Document(error) => Self::Document(error),
        }
    }
}

/// Another transaction is in the way: no lock in time, a deadlock, or a table that was just dropped.
fn is_conflict(code: &str) -> bool {
    matches!(code, "55P03" | "40001" | "40P01")
}

impl From<ExposeError> for ApiError {
    fn from(error: ExposeError) -> Self {
        match error {
            ExposeError::Invalid(findings) => invalid(&findings),
            ExposeError::Statement { path, source } => statement(&path, source),
            ExposeError::Database(error) => match error.sqlstate() {
                // 42P01: a table that the snapshot had is gone.
                Some(state) if is_conflict(state.code()) || state.code() == "42P01" => conflict(),
                Some(state) if state.code() == "57014" => timeout(),
                _ => error.into(),
            },
            ExposeError::Document(error) => Self::internal(error),
            ExposeError::Other(error) => error,
        }
    }
}

impl Findings {
    /// The warnings, if there is no error.
    ///
    /// # Errors
    /// 400 `INVALID_EXPOSE_MANIFEST` with every violation in `errors`.
    pub fn into_result(self) -> ApiResult<Vec<Issue>> {
        if self.has_errors { Err(invalid(&self)) } else { Ok(self.warnings) }
    }
}

fn invalid(findings: &Findings) -> ApiError {
    let count = findings.errors.len();
    let first = findings.errors.first().map(|issue| issue.detail.as_str()).unwrap_or_default();
    let message = match count {
        1 => format!("The expose manifest has an error: {first}"),
        _ => format!("The expose manifest has {count} errors. The first: {first}"),
    };
    let errors = json!(findings.errors);
    ApiError::bad_request("INVALID_EXPOSE_MANIFEST", message)
        .extra("errors", errors.clone())
        .extra("warnings", json!(findings.warnings))
        .detail("errors", errors)
        .next_action(NextAction::new("edit_request", "Correct the manifest as the errors say and send it again."))
}

fn conflict() -> ApiError {
    ApiError::conflict("SQL_CONFLICT", "Another transaction holds what the manifest changes. Try again shortly.")
        .category(Category::Database)
        .retryable(true)
        .mutation_state(MutationState::RolledBack)
        .next_action(NextAction::new("retry", "The other transaction may have ended."))
}

fn timeout() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "SQL_TIMEOUT",
        "A statement of the manifest took too long; nothing changed.",
    )
    .category(Category::Database)
    .retryable(false)
    .mutation_state(MutationState::RolledBack)
}

fn statement(path: &str, error: tokio_postgres::Error) -> ApiError {
    let Some(refused) = error.as_db_error() else { return DatabaseError::from(error).into() };
    let code = refused.code().code();
    if is_conflict(code) {
        return conflict();
    }
    if code == "57014" {
        return timeout();
    }
    if code.starts_with("53") || code.starts_with("57P0") || code.starts_with("08") {
        return DatabaseError::from(error).into();
    }
    ApiError::bad_request("SQL_ERROR", format!("SQL error: {}", refused.message()))
        .category(Category::Database)
        .retryable(false)
        .safe_to_retry(true)
        .mutation_state(MutationState::RolledBack)
        .extra("error", "sql_error")
        .extra("hint", refused.hint().map_or(Value::Null, Value::from))
        .detail("path", path)
        .detail("sqlstate", code)
        .detail("severity", refused.severity())
        .detail("detail", refused.detail().map_or(Value::Null, Value::from))
        .detail("hint", refused.hint().map_or(Value::Null, Value::from))
        .next_action(NextAction::new("edit_request", "Correct this part of the manifest."))
}
