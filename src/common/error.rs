//! The error every endpoint answers with.
//!
//! One envelope for the whole API (contract 01 §1.2, ruling 3 of 00): a human sentence in `error` and
//! `message`, a stable `code` that clients branch on, and the facts that let an agent decide what to do
//! next: may it retry, did anything change, which action helps.
//!
//! Two audiences, two fields. `message`, `hint` and `details` go to the caller and are written for whoever
//! reads the JSON. The `cause` goes to the log with the trace id and never leaves the box, so a database or
//! file error cannot leak.
//!
//! Features have their own `thiserror` enums and convert them into [`ApiError`] in one place. An
//! [`ApiError`] becomes bytes in one place too: the edge renders it, because only the edge knows the
//! request's method and trace id. Until then it travels in the response's extensions.
//!
//! Native PostgREST errors, JSON-RPC errors and the answers of user functions are not of this shape.

use std::{borrow::Cow, error::Error as StdError, sync::Arc};

use axum::{
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What a handler returns.
pub type ApiResult<T> = Result<T, ApiError>;

/// Coarse kind of an error, for clients that group by it (an open set on the wire).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Auth,
    Validation,
    NotFound,
    Conflict,
    Payment,
    Lifecycle,
    Quota,
    RateLimit,
    Deploy,
    Database,
    Api,
}

/// What the failed request left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MutationState {
    None,
    NotStarted,
    Committed,
    RolledBack,
    Partial,
    Unknown,
}

/// Something the caller can do about the error. The same word is sent as `type` and as `action`, because
/// clients of different ages read one or the other.
#[derive(Clone, Debug, Serialize)]
pub struct NextAction {
    #[serde(rename = "type")]
    kind: &'static str,
    action: &'static str,
    why: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl NextAction {
    /// `kind` is one of the verbs of contract 01 §1.2: `authenticate`, `submit_payment`, `renew_tier`,
    /// `check_usage`, `retry`, `edit_request`, `edit_migration`, `fund_wallet`, …
    pub fn new(kind: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, action: kind, why: why.into(), method: None, path: None }
    }

    /// Names the request that performs the action.
    #[must_use]
    pub fn at(mut self, method: &'static str, path: impl Into<String>) -> Self {
        self.method = Some(method);
        self.path = Some(path.into());
        self
    }
}

/// An error as the caller will see it, plus the cause the log will see.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} {}: {}", .0.status, .0.code, .0.message)]
pub struct ApiError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    category: Category,
    retryable: Option<bool>,
    safe_to_retry: Option<bool>,
    mutation_state: Option<MutationState>,
    details: Map<String, Value>,
    next_actions: Vec<NextAction>,
    extra: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl ApiError {
    /// An error with the defaults of its status (contract 01 §1.2, last table).
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            status,
            code: code.into(),
            message: message.into(),
            category: default_category(status),
            retryable: None,
            safe_to_retry: None,
            mutation_state: None,
            details: Map::new(),
            next_actions: Vec::new(),
            extra: Map::new(),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// 400 `VALIDATION_ERROR` naming the offending field in `details.field`.
    pub fn validation(field: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message).detail("field", field)
    }

    /// 400 with a code of its own.
    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 401 `AUTHENTICATION_REQUIRED`: no usable credential was presented.
    pub fn authentication_required(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "AUTHENTICATION_REQUIRED", message)
            .next_action(NextAction::new("authenticate", "This request needs a credential."))
    }

    /// 401 `UNAUTHORIZED`: a credential was presented but is unknown, malformed, expired or revoked.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
            .next_action(NextAction::new("authenticate", "Send a valid credential."))
    }

    /// 403 with a code of its own.
    pub fn forbidden(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 403 `ADMIN_REQUIRED` for routes of the box's owner.
    pub fn admin_required() -> Self {
        Self::forbidden("ADMIN_REQUIRED", "This route is for the platform admin of this box.")
            .extra("admin_required", true)
    }

    /// 404 with a code of its own.
    pub fn not_found(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409 with a code of its own.
    pub fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413 `PAYLOAD_TOO_LARGE`.
    pub fn payload_too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", format!("The body is larger than {limit} bytes."))
            .detail("limit_bytes", limit)
    }

    /// 429 `RATE_LIMITED` with the wait in the body and in `Retry-After` (whole seconds, at least 1).
    pub fn rate_limited(message: impl Into<Cow<'static, str>>, retry_after_seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).retry_after(retry_after_seconds)
    }

    /// 500 `INTERNAL_ERROR`. The cause is logged, never sent.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "Something went wrong on this box. The operator finds the cause in the log under the trace id.",
        )
        .caused_by(cause)
    }

    /// 503 `SERVICE_UNAVAILABLE`: a part of the box is not reachable right now; retrying helps.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message).retry_after(1)
    }

    /// 501 `NOT_IMPLEMENTED` (ruling 11 of contract 00): known, documented, not built yet.
    pub fn not_implemented(feature: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NOT_IMPLEMENTED",
            format!("{feature} is not built yet in this version of the appliance."),
        )
        .category(Category::Api)
        .retryable(false)
        .detail("feature", feature)
    }

    /// The same error under a code of its own.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = code.into();
        self
    }

    /// The same error in other words.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = message.into();
        self
    }

    #[must_use]
    pub fn category(mut self, category: Category) -> Self {
        self.0.category = category;
        self
    }

    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    #[must_use]
    pub fn safe_to_retry(mut self, safe: bool) -> Self {
        self.0.safe_to_retry = Some(safe);
        self
    }

    #[must_use]
    pub fn mutation_state(mut self, state: MutationState) -> Self {
        self.0.mutation_state = Some(state);
        self
    }

    /// Adds one key to `details`.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.details.insert(key.into(), value.into());
        self
    }

    #[must_use]
    pub fn next_action(mut self, action: NextAction) -> Self {
        self.0.next_actions.push(action);
        self
    }

    /// Adds a top-level key beside the canonical ones (`hint`, `usage`, `renew_url`, …), or replaces the
    /// legacy `error` word where a client reads a bare word from it.
    #[must_use]
    pub fn extra(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.extra.insert(key.into(), value.into());
        self
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.extra("hint", hint.into())
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// `Retry-After` and its two body fields.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        let seconds = seconds.max(1);
        self.extra("retry_after", seconds)
            .extra("retry_after_seconds", seconds)
            .header(axum::http::header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(Arc::from(cause.into()));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn code(&self) -> &str {
        &self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// For the log only.
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync)> {
        self.0.cause.as_deref()
    }

    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.headers
    }

    /// The envelope. `reads_only` tells whether the request could have changed anything (GET, HEAD).
    pub fn body(&self, trace_id: &str, reads_only: bool) -> Value {
        let inner = &*self.0;
        let defaults = Defaults::of(inner.status, reads_only);
        let mut body = Map::new();
        body.insert("error".into(), json!(inner.message));
        body.insert("message".into(), json!(inner.message));
        body.insert("code".into(), json!(inner.code));
        body.insert("category".into(), json!(inner.category));
        body.insert("retryable".into(), json!(inner.retryable.unwrap_or(defaults.retryable)));
        body.insert("safe_to_retry".into(), json!(inner.safe_to_retry.unwrap_or(defaults.safe_to_retry)));
        body.insert("mutation_state".into(), json!(inner.mutation_state.unwrap_or(defaults.mutation_state)));
        body.insert("trace_id".into(), json!(trace_id));
        body.insert("details".into(), Value::Object(inner.details.clone()));
        body.insert("next_actions".into(), json!(inner.next_actions));
        for (key, value) in &inner.extra {
            body.insert(key.clone(), value.clone());
        }
        Value::Object(body)
    }
}

struct Defaults {
    retryable: bool,
    safe_to_retry: bool,
    mutation_state: MutationState,
}

impl Defaults {
    fn of(status: StatusCode, reads_only: bool) -> Self {
        match status {
            StatusCode::PAYMENT_REQUIRED | StatusCode::TOO_MANY_REQUESTS => {
                Self { retryable: true, safe_to_retry: true, mutation_state: MutationState::None }
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                Self { retryable: true, safe_to_retry: true, mutation_state: MutationState::NotStarted }
            }
            status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => Self {
                retryable: reads_only,
                safe_to_retry: reads_only,
                mutation_state: if reads_only { MutationState::None } else { MutationState::Unknown },
            },
            _ => Self { retryable: false, safe_to_retry: true, mutation_state: MutationState::None },
        }
    }
}

fn default_category(status: StatusCode) -> Category {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Category::Auth,
        StatusCode::PAYMENT_REQUIRED => Category::Payment,
        StatusCode::NOT_FOUND | StatusCode::GONE => Category::NotFound,
        StatusCode::CONFLICT => Category::Conflict,
        StatusCode::TOO_MANY_REQUESTS => Category::RateLimit,
        status if status.is_server_error() => Category::Api,
        _ => Category::Validation,
    }
}

impl IntoResponse for ApiError {
    /// An empty response that carries the error; the edge writes the body.
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        for (name, value) in &self.0.headers {
            response.headers_mut().append(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelope_has_every_canonical_key_and_no_status() {
        let body = ApiError::not_found("RESOURCE_NOT_FOUND", "Cannot GET /nope").body("trc_1", true);
        for key in [
            "error",
            "message",
            "code",
            "category",
            "retryable",
            "safe_to_retry",
            "mutation_state",
            "trace_id",
            "details",
            "next_actions",
        ] {
            assert!(body.get(key).is_some(), "missing {key}");
        }
        assert!(body.get("status").is_none());
        assert_eq!(body["error"], body["message"]);
    }

    #[test]
    fn defaults_follow_the_situation() {
        let cases = [
            (StatusCode::BAD_REQUEST, false, (false, true, "none")),
            (StatusCode::PAYMENT_REQUIRED, false, (true, true, "none")),
            (StatusCode::TOO_MANY_REQUESTS, true, (true, true, "none")),
            (StatusCode::INTERNAL_SERVER_ERROR, true, (true, true, "none")),
            (StatusCode::INTERNAL_SERVER_ERROR, false, (false, false, "unknown")),
            (StatusCode::SERVICE_UNAVAILABLE, false, (true, true, "not_started")),
        ];
        for (status, reads_only, (retryable, safe, state)) in cases {
            let body = ApiError::new(status, "X", "x").body("trc_1", reads_only);
            assert_eq!(body["retryable"], retryable, "{status}");
            assert_eq!(body["safe_to_retry"], safe, "{status}");
            assert_eq!(body["mutation_state"], state, "{status}");
        }
    }

    #[test]
    fn cause_stays_out_of_the_body() {
        let body = ApiError::internal("password=hunter2").body("trc_1", false);
        assert!(!body.to_string().contains("hunter2"));
    }
}
