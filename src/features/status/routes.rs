//! `GET /health` and `GET /status`. No credential, no envelope on success.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, State},
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    service::Status,
    types::{Health, StatusBody},
};

/// Routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Status>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(status))
}

/// Whether the box works: 200 when every check is `ok`, else 503.
#[utoipa::path(get, path = "/health", tag = "service", responses(
    (status = OK, body = Health, description = "Every check is ok"),
    (status = SERVICE_UNAVAILABLE, body = Health, description = "Some check fails"),
))]
async fn health(State(status): State<Arc<Status>>) -> Response {
    let health = status.health().await;
    let code = if health.status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(CACHE_CONTROL, "no-store")], Json(health)).into_response()
}

/// What this box is and how it has been doing.
#[utoipa::path(get, path = "/status", tag = "service", responses((status = OK, body = StatusBody)))]
async fn status(State(status): State<Arc<Status>>) -> Response {
    ([(CACHE_CONTROL, "public, max-age=30")], Json(status.status().await)).into_response()
}
