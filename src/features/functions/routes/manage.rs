//! Deployed functions, seen and changed with the service key.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{Extensions, HeaderMap},
};
use serde::Deserialize;

use crate::{
    common::{ApiError, ApiJson, ApiResult, NestedCall},
    features::{
        functions::{
            Functions,
            error::FunctionError,
            logs::LogRequest,
            types::{
                Deleted, FunctionList, FunctionView, Logs, Rebuilt, RebuiltAll, Triggered, UpdateRequest, Updated,
            },
        },
        projects::ServiceProject,
    },
};

/// Project id and function name.
#[derive(Deserialize)]
pub struct Named {
    id: String,
    name: String,
}

/// List the functions of the live release
#[utoipa::path(
    get,
    path = "/projects/v1/admin/{id}/functions",
    tag = "functions",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = FunctionList),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`"),
    )
)]
pub async fn list(
    ServiceProject(project): ServiceProject,
    State(functions): State<Arc<Functions>>,
) -> ApiResult<Json<FunctionList>> {
    functions.list(&project).await.map(Json)
}

/// The old way to deploy a function: gone
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/functions",
    tag = "functions",
    params(("id" = String, Path, description = "Project id")),
    responses((status = 410, description = "`ROUTE_REMOVED`"))
)]
pub async fn create() -> ApiError {
    FunctionError::RouteRemoved.into()
}

/// One function of the live release
#[utoipa::path(
    get,
    path = "/projects/v1/admin/{id}/functions/{name}",
    tag = "functions",
    params(("id" = String, Path, description = "Project id"), ("name" = String, Path, description = "Function name")),
    responses((status = 200, body = FunctionView), (status = 404, description = "`FUNCTION_NOT_FOUND`"))
)]
pub async fn get(
    ServiceProject(project): ServiceProject,
    State(functions): State<Arc<Functions>>,
    Path(path): Path<Named>,
) -> ApiResult<Json<FunctionView>> {
    Ok(Json(functions.get(&project, &path.name).await?))
}

/// Change schedule or limits of a live function, without a release
#[utoipa::path(
    patch,
    path = "/projects/v1/admin/{id}/functions/{name}",
    tag = "functions",
    params(("id" = String, Path, description = "Project id"), ("name" = String, Path, description = "Function name")),
    request_body = UpdateRequest,
    responses(
        (status = 200, body = Updated),
        (status = 400, description = "`VALIDATION_ERROR`, `INVALID_SPEC`"),
        (status = 403, description = "`FUNCTION_*_EXCEEDS_TIER`, `FUNCTION_SCHEDULE_*`, `PROJECT_FROZEN`"),
        (status = 404, description = "`FUNCTION_NOT_FOUND`"),
    )
)]
pub async fn update(
    ServiceProject(project): ServiceProject,
    State(functions): State<Arc<Functions>>,
    Path(path): Path<Named>,
    ApiJson(request): ApiJson<UpdateRequest>,
) -> ApiResult<Json<Updated>> {
    Ok(Json(functions.update(&project, &path.name, request).await?))
}

/// Remove a function from the live release
#[utoipa::path(
    delete,
    path = "/projects/v1/admin/{id}/functions/{name}",
    tag = "functions",
    params(("id" = String, Path, description = "Project id"), ("name" = String, Path, description = "Function name")),
    responses((status = 200, body = Deleted), (status = 404, description = "`FUNCTION_NOT_FOUND`"))
)]
pub async fn delete(
    ServiceProject(project): ServiceProject,
    State(functions): State<Arc<Functions>>,
    Path(path): Path<Named>,
) -> ApiResult<Json<Deleted>> {
    Ok(Json(functions.delete(&project, &path.name).await?))
}

/// Read a function's log
///
/// The newest `tail` entries that match, oldest first. To follow a log, ask again with `since` set to the last
/// timestamp and skip the `event_id`s you have.
#[utoipa::path(
    get,
    path = "/projects/v1/admin/{id}/functions/{name}/logs",
    tag = "functions",
    params(
        ("id" = String, Path, description = "Project id"),
        ("name" = String, Path, description = "Function name"),
        ("tail" = Option<String>, Query, description = "1 to 1000, default 50"),
        ("since" = Option<String>, Query, description = "Milliseconds since 1970, or ISO 8601; inclusive"),
        ("request_id" = Option<String>, Query, description = "`req_…`, `fnrun_…` or `fnatt_…`"),
    ),
    responses(
        (status = 200, body = Logs),
        (status = 400, description = "`VALIDATION_ERROR`"),
        (status = 404, description = "`FUNCTION_NOT_FOUND`"),
    )
)]
pub async fn logs(
    ServiceProject(project): ServiceProject,
    State(functions): State<Arc<Functions>>,
    Path(path): Path<Named>,
    Query(query): Query<LogRequest>,
) -> ApiResult<Json<Logs>> {
    Ok(Json(functions.logs(&project, &path.name, &query.parse()?).await?))
}

/// Run a function as its schedule would, now
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/functions/{name}/trigger",
    tag = "functions",
    params(("id" = String, Path, description = "Project id"), ("name" = String, Path, description = "Function name")),
    responses((status = 200, body = Triggered), (status = 404, description = "`FUNCTION_NOT_FOUND`"))
)]
pub async fn trigger(
    ServiceProject(project): ServiceProject,
    State(functions): State<Arc<Functions>>,
    Path(path): Path<Named>,
    extensions: Extensions,
) -> ApiResult<Json<Triggered>> {
    let depth = NestedCall::depth_of(&extensions);
    Ok(Json(functions.trigger(project, &path.name, depth).await?))
}

/// Run a function as its schedule would, now: the same under another path
#[utoipa::path(
    post,
    path = "/projects/v1/{id}/functions/{name}/trigger",
    tag = "functions",
    params(("id" = String, Path, description = "Project id"), ("name" = String, Path, description = "Function name")),
    responses((status = 200, body = Triggered), (status = 404, description = "`FUNCTION_NOT_FOUND`"))
)]
pub async fn trigger_outside_admin(
    project: ServiceProject,
    functions: State<Arc<Functions>>,
    path: Path<Named>,
    extensions: Extensions,
) -> ApiResult<Json<Triggered>> {
    trigger(project, functions, path, extensions).await
}

/// Build a function anew from its stored source
#[utoipa::path(
    post,
    path = "/projects/v1/{id}/functions/{name}/rebuild",
    tag = "functions",
    params(("id" = String, Path, description = "Project id"), ("name" = String, Path, description = "Function name")),
    responses(
        (status = 200, body = Rebuilt),
        (status = 401, description = "No wallet signature"),
        (status = 403, description = "`NOT_AUTHORIZED`, `FORBIDDEN`"),
        (status = 404, description = "`FUNCTION_NOT_FOUND`"),
        (status = 409, description = "`CANNOT_REBUILD_UNLOCKED_DEPS`"),
    )
)]
pub async fn rebuild(
    State(functions): State<Arc<Functions>>,
    headers: HeaderMap,
    Path(path): Path<Named>,
) -> ApiResult<Json<Rebuilt>> {
    let project = functions.rebuilder(&headers, &path.id).await?;
    Ok(Json(functions.rebuild(&project.id, &path.name).await?))
}

/// Build every function anew; a failure of one stops none of the others
#[utoipa::path(
    post,
    path = "/projects/v1/{id}/functions/rebuild",
    tag = "functions",
    params(("id" = String, Path, description = "Project id")),
    responses((status = 200, body = RebuiltAll), (status = 403, description = "`NOT_AUTHORIZED`, `FORBIDDEN`"))
)]
pub async fn rebuild_all(
    State(functions): State<Arc<Functions>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> ApiResult<Json<RebuiltAll>> {
    let project = functions.rebuilder(&headers, &id).await?;
    functions.rebuild_all(&project.id).await.map(Json)
}
