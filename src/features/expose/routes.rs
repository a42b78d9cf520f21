//! HTTP of the expose manifest (contract 02 §6.3).

use std::sync::Arc;

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRef, State},
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    common::{ApiError, ApiJson, ApiResult},
    features::{
        identity::{Identity, Wallet},
        projects::{Project, Projects, ServiceProject},
    },
};

use super::{
    service::{Expose, document_of},
    types::{Applied, Findings, StoredManifest},
};

/// Largest request body, in bytes (contract 02 §1.2).
const MAX_BODY: usize = 1024 * 1024;

/// The routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Expose>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(apply, current))
        .routes(routes!(validate))
        .routes(routes!(validate_without_project))
        .routes(routes!(json_schema))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Body of the validate routes.
#[derive(Deserialize, ToSchema)]
struct ValidateRequest {
    /// The manifest, or its JSON text.
    manifest: Value,
    /// SQL that would run before the apply; it is only read.
    migration_sql: Option<String>,
}

/// Apply an expose manifest
///
/// The manifest is the whole truth: what it does not name becomes dark again. All or nothing; applying the same
/// manifest again changes nothing.
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/expose",
    tag = "database",
    params(("id" = String, Path, description = "Project id")),
    request_body(content_type = "application/json", description = "The manifest, see `/schemas/manifest.v1.json`"),
    responses(
        (status = 200, body = Applied),
        (status = 400, description = "`INVALID_EXPOSE_MANIFEST` with every violation in `errors`, `SQL_ERROR`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`, `PROJECT_ARCHIVED`"),
        (status = 409, description = "`SQL_CONFLICT`: another transaction holds a table"),
        (status = 413, description = "`PAYLOAD_TOO_LARGE`"),
    ),
)]
async fn apply(
    ServiceProject(project): ServiceProject,
    State(expose): State<Arc<Expose>>,
    ApiJson(manifest): ApiJson<Map<String, Value>>,
) -> ApiResult<Json<Applied>> {
    expose.apply(&project, Value::Object(manifest)).await.map(Json)
}

/// Read the expose manifest in force
#[utoipa::path(
    get,
    path = "/projects/v1/admin/{id}/expose",
    tag = "database",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = StoredManifest),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`, `PROJECT_ARCHIVED`"),
    ),
)]
async fn current(
    ServiceProject(project): ServiceProject,
    State(expose): State<Arc<Expose>>,
) -> ApiResult<Json<StoredManifest>> {
    expose.current(&project).await.map(Json)
}

/// Validate a manifest against the project's schema
///
/// Nothing runs and nothing changes. `migration_sql` is read and laid over the live schema.
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/expose/validate",
    tag = "database",
    params(("id" = String, Path, description = "Project id")),
    request_body = ValidateRequest,
    responses(
        (status = 200, body = Findings),
        (status = 400, description = "`VALIDATION_ERROR`: the body is not an object with `manifest`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`, `PROJECT_ARCHIVED`"),
    ),
)]
async fn validate(
    ServiceProject(project): ServiceProject,
    State(expose): State<Arc<Expose>>,
    ApiJson(body): ApiJson<Map<String, Value>>,
) -> ApiResult<Json<Findings>> {
    found(&expose, Some(&project), body).await
}

/// Validate a manifest without a project
///
/// Against the schema that `migration_sql` makes of an empty database; without it only the form is checked.
#[utoipa::path(
    post,
    path = "/projects/v1/expose/validate",
    tag = "database",
    request_body = ValidateRequest,
    responses(
        (status = 200, body = Findings),
        (status = 400, description = "`VALIDATION_ERROR`: the body is not an object with `manifest`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`"),
    ),
)]
async fn validate_without_project(
    _caller: Wallet,
    State(expose): State<Arc<Expose>>,
    ApiJson(body): ApiJson<Map<String, Value>>,
) -> ApiResult<Json<Findings>> {
    found(&expose, None, body).await
}

async fn found(expose: &Expose, project: Option<&Arc<Project>>, body: Map<String, Value>) -> ApiResult<Json<Findings>> {
    let body = serde_path_to_error::deserialize::<_, ValidateRequest>(Value::Object(body)).map_err(|error| {
        let field = match error.path().to_string().as_str() {
            "" | "." => "manifest".to_owned(),
            path => path.to_owned(),
        };
        ApiError::validation(&field, "Send {\"manifest\": {…}, \"migration_sql\"?: \"…\"}.")
    })?;
    let document = match document_of(body.manifest) {
        Ok(document @ Value::Object(_)) => document,
        Ok(_) => return Err(ApiError::validation("manifest", "`manifest` must be a JSON object.")),
        Err(issue) => return Ok(Json(Findings::of(vec![issue]))),
    };
    let findings = expose.validate(project.map(AsRef::as_ref), &document, body.migration_sql.as_deref()).await?;
    Ok(Json(findings))
}

/// The JSON Schema of the manifest, version 1
#[utoipa::path(
    get,
    path = "/schemas/manifest.v1.json",
    tag = "database",
    responses((status = 200, description = "A JSON Schema", content_type = "application/json")),
)]
async fn json_schema() -> impl IntoResponse {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=3600")];
    (headers, include_str!("manifest.v1.json"))
}
