//! Passkeys over the machine API (contract 06 §8.3).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Path, State},
    http::{HeaderMap, header::ORIGIN},
    response::Response,
};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{client_of, fields::Fields, no_store};
use crate::{
    common::{ApiResult, ClientIp},
    features::auth::{
        error::{AuthError, bad_field},
        service::Auth,
        store,
        types::{PasskeyView, SessionResult},
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(begin_registration))
        .routes(routes!(finish_registration))
        .routes(routes!(begin_login))
        .routes(routes!(finish_login))
        .routes(routes!(list))
        .routes(routes!(delete))
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(ORIGIN).and_then(|value| value.to_str().ok())
}

/// The credential in a body.
pub(super) fn credential(fields: &Fields) -> ApiResult<&Value> {
    fields
        .get("response")
        .filter(|value| value.is_object())
        .ok_or_else(|| bad_field("response", "response must be the credential as the browser gives it."))
}

/// Options of a passkey registration
#[utoipa::path(
    post,
    path = "/auth/v1/passkeys/register/options",
    tag = "auth",
    request_body(content_type = "application/json", description = "`app_origin`"),
    responses((status = 200, description = "`{challenge_id, options}`"), (status = 400), (status = 401)),
)]
async fn begin_registration(
    State(auth): State<Arc<Auth>>,
    ip: ClientIp,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let caller = auth.user_caller(&headers).await?;
    let party = auth.relying_party(&caller.project.id, fields.text("app_origin")?, origin(&headers))?;
    let options = auth.begin_passkey_registration(&caller.user, &party, &client_of(ip, &headers)).await?;
    Ok(no_store(Json(options)))
}

/// Store a passkey
#[utoipa::path(
    post,
    path = "/auth/v1/passkeys/register/verify",
    tag = "auth",
    request_body(content_type = "application/json", description = "`challenge_id`, `response`, `label`"),
    responses(
        (status = 200, body = PasskeyView),
        (status = 400, description = "`R402_AUTH_PASSKEY_CHALLENGE_INVALID`"),
        (status = 409, description = "`PASSKEY_ALREADY_REGISTERED`"),
    ),
)]
async fn finish_registration(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Json<PasskeyView>> {
    let caller = auth.user_caller(&headers).await?;
    let (challenge, label) = (fields.text("challenge_id")?, fields.optional_text("label")?);
    let made = auth.finish_passkey_registration(&caller.user, challenge, credential(&fields)?, label).await?;
    Ok(Json(made.into()))
}

/// Options of a passkey login
#[utoipa::path(
    post,
    path = "/auth/v1/passkeys/login/options",
    tag = "auth",
    request_body(content_type = "application/json", description = "`app_origin`, `email`"),
    responses((status = 200, description = "`{challenge_id, options}`"), (status = 400)),
)]
async fn begin_login(
    State(auth): State<Arc<Auth>>,
    ip: ClientIp,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let caller = auth.public_caller(&headers, false)?;
    let party = auth.relying_party(&caller.project.id, fields.text("app_origin")?, origin(&headers))?;
    let email = fields.optional_text("email")?;
    let options = auth.begin_passkey_login(&caller.project, &party, email, &client_of(ip, &headers)).await?;
    Ok(no_store(Json(options)))
}

/// Sign in with a passkey
#[utoipa::path(
    post,
    path = "/auth/v1/passkeys/login/verify",
    tag = "auth",
    request_body(content_type = "application/json", description = "`challenge_id`, `response`"),
    responses(
        (status = 200, body = SessionResult),
        (status = 400, description = "`R402_AUTH_PASSKEY_CHALLENGE_INVALID`"),
        (status = 401, description = "`R402_AUTH_INVALID_CREDENTIALS`"),
    ),
)]
async fn finish_login(
    State(auth): State<Arc<Auth>>,
    ip: ClientIp,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let caller = auth.public_caller(&headers, false)?;
    let challenge = fields.text("challenge_id")?;
    let client = client_of(ip, &headers);
    let result = auth.passkey_grant(&caller.project, challenge, credential(&fields)?, &client).await?;
    Ok(no_store(Json(result)))
}

/// List the user's passkeys
#[utoipa::path(get, path = "/auth/v1/passkeys", tag = "auth", responses((status = 200, description = "`{passkeys}`, newest first")))]
async fn list(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Response> {
    let caller = auth.user_caller(&headers).await?;
    let passkeys = store::passkeys::of_user(&**auth.connection().await?, caller.user.id).await?;
    let passkeys: Vec<PasskeyView> = passkeys.into_iter().map(PasskeyView::from).collect();
    Ok(no_store(Json(json!({"passkeys": passkeys}))))
}

/// Remove a passkey
#[utoipa::path(
    delete,
    path = "/auth/v1/passkeys/{id}",
    tag = "auth",
    params(("id" = String, Path)),
    responses((status = 200, description = "`{status: \"deleted\", id}`"), (status = 404)),
)]
async fn delete(State(auth): State<Arc<Auth>>, headers: HeaderMap, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    let caller = auth.user_caller(&headers).await?;
    let id = Uuid::try_parse(&id).map_err(|_| AuthError::NotFound)?;
    auth.delete_passkey(&caller.user, id).await?;
    Ok(Json(json!({"status": "deleted", "id": id})))
}
