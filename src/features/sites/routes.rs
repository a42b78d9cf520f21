//! HTTP of resolve. Everything else of this feature is answered on tenant hosts, by the edge.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Query, State},
    http::{HeaderMap, HeaderValue, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Sites,
    resolve::{Question, Resolution},
};
use crate::common::{ApiError, ApiResult};

/// The routes of this feature on the API host.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Sites>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(resolve))
}

#[derive(Deserialize)]
struct ResolveQuery {
    host: Option<String>,
    path: Option<String>,
    method: Option<String>,
}

/// Explain what a public URL would do
///
/// Answers 200 for misses too: `result` in the body is the status the URL would get. Another project's host is
/// answered like an unknown one.
#[utoipa::path(
    get,
    path = "/apply/v1/resolve",
    tag = "deploys",
    params(
        ("host" = String, Query, description = "A host of the project; a port is ignored"),
        ("path" = Option<String>, Query, description = "Default `/`; cut at `?` and `#`"),
        ("method" = Option<String>, Query, description = "Default `GET`"),
    ),
    responses(
        (status = 200, body = Resolution, description = "For an unknown host only `hostname`, `result`, `match`, `authorized` and `fallback_state`"),
        (status = 400, description = "`BAD_HOST`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`PROJECT_ARCHIVED`"),
        (status = 502, description = "`ROUTE_MANIFEST_LOAD_FAILED`"),
    ),
)]
async fn resolve(
    State(sites): State<Arc<Sites>>,
    headers: HeaderMap,
    Query(query): Query<ResolveQuery>,
) -> ApiResult<Response> {
    let project = sites.asking_project(&headers)?;
    let host = query.host.ok_or_else(|| ApiError::bad_request("BAD_HOST", "Name a host: ?host=<name>."))?;
    let method = query.method.as_deref().filter(|method| !method.is_empty()).unwrap_or("GET").to_ascii_uppercase();
    let path = query.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let answer = sites.explain(&project, &Question { host: &host, path, method: &method }).await?;
    let mut response = Json(answer).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
