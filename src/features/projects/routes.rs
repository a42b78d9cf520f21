//! HTTP in and out.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Path, Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Projects, ServiceProject,
    extract::ArchivedServiceProject,
    provision::Order,
    types::{
        ArchiveRequest, Archived, OperatorProjects, Pinned, ProjectDetail, ProjectList, ProvisionRequest, Provisioned,
        Purged, Reactivated, RenameRequest, Renamed, UsageReport,
    },
};
use crate::{
    common::{ApiError, ApiJson, ApiResult, PageQuery, TraceId},
    features::{
        idempotency::{Begin, Idempotency},
        identity::{Identity, RequireAdmin, Wallet},
    },
};

/// All routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Projects>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
    Arc<Idempotency>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(provision, list))
        .routes(routes!(detail, rename, delete))
        .routes(routes!(operator_projects))
        .routes(routes!(usage))
        .routes(routes!(archive))
        .routes(routes!(reactivate))
        .routes(routes!(pin))
}

/// Provisions a project (02 §2.1)
///
/// Answers when SQL and the data API already work for the new keys, which are shown this once. An organisation
/// without a tier buys the requested one on the way: 402 with an offer, then the same request with the payment.
#[utoipa::path(
    post,
    path = "/projects/v1",
    tag = "projects",
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeats get the first answer for 24 h")),
    request_body = ProvisionRequest,
    responses(
        (status = 201, body = Provisioned),
        (status = 400, description = "`VALIDATION_ERROR` unknown tier, bad name or org_id"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
        (status = 402, description = "`PAYMENT_REQUIRED`: the organisation has no tier; the offer to pay it"),
        (status = 403, description = "`NOT_AUTHORIZED`, `PROJECT_PAST_DUE`, `PROJECT_FROZEN`, `PROJECT_DORMANT`, `QUOTA_EXCEEDED`"),
        (status = 409, description = "`IDEMPOTENCY_CONFLICT`, `IDEMPOTENCY_IN_PROGRESS`"),
        (status = 503, description = "`NO_SCHEMA_SLOTS`: the box is full"),
    )
)]
async fn provision(
    State(projects): State<Arc<Projects>>,
    State(idempotency): State<Arc<Idempotency>>,
    Wallet(wallet): Wallet,
    TraceId(trace_id): TraceId,
    headers: HeaderMap,
    ApiJson(request): ApiJson<ProvisionRequest>,
) -> ApiResult<Response> {
    let project = request.validate()?;
    let caller = wallet.to_string();
    let ticket = match idempotency.begin(&headers, &caller, "POST", "/projects/v1", &project.digest()).await? {
        Begin::Replay(answer) => return Ok(answer),
        Begin::Fresh(ticket) => Some(ticket),
        Begin::Unkeyed => None,
    };
    projects.provision_to_the_end(Order { wallet, project, headers, ticket }, trace_id).await
}

#[derive(Deserialize)]
struct ListQuery {
    org_id: Option<String>,
    limit: Option<String>,
    after: Option<String>,
    cursor: Option<String>,
}

/// Lists the projects of the caller's organisations, newest first (02 §2.1)
#[utoipa::path(
    get,
    path = "/projects/v1",
    tag = "projects",
    params(
        ("org_id" = Option<String>, Query, description = "Only this organisation"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("after" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = ProjectList),
        (status = 400, description = "`VALIDATION_ERROR` bad org_id, `INVALID_LIMIT`, `INVALID_CURSOR`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
        (status = 403, description = "`NOT_AUTHORIZED`: not a member, or no such organisation"),
    )
)]
async fn list(
    State(projects): State<Arc<Projects>>,
    Wallet(wallet): Wallet,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> ApiResult<Json<ProjectList>> {
    let Query(query) = query
        .map_err(|error| ApiError::validation("query", format!("The query is not readable: {}", error.body_text())))?;
    let page = PageQuery { limit: query.limit, after: query.after, cursor: query.cursor };
    projects.page(wallet, query.org_id.as_deref(), &page).await.map(Json)
}

/// Lists every project of the caller's wallet (02 §2.1)
///
/// E-mail operators will get the union of their wallets here, once operator sessions are built.
#[utoipa::path(
    get,
    path = "/agent/v1/operator/projects",
    tag = "projects",
    responses((status = 200, body = OperatorProjects), (status = 401, description = "`AUTHENTICATION_REQUIRED`"))
)]
async fn operator_projects(
    State(projects): State<Arc<Projects>>,
    Wallet(wallet): Wallet,
) -> ApiResult<Json<OperatorProjects>> {
    projects.of_wallet(wallet).await.map(Json)
}

/// Shows one project (02 §2.1)
#[utoipa::path(
    get,
    path = "/projects/v1/{id}",
    tag = "projects",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = ProjectDetail),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
        (status = 403, description = "`NOT_AUTHORIZED`: foreign or absent, deliberately the same"),
    )
)]
async fn detail(
    State(projects): State<Arc<Projects>>,
    Wallet(wallet): Wallet,
    Path(id): Path<String>,
) -> ApiResult<Json<ProjectDetail>> {
    projects.detail(wallet, &id).await.map(Json)
}

/// Renames a project (02 §2.1)
#[utoipa::path(
    patch,
    path = "/projects/v1/{id}",
    tag = "projects",
    params(("id" = String, Path, description = "Project id")),
    request_body = RenameRequest,
    responses(
        (status = 200, body = Renamed),
        (status = 400, description = "`VALIDATION_ERROR`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
        (status = 403, description = "`NOT_AUTHORIZED`: needs admin or higher; `PROJECT_FROZEN`, `PROJECT_DORMANT`"),
    )
)]
async fn rename(
    State(projects): State<Arc<Projects>>,
    Wallet(wallet): Wallet,
    Path(id): Path<String>,
    ApiJson(request): ApiJson<RenameRequest>,
) -> ApiResult<Json<Renamed>> {
    projects.rename(wallet, &id, request.validate()?).await.map(Json)
}

/// Purges a project for good (02 §2.1)
///
/// When this answers, its keys fail, its database is gone and its host names are unserved.
#[utoipa::path(
    delete,
    path = "/projects/v1/{id}",
    tag = "projects",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = Purged),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`; `UNAUTHORIZED` once it is purged"),
        (status = 403, description = "`ADMIN_REQUIRED` anon key, `FORBIDDEN` another project's key, `PROJECT_ARCHIVED`"),
    )
)]
async fn delete(
    State(projects): State<Arc<Projects>>,
    ServiceProject(project): ServiceProject,
) -> ApiResult<Json<Purged>> {
    let project_id = project.id.clone();
    projects.purge(project).await?;
    Ok(Json(Purged { status: "purged", project_id }))
}

/// Reports what a project used (02 §2.1)
///
/// Counters are the project's own; the limits are those its organisation shares over all its projects.
#[utoipa::path(
    get,
    path = "/projects/v1/admin/{id}/usage",
    tag = "projects",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = UsageReport),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`"),
    )
)]
async fn usage(
    State(projects): State<Arc<Projects>>,
    ArchivedServiceProject(project): ArchivedServiceProject,
) -> ApiResult<Json<UsageReport>> {
    projects.usage(&project).await.map(Json)
}

/// Takes a project down (02 §2.1)
///
/// Sites, functions, schedules and the data API stop; the data stays.
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/archive",
    tag = "platform admin",
    params(("id" = String, Path, description = "Project id")),
    request_body = ArchiveRequest,
    responses(
        (status = 200, body = Archived),
        (status = 403, description = "`ADMIN_REQUIRED`"),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    )
)]
async fn archive(
    State(projects): State<Arc<Projects>>,
    _admin: RequireAdmin,
    Path(id): Path<String>,
    ApiJson(request): ApiJson<ArchiveRequest>,
) -> ApiResult<Json<Archived>> {
    projects.archive(&id, request.reason).await.map(Json)
}

/// Undoes a takedown (02 §2.1)
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/reactivate",
    tag = "platform admin",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = Reactivated),
        (status = 403, description = "`ADMIN_REQUIRED`"),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    )
)]
async fn reactivate(
    State(projects): State<Arc<Projects>>,
    _admin: RequireAdmin,
    Path(id): Path<String>,
) -> ApiResult<Json<Reactivated>> {
    projects.reactivate(&id).await.map(Json)
}

/// Makes the lease of the project's organisation perpetual (01 §7.6)
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/pin",
    tag = "platform admin",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = Pinned),
        (status = 403, description = "`ADMIN_REQUIRED`"),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    )
)]
async fn pin(
    State(projects): State<Arc<Projects>>,
    _admin: RequireAdmin,
    Path(id): Path<String>,
) -> ApiResult<Json<Pinned>> {
    projects.pin(&id).await.map(Json)
}
