//! HTTP of raw SQL and schema introspection (contract 02 §4.1, §5).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Request, State},
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    common::{ApiError, ApiResult, body},
    features::{
        identity::Identity,
        projects::{Projects, ServiceProject},
    },
};

use super::{
    service::Sql,
    types::{SchemaDocument, SqlRequest, SqlResponse},
};

/// The routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Sql>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(run_sql)).routes(routes!(schema))
}

/// Run SQL as the owner of the project
///
/// One transaction around the whole call. `text/plain` carries the SQL itself, several statements allowed;
/// `application/json` carries `{sql, params}` with exactly one statement.
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/sql",
    tag = "database",
    params(("id" = String, Path, description = "Project id")),
    request_body(content(
        (String = "text/plain"),
        (SqlRequest = "application/json"),
    )),
    responses(
        (status = 200, body = SqlResponse),
        (status = 400, description = "`VALIDATION_ERROR`, `SQL_ERROR`, `RESULT_TOO_LARGE`"),
        (status = 403, description = "`FORBIDDEN` (blocked SQL or another project), `ADMIN_REQUIRED`, `QUOTA_EXCEEDED`"),
        (status = 408, description = "`SQL_TIMEOUT`"),
        (status = 409, description = "`SQL_CONFLICT`"),
        (status = 413, description = "`PAYLOAD_TOO_LARGE`"),
    ),
)]
async fn run_sql(
    ServiceProject(project): ServiceProject,
    State(sql): State<Arc<Sql>>,
    request: Request,
) -> ApiResult<Response> {
    let request = match read_request(request, sql.settings().max_body_bytes).await {
        Ok(request) => request,
        Err(error) => {
            sql.count_unreadable(&project)?;
            return Err(error);
        }
    };
    let answer = sql.execute(&project, request).await?;
    Ok(([(CONTENT_TYPE, "application/json")], answer.into_json()).into_response())
}

async fn read_request(request: Request, limit: usize) -> ApiResult<SqlRequest> {
    let (parts, body) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let announced: Option<usize> = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::payload_too_large(limit));
    }
    let body = body::collect(body, limit).await?;
    SqlRequest::parse(header(CONTENT_TYPE), &body)
}

/// Describe the tables of the project
///
/// Tables of schema public with columns, constraints and policies, read from the catalog at the time of the call.
#[utoipa::path(
    get,
    path = "/projects/v1/admin/{id}/schema",
    tag = "database",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = SchemaDocument),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`, `PROJECT_ARCHIVED`"),
    ),
)]
async fn schema(
    ServiceProject(project): ServiceProject,
    State(sql): State<Arc<Sql>>,
) -> ApiResult<Json<SchemaDocument>> {
    sql.schema(&project).await.map(Json)
}
