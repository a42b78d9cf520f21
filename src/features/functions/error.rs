//! Every refusal of this feature (contract 05 §4.4, §9, §14).

use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::executor::{BuildFailure, FunctionFailure};
use crate::common::{ApiError, Category, MutationState};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-run402-request-id");

#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// 401 `MISSING_APIKEY`; the wording is the clients'.
    #[error("Missing apikey header")]
    MissingKey,
    /// 401 `INVALID_APIKEY`
    #[error("Invalid apikey")]
    InvalidKey,
    /// 404 `PROJECT_NOT_FOUND`
    #[error("The project of this key is not active on this box.")]
    ProjectGone,
    /// 404 `FUNCTION_NOT_FOUND`; the wording is the clients'.
    #[error("Function not found")]
    NotFound,
    /// 404 `function_run_route_not_found`
    #[error("There is no such route of function runs.")]
    NoRunRoute,
    /// 413 `REQUEST_BODY_TOO_LARGE`
    #[error("The body of a request to a function has at most {limit} bytes.")]
    BodyTooLarge { limit: usize },
    /// 400 `INVALID_REQUEST`
    #[error("The body of the request broke off.")]
    BodyBrokeOff,
    /// 401 `R402_AUTH_REQUIRED`
    #[error("This function is for signed-in users: send a valid access token of this project.")]
    SignInRequired,
    /// 403 `ROLE_FORBIDDEN`
    #[error("This function needs a role you do not have.")]
    RoleForbidden { allowed: Vec<String> },
    /// 400 `R402_AUTH_BEARER_COOKIE_MISMATCH`
    #[error("The access token and the session cookie belong to different users. Send one of them.")]
    TwoUsers,
    /// 403 `R402_AUTH_UNTRUSTED_CONTEXT`
    #[error("This function may not create sessions: it lacks the capability auth.sessionMint, or was not routed.")]
    UntrustedContext,
    /// 503 `FUNCTION_BUSY`
    #[error("All places for function calls of this project are taken. Try again in a moment.")]
    Busy,
    /// 508 `FUNCTION_LOOP_DETECTED`
    #[error("Functions called each other more than {depth} levels deep.")]
    Loop { depth: u8 },
    /// 502 `FUNCTION_RESPONSE_TOO_LARGE`, or `ROUTED_RESPONSE_TOO_LARGE` on a route.
    #[error("The answer of the function has more than {limit} bytes.")]
    ResponseTooLarge { limit: usize, routed: bool },
    /// What the function did: see [`FunctionFailure`].
    #[error("{0}")]
    Failed(FunctionFailure),
    /// 400 `VALIDATION_ERROR`
    #[error("{message}")]
    Invalid { field: &'static str, message: String },
    /// 400 `INVALID_SPEC`: a schedule that is none.
    #[error("{0}")]
    BadSchedule(String),
    /// 403: more than the tier allows (05 §2.7).
    #[error("{message}")]
    OverTier { code: &'static str, message: String, field: String, value: i64, tier: String, tier_max: i64 },
    /// 409 `CANNOT_REBUILD_UNLOCKED_DEPS`
    #[error(
        "The versions of this function's dependencies were not recorded, so it cannot be rebuilt. Deploy it again."
    )]
    UnlockedDeps,
    /// 422 `FUNCTION_BUILD_FAILED`
    #[error("Function {name} does not build: {failure}")]
    Build { name: String, failure: Box<BuildFailure> },
    /// 410 `ROUTE_REMOVED`
    #[error("This route was removed: functions are deployed by applying a release.")]
    RouteRemoved,
    #[error(transparent)]
    Other(#[from] ApiError),
}

impl FunctionError {
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }
}

impl From<crate::engines::postgres::DatabaseError> for FunctionError {
    fn from(error: crate::engines::postgres::DatabaseError) -> Self {
        Self::Other(error.into())
    }
}

impl From<tokio_postgres::Error> for FunctionError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<FunctionError> for ApiError {
    fn from(error: FunctionError) -> Self {
        use FunctionError as E;
        let message = error.to_string();
        let new = |status, code| Self::new(status, code, message.clone());
        match error {
            E::MissingKey => new(StatusCode::UNAUTHORIZED, "MISSING_APIKEY"),
            E::InvalidKey => new(StatusCode::UNAUTHORIZED, "INVALID_APIKEY"),
            E::ProjectGone => new(StatusCode::NOT_FOUND, "PROJECT_NOT_FOUND"),
            E::NotFound => new(StatusCode::NOT_FOUND, "FUNCTION_NOT_FOUND"),
            E::NoRunRoute => new(StatusCode::NOT_FOUND, "function_run_route_not_found"),
            E::BodyTooLarge { limit } => {
                new(StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_BODY_TOO_LARGE").detail("limit_bytes", limit)
            }
            E::BodyBrokeOff => new(StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            E::SignInRequired => {
                new(StatusCode::UNAUTHORIZED, "R402_AUTH_REQUIRED").extra("error", "authentication_required")
            }
            E::RoleForbidden { allowed } => new(StatusCode::FORBIDDEN, "ROLE_FORBIDDEN")
                .extra("error", "ROLE_FORBIDDEN")
                .extra("allowed_roles", json!(allowed)),
            E::TwoUsers => new(StatusCode::BAD_REQUEST, "R402_AUTH_BEARER_COOKIE_MISMATCH").category(Category::Auth),
            E::UntrustedContext => new(StatusCode::FORBIDDEN, "R402_AUTH_UNTRUSTED_CONTEXT"),
            E::Busy => new(StatusCode::SERVICE_UNAVAILABLE, "FUNCTION_BUSY").retry_after(1),
            E::Loop { depth } => {
                new(StatusCode::LOOP_DETECTED, "FUNCTION_LOOP_DETECTED").detail("depth", depth).retryable(false)
            }
            E::ResponseTooLarge { limit, routed } => {
                let code = if routed { "ROUTED_RESPONSE_TOO_LARGE" } else { "FUNCTION_RESPONSE_TOO_LARGE" };
                new(StatusCode::BAD_GATEWAY, code).detail("limit_bytes", limit)
            }
            E::Failed(failure) => of_failure(failure),
            E::Invalid { field, .. } => Self::validation(field, message),
            E::BadSchedule(_) => {
                new(StatusCode::BAD_REQUEST, "INVALID_SPEC").category(Category::Deploy).detail("field", "schedule")
            }
            E::OverTier { code, field, value, tier, tier_max, .. } => new(StatusCode::FORBIDDEN, code)
                .category(Category::Quota)
                .mutation_state(MutationState::NotStarted)
                .detail("field", field)
                .detail("value", value)
                .detail("tier", tier)
                .detail("tier_max", tier_max)
                .detail("scope", "project"),
            E::UnlockedDeps => new(StatusCode::CONFLICT, "CANNOT_REBUILD_UNLOCKED_DEPS"),
            E::Build { name, failure } => failure.into_error(&name, message),
            E::RouteRemoved => new(StatusCode::GONE, "ROUTE_REMOVED")
                .hint("Plan and commit a release with a functions slice: POST /apply/v1/plans."),
            E::Other(error) => error,
        }
    }
}

/// What a caller learns of a failed function: never what it threw (05 §4.4).
fn of_failure(failure: FunctionFailure) -> ApiError {
    const HIDDEN: &str = "Internal function error";
    let new = |status, code: &'static str, message: &'static str| {
        ApiError::new(status, code, message).category(Category::Api)
    };
    match failure {
        FunctionFailure::InvalidResponse(_) => {
            new(StatusCode::INTERNAL_SERVER_ERROR, "FUNCTION_INVALID_RESPONSE", HIDDEN)
        }
        FunctionFailure::Timeout => {
            new(StatusCode::GATEWAY_TIMEOUT, "FUNCTION_TIMEOUT", "The function took longer than its timeout.")
        }
        FunctionFailure::Auth(thrown) => {
            let status = StatusCode::from_u16(thrown.status)
                .ok()
                .filter(|status| status.is_client_error() || status.is_server_error())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut error = ApiError::new(status, thrown.code, thrown.message).category(Category::Auth);
            if let Value::Object(details) = thrown.details {
                for (key, value) in details {
                    error = error.detail(&key, value);
                }
            }
            for (key, text) in [("suggested_fix", thrown.suggested_fix), ("docs", thrown.docs)] {
                if let Some(text) = text {
                    error = error.extra(key, text);
                }
            }
            error
        }
        FunctionFailure::ResponseTooLarge => {
            new(StatusCode::BAD_GATEWAY, "FUNCTION_RESPONSE_TOO_LARGE", "The answer of the function is too large.")
        }
        FunctionFailure::Busy => FunctionError::Busy.into(),
        // Unlike one that waited in vain, it may have been at work.
        FunctionFailure::Crowded => new(
            StatusCode::SERVICE_UNAVAILABLE,
            "FUNCTION_BUSY",
            "The functions of this box have no memory left. Try again in a moment.",
        )
        .retry_after(1)
        .safe_to_retry(false)
        .mutation_state(MutationState::Unknown),
        FunctionFailure::Platform(cause) => new(
            StatusCode::SERVICE_UNAVAILABLE,
            "FUNCTION_UNAVAILABLE",
            "The function could not be started right now. Try again shortly.",
        )
        .retry_after(1)
        .caused_by(cause),
        FunctionFailure::Threw(_)
        | FunctionFailure::OutOfMemory
        | FunctionFailure::Trap(_)
        | FunctionFailure::Exited(_) => new(StatusCode::INTERNAL_SERVER_ERROR, "FUNCTION_RUNTIME_ERROR", HIDDEN),
    }
}

/// An error about an invocation as its caller sees it; `show`: together with what the function threw.
pub(super) fn shown(error: FunctionError, show: bool) -> ApiError {
    let thrown = match &error {
        FunctionError::Failed(FunctionFailure::Threw(thrown)) if show => Some(json!({
            "name": thrown.name,
            "message": thrown.message,
            "stack": thrown.stack,
        })),
        _ => None,
    };
    let error = ApiError::from(error);
    match thrown {
        Some(thrown) => error.detail("thrown", thrown),
        None => error,
    }
}

/// The id of the request goes with every error about an invocation.
pub(super) fn with_request_id(error: impl Into<ApiError>, request_id: &str) -> ApiError {
    let error = error.into().extra("request_id", request_id);
    match HeaderValue::from_str(request_id) {
        Ok(value) => error.header(REQUEST_ID, value),
        Err(_) => error,
    }
}
