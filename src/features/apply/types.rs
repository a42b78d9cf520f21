//! What plans and operations are, inside and on the wire (contract 03 §5-7).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::common::{OperationId, PlanId, ProjectId, ReleaseId, Timestamp};

/// Where an operation stands (contract 03 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Planning,
    Uploading,
    Committing,
    Staging,
    Gating,
    Migrating,
    SchemaSettling,
    Activating,
    ActivationPending,
    NeedsRepair,
    Ready,
    Failed,
    RolledBack,
}

impl Status {
    const ALL: [Self; 13] = [
        Self::Planning,
        Self::Uploading,
        Self::Committing,
        Self::Staging,
        Self::Gating,
        Self::Migrating,
        Self::SchemaSettling,
        Self::Activating,
        Self::ActivationPending,
        Self::NeedsRepair,
        Self::Ready,
        Self::Failed,
        Self::RolledBack,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Uploading => "uploading",
            Self::Committing => "committing",
            Self::Staging => "staging",
            Self::Gating => "gating",
            Self::Migrating => "migrating",
            Self::SchemaSettling => "schema_settling",
            Self::Activating => "activating",
            Self::ActivationPending => "activation_pending",
            Self::NeedsRepair => "needs_repair",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Not begun: only the plan is there.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Planning | Self::Uploading)
    }

    /// What the phase is called in events; none for a status that is no phase.
    pub fn phase(self) -> Option<&'static str> {
        match self {
            Self::Staging => Some("stage"),
            Self::Gating => Some("migrate-gate"),
            Self::Migrating => Some("migrate"),
            Self::SchemaSettling => Some("schema-settle"),
            Self::Activating => Some("activate"),
            _ => None,
        }
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Apply,
    Promote,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Promote => "promote",
        }
    }
}

/// A status an operation was in, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PhaseMark {
    pub status: Status,
    pub at: Timestamp,
}

/// An operation as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub id: OperationId,
    pub project: ProjectId,
    pub plan: Option<PlanId>,
    pub kind: Kind,
    pub status: Status,
    pub base: Option<ReleaseId>,
    pub target: Option<ReleaseId>,
    pub release: Option<ReleaseId>,
    pub urls: Option<Value>,
    pub error: Option<Value>,
    pub phases: Vec<PhaseMark>,
    pub activate_attempts: i32,
    pub last_activate_attempt_at: Option<Timestamp>,
    pub touches_database: bool,
    pub migration_in_flight: Option<String>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Operation {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            operation_id: self.id.to_string(),
            project_id: self.project.to_string(),
            plan_id: self.plan.as_ref().map(ToString::to_string),
            kind: self.kind,
            status: self.status,
            base_release_id: self.base.as_ref().map(ToString::to_string),
            target_release_id: self.target.as_ref().map(ToString::to_string),
            release_id: self.release.as_ref().map(ToString::to_string),
            urls: self.urls.clone(),
            payment_required: None,
            error: self.error.clone(),
            activate_attempts: self.activate_attempts,
            last_activate_attempt_at: self.last_activate_attempt_at.map(|at| at.to_string()),
            created_at: self.created_at.to_string(),
            updated_at: self.updated_at.to_string(),
        }
    }

    /// The events a client would have seen (contract 03 §7.2, §11), oldest first. A promote has no phases.
    pub fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut open: Option<&'static str> = None;
        let event = |phase: &str, status: &str| json!({"type": "commit.phase", "phase": phase, "status": status});
        let marks = if self.kind == Kind::Promote { &[] } else { self.phases.as_slice() };
        for mark in marks {
            let Some(phase) = mark.status.phase() else { continue };
            if open == Some(phase) {
                continue;
            }
            if let Some(before) = open.replace(phase) {
                events.push(event(before, "done"));
            }
            events.push(event(phase, "started"));
        }
        let logs = self.error.as_ref().and_then(|error| error["logs"].as_array()).into_iter().flatten();
        let resource = self.error.as_ref().and_then(|error| error["resource"].as_str()).unwrap_or("release");
        for line in logs {
            events.push(json!({"type": "log", "resource": resource, "stream": "stderr", "line": line}));
        }
        match (self.status, open) {
            (Status::Ready, open) => {
                events.extend(open.map(|phase| event(phase, "done")));
                events.push(json!({"type": "ready", "releaseId": self.release, "urls": self.urls}));
            }
            (Status::Failed | Status::RolledBack | Status::NeedsRepair | Status::ActivationPending, Some(phase)) => {
                events.push(event(phase, "failed"))
            }
            _ => {}
        }
        events
    }
}

/// An operation on the wire.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Snapshot {
    pub operation_id: String,
    pub project_id: String,
    pub plan_id: Option<String>,
    pub kind: Kind,
    pub status: Status,
    pub base_release_id: Option<String>,
    pub target_release_id: Option<String>,
    pub release_id: Option<String>,
    pub urls: Option<Value>,
    /// Always null: this box never asks for money at a deploy.
    #[schema(value_type = Option<Value>)]
    pub payment_required: Option<()>,
    pub error: Option<Value>,
    pub activate_attempts: i32,
    pub last_activate_attempt_at: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

/// A page of operations, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OperationList {
    pub operations: Vec<Snapshot>,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventList {
    pub events: Vec<Value>,
}

/// What a commit answers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Committed {
    pub operation_id: String,
    /// `running`, `schema_settling`, `activation_pending`, `ready` or `failed`
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urls: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

impl Committed {
    pub(super) fn of(operation: &Operation) -> Self {
        let status = match operation.status {
            Status::Ready => "ready",
            Status::Failed | Status::RolledBack | Status::NeedsRepair => "failed",
            Status::ActivationPending => "activation_pending",
            Status::SchemaSettling => "schema_settling",
            _ => "running",
        };
        Self {
            operation_id: operation.id.to_string(),
            status,
            release_id: operation.release.as_ref().map(ToString::to_string),
            urls: operation.urls.clone(),
            error: operation.error.clone().filter(|_| status != "ready"),
        }
    }
}

/// Body of a plan request. Taken apart by hand, because an unknown key is the spec's error, not the body's.
pub type Envelope = Map<String, Value>;

/// How a plan named its base: decides whether a conflict may be retried (contract 03 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BaseKind {
    Current,
    Empty,
    Pinned,
}

impl BaseKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Empty => "empty",
            Self::Pinned => "pinned",
        }
    }
}

/// A plan as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub id: PlanId,
    pub project: ProjectId,
    pub operation: OperationId,
    pub base_kind: BaseKind,
    pub base: Option<ReleaseId>,
    pub manifest_digest: String,
    pub idempotency_key: Option<String>,
    pub principal: String,
    /// The normalised spec.
    pub spec: Arc<Value>,
    pub is_noop: bool,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Body of a promote request.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct PromoteRequest {
    pub project: Option<String>,
    /// Warnings the caller accepts, such as `MIGRATIONS_NOT_REVERSIBLE`.
    #[serde(default)]
    pub allow_warning_codes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(status: Status, phases: &[Status]) -> Operation {
        let at = Timestamp::from_millis(0).unwrap();
        Operation {
            id: "op_1_a".parse().unwrap(),
            project: "prj_1".parse().unwrap(),
            plan: None,
            kind: Kind::Apply,
            status,
            base: None,
            target: None,
            release: (status == Status::Ready).then(|| "rel_1".parse().unwrap()),
            urls: (status == Status::Ready).then(|| json!({"project": "http://x"})),
            error: None,
            phases: phases.iter().map(|status| PhaseMark { status: *status, at }).collect(),
            activate_attempts: 0,
            last_activate_attempt_at: None,
            touches_database: false,
            migration_in_flight: None,
            created_by: "system".into(),
            created_at: at,
            updated_at: at,
        }
    }

    fn lines(operation: &Operation) -> Vec<String> {
        let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        operation
            .events()
            .iter()
            .map(|event| format!("{} {} {}", word(event, "type"), word(event, "phase"), word(event, "status")))
            .collect()
    }

    #[test]
    fn each_phase_is_closed_when_the_next_starts() {
        let ready = operation(Status::Ready, &[Status::Committing, Status::Staging, Status::Activating]);
        assert_eq!(
            lines(&ready),
            [
                "commit.phase stage started",
                "commit.phase stage done",
                "commit.phase activate started",
                "commit.phase activate done",
                "ready  "
            ]
        );
        assert_eq!(ready.events()[4]["releaseId"], "rel_1");
    }

    #[test]
    fn a_failure_closes_its_phase_as_failed() {
        let failed = operation(Status::Failed, &[Status::Staging, Status::Migrating]);
        assert_eq!(lines(&failed).last().unwrap(), "commit.phase migrate failed");
        assert!(operation(Status::Planning, &[]).events().is_empty());
    }

    #[test]
    fn statuses_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::from_stored(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
