//! SKELETON: projects, their databases, their usage. Signatures are binding.
use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};

use crate::{
    common::{ApiError, ApiResult, OrganisationId, ProjectId, Slot},
    engines::postgres::{Connection, DatabaseError},
    features::identity::{Identity, KeyRole},
};

/// What the hot path needs to know of a live project; an immutable snapshot.
#[derive(Clone, Debug)]
pub struct Project {
    pub id: ProjectId,
    pub organisation: OrganisationId,
    pub slot: Slot,
    pub archived: bool,
}

impl Project {
    /// `r402_<slot>`
    pub fn database(&self) -> String {
        format!("r402_{}", self.slot)
    }
    /// `r402_<slot>_owner`
    pub fn owner_role(&self) -> String {
        format!("r402_{}_owner", self.slot)
    }
}

pub struct Projects {}
impl Projects {
    /// From memory: no query.
    pub fn live(&self, _id: &ProjectId) -> Option<Arc<Project>> {
        todo!()
    }
    /// Rate limit, quota and metering of one data-plane call (02 §2.3). 429, 403 QUOTA_EXCEEDED. `grows` = may store more data.
    pub fn meter(&self, _project: &Project, _grows: bool) -> ApiResult<()> {
        todo!()
    }
    /// A session logged in as the project's owner role (raw SQL, migrations).
    pub async fn owner_session(&self, _project: &Project) -> Result<Connection, DatabaseError> {
        todo!()
    }
    /// A session of the platform superuser in the project's database. Never runs user text.
    pub async fn platform_session(&self, _project: &Project) -> Result<Connection, DatabaseError> {
        todo!()
    }
    /// A pooled session logged in as `authenticator` (REST).
    pub async fn rest_session(&self, _project: &Project) -> Result<Connection, DatabaseError> {
        todo!()
    }
    /// Tells everyone that the project's schema changed.
    pub fn bump_schema_version(&self, _project: &Project) {
        todo!()
    }
    pub fn schema_version(&self, _project: &Project) -> u64 {
        todo!()
    }
}

/// Extractor for `/projects/v1/admin/{id}/…`: the service key of the project named in the path (first path parameter `id`).
/// 401 without or with a bad key or a purged project, 403 `ADMIN_REQUIRED` for an anon key, 403 `FORBIDDEN` for another project's key, 403 `PROJECT_ARCHIVED`.
pub struct ServiceProject(pub Arc<Project>);

impl<S: Send + Sync> FromRequestParts<S> for ServiceProject
where
    Arc<Identity>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
{
    type Rejection = ApiError;
    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let _ = KeyRole::Service;
        todo!()
    }
}
