//! Keys that functions need (contract 06 §9.2).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, State},
    http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    common::ApiResult,
    features::{
        auth::service::Auth,
        user_keys::{Jwks, UserKeys},
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
    Arc<UserKeys>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(project_jwt_keys))
}

/// The keys that verify tokens of the project's users
///
/// The key in use first, then retired ones that may still have live tokens. Never empty, never with a private half.
#[utoipa::path(
    get,
    path = "/internal/v1/project-jwt-keys",
    tag = "auth",
    responses((status = 200, body = Jwks), (status = 401, description = "No valid service key")),
)]
async fn project_jwt_keys(
    State(auth): State<Arc<Auth>>,
    State(keys): State<Arc<UserKeys>>,
    headers: HeaderMap,
) -> ApiResult<([(HeaderName, HeaderValue); 1], Json<Jwks>)> {
    let project = auth.worker_caller(&headers)?;
    let cached = (CACHE_CONTROL, HeaderValue::from_static("private, max-age=300"));
    Ok(([cached], Json(keys.jwks(&project.id).await?)))
}
