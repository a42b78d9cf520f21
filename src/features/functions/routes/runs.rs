//! Durable runs (contract 05 §6).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
};

use crate::{
    common::{ApiResult, body},
    features::functions::{
        Functions,
        logs::LogRequest,
        runs::{CreateRun, Handle, ListRuns, Redrive, RunList},
        types::Logs,
    },
};

/// Payload and a little around it.
const MAX_BODY: usize = 320 * 1024;

/// Promise a run of a function
#[utoipa::path(
    post,
    path = "/functions/v1/{name}/runs",
    tag = "functions",
    params(("name" = String, Path, description = "Function name")),
    request_body(content((Object = "application/json"))),
    responses(
        (status = 202, body = Handle, description = "A new run"),
        (status = 200, body = Handle, description = "The run that this key made before, `deduplicated: true`"),
        (status = 400, description = "`invalid_function_run_request`"),
        (status = 403, description = "`ADMIN_REQUIRED`"),
        (status = 404, description = "`FUNCTION_NOT_FOUND`"),
        (status = 409, description = "`function_run_idempotency_conflict`"),
    )
)]
pub async fn create(
    State(functions): State<Arc<Functions>>,
    Path(name): Path<String>,
    request: Request,
) -> ApiResult<(StatusCode, Json<Handle>)> {
    let project = functions.run_caller(request.headers())?;
    let (parts, body) = request.into_parts();
    let body = body::collect(body, MAX_BODY).await?;
    let wanted = CreateRun::parse(&body, &parts.headers, functions.clock.now())?;
    let (is_new, handle) = functions.create_run(&project, &name, wanted).await?;
    Ok((if is_new { StatusCode::ACCEPTED } else { StatusCode::OK }, Json(handle)))
}

/// List the runs of a function, newest first
#[utoipa::path(
    get,
    path = "/functions/v1/{name}/runs",
    tag = "functions",
    params(
        ("name" = String, Path, description = "Function name"),
        ("status" = Option<String>, Query, description = "A status"),
        ("event_type" = Option<String>, Query, description = "An event type"),
        ("since" = Option<String>, Query, description = "Made at or after"),
        ("until" = Option<String>, Query, description = "Made before"),
        ("limit" = Option<String>, Query, description = "1 to 100, default 20"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended"),
    ),
    responses((status = 200, body = RunList), (status = 400, description = "`invalid_function_run_request`"))
)]
pub async fn list(
    State(functions): State<Arc<Functions>>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(query): Query<ListRuns>,
) -> ApiResult<Json<RunList>> {
    let project = functions.run_caller(&headers)?;
    functions.runs(&project, &name, &query).await.map(Json)
}

/// One run
#[utoipa::path(
    get,
    path = "/functions/v1/runs/{run_id}",
    tag = "functions",
    params(("run_id" = String, Path, description = "Run id")),
    responses((status = 200, body = Handle), (status = 404, description = "`function_run_not_found`"))
)]
pub async fn get(
    State(functions): State<Arc<Functions>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> ApiResult<Json<Handle>> {
    let project = functions.run_caller(&headers)?;
    functions.run_of(&project, &id).await.map(Json)
}

/// What a run's attempts wrote
#[utoipa::path(
    get,
    path = "/functions/v1/runs/{run_id}/logs",
    tag = "functions",
    params(("run_id" = String, Path, description = "Run id")),
    responses((status = 200, body = Logs), (status = 404, description = "`function_run_not_found`"))
)]
pub async fn logs(
    State(functions): State<Arc<Functions>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<LogRequest>,
) -> ApiResult<Json<Logs>> {
    let project = functions.run_caller(&headers)?;
    functions.run_logs(&project, &id, query.parse()?).await.map(Json)
}

/// End a run that has not ended
#[utoipa::path(
    post,
    path = "/functions/v1/runs/{run_id}/cancel",
    tag = "functions",
    params(("run_id" = String, Path, description = "Run id")),
    responses((status = 200, body = Handle), (status = 404, description = "`function_run_not_found`"))
)]
pub async fn cancel(
    State(functions): State<Arc<Functions>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> ApiResult<Json<Handle>> {
    let project = functions.run_caller(&headers)?;
    functions.cancel_run(&project, &id).await.map(Json)
}

/// Begin a failed, cancelled or expired run anew
#[utoipa::path(
    post,
    path = "/functions/v1/runs/{run_id}/redrive",
    tag = "functions",
    params(("run_id" = String, Path, description = "Run id")),
    responses((status = 200, body = Handle), (status = 404, description = "`function_run_not_found`"))
)]
pub async fn redrive(
    State(functions): State<Arc<Functions>>,
    Path(id): Path<String>,
    request: Request,
) -> ApiResult<Json<Handle>> {
    let project = functions.run_caller(request.headers())?;
    let body = body::collect(request.into_body(), MAX_BODY).await?;
    functions.redrive_run(&project, &id, &Redrive::parse(&body)?).await.map(Json)
}
