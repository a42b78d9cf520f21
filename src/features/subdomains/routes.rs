//! HTTP of managed subdomains (contract 04 §8).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Subdomains,
    types::{ClaimRequest, Deleted, Subdomain, SubdomainList},
};
use crate::{
    common::{ApiError, ApiJson, ApiResult},
    features::{
        identity::{Identity, KeyRole},
        projects::{Project, Projects},
    },
};

/// The routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Subdomains>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(claim, list)).routes(routes!(find, delete))
}

/// The project of the service key a request carries.
struct KeyedProject(Arc<Project>);

impl<S: Send + Sync> FromRequestParts<S> for KeyedProject
where
    Arc<Identity>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let key = Arc::<Identity>::from_ref(state).project_key(&parts.headers)?.ok_or_else(|| {
            ApiError::authentication_required("Send the project's service key as Authorization: Bearer <key>.")
        })?;
        let project = Arc::<Projects>::from_ref(state).serving(&key)?;
        match key.role {
            KeyRole::Service => Ok(Self(project)),
            KeyRole::Anon => Err(ApiError::forbidden(
                "ADMIN_REQUIRED",
                "This route needs the project's service key, not its anon key.",
            )),
        }
    }
}

/// Claim a subdomain
///
/// Idempotent: the project's own name is pointed at the deployment, until the next deploy re-points every name.
#[utoipa::path(
    post,
    path = "/subdomains/v1",
    tag = "deploys",
    request_body = ClaimRequest,
    responses(
        (status = 201, body = Subdomain),
        (status = 200, body = Subdomain, description = "The project had the name already"),
        (status = 400, description = "`INVALID_SUBDOMAIN_NAME`, `SUBDOMAIN_RESERVED`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `PROJECT_ARCHIVED`, `PROJECT_FROZEN`, `PROJECT_DORMANT`"),
        (status = 404, description = "`DEPLOYMENT_NOT_FOUND`"),
        (status = 409, description = "`SUBDOMAIN_TAKEN`; `SUBDOMAIN_RESERVED` for a deleted project's owner"),
    ),
)]
async fn claim(
    KeyedProject(project): KeyedProject,
    State(subdomains): State<Arc<Subdomains>>,
    ApiJson(request): ApiJson<ClaimRequest>,
) -> ApiResult<(StatusCode, Json<Subdomain>)> {
    let name = request.name.ok_or_else(|| ApiError::validation("name", "Send {\"name\": \"…\"}."))?;
    let claimed = subdomains.claim(&project, &name, request.deployment_id.as_deref()).await?;
    let status = if claimed.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(claimed.subdomain)))
}

/// List the project's subdomains, oldest first
#[utoipa::path(
    get,
    path = "/subdomains/v1",
    tag = "deploys",
    responses(
        (status = 200, body = SubdomainList),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `PROJECT_ARCHIVED`"),
    ),
)]
async fn list(
    KeyedProject(project): KeyedProject,
    State(subdomains): State<Arc<Subdomains>>,
) -> ApiResult<Json<SubdomainList>> {
    Ok(Json(SubdomainList { subdomains: subdomains.list(&project).await? }))
}

/// Read one subdomain; public
#[utoipa::path(
    get,
    path = "/subdomains/v1/{name}",
    tag = "deploys",
    params(("name" = String, Path, description = "The name")),
    responses((status = 200, body = Subdomain), (status = 404, description = "`SUBDOMAIN_NOT_FOUND`")),
)]
async fn find(State(subdomains): State<Arc<Subdomains>>, Path(name): Path<String>) -> ApiResult<Json<Subdomain>> {
    subdomains.find(&name).await.map(Json)
}

/// Give up a subdomain; it is free at once
#[utoipa::path(
    delete,
    path = "/subdomains/v1/{name}",
    tag = "deploys",
    params(("name" = String, Path, description = "The name")),
    responses(
        (status = 200, body = Deleted),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `PROJECT_ARCHIVED`; `FORBIDDEN`: another project's name"),
        (status = 404, description = "`SUBDOMAIN_NOT_FOUND`"),
    ),
)]
async fn delete(
    KeyedProject(project): KeyedProject,
    State(subdomains): State<Arc<Subdomains>>,
    Path(name): Path<String>,
) -> ApiResult<Json<Deleted>> {
    subdomains.delete(&project, &name).await.map(Json)
}
