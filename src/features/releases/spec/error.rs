//! What is wrong with a spec, all of it at once.

use std::fmt;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::common::{ApiError, Category, MutationState};

/// How many violations a body lists; the rest is counted.
const LISTED: usize = 100;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Violation {
    #[serde(skip)]
    pub status: StatusCode,
    pub code: &'static str,
    /// Dotted path in the spec, such as `routes.replace.0.pattern`.
    pub resource: String,
    /// A sentence that says what to do.
    pub message: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    pub fix: Value,
}

impl Violation {
    /// 400 with a code of its own; the fix is to set the field.
    pub fn new(code: &'static str, resource: impl Into<String>, message: impl Into<String>) -> Self {
        let resource = resource.into();
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            fix: json!({ "action": "set_field", "path": resource }),
            resource,
            message: message.into(),
            details: Map::new(),
        }
    }

    /// 400 `INVALID_SPEC`.
    pub fn invalid(resource: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new("INVALID_SPEC", resource, message)
    }

    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.into(), value.into());
        self
    }

    #[must_use]
    pub fn fix(mut self, fix: Value) -> Self {
        self.fix = fix;
        self
    }
}

/// A refused spec: at least one violation, in the order of the document.
///
/// As [`ApiError`] the first violation gives status, code, message, `resource`, `fix` and `details`; all of them
/// stand in `details.violations` (contract 03 §1.3).
#[derive(Clone, Debug, PartialEq)]
pub struct SpecError {
    violations: Vec<Violation>,
    /// Violations beyond those kept.
    unlisted: usize,
}

impl SpecError {
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The one whose code and resource the answer bears.
    pub fn first(&self) -> Option<&Violation> {
        self.violations.first()
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first() {
            Some(first) => write!(f, "{} at {}: {}", first.code, first.resource, first.message),
            None => f.write_str("the spec is invalid"),
        }
    }
}

impl std::error::Error for SpecError {}

impl From<Violation> for SpecError {
    fn from(violation: Violation) -> Self {
        Self { violations: vec![violation], unlisted: 0 }
    }
}

impl From<SpecError> for ApiError {
    fn from(error: SpecError) -> Self {
        let Some(first) = error.first() else {
            return Self::bad_request("INVALID_SPEC", "The spec is invalid.");
        };
        let mut answer = Self::new(first.status, first.code, first.message.clone())
            .category(Category::Deploy)
            .retryable(false)
            .safe_to_retry(true)
            .mutation_state(MutationState::None)
            .extra("phase", "validate")
            .extra("resource", first.resource.clone())
            .extra("fix", first.fix.clone())
            .detail("violations", json!(error.violations))
            .detail("violation_count", error.violations.len() + error.unlisted);
        for (key, value) in &first.details {
            answer = answer.detail(key, value.clone());
        }
        answer
    }
}

/// Collects violations while a spec is read.
#[derive(Debug, Default)]
pub(in crate::features::releases) struct Violations {
    found: Vec<Violation>,
    unlisted: usize,
}

impl Violations {
    pub fn push(&mut self, violation: Violation) {
        if self.found.len() < LISTED {
            self.found.push(violation);
        } else {
            self.unlisted += 1;
        }
    }

    pub fn invalid(&mut self, resource: impl Into<String>, message: impl Into<String>) {
        self.push(Violation::invalid(resource, message));
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// # Errors
    /// When there was any violation.
    pub fn into_result(self) -> Result<(), SpecError> {
        if self.found.is_empty() { Ok(()) } else { Err(SpecError { violations: self.found, unlisted: self.unlisted }) }
    }
}
