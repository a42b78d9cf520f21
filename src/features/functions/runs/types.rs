//! A run, inside and on the wire (contract 05 §6.2).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::common::{ProjectId, Timestamp};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Queued for a time to come; told from [`Status::Queued`] by the clock.
    Scheduled,
    Queued,
    Running,
    Retrying,
    /// The function is not deployed at the moment, or its project not active.
    Blocked,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

impl Status {
    const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Blocked,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Blocked => "blocked",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }
}

/// How often and how soon a failed attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    pub max_attempts: u32,
    pub min_delay_seconds: u32,
    pub max_delay_seconds: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: 5, min_delay_seconds: 30, max_delay_seconds: 21_600 }
    }
}

impl Retry {
    /// Seconds to wait after the `attempt`th attempt.
    pub fn delay(self, attempt: u32) -> u32 {
        let factor = 2u32.saturating_pow(attempt.saturating_sub(1));
        self.min_delay_seconds.saturating_mul(factor).min(self.max_delay_seconds)
    }
}

/// One attempt of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub id: String,
    pub number: u32,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub response_status: Option<i32>,
    pub error: Option<Value>,
}

/// A run as it is stored.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: String,
    pub project: ProjectId,
    pub function: String,
    pub idempotency_key: String,
    pub intent: Value,
    pub event_type: String,
    pub payload: Value,
    pub source: Value,
    pub retry: Retry,
    pub status: Status,
    pub generation: u32,
    pub run_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Of this generation.
    pub attempts: u32,
    pub attempts_total: u32,
    pub next_attempt_at: Option<Timestamp>,
    pub last_error: Option<Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub last_attempt: Option<Attempt>,
}

impl Run {
    /// What clients see as its status.
    pub fn status_at(&self, now: Timestamp) -> Status {
        if self.status == Status::Queued && self.run_at > now { Status::Scheduled } else { self.status }
    }

    pub fn handle(&self, now: Timestamp, deduplicated: bool) -> Handle {
        let status = self.status_at(now);
        let mut attempts = Map::from_iter([
            ("current".to_owned(), json!(self.attempts)),
            ("max".to_owned(), json!(self.retry.max_attempts)),
            ("total".to_owned(), json!(self.attempts_total)),
        ]);
        if let Some(next) = self.next_attempt_at {
            attempts.insert("next_attempt_at".into(), json!(next));
        }
        Handle {
            run_id: self.id.clone(),
            function_name: self.function.clone(),
            event_type: self.event_type.clone(),
            status,
            terminal: status.is_terminal(),
            generation: self.generation,
            run_at: self.run_at,
            expires_at: self.expires_at,
            source: self.source.clone(),
            attempts: Value::Object(attempts),
            last_attempt: self.last_attempt.as_ref().map(attempt_view),
            last_error: self.last_error.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            completed_at: self.completed_at,
            deduplicated: deduplicated.then_some(true),
            next_actions: next_actions(&self.id, status),
        }
    }
}

fn attempt_view(attempt: &Attempt) -> Value {
    let took = attempt.completed_at.map(|completed| completed.since(attempt.started_at).as_millis());
    let mut view = json!({
        "attempt_id": attempt.id,
        "number": attempt.number,
        "started_at": attempt.started_at,
        "completed_at": attempt.completed_at,
        "duration_ms": took.map(|took| i64::try_from(took).unwrap_or(i64::MAX)),
        "response_status": attempt.response_status,
    });
    if let (Some(error), Some(view)) = (&attempt.error, view.as_object_mut()) {
        view.insert("error".into(), error.clone());
    }
    view
}

/// What can be done with a run, by hand or by an agent.
pub fn next_actions(run: &str, status: Status) -> Vec<Value> {
    let action = |kind: &str, method: &str, rest: &str| json!({"type": kind, "method": method, "href": format!("/functions/v1/runs/{run}{rest}")});
    let mut actions = vec![action("get_run", "GET", ""), action("get_run_logs", "GET", "/logs")];
    match status {
        Status::Succeeded => {}
        Status::Failed | Status::Cancelled | Status::Expired => actions.push(action("redrive_run", "POST", "/redrive")),
        _ => actions.push(action("cancel_run", "POST", "/cancel")),
    }
    actions
}

/// A run as clients see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Handle {
    pub run_id: String,
    pub function_name: String,
    pub event_type: String,
    pub status: Status,
    pub terminal: bool,
    pub generation: u32,
    #[schema(value_type = String, format = DateTime)]
    pub run_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[schema(value_type = Object)]
    pub source: Value,
    /// `{current, max, total, next_attempt_at?}`
    #[schema(value_type = Object)]
    pub attempts: Value,
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Value>,
    /// `{code, message, retryable}`
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplicated: Option<bool>,
    #[schema(value_type = Vec<Object>)]
    pub next_actions: Vec<Value>,
}

/// `GET /functions/v1/{name}/runs`
#[derive(Debug, Serialize, ToSchema)]
pub struct RunList {
    pub runs: Vec<Handle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
