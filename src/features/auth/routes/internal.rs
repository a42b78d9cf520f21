//! Keys that functions need, and tokens for development (contract 06 §9.2-9.3, §9.6).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::Response,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{fields::Fields, no_store};
use crate::{
    common::{ApiError, ApiResult},
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
    OpenApiRouter::new()
        .routes(routes!(project_jwt_keys))
        .routes(routes!(actor_context_keys))
        .routes(routes!(dev_token))
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

/// The keys that verify who a routed function's visitor is
///
/// Secret keys of this project alone.
#[utoipa::path(
    get,
    path = "/internal/v1/actor-context-keys",
    tag = "auth",
    responses((status = 200, description = "`{keys: {kid: base64}}`"), (status = 401, description = "No valid service key")),
)]
async fn actor_context_keys(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Response> {
    let project = auth.worker_caller(&headers)?;
    Ok(no_store(Json(auth.actor_keys(&project))))
}

/// Make a token for development
///
/// Only where `auth.development` is on and the box listens on loopback; otherwise there is no such route.
#[utoipa::path(
    post,
    path = "/auth/v1/dev-tokens",
    tag = "auth",
    request_body(content_type = "application/json", description = "`project_id`; `role`, `sub`"),
    responses((status = 201, description = "`{token, authorization, role, sub}`"), (status = 404)),
)]
async fn dev_token(State(auth): State<Arc<Auth>>, fields: Fields) -> ApiResult<Response> {
    if !auth.development {
        return Err(ApiError::not_found("RESOURCE_NOT_FOUND", "Cannot POST /auth/v1/dev-tokens"));
    }
    let made =
        auth.dev_token(fields.text("project_id")?, fields.optional_text("role")?, fields.optional_text("sub")?).await?;
    Ok(no_store((StatusCode::CREATED, Json(made))))
}
