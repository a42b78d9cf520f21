//! HTTP of deploys (contract 03 §5-9).

use std::sync::Arc;

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRef, Path, Query, State},
    http::{
        HeaderMap,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    service::Apply,
    types::{Committed, Envelope, EventList, OperationList, PromoteRequest, Snapshot},
};
use crate::{
    common::{ApiError, ApiJson, ApiResult, PageQuery, TraceId},
    features::releases::RELEASE_SPEC_SCHEMA,
};

/// Largest body of the routes that take next to nothing, in bytes.
const SMALL_BODY: usize = 64 * 1024;

/// The routes of this feature. `max_body_bytes`: of a plan request.
pub fn router<S>(max_body_bytes: usize) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Apply>: FromRef<S>,
{
    let plans = OpenApiRouter::new().routes(routes!(plan)).layer(DefaultBodyLimit::max(max_body_bytes));
    OpenApiRouter::new()
        .routes(routes!(commit))
        .routes(routes!(list_operations))
        .routes(routes!(operation))
        .routes(routes!(events))
        .routes(routes!(resume))
        .routes(routes!(active_release))
        .routes(routes!(diff))
        .routes(routes!(release))
        .routes(routes!(promote))
        .routes(routes!(json_schema))
        .layer(DefaultBodyLimit::max(SMALL_BODY))
        .merge(plans)
}

#[derive(Deserialize, IntoParams)]
struct PlanQuery {
    /// `true`: validate and answer, but write nothing.
    dry_run: Option<String>,
}

/// Plan a deploy
///
/// Validates a ReleaseSpec, compares it with the live release and keeps the result for a commit.
#[utoipa::path(
    post,
    path = "/apply/v1/plans",
    tag = "deploys",
    params(PlanQuery),
    request_body(
        content_type = "application/json",
        description = "`{spec, manifest_ref?, idempotency_key?}`; the spec as in `/schemas/release-spec.v1.json`",
    ),
    responses(
        (status = 200, description = "What would change (contract 03 §5.1)"),
        (status = 400, description = "`INVALID_SPEC`, `MANIFEST_EMPTY`, `INVALID_EXPOSE_MANIFEST` and others"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 404, description = "`PROJECT_NOT_FOUND`, `RELEASE_NOT_FOUND`"),
        (status = 409, description = "`BASE_RELEASE_CONFLICT`, `MIGRATION_CHECKSUM_MISMATCH`, `SUBDOMAIN_TAKEN`, \
                                      `STATIC_IMMUTABLE_PATH_CHANGED`"),
        (status = 413, description = "`PAYLOAD_TOO_LARGE`"),
    ),
)]
async fn plan(
    State(apply): State<Arc<Apply>>,
    Query(query): Query<PlanQuery>,
    headers: HeaderMap,
    ApiJson(envelope): ApiJson<Envelope>,
) -> ApiResult<Json<Value>> {
    let dry_run = match query.dry_run.as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(_) => return Err(ApiError::validation("dry_run", "dry_run is true or false.")),
    };
    apply.plan(&headers, envelope, dry_run).await.map(Json)
}

/// Commit a plan
///
/// The work goes on when the caller goes away. Waits up to ten seconds for the outcome.
#[utoipa::path(
    post,
    path = "/apply/v1/plans/{plan_id}/commit",
    tag = "deploys",
    params(("plan_id" = String, Path, description = "Plan id")),
    responses(
        (status = 200, body = Committed, description = "Also for a deploy that failed: then `error` says why"),
        (status = 404, description = "`PLAN_NOT_FOUND`"),
        (status = 409, description = "`BASE_RELEASE_CONFLICT`, `CONTENT_MISSING`, `MIGRATION_CHECKSUM_MISMATCH`, \
                                      `MIGRATION_SQL_NOT_FOUND`, `PRUNE_CONFIRMATION_REQUIRED`, `ASSET_SYNC_DRIFT`"),
        (status = 422, description = "`MISSING_REQUIRED_SECRET`, `SECRET_NOT_FOUND`"),
    ),
)]
async fn commit(
    State(apply): State<Arc<Apply>>,
    Path(plan): Path<String>,
    trace: TraceId,
    headers: HeaderMap,
    _body: ApiJson<Envelope>,
) -> ApiResult<Json<Committed>> {
    apply.commit(&headers, &plan, &trace.0).await.map(Json)
}

/// List operations
#[utoipa::path(
    get,
    path = "/apply/v1/operations",
    tag = "deploys",
    params(
        ("limit" = Option<String>, Query, description = "1 to 100, default 20"),
        ("cursor" = Option<String>, Query, description = "Of the page before"),
    ),
    responses(
        (status = 200, body = OperationList, description = "Newest first"),
        (status = 400, description = "`INVALID_LIMIT`, `INVALID_CURSOR`, `PROJECT_REQUIRED`"),
    ),
)]
async fn list_operations(
    State(apply): State<Arc<Apply>>,
    Query(page): Query<PageQuery>,
    headers: HeaderMap,
) -> ApiResult<Json<OperationList>> {
    apply.list_operations(&headers, &page).await.map(Json)
}

/// Read an operation
#[utoipa::path(
    get,
    path = "/apply/v1/operations/{operation_id}",
    tag = "deploys",
    params(("operation_id" = String, Path, description = "Operation id")),
    responses((status = 200, body = Snapshot), (status = 404, description = "`OPERATION_NOT_FOUND`")),
)]
async fn operation(
    State(apply): State<Arc<Apply>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<Snapshot>> {
    apply.read_operation(&headers, &id).await.map(Json)
}

/// Read the events of an operation
#[utoipa::path(
    get,
    path = "/apply/v1/operations/{operation_id}/events",
    tag = "deploys",
    params(("operation_id" = String, Path, description = "Operation id")),
    responses((status = 200, body = EventList), (status = 404, description = "`OPERATION_NOT_FOUND`")),
)]
async fn events(
    State(apply): State<Arc<Apply>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<EventList>> {
    apply.events(&headers, &id).await.map(Json)
}

/// Resume an operation that waits
#[utoipa::path(
    post,
    path = "/apply/v1/operations/{operation_id}/resume",
    tag = "deploys",
    params(("operation_id" = String, Path, description = "Operation id")),
    responses(
        (status = 200, body = Snapshot),
        (status = 404, description = "`OPERATION_NOT_FOUND`"),
        (status = 409, description = "`NOT_RESUMABLE`, `INVALID_STATE`"),
    ),
)]
async fn resume(
    State(apply): State<Arc<Apply>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<Snapshot>> {
    apply.resume(&headers, &id).await.map(Json)
}

#[derive(Deserialize, IntoParams)]
struct InventoryQuery {
    /// Files listed at most: 1 to 25,000, default 5,000.
    site_limit: Option<String>,
}

/// Inventory of the live release
#[utoipa::path(
    get,
    path = "/apply/v1/releases/active",
    tag = "deploys",
    params(InventoryQuery),
    responses(
        (status = 200, description = "The inventory (contract 03 §9.1); `release_id` null before the first deploy"),
        (status = 400, description = "`INVALID_LIMIT`"),
    ),
)]
async fn active_release(
    State(apply): State<Arc<Apply>>,
    Query(query): Query<InventoryQuery>,
    headers: HeaderMap,
) -> ApiResult<Json<Value>> {
    apply.active_inventory(&headers, query.site_limit.as_deref()).await.map(Json)
}

/// Inventory of a release
#[utoipa::path(
    get,
    path = "/apply/v1/releases/{release_id}",
    tag = "deploys",
    params(("release_id" = String, Path, description = "Release id"), InventoryQuery),
    responses(
        (status = 200, description = "The inventory (contract 03 §9.1)"),
        (status = 404, description = "`RELEASE_NOT_FOUND`"),
    ),
)]
async fn release(
    State(apply): State<Arc<Apply>>,
    Path(id): Path<String>,
    Query(query): Query<InventoryQuery>,
    headers: HeaderMap,
) -> ApiResult<Json<Value>> {
    apply.release_inventory(&headers, &id, query.site_limit.as_deref()).await.map(Json)
}

#[derive(Deserialize, IntoParams)]
struct DiffQuery {
    /// `empty`, `active` or a release id.
    from: Option<String>,
    /// `active` or a release id.
    to: Option<String>,
    /// Rows of each bucket of the site: 1 to 25,000, default 1,000.
    limit: Option<String>,
}

/// Compare two releases
#[utoipa::path(
    get,
    path = "/apply/v1/releases/diff",
    tag = "deploys",
    params(DiffQuery),
    responses(
        (status = 200, description = "What differs (contract 03 §9.2)"),
        (status = 400, description = "`DIFF_SAME_RELEASE`, `INVALID_DIFF_TARGET`, `INVALID_LIMIT`"),
        (status = 404, description = "`NO_ACTIVE_RELEASE`, `RELEASE_NOT_FOUND`"),
    ),
)]
async fn diff(
    State(apply): State<Arc<Apply>>,
    Query(query): Query<DiffQuery>,
    headers: HeaderMap,
) -> ApiResult<Json<Value>> {
    let (from, to, limit) = (query.from.as_deref(), query.to.as_deref(), query.limit.as_deref());
    apply.diff(&headers, from, to, limit).await.map(Json)
}

/// Make an earlier release live again
///
/// Files, routes, functions, schedules and the expose manifest come back; migrations are not undone.
#[utoipa::path(
    post,
    path = "/apply/v1/releases/{release_id}/promote",
    tag = "deploys",
    params(("release_id" = String, Path, description = "Release id")),
    request_body = PromoteRequest,
    responses(
        (status = 200, description = "`{status, release_id, operation_id, previous_release_id, diff, warnings}`"),
        (status = 400, description = "`PROMOTE_PROJECT_MISMATCH`"),
        (status = 404, description = "`PROMOTE_TARGET_NOT_FOUND`"),
        (status = 409, description = "`PROMOTE_NO_OP`, `PROMOTE_RELEASE_NOT_READY`, `PROMOTE_WARNING_REQUIRES_ACK`"),
    ),
)]
async fn promote(
    State(apply): State<Arc<Apply>>,
    Path(id): Path<String>,
    trace: TraceId,
    headers: HeaderMap,
    ApiJson(request): ApiJson<PromoteRequest>,
) -> ApiResult<Json<Value>> {
    apply.promote(&headers, &id, request, &trace.0).await.map(Json)
}

/// The JSON Schema of the ReleaseSpec, version 1
#[utoipa::path(
    get,
    path = "/schemas/release-spec.v1.json",
    tag = "deploys",
    responses((status = 200, description = "A JSON Schema", content_type = "application/json")),
)]
async fn json_schema() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=3600")], RELEASE_SPEC_SCHEMA)
}
