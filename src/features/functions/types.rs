//! What the routes say, and the bodies they take.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::common::Timestamp;

/// `runtime_version`: of the module `@run402/functions` whose behaviour functions see.
pub(super) const RUNTIME_VERSION: &str = "4.0.0";

/// `GET /projects/v1/admin/{id}/functions`
#[derive(Debug, Serialize, ToSchema)]
pub struct FunctionList {
    pub(super) functions: Vec<FunctionView>,
}

/// One function (05 §3.1).
#[derive(Debug, Serialize, ToSchema)]
pub struct FunctionView {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) runtime: String,
    /// Seconds.
    pub(super) timeout: u32,
    /// MiB.
    pub(super) memory: u32,
    pub(super) schedule: Option<String>,
    pub(super) schedule_meta: Option<ScheduleMeta>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub(super) updated_at: Timestamp,
    pub(super) runtime_version: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub(super) deps_resolved: Option<Value>,
    pub(super) runtime_stale: bool,
    pub(super) code_hash: String,
    pub(super) class: String,
    pub(super) require_auth: bool,
    #[schema(value_type = Option<Object>)]
    pub(super) require_role: Option<Value>,
    pub(super) capabilities: Vec<String>,
}

/// What is known of a schedule's runs (05 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ScheduleMeta {
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_run_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_status: Option<i32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_run_at: Option<Timestamp>,
    pub(super) run_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_error: Option<String>,
}

/// `PATCH /projects/v1/admin/{id}/functions/{name}` (05 §3.2). Nothing else is known.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// Five cron fields, or null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub(super) schedule: Option<Option<String>>,
    pub(super) config: Option<UpdateConfig>,
    /// Known: `auth.sessionMint`.
    pub(super) capabilities: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateConfig {
    /// Seconds.
    pub(super) timeout: Option<i64>,
    /// MiB.
    pub(super) memory: Option<i64>,
}

/// A field that may be null is there when it was sent.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl UpdateRequest {
    pub(super) fn is_empty(&self) -> bool {
        let config = self.config.as_ref().is_some_and(|config| config.timeout.is_some() || config.memory.is_some());
        self.schedule.is_none() && !config && self.capabilities.is_none()
    }
}

/// The answer of an update.
#[derive(Debug, Serialize, ToSchema)]
pub struct Updated {
    pub(super) name: String,
    pub(super) runtime: String,
    pub(super) timeout: u32,
    pub(super) memory: u32,
    pub(super) schedule: Option<String>,
    pub(super) schedule_meta: Option<ScheduleMeta>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) updated_at: Timestamp,
    pub(super) runtime_version: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub(super) deps_resolved: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// `deleted`
    pub(super) status: &'static str,
    pub(super) name: String,
}

/// `POST …/functions/{name}/rebuild` (05 §3.4).
#[derive(Debug, Serialize, ToSchema)]
pub struct Rebuilt {
    pub(super) name: String,
    pub(super) rebuilt: bool,
    pub(super) old_fingerprint: Option<String>,
    pub(super) new_fingerprint: String,
    pub(super) runtime_version_before: Option<String>,
    pub(super) runtime_version_after: Option<String>,
    pub(super) code_hash: String,
}

/// `POST …/functions/rebuild`
#[derive(Debug, Serialize, ToSchema)]
pub struct RebuiltAll {
    pub(super) rebuilt_count: usize,
    pub(super) total: usize,
    /// As one rebuild answers, or `{name, rebuilt: false, code, error}`.
    #[schema(value_type = Vec<Object>)]
    pub(super) results: Vec<Value>,
}

/// `GET …/functions/{name}/logs`
#[derive(Debug, Serialize, ToSchema)]
pub struct Logs {
    pub(super) logs: Vec<LogEntry>,
}

/// One entry of a function's log (05 §3.5).
#[derive(Debug, Serialize, ToSchema)]
pub struct LogEntry {
    pub(super) timestamp: String,
    pub(super) message: String,
    /// Unique and stable.
    pub(super) event_id: String,
    pub(super) request_id: String,
    pub(super) stream: String,
    pub(super) level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redacted: Option<bool>,
    pub(super) function_name: String,
    pub(super) release_id: String,
}

/// `POST …/functions/{name}/trigger` (05 §3.6).
#[derive(Debug, Serialize, ToSchema)]
pub struct Triggered {
    /// What the function answered.
    pub(super) status: u16,
    #[schema(value_type = Object)]
    pub(super) body: Value,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::json::parse;

    #[test]
    fn null_and_absent_schedules_differ() {
        let schedule = |text: &str| parse::<UpdateRequest>(text.as_bytes()).unwrap().schedule;
        assert_eq!(schedule("{}"), None);
        assert_eq!(schedule(r#"{"schedule":null}"#), Some(None));
        assert_eq!(schedule(r#"{"schedule":"* * * * *"}"#), Some(Some("* * * * *".into())));
    }

    #[test]
    fn empty_and_unknown_updates_are_told_apart_from_real_ones() {
        for (text, empty) in [("{}", true), (r#"{"config":{}}"#, true), (r#"{"config":{"timeout":5}}"#, false)] {
            assert_eq!(parse::<UpdateRequest>(text.as_bytes()).unwrap().is_empty(), empty, "{text}");
        }
        for text in
            [r#"{"timeout":5}"#, r#"{"config":{"timeout":"5"}}"#, r#"{"config":{"timeout":1.5}}"#, r#"{"schedule":5}"#]
        {
            assert_eq!(parse::<UpdateRequest>(text.as_bytes()).unwrap_err().status(), 400, "{text}");
        }
    }
}
