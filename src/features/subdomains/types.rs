//! What goes over the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::common::{DeploymentId, ProjectId, Timestamp};

/// Body of a claim.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ClaimRequest {
    /// 3 to 63 characters of `a-z`, `0-9` and single hyphens.
    pub name: Option<String>,
    /// A deployment or a release of the project; none: the live one.
    pub deployment_id: Option<String>,
}

/// A claimed name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Subdomain {
    pub name: String,
    /// What the name serves; null when nothing was deployed.
    #[schema(value_type = Option<String>)]
    pub deployment_id: Option<DeploymentId>,
    pub url: String,
    pub deployment_url: Option<String>,
    #[schema(value_type = String)]
    pub project_id: ProjectId,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubdomainList {
    pub subdomains: Vec<Subdomain>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    /// `deleted`
    pub status: &'static str,
    pub name: String,
    /// What the name served.
    #[schema(value_type = Option<String>)]
    pub deployment_id: Option<DeploymentId>,
    #[schema(value_type = String)]
    pub project_id: ProjectId,
    #[schema(value_type = String, format = DateTime)]
    pub deleted_at: Timestamp,
}
