//! The extractor of service-key routes.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts, RawPathParams},
    http::{HeaderMap, request::Parts},
};

use super::{Project, Projects, service::archived};
use crate::{
    common::{ApiError, ApiResult},
    features::identity::{Identity, ProjectKey},
};

/// Extractor for `/projects/v1/admin/{id}/…`: the service key of the project named in the path (path parameter `id`).
/// 401 without or with a bad key or a purged project, 403 `ADMIN_REQUIRED` for an anon key, 403 `FORBIDDEN` for
/// another project's key, 403 `PROJECT_ARCHIVED`.
pub struct ServiceProject(pub Arc<Project>);

/// As [`ServiceProject`], for the one route that serves an archived project: its usage.
pub(super) struct ArchivedServiceProject(pub Arc<Project>);

impl<S: Send + Sync> FromRequestParts<S> for ServiceProject
where
    Arc<Identity>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let ArchivedServiceProject(project) = ArchivedServiceProject::from_request_parts(parts, state).await?;
        if project.archived { Err(archived()) } else { Ok(Self(project)) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ArchivedServiceProject
where
    Arc<Identity>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let key = required_key(&Arc::<Identity>::from_ref(state), &parts.headers)?;
        let path = RawPathParams::from_request_parts(parts, state).await.map_err(ApiError::internal)?;
        let id = path.iter().find(|(name, _)| *name == "id").map_or("", |(_, id)| id);
        Arc::<Projects>::from_ref(state).of_service_key(&key, id).map(Self)
    }
}

/// # Errors
/// 401 `AUTHENTICATION_REQUIRED` without a key, 401 `UNAUTHORIZED` for a bad one.
pub(super) fn required_key(identity: &Identity, headers: &HeaderMap) -> ApiResult<ProjectKey> {
    identity.project_key(headers)?.ok_or_else(|| {
        ApiError::authentication_required("Send the project's service key as Authorization: Bearer <key>.")
    })
}
