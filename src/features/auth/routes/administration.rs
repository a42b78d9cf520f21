//! What the service key does (contract 06 §6.6, §6.8, §6.9, §18).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Path, Query, State},
    http::HeaderMap,
};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{fields::Fields, user::locale_of};
use crate::{
    common::{ApiResult, Page, PageQuery},
    features::{
        auth::{
            administration::{Enrolled, Enrolment},
            email::EmailAddress,
            error::{AuthError, bad_field},
            magic_links,
            service::Auth,
            types::{PoolSettings, UserView},
        },
        projects::Project,
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(settings, change_settings))
        .routes(routes!(enrol, list))
        .routes(routes!(delete))
        .routes(routes!(promote))
        .routes(routes!(demote))
        .routes(routes!(rotate_keys))
}

/// Read the auth settings
#[utoipa::path(get, path = "/auth/v1/settings", tag = "auth", responses((status = 200, body = PoolSettings)))]
async fn settings(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Json<PoolSettings>> {
    let project = auth.service_caller(&headers, false)?;
    auth.pool_settings(&project.id).await.map(Json)
}

/// Change the auth settings
///
/// What the body does not name stays as it is.
#[utoipa::path(
    patch,
    path = "/auth/v1/settings",
    tag = "auth",
    request_body(content_type = "application/json"),
    responses((status = 200, body = PoolSettings), (status = 400), (status = 403, description = "`FORBIDDEN`")),
)]
async fn change_settings(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    Fields(changes): Fields,
) -> ApiResult<Json<PoolSettings>> {
    let project = auth.service_caller(&headers, false)?;
    auth.change_settings(&project, &changes).await.map(Json)
}

/// Create or update a user
#[utoipa::path(
    post,
    path = "/auth/v1/admin/users",
    tag = "auth",
    request_body(content_type = "application/json", description = "`email`; `is_admin`, `send_invite`, `redirect_url`, `client_state`"),
    responses((status = 200, body = Enrolled), (status = 400), (status = 403), (status = 429)),
)]
async fn enrol(State(auth): State<Arc<Auth>>, headers: HeaderMap, fields: Fields) -> ApiResult<Json<Enrolled>> {
    let project = auth.service_caller(&headers, true)?;
    let email = EmailAddress::parse(fields.text("email")?)?;
    let invite = fields.optional_flag("send_invite")?.unwrap_or(false);
    let redirect_url = match fields.optional_text("redirect_url")? {
        Some(text) => Some(auth.allowed_redirect(&project.id, text)?),
        None if invite => return Err(bad_field("redirect_url", "redirect_url is required with send_invite.")),
        None => None,
    };
    let enrolment = Enrolment {
        email: &email,
        is_admin: fields.optional_flag("is_admin")?,
        invite: redirect_url.as_ref().filter(|_| invite),
        client_state: magic_links::client_state(fields.get("client_state"))?,
        locale: locale_of(&fields, &headers)?,
    };
    auth.enrol(&project, &enrolment).await.map(Json)
}

/// List the users
#[utoipa::path(
    get,
    path = "/auth/v1/admin/users",
    tag = "auth",
    params(("limit" = Option<i64>, Query, description = "1 to 200"), ("after" = Option<String>, Query)),
    responses((status = 200, description = "`{users, has_more, next_cursor}`, newest first")),
)]
async fn list(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Value>> {
    let project = auth.service_caller(&headers, false)?;
    let limit = query.limit()?;
    let users = auth.list_users(&project, query.cursor()?, limit).await?;
    let page = Page::from_fetched(users, limit, |user| (user.created_at, user.id));
    Ok(Json(json!({
        "users": page.rows.iter().map(UserView::from).collect::<Vec<_>>(),
        "has_more": page.next_cursor.is_some(),
        "next_cursor": page.next_cursor,
    })))
}

/// Delete a user
#[utoipa::path(
    delete,
    path = "/auth/v1/admin/users/{id}",
    tag = "auth",
    params(("id" = String, Path)),
    responses((status = 200, description = "`{status: \"deleted\", id}`"), (status = 404)),
)]
async fn delete(State(auth): State<Arc<Auth>>, headers: HeaderMap, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    let project = auth.service_caller(&headers, false)?;
    let id = Uuid::try_parse(&id).map_err(|_| AuthError::UserNotFound)?;
    auth.delete_user(&project, id).await?;
    Ok(Json(json!({"status": "deleted", "id": id})))
}

/// Make a user project admin
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/promote-user",
    tag = "auth",
    params(("id" = String, Path, description = "Project id")),
    request_body(content_type = "application/json", description = "`email`"),
    responses((status = 200), (status = 403), (status = 404)),
)]
async fn promote(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    fields: Fields,
) -> ApiResult<Json<Value>> {
    set_admin(&auth, &headers, &id, &fields, true).await
}

/// Make a project admin an ordinary user
#[utoipa::path(
    post,
    path = "/projects/v1/admin/{id}/demote-user",
    tag = "auth",
    params(("id" = String, Path, description = "Project id")),
    request_body(content_type = "application/json", description = "`email`"),
    responses((status = 200), (status = 403), (status = 404)),
)]
async fn demote(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    fields: Fields,
) -> ApiResult<Json<Value>> {
    set_admin(&auth, &headers, &id, &fields, false).await
}

async fn set_admin(
    auth: &Auth,
    headers: &HeaderMap,
    id: &str,
    fields: &Fields,
    is_admin: bool,
) -> ApiResult<Json<Value>> {
    let project = of_path(auth.service_caller(headers, false)?, id)?;
    let email = EmailAddress::parse(fields.text("email")?)?;
    let user = auth.set_admin(&project, &email, is_admin).await?;
    let status = if is_admin { "promoted" } else { "demoted" };
    Ok(Json(json!({"status": status, "email": user.email, "is_admin": user.is_admin})))
}

fn of_path(project: Arc<Project>, id: &str) -> ApiResult<Arc<Project>> {
    if project.id.as_str() == id { Ok(project) } else { Err(AuthError::TwoProjects.into()) }
}

/// Sign users' tokens with a new key from now on
///
/// Tokens of the old key stay good until they expire; functions start anew, because an instance keeps the keys it
/// verifies with.
#[utoipa::path(
    post,
    path = "/auth/v1/admin/keys/rotate",
    tag = "auth",
    responses((status = 200, description = "`{status: \"rotated\", kid}`"), (status = 401), (status = 403)),
)]
async fn rotate_keys(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Json<Value>> {
    let project = auth.service_caller(&headers, false)?;
    auth.rotate_keys(&project).await.map(Json)
}
