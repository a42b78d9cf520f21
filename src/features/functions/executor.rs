//! The door to the engine that runs code. This feature decides who may call what, with which words and within which
//! limits; an [`Executor`] takes code and a request and gives an answer.

use std::{fmt, sync::Arc, time::Duration};

use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::logs::LogSink;
use crate::{
    common::{ApiError, Category, ProjectId, ReleaseId},
    features::{
        auth::RoutedActor,
        releases::{FunctionClass, FunctionCode, FunctionState},
    },
};

/// Code that may run, and within what.
#[derive(Clone, Debug)]
pub struct FunctionVersion {
    pub project: ProjectId,
    pub release: ReleaseId,
    pub name: String,
    pub code: FunctionCode,
    pub code_hash: String,
    pub deps: Vec<String>,
    /// Module evaluation, handler and body together; host waits included.
    pub timeout: Duration,
    /// MiB.
    pub memory_mb: u32,
    pub class: FunctionClass,
    /// An instance may be kept for the next call of the same project, name and `instance`, and for no other: a new
    /// release, changed settings or secrets, or a rebuild give another one.
    pub instance: String,
}

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvocationKind {
    Direct,
    Routed,
    Scheduled,
    FunctionRun,
}

impl InvocationKind {
    /// `invocationKind` of the context (05 §8.4). A hook counts as a scheduled call.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Routed => "routed_http",
            Self::Scheduled => "scheduled",
            Self::FunctionRun => "function_run",
        }
    }
}

/// The user of a browser session (05 §8.5).
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    pub id: String,
    pub session_id: String,
    pub email: String,
    pub email_verified: bool,
    pub is_test: bool,
    /// Seconds since 1970.
    pub auth_time: i64,
    pub amr: Vec<String>,
    /// Method → seconds since 1970.
    pub amr_times: Value,
    pub authz_version: i64,
}

impl From<&RoutedActor> for Actor {
    fn from(actor: &RoutedActor) -> Self {
        Self {
            id: actor.user.to_string(),
            session_id: actor.session.to_string(),
            email: actor.email.clone(),
            email_verified: actor.email_verified,
            is_test: actor.is_test,
            auth_time: actor.auth_time,
            amr: actor.amr.clone(),
            amr_times: json!(actor.amr_times),
            authz_version: actor.authz_version,
        }
    }
}

/// What the route of a routed call was (05 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteContext {
    pub pattern: String,
    pub deployment: String,
    pub client_ip: String,
}

/// `process.env`: names and values, each name once. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(pub Vec<(String, String)>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} names)", self.0.len())
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// `req_…`, or the run's id for durable runs.
    pub request_id: String,
    pub kind: InvocationKind,
    pub method: Method,
    /// Absolute.
    pub url: String,
    /// As the function sees them: stripped, and with what the platform says.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Public host, with its port when it is not the default of the scheme.
    pub host: String,
    pub locale: Option<String>,
    pub default_locale: Option<String>,
    pub actor: Option<Actor>,
    pub route: Option<RouteContext>,
    pub idempotency_key: Option<String>,
    /// `process.env`, platform values last (05 §8.2).
    pub environment: Arc<Environment>,
    /// How many functions called each other to get here; 0 from outside. What this one calls of the box must carry
    /// [`NestedCall`](crate::common::NestedCall) with one more.
    pub depth: u8,
    pub logs: LogSink,
}

/// What a function answered.
#[derive(Clone, Debug)]
pub struct FunctionResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The handler looked at who is asking, so the answer is for nobody else (05 §8.4).
    pub cache_bypass_tainted: bool,
    /// An instance had to be made for it.
    pub cold: bool,
}

/// An uncaught value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thrown {
    pub name: String,
    pub message: String,
    pub stack: String,
}

/// A thrown `R402_AUTH_*` error (05 §8.7).
#[derive(Clone, Debug, PartialEq)]
pub struct AuthThrown {
    pub code: String,
    pub status: u16,
    pub message: String,
    pub details: Value,
    pub suggested_fix: Option<String>,
    pub docs: Option<String>,
}

/// Why a function gave no answer. What it threw goes to its log, never to the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FunctionFailure {
    /// The handler, or the module's evaluation. 500 `FUNCTION_RUNTIME_ERROR`.
    #[error("{}: {}", .0.name, .0.message)]
    Threw(Thrown),
    #[error("{}: {}", .0.code, .0.message)]
    Auth(Box<AuthThrown>),
    /// It returned nothing usable. 500 `FUNCTION_INVALID_RESPONSE`.
    #[error("{0}")]
    InvalidResponse(String),
    /// 504 `FUNCTION_TIMEOUT`.
    #[error("the function took longer than its timeout")]
    Timeout,
    #[error("the function is out of memory")]
    OutOfMemory,
    #[error("the function was stopped: {0}")]
    Trap(String),
    #[error("the function called process.exit({0})")]
    Exited(i32),
    /// 502 `FUNCTION_RESPONSE_TOO_LARGE`.
    #[error("the answer is larger than it may be")]
    ResponseTooLarge,
    /// No instance was free in time. 503 `FUNCTION_BUSY`.
    #[error("no instance is free")]
    Busy,
    /// It was stopped because all functions together have used up the memory this box has for them. 503
    /// `FUNCTION_BUSY`.
    #[error("the functions of this box have no memory left")]
    Crowded,
    /// A fault of this box. 503 `FUNCTION_UNAVAILABLE`.
    #[error("the platform failed: {0}")]
    Platform(String),
}

/// Why source cannot become a function (05 §2.4, §12.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFailure {
    /// `FUNCTION_BUILD_FAILED`, `R402_BUNDLE_UNRESOLVED_IMPORT`, `R402_BUNDLE_NATIVE_DEP_UNSUPPORTED` or
    /// `R402_AUTH_REDUNDANT_USER_FILTER`.
    pub code: &'static str,
    /// `syntax_error`, `no_handler`, `missing_export`, …
    pub reason: &'static str,
    /// A sentence for the author.
    pub message: String,
    pub line: Option<u32>,
    pub column: Option<u32>,
    /// More for `details`: module, importer, file, ….
    pub details: Vec<(&'static str, Value)>,
}

impl fmt::Display for BuildFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl BuildFailure {
    /// As the stage of a deploy answers it.
    pub fn into_error(self, function: &str, message: String) -> ApiError {
        let status = if self.code == "R402_AUTH_REDUNDANT_USER_FILTER" {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        };
        let mut error = ApiError::new(status, self.code, message)
            .category(Category::Deploy)
            .extra("phase", "stage")
            .extra("resource", format!("functions.{function}"))
            .detail("function", function)
            .detail("reason", self.reason)
            .detail("message", self.message);
        for (key, number) in [("line", self.line), ("column", self.column)] {
            if let Some(number) = number {
                error = error.detail(key, json!(number));
            }
        }
        for (key, value) in self.details {
            error = error.detail(key, value);
        }
        error
    }
}

/// Runs functions. Implementations enforce the limits of the version; this feature only guards against one that does
/// not come back.
pub trait Executor: Send + Sync + 'static {
    /// One call. Dropping the future stops it.
    fn run<'a>(
        &'a self,
        version: &'a FunctionVersion,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<FunctionResponse, FunctionFailure>>;

    /// Builds the code without running it: what the stage of a deploy, and a rebuild, ask. Nothing is kept on
    /// failure.
    fn check<'a>(
        &'a self,
        project: &'a ProjectId,
        function: &'a FunctionState,
    ) -> BoxFuture<'a, Result<(), CheckFailure>>;

    /// Gets ready before the first call needs it.
    fn warm(&self) {}

    /// Names engine, wrapper and runtime version: functions built under another name are stale.
    fn fingerprint(&self) -> &str;
}

/// Why code was not found good.
#[derive(Clone, Debug)]
pub enum CheckFailure {
    Build(BuildFailure),
    /// A fault of this box.
    Platform(String),
}
