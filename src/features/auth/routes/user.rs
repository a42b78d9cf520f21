//! Sign-up, tokens, the user's own account (contract 06 §6.1-6.5, §6.7, §6.10).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Query, State},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT_LANGUAGE, ORIGIN},
    },
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{client_of, fields::Fields, no_store};
use crate::{
    common::{ApiResult, ClientIp, Timestamp},
    features::{
        auth::{
            accounts::{MACHINE_MINIMUM, Signup},
            email::EmailAddress,
            error::AuthError,
            magic_links::{self, LinkRequest},
            mail::Locale,
            passkeys::{RelyingParty, usable_party},
            service::Auth,
            store,
            types::{IdentityView, SessionResult},
        },
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
        .routes(routes!(sign_up))
        .routes(routes!(token))
        .routes(routes!(user))
        .routes(routes!(log_out))
        .routes(routes!(magic_link))
        .routes(routes!(providers))
        .routes(routes!(set_password))
        .routes(routes!(set_password_by_post))
        .routes(routes!(key_set))
}

/// A new account, without tokens.
#[derive(Serialize, ToSchema)]
struct SignedUp {
    id: Uuid,
    email: String,
    #[schema(value_type = String)]
    created_at: Timestamp,
}

/// Sign up with e-mail and password
#[utoipa::path(
    post,
    path = "/auth/v1/signup",
    tag = "auth",
    request_body(content_type = "application/json", description = "`email`, `password`; with the service key `is_admin`"),
    responses(
        (status = 201, body = SignedUp),
        (status = 403, description = "`SIGNUP_DISABLED`"),
        (status = 409, description = "`USER_ALREADY_EXISTS`"),
        (status = 429, description = "`RATE_LIMITED`"),
    ),
)]
async fn sign_up(
    State(auth): State<Arc<Auth>>,
    ip: ClientIp,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<(StatusCode, Json<SignedUp>)> {
    let caller = auth.public_caller(&headers, true)?;
    let email = EmailAddress::parse(fields.text("email")?)?;
    let signup = Signup {
        email: &email,
        password: fields.text("password")?,
        is_admin: caller.is_service && fields.optional_flag("is_admin")?.unwrap_or(false),
        by_service: caller.is_service,
    };
    let user = auth.sign_up(&caller.project, &signup, MACHINE_MINIMUM, &client_of(ip, &headers)).await?;
    let body = SignedUp { id: user.id, email: user.email_text(), created_at: user.created_at };
    Ok((StatusCode::CREATED, Json(body)))
}

#[derive(Deserialize)]
struct GrantQuery {
    grant_type: Option<String>,
}

/// Get tokens
///
/// Grants: `password`, `refresh_token` (one use), `magic_link`, `authorization_code`.
#[utoipa::path(
    post,
    path = "/auth/v1/token",
    tag = "auth",
    params(("grant_type" = Option<String>, Query, description = "Also accepted in the body; default `password`")),
    responses(
        (status = 200, body = SessionResult),
        (status = 400, description = "`BAD_REQUEST`, `UNSUPPORTED_GRANT_TYPE`"),
        (status = 401, description = "`R402_AUTH_INVALID_CREDENTIALS`, `R402_AUTH_SESSION_INVALID`, `R402_AUTH_SESSION_EXPIRED`, `R402_AUTH_MAGIC_LINK_INVALID`, `R402_AUTH_OAUTH_HANDOFF_INVALID`"),
        (status = 429, description = "`RATE_LIMITED`"),
    ),
)]
async fn token(
    State(auth): State<Arc<Auth>>,
    ip: ClientIp,
    Query(query): Query<GrantQuery>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let caller = auth.public_caller(&headers, false)?;
    let project = &caller.project;
    let client = client_of(ip, &headers);
    let grant_type = query.grant_type.as_deref().or(fields.optional_text("grant_type")?).unwrap_or("password");
    let result = match grant_type {
        "password" => auth.password_grant(project, fields.text("email")?, fields.text("password")?, &client).await?,
        "refresh_token" => auth.refresh(project, fields.text("refresh_token")?, &client).await?,
        "magic_link" => auth.magic_link_grant(project, fields.text("token")?, &client).await?,
        "authorization_code" => {
            let verifier = fields.optional_text("code_verifier")?;
            auth.code_grant(project, fields.text("code")?, verifier, &client).await?
        }
        _ => return Err(AuthError::UnsupportedGrantType.into()),
    };
    Ok(no_store(Json(result)))
}

/// The caller's account.
#[derive(Serialize, ToSchema)]
struct Account {
    id: Uuid,
    email: Option<String>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    display_name: Option<String>,
    avatar_url: Option<String>,
    #[schema(value_type = Option<String>)]
    email_verified_at: Option<Timestamp>,
    is_admin: bool,
    identities: Vec<IdentityView>,
    has_password: bool,
    has_passkeys: bool,
    passkey_count: usize,
    has_passkey_for_current_rp: Option<bool>,
    current_rp_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct OriginQuery {
    pub app_origin: Option<String>,
}

/// The signed-in user
#[utoipa::path(
    get,
    path = "/auth/v1/user",
    tag = "auth",
    params(("app_origin" = Option<String>, Query, description = "Answers whether there is a passkey for this host")),
    responses((status = 200, body = Account), (status = 401, description = "`UNAUTHORIZED`, `R402_AUTH_SESSION_INVALID`")),
)]
async fn user(
    State(auth): State<Arc<Auth>>,
    Query(query): Query<OriginQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let caller = auth.user_caller(&headers).await?;
    let party = current_party(query.app_origin.as_deref(), &headers)?;
    let connection = auth.connection().await?;
    let identities = store::users::identities(&**connection, caller.user.id).await?;
    let passkeys = store::passkeys::of_user(&**connection, caller.user.id).await?;
    let user = caller.user;
    Ok(no_store(Json(Account {
        id: user.id,
        email: user.email,
        created_at: user.created_at,
        display_name: user.display_name,
        avatar_url: user.avatar_url,
        email_verified_at: user.email_verified_at,
        is_admin: user.is_admin,
        identities,
        has_password: user.password_hash.is_some(),
        has_passkeys: !passkeys.is_empty(),
        passkey_count: passkeys.len(),
        has_passkey_for_current_rp: party
            .as_ref()
            .map(|party| passkeys.iter().any(|passkey| passkey.rp_id == party.id)),
        current_rp_id: party.map(|party| party.id),
    })))
}

/// The relying party a question is about: the origin named, else the page that asks.
pub(super) fn current_party(app_origin: Option<&str>, headers: &HeaderMap) -> ApiResult<Option<RelyingParty>> {
    match app_origin {
        Some(text) => RelyingParty::parse(text).map(Some),
        None => Ok(usable_party(headers.get(ORIGIN).and_then(|value| value.to_str().ok()))),
    }
}

/// Sign out
///
/// Ends the family of the refresh token. The answer is the same for tokens nobody knows.
#[utoipa::path(
    post,
    path = "/auth/v1/logout",
    tag = "auth",
    request_body(content_type = "application/json", description = "`refresh_token`"),
    responses((status = 200, description = "`{status: \"ok\"}`")),
)]
async fn log_out(State(auth): State<Arc<Auth>>, headers: HeaderMap, fields: Fields) -> ApiResult<Json<Value>> {
    let caller = auth.public_caller(&headers, false)?;
    auth.sign_out(&caller.project, fields.text("refresh_token")?).await?;
    Ok(Json(json!({"status": "ok"})))
}

/// Mail a magic link
///
/// The answer is the same whether the address has an account, may have one, or neither.
#[utoipa::path(
    post,
    path = "/auth/v1/magic-link",
    tag = "auth",
    request_body(content_type = "application/json", description = "`email`, `redirect_url`; `intent`, `client_state`, `locale`"),
    responses(
        (status = 200, description = "`{message}`"),
        (status = 400, description = "`BAD_REQUEST`, `REDIRECT_NOT_ALLOWED`"),
        (status = 403, description = "`FORBIDDEN`: `invite` needs the service key"),
        (status = 429, description = "`RATE_LIMITED`"),
    ),
)]
async fn magic_link(
    State(auth): State<Arc<Auth>>,
    ip: ClientIp,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Json<Value>> {
    let caller = auth.public_caller(&headers, false)?;
    let email = EmailAddress::parse(fields.text("email")?)?;
    let redirect_url = auth.allowed_redirect(&caller.project.id, fields.text("redirect_url")?)?;
    let intent = magic_links::intent(fields.optional_text("intent")?)?;
    if intent == "invite" && !caller.is_service {
        return Err(AuthError::ServiceKeyRequired.into());
    }
    let request = LinkRequest {
        email: &email,
        redirect_url: &redirect_url,
        intent,
        client_state: magic_links::client_state(fields.get("client_state"))?,
        trusted: caller.is_service,
        host: None,
        locale: locale_of(&fields, &headers)?,
    };
    auth.request_link(&caller.project, &request, &client_of(ip, &headers)).await?;
    Ok(Json(json!({"message": "If this address may sign in, a link is on its way to it."})))
}

/// The language asked for in the body, else by the browser.
pub(super) fn locale_of(fields: &Fields, headers: &HeaderMap) -> ApiResult<Locale> {
    let header = || headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(Locale::of(fields.optional_text("locale")?.unwrap_or_else(header)))
}

/// Ways to sign in
#[utoipa::path(get, path = "/auth/v1/providers", tag = "auth", responses((status = 200)))]
async fn providers(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Json<Value>> {
    let caller = auth.public_caller(&headers, false)?;
    let settings = auth.pool_settings(&caller.project.id).await?;
    Ok(Json(json!({
        "password": {"enabled": true},
        "magic_link": {"enabled": auth.mailer.is_ready()},
        "passkey": {"enabled": true},
        "password_set": {"enabled": settings.allow_password_set},
        "oauth": [{"provider": "google", "enabled": auth.google().is_ok(), "display_name": "Google"}],
        "preferred_sign_in_method": settings.preferred_sign_in_method,
        "public_signup": settings.public_signup,
    })))
}

/// Change, reset or set the password
#[utoipa::path(
    put,
    path = "/auth/v1/user/password",
    tag = "auth",
    request_body(content_type = "application/json", description = "`new_password`, `current_password`"),
    responses(
        (status = 200, description = "`{status: \"ok\", ok: true}`"),
        (status = 401, description = "`R402_AUTH_INVALID_CREDENTIALS`, `R402_AUTH_FRESHNESS_REQUIRED`"),
        (status = 403, description = "`PASSWORD_SET_DISABLED`"),
    ),
)]
async fn set_password(State(auth): State<Arc<Auth>>, headers: HeaderMap, fields: Fields) -> ApiResult<Json<Value>> {
    let caller = auth.user_caller(&headers).await?;
    let (new, current) = (fields.text("new_password")?, fields.optional_text("current_password")?);
    auth.change_password(&caller, new, current, MACHINE_MINIMUM).await?;
    Ok(Json(json!({"status": "ok", "ok": true})))
}

/// As `PUT`
#[utoipa::path(post, path = "/auth/v1/user/password", tag = "auth", responses((status = 200)))]
async fn set_password_by_post(state: State<Arc<Auth>>, headers: HeaderMap, fields: Fields) -> ApiResult<Json<Value>> {
    set_password(state, headers, fields).await
}

/// The public keys of all projects' tokens
#[utoipa::path(get, path = "/auth/v1/.well-known/jwks.json", tag = "auth", responses((status = 200, body = Jwks)))]
async fn key_set(State(keys): State<Arc<UserKeys>>) -> Json<Jwks> {
    Json(keys.all_jwks())
}
