//! HTTP of secrets (contract 05 §7.1).

use std::sync::Arc;

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRef, Path, State},
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    service::Secrets,
    types::{SecretEntry, SecretError, SecretKey, SecretValue},
};
use crate::{
    common::{ApiError, ApiJson, ApiResult, ProjectId},
    features::{
        identity::Identity,
        orgs::{Action, Denial, Orgs, not_authorized},
        projects::{Project, Projects},
    },
};

/// Largest request body, in bytes: a value of 4096 bytes, every one of them escaped.
const MAX_BODY: usize = 64 * 1024;

/// The routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Secrets>: FromRef<S>,
    Arc<Projects>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
    Arc<Orgs>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(set, list)).routes(routes!(remove)).layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Who may touch a project's secrets: its service key, or a member who may write them.
#[derive(Clone)]
struct Door {
    identity: Arc<Identity>,
    projects: Arc<Projects>,
    orgs: Arc<Orgs>,
}

impl<S> FromRef<S> for Door
where
    Arc<Projects>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
    Arc<Orgs>: FromRef<S>,
{
    fn from_ref(state: &S) -> Self {
        Self { identity: Arc::from_ref(state), projects: Arc::from_ref(state), orgs: Arc::from_ref(state) }
    }
}

impl Door {
    /// The project of the path, for a caller who may do `action` there.
    ///
    /// # Errors
    /// 401 without a credential or with a bad one; 403 `ADMIN_REQUIRED` for an anon key, `FORBIDDEN` for another
    /// project's key, `NOT_AUTHORIZED` for a wallet without the right, `PROJECT_ARCHIVED`.
    async fn admit(&self, headers: &HeaderMap, id: &str, action: Action) -> ApiResult<Arc<Project>> {
        let project = match self.identity.project_key(headers) {
            Ok(Some(key)) => self.projects.of_service_key(&key, id)?,
            other => match (self.identity.wallet(headers)?, other) {
                (Some(wallet), _) => {
                    let denied = || not_authorized(action, Denial::ProjectNotFound);
                    let id: ProjectId = id.parse().map_err(|_| denied())?;
                    let project = self.projects.live(&id).ok_or_else(denied)?;
                    self.orgs
                        .authorize(wallet, project.organisation, action)
                        .await
                        .map_err(|error| if error.code() == "NOT_AUTHORIZED" { denied() } else { error })?;
                    project
                }
                (None, Err(error)) => return Err(error),
                (None, Ok(_)) => {
                    return Err(ApiError::authentication_required(
                        "Send the project's service key as Authorization: Bearer <key>.",
                    ));
                }
            },
        };
        self.projects.refuse_archived(&project)?;
        Ok(project)
    }
}

/// Body of `POST …/secrets`. The fields are read by hand: a refusal must not repeat a value.
#[derive(Deserialize, ToSchema)]
struct SetSecret {
    /// Name in the environment: `^[A-Z_][A-Z0-9_]{0,127}$`.
    #[schema(value_type = String)]
    key: Option<Value>,
    /// At most 4096 bytes of UTF-8.
    #[schema(value_type = String)]
    value: Option<Value>,
}

/// What happened to a secret.
#[derive(Serialize, ToSchema)]
struct SecretChanged {
    /// `set` or `deleted`
    status: &'static str,
    key: String,
}

/// Set a secret
///
/// Stores the value or replaces it. Every function of the project sees it from its next invocation on.
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/secrets",
    tag = "functions",
    params(("id" = String, Path, description = "Project id")),
    request_body = SetSecret,
    responses(
        (status = 201, body = SecretChanged),
        (status = 400, description = "`INVALID_SECRET_KEY`, `INVALID_SECRET_VALUE`"),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`, `NOT_AUTHORIZED`, `PROJECT_ARCHIVED`, `PROJECT_FROZEN`, `TIER_LIMIT_EXCEEDED`"),
    ),
)]
async fn set(
    State(door): State<Door>,
    State(secrets): State<Arc<Secrets>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    ApiJson(body): ApiJson<SetSecret>,
) -> ApiResult<(StatusCode, Json<SecretChanged>)> {
    let project = door.admit(&headers, &id, Action::ProjectSecretWrite).await?;
    let key = SecretKey::parse(body.key.as_ref())?;
    let value = SecretValue::parse(body.value)?;
    secrets.set(&project, &key, &value).await?;
    Ok((StatusCode::CREATED, Json(SecretChanged { status: "set", key: key.as_str().to_owned() })))
}

/// List secrets
///
/// Names and times, sorted by name; never a value.
#[utoipa::path(
    get,
    path = "/projects/v1/admin/{id}/secrets",
    tag = "functions",
    params(("id" = String, Path, description = "Project id")),
    responses(
        (status = 200, body = Vec<SecretEntry>),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`, `NOT_AUTHORIZED`, `PROJECT_ARCHIVED`"),
    ),
)]
async fn list(
    State(door): State<Door>,
    State(secrets): State<Arc<Secrets>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<Vec<SecretEntry>>> {
    let project = door.admit(&headers, &id, Action::ProjectRead).await?;
    secrets.list(&project.id).await.map(Json)
}

/// Delete a secret
#[utoipa::path(
    delete,
    path = "/projects/v1/admin/{id}/secrets/{key}",
    tag = "functions",
    params(("id" = String, Path, description = "Project id"), ("key" = String, Path, description = "Name")),
    responses(
        (status = 200, body = SecretChanged),
        (status = 401, description = "`AUTHENTICATION_REQUIRED`, `UNAUTHORIZED`"),
        (status = 403, description = "`ADMIN_REQUIRED`, `FORBIDDEN`, `NOT_AUTHORIZED`, `PROJECT_ARCHIVED`"),
        (status = 404, description = "`SECRET_NOT_FOUND`"),
    ),
)]
async fn remove(
    State(door): State<Door>,
    State(secrets): State<Arc<Secrets>>,
    Path((id, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> ApiResult<Json<SecretChanged>> {
    let project = door.admit(&headers, &id, Action::ProjectSecretWrite).await?;
    let key = SecretKey::of(&key).ok_or(SecretError::NotFound)?;
    secrets.remove(&project, &key).await?;
    Ok(Json(SecretChanged { status: "deleted", key: key.as_str().to_owned() }))
}
