//! Rights inside an organisation (08 §3.1) and the one way to say no.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::common::ApiError;

/// Rights inside an organisation, weakest first (08 §3.1): a role has every right of those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Billing,
    Developer,
    Admin,
    Owner,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Billing, Self::Developer, Self::Admin, Self::Owner];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Billing => "billing",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// What a member wants to do (08 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Rename,
    ProjectCreate,
    ProjectRead,
    ProjectWrite,
    /// Plan, commit, resume, promote, uploads.
    ProjectDeploy,
    /// Setting and deleting function secrets.
    ProjectSecretWrite,
    ProjectDelete,
    BillingRead,
    BillingWrite,
}

impl Action {
    /// The name sent as `details.action`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "org.read",
            Self::Rename => "org.rename",
            Self::ProjectCreate => "org.project.create",
            Self::ProjectRead => "project.read",
            Self::ProjectWrite => "project.write",
            Self::ProjectDeploy => "project.deploy",
            Self::ProjectSecretWrite => "project.secret.write",
            Self::ProjectDelete => "project.delete",
            Self::BillingRead => "billing.read",
            Self::BillingWrite => "billing.write",
        }
    }

    /// The weakest role that may do it.
    pub fn required_role(self) -> Role {
        match self {
            Self::Read | Self::ProjectRead => Role::Viewer,
            Self::BillingRead | Self::BillingWrite => Role::Billing,
            Self::ProjectCreate | Self::ProjectDeploy | Self::ProjectSecretWrite => Role::Developer,
            Self::ProjectWrite => Role::Admin,
            Self::Rename | Self::ProjectDelete => Role::Owner,
        }
    }
}

/// `details.reason` of a denial (08 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No active membership, or no such organisation: deliberately the same.
    NotMember,
    /// A member whose role is too low.
    RoleTooLow,
    /// No such project, or one of an organisation the caller is not in: deliberately the same.
    ProjectNotFound,
}

/// 403 `NOT_AUTHORIZED`. Depends on nothing but the action and the reason, so that it cannot tell an unknown
/// id from a foreign one (08 §3.1, "authorise before reveal").
pub fn not_authorized(action: Action, denial: Denial) -> ApiError {
    let (reason, message) = match denial {
        Denial::NotMember => ("member", "You are not a member of this organisation, or it does not exist."),
        Denial::RoleTooLow => ("forbidden", "Your role in this organisation does not allow this. Ask an owner."),
        Denial::ProjectNotFound => ("project_not_found", "You have no access to this project, or it does not exist."),
    };
    ApiError::forbidden("NOT_AUTHORIZED", message)
        .detail("action", action.name())
        .detail("required_role", action.required_role().as_str())
        .detail("required_capability", Value::Null)
        .detail("reason", reason)
}

/// Whether a caller with this role (none: not a member) may act.
pub(super) fn decide(role: Option<Role>, action: Action) -> Result<Role, ApiError> {
    match role {
        None => Err(not_authorized(action, Denial::NotMember)),
        Some(role) if role < action.required_role() => Err(not_authorized(action, Denial::RoleTooLow)),
        Some(role) => Ok(role),
    }
}
