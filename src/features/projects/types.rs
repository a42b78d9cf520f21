//! What the project routes receive and answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::names;
use crate::{
    common::{ApiError, ApiResult, OrganisationId, PrincipalId, ProjectId, Slot, Timestamp},
    features::orgs::{LifecycleState, Organisation, Tier},
};

/// Body of `POST /projects/v1`. Everything is optional; unknown fields are ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct ProvisionRequest {
    /// `prototype`, `hobby` or `team`; default `prototype`. Only the first project of an organisation without a
    /// tier is bought with it: elsewhere the organisation's tier wins.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    tier: Value,
    /// 1 to 200 characters. A readable label is made when it is missing.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Value,
    /// UUID of an organisation the caller is developer or higher in. Default: the wallet's own.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    org_id: Value,
}

/// A valid provision request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct NewProject {
    pub tier: Tier,
    pub name: Option<String>,
    pub organisation: Option<OrganisationId>,
}

impl ProvisionRequest {
    /// # Errors
    /// 400 `VALIDATION_ERROR` naming the field.
    pub(super) fn validate(self) -> ApiResult<NewProject> {
        let tier = optional_text("tier", &self.tier)?.map_or(Ok(Tier::Prototype), |name| {
            name.parse().map_err(|_| {
                ApiError::validation("tier", format!("Unknown tier {name:?}. Choose prototype, hobby or team."))
            })
        })?;
        let name = optional_text("name", &self.name)?.map(names::valid_name).transpose()?;
        let organisation = optional_text("org_id", &self.org_id)?.map(valid_organisation).transpose()?;
        Ok(NewProject { tier, name, organisation })
    }
}

/// The text of a field that may be missing or null.
///
/// # Errors
/// 400 `VALIDATION_ERROR` naming the field when it is anything else.
fn optional_text<'a>(field: &str, value: &'a Value) -> ApiResult<Option<&'a str>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(ApiError::validation(field, format!("{field} must be a string."))),
    }
}

/// # Errors
/// 400 `VALIDATION_ERROR` with `details.field: "org_id"`.
pub(super) fn valid_organisation(text: &str) -> ApiResult<OrganisationId> {
    text.parse().map_err(|_| ApiError::validation("org_id", "org_id must be the UUID of an organisation."))
}

/// Answer of `POST /projects/v1`: the only time the keys are shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct Provisioned {
    #[schema(value_type = String, example = "prj_1777563179844_1095abcd")]
    pub project_id: ProjectId,
    pub anon_key: String,
    pub service_key: String,
    #[schema(value_type = String, example = "p0001")]
    pub schema_slot: Slot,
    pub name: String,
    pub tier: Tier,
    #[schema(value_type = String, format = Uuid)]
    pub org_id: OrganisationId,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lease_expires_at: Option<Timestamp>,
}

/// One row of a project list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProjectListRow {
    #[schema(value_type = String)]
    pub id: ProjectId,
    pub name: String,
    pub tier: Tier,
    pub site_url: Option<String>,
    pub custom_domains: Vec<String>,
    /// `active` or `archived`: the project's own state.
    pub status: &'static str,
    /// The organisation's lifecycle state, unless the project is archived.
    pub effective_status: &'static str,
    pub organization_lifecycle_state: &'static str,
    pub lease_perpetual: bool,
    #[schema(value_type = String, format = Uuid)]
    pub org_id: OrganisationId,
    #[schema(value_type = Option<String>)]
    pub created_by: Option<PrincipalId>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deleted_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<Timestamp>,
}

/// Answer of `GET /projects/v1`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProjectList {
    pub projects: Vec<ProjectListRow>,
    pub has_more: bool,
    pub next_cursor: Option<String>,
}

/// Answer of `GET /agent/v1/operator/projects`.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperatorProjects {
    pub projects: Vec<ProjectListRow>,
    #[schema(example = "wallet")]
    pub scope: &'static str,
}

/// Counters of a project beside the limits of its organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProjectUsage {
    pub api_calls: i64,
    pub storage_bytes: i64,
    pub api_calls_limit: i64,
    pub storage_bytes_limit: i64,
}

/// Answer of `GET /projects/v1/{id}`. Never contains keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProjectDetail {
    #[schema(value_type = String)]
    pub project_id: ProjectId,
    pub public_id: String,
    pub name: String,
    #[schema(value_type = String, format = Uuid)]
    pub org_id: OrganisationId,
    pub tier: Tier,
    pub effective_status: &'static str,
    pub organization_lifecycle_state: &'static str,
    pub site_url: Option<String>,
    pub custom_domains: Vec<String>,
    /// `{release_id, activated_at}` of the release being served.
    #[schema(value_type = Option<Object>)]
    pub last_deploy: Option<Value>,
    /// Mail addresses.
    pub mailbox: Vec<String>,
    pub usage: ProjectUsage,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Answer of `GET /projects/v1/admin/{id}/usage`. Both limits are above zero: clients divide by them.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageReport {
    #[schema(value_type = String)]
    pub project_id: ProjectId,
    pub tier: Tier,
    pub api_calls: i64,
    pub api_calls_limit: i64,
    pub storage_bytes: i64,
    pub storage_limit_bytes: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lease_expires_at: Option<Timestamp>,
    pub effective_status: &'static str,
    pub organization_lifecycle_state: &'static str,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct RenameRequest {
    /// 1 to 200 characters.
    #[serde(default)]
    #[schema(value_type = String)]
    name: Value,
}

impl RenameRequest {
    /// # Errors
    /// 400 `VALIDATION_ERROR` with `details.field: "name"`.
    pub(super) fn validate(&self) -> ApiResult<String> {
        let name = optional_text("name", &self.name)?;
        name.map_or_else(|| Err(ApiError::validation("name", "Send the new name.")), names::valid_name)
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Renamed {
    #[schema(value_type = String)]
    pub project_id: ProjectId,
    pub name: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Purged {
    #[schema(example = "purged")]
    pub status: &'static str,
    #[schema(value_type = String)]
    pub project_id: ProjectId,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct ArchiveRequest {
    /// Why, for the operator's own records.
    pub reason: Option<String>,
}

/// `{status, project_id, archived_at, reason}` or `{status, project_id, note: "already archived"}`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Archived {
    Now {
        status: &'static str,
        #[schema(value_type = String)]
        project_id: ProjectId,
        #[schema(value_type = String, format = DateTime)]
        archived_at: Timestamp,
        reason: Option<String>,
    },
    Before {
        status: &'static str,
        #[schema(value_type = String)]
        project_id: ProjectId,
        note: &'static str,
    },
}

/// `{status, project_id, reactivated: true}` or `{status, project_id, note: "not archived"}`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Reactivated {
    Now {
        status: &'static str,
        #[schema(value_type = String)]
        project_id: ProjectId,
        reactivated: bool,
    },
    NotArchived {
        status: &'static str,
        #[schema(value_type = String)]
        project_id: ProjectId,
        note: &'static str,
    },
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Pinned {
    #[schema(example = "pinned")]
    pub status: &'static str,
    #[schema(value_type = String)]
    pub project_id: ProjectId,
}

/// A stored project.
#[derive(Clone, Debug)]
pub(super) struct ProjectRow {
    pub id: ProjectId,
    pub public_id: String,
    pub organisation: OrganisationId,
    pub name: String,
    pub created_by: Option<PrincipalId>,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    pub archived_at: Option<Timestamp>,
    /// Calls in the organisation's current period that are written.
    pub api_calls: i64,
    pub storage_bytes: i64,
}

/// A project's own state, or the one of its organisation (02 §2.2): taking a project down wins.
pub(super) fn effective_status(archived: bool, deleted: bool, lifecycle: LifecycleState) -> &'static str {
    match (deleted, archived) {
        (true, _) => "deleted",
        (false, true) => "archived",
        (false, false) => lifecycle.as_str(),
    }
}

/// The tier shown and metered for an organisation that has none: the smallest.
pub(super) fn tier_or_smallest(organisation: &Organisation) -> Tier {
    organisation.lease.map_or(Tier::Prototype, |lease| lease.tier)
}

impl ProjectRow {
    pub fn status(&self) -> &'static str {
        if self.archived_at.is_some() { "archived" } else { "active" }
    }

    pub fn effective_status(&self, organisation: &Organisation) -> &'static str {
        effective_status(self.archived_at.is_some(), self.deleted_at.is_some(), organisation.lifecycle.state)
    }

    pub fn into_list_row(self, organisation: &Organisation, site_url: Option<String>) -> ProjectListRow {
        ProjectListRow {
            status: self.status(),
            effective_status: self.effective_status(organisation),
            organization_lifecycle_state: organisation.lifecycle.state.as_str(),
            lease_perpetual: organisation.lease_perpetual,
            tier: tier_or_smallest(organisation),
            site_url,
            custom_domains: Vec::new(),
            org_id: self.organisation,
            id: self.id,
            name: self.name,
            created_by: self.created_by,
            created_at: self.created_at,
            deleted_at: self.deleted_at,
            archived_at: self.archived_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: Value) -> ApiResult<NewProject> {
        serde_json::from_value::<ProvisionRequest>(json).unwrap().validate()
    }

    #[test]
    fn an_empty_provision_request_asks_for_a_prototype() {
        let expected = NewProject { tier: Tier::Prototype, name: None, organisation: None };
        assert_eq!(request(serde_json::json!({})).unwrap(), expected);
        assert_eq!(request(serde_json::json!({"tier": null, "name": null, "x": 1})).unwrap(), expected);
    }

    #[test]
    fn bad_fields_of_a_provision_request_are_named() {
        for (body, field, word) in [
            (serde_json::json!({"tier": "gold"}), "tier", "gold"),
            (serde_json::json!({"tier": "Hobby"}), "tier", "Hobby"),
            (serde_json::json!({"name": " "}), "name", "name"),
            (serde_json::json!({"name": 7}), "name", "string"),
            (serde_json::json!({"org_id": "nope"}), "org_id", "UUID"),
            (serde_json::json!({"org_id": []}), "org_id", "string"),
        ] {
            let error = request(body).unwrap_err();
            assert_eq!(error.code(), "VALIDATION_ERROR");
            assert_eq!(error.body("trc_1", false)["details"]["field"], field);
            assert!(error.message().contains(word), "{}", error.message());
        }
    }

    #[test]
    fn deletion_and_archiving_win_over_the_lifecycle() {
        for (archived, deleted, lifecycle, expected) in [
            (false, false, LifecycleState::Active, "active"),
            (false, false, LifecycleState::PastDue, "past_due"),
            (true, false, LifecycleState::Frozen, "archived"),
            (true, true, LifecycleState::Active, "deleted"),
            (false, true, LifecycleState::Dormant, "deleted"),
        ] {
            assert_eq!(effective_status(archived, deleted, lifecycle), expected);
        }
    }
}
