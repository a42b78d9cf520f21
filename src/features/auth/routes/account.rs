//! The account API that functions call with their visitor's token, and the session of a browser (contract 06 §10.5,
//! §11.1).

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, Query, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    fields::Fields,
    hosted::{FRESH_MINUTES, Hosted, json_answer, with_cookie},
    no_store,
    user::{OriginQuery, current_party},
};
use crate::{
    common::ApiResult,
    features::auth::{
        accounts,
        caller::UserCaller,
        error::AuthError,
        hosted::Visitor,
        limits::Rule,
        proofs::Claimed,
        service::Auth,
        store,
        tenants::TENANT_PREFIX,
        types::{PasskeyView, SessionKind},
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(security))
        .routes(routes!(set_password))
        .routes(routes!(sign_out_everywhere))
        .routes(routes!(passkeys))
        .routes(routes!(remove_passkey))
        .routes(routes!(identities))
        .routes(routes!(unlink_identity))
        .routes(routes!(sessions))
        .routes(routes!(revoke_session))
        .routes(routes!(session))
        .routes(routes!(end_session))
        .routes(routes!(from_identity))
}

/// The caller of a change to his account.
async fn changing(auth: &Auth, headers: &HeaderMap, fresh: bool) -> ApiResult<UserCaller> {
    let caller = auth.user_caller(headers).await?;
    auth.limits.take(Rule::AccountMutations, &[&caller.user.id.to_string()])?;
    if fresh && !accounts::is_fresh(&caller.session, FRESH_MINUTES, auth.clock.now()) {
        return Err(AuthError::FreshnessRequired { minutes: FRESH_MINUTES }.into());
    }
    Ok(caller)
}

/// How the account is secured
#[utoipa::path(
    get,
    path = "/auth/v1/account/security",
    tag = "auth",
    params(("app_origin" = Option<String>, Query)),
    responses((status = 200), (status = 401)),
)]
async fn security(
    State(auth): State<Arc<Auth>>,
    Query(query): Query<OriginQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let caller = auth.user_caller(&headers).await?;
    let party = current_party(query.app_origin.as_deref(), &headers)?;
    let connection = auth.connection().await?;
    let passkeys = store::passkeys::of_user(&**connection, caller.user.id).await?;
    let identities = store::users::identities(&**connection, caller.user.id).await?;
    let tenants = store::sessions::tenant_assertions(&**connection, caller.user.id).await?;
    let identities: Vec<_> = identities.into_iter().filter(|one| !one.provider.starts_with(TENANT_PREFIX)).collect();
    let has_here = party.as_ref().map(|party| passkeys.iter().any(|passkey| passkey.rp_id == party.id));
    Ok(no_store(Json(json!({
        "user": {"id": caller.user.id, "email": caller.user.email},
        "has_run402_password": caller.user.password_hash.is_some(),
        "run402_passkey_count": passkeys.len(),
        "has_run402_passkey_for_current_rp": has_here,
        "run402_identities": identities,
        "current_rp_id": party.map(|party| party.id),
        "passkey_rp_scope": "host",
        "tenant_assertions": tenants
            .into_iter()
            .map(|(issuer, amr)| json!({"issuer": issuer, "last_amr": amr}))
            .collect::<Vec<_>>(),
    }))))
}

/// Set the password
#[utoipa::path(post, path = "/auth/v1/account/password", tag = "auth", responses((status = 200), (status = 401)))]
async fn set_password(State(auth): State<Arc<Auth>>, headers: HeaderMap, fields: Fields) -> ApiResult<Json<Value>> {
    let caller = changing(&auth, &headers, true).await?;
    auth.set_account_password(&caller, fields.text("new_password")?).await?;
    Ok(Json(json!({"ok": true})))
}

/// End every session of the user
#[utoipa::path(post, path = "/auth/v1/account/sign-out-everywhere", tag = "auth", responses((status = 200)))]
async fn sign_out_everywhere(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Json<Value>> {
    let caller = changing(&auth, &headers, false).await?;
    let revoked = auth.sign_out_everywhere(&caller.user).await?;
    Ok(Json(json!({"revoked_count": revoked})))
}

/// The user's passkeys
#[utoipa::path(get, path = "/auth/v1/account/passkeys", tag = "auth", responses((status = 200)))]
async fn passkeys(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Response> {
    let caller = auth.user_caller(&headers).await?;
    let passkeys = store::passkeys::of_user(&**auth.connection().await?, caller.user.id).await?;
    let passkeys: Vec<PasskeyView> = passkeys.into_iter().map(PasskeyView::from).collect();
    Ok(no_store(Json(json!({"passkeys": passkeys}))))
}

/// Remove a passkey of the user
#[utoipa::path(post, path = "/auth/v1/account/passkeys/remove", tag = "auth", responses((status = 200), (status = 404)))]
async fn remove_passkey(State(auth): State<Arc<Auth>>, headers: HeaderMap, fields: Fields) -> ApiResult<Json<Value>> {
    let caller = changing(&auth, &headers, true).await?;
    let id = Uuid::try_parse(fields.text("passkey_id")?).map_err(|_| AuthError::NotFound)?;
    auth.delete_passkey(&caller.user, id).await?;
    Ok(Json(json!({"ok": true})))
}

/// The user's identities
#[utoipa::path(get, path = "/auth/v1/account/identities", tag = "auth", responses((status = 200)))]
async fn identities(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Response> {
    let caller = auth.user_caller(&headers).await?;
    let identities = store::users::identities(&**auth.connection().await?, caller.user.id).await?;
    Ok(no_store(Json(json!({"identities": identities}))))
}

/// Unlink an identity of the user
#[utoipa::path(post, path = "/auth/v1/account/identities/unlink", tag = "auth", responses((status = 200), (status = 404), (status = 409)))]
async fn unlink_identity(State(auth): State<Arc<Auth>>, headers: HeaderMap, fields: Fields) -> ApiResult<Json<Value>> {
    let caller = changing(&auth, &headers, true).await?;
    auth.unlink_identity(&caller.user, fields.text("provider")?, fields.text("subject")?).await?;
    Ok(Json(json!({"ok": true, "unlinked": true})))
}

/// The user's live sessions
#[utoipa::path(get, path = "/auth/v1/account/sessions", tag = "auth", responses((status = 200)))]
async fn sessions(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> ApiResult<Response> {
    let caller = auth.user_caller(&headers).await?;
    let sessions = store::sessions::of_user(&**auth.connection().await?, caller.user.id, auth.clock.now()).await?;
    let sessions: Vec<Value> = sessions
        .into_iter()
        .map(|session| {
            json!({
                "session_id": session.id,
                "kind": if session.kind == SessionKind::Browser { "browser" } else { "tokens" },
                "created_at": session.created_at,
                "last_seen_at": session.last_seen_at,
                "expires_at": session.expires_at,
                "amr": session.amr,
                "user_agent": session.user_agent,
                "current": session.id == caller.session.id,
            })
        })
        .collect();
    Ok(no_store(Json(json!({"sessions": sessions}))))
}

/// End a session of the user
#[utoipa::path(post, path = "/auth/v1/account/sessions/revoke", tag = "auth", responses((status = 200), (status = 404)))]
async fn revoke_session(State(auth): State<Arc<Auth>>, headers: HeaderMap, fields: Fields) -> ApiResult<Json<Value>> {
    let caller = changing(&auth, &headers, false).await?;
    auth.revoke_session_of(&caller.user, fields.text("session_id")?).await?;
    Ok(Json(json!({"ok": true})))
}

/// The session of this browser
#[utoipa::path(get, path = "/auth/v1/session", tag = "auth", responses((status = 200), (status = 403)))]
async fn session(State(auth): State<Arc<Auth>>, hosted: Hosted<false>, headers: HeaderMap) -> ApiResult<Response> {
    let answer = match auth.visitor(&hosted.site, &headers).await? {
        Visitor::SignedIn(visit) => json_answer(json!({
            "authenticated": true,
            "user": {
                "id": visit.user.id, "email": visit.user.email, "display_name": visit.user.display_name,
                "avatar_url": visit.user.avatar_url,
            },
            "expires_at": visit.session.expires_at,
            "csrf_token": visit.csrf_token(),
        })),
        Visitor::Anonymous => json_answer(nobody()),
        Visitor::Stale(_) => with_cookie(json_answer(nobody()), Auth::cleared(&hosted.site)?),
    };
    Ok(answer)
}

fn nobody() -> Value {
    json!({"authenticated": false, "user": null, "expires_at": null, "csrf_token": null})
}

/// End the session of this browser
///
/// Functions call this without the visitor's cookie and hand the answer on; a cookie that comes along ends its session.
#[utoipa::path(post, path = "/auth/v1/sessions/end", tag = "auth", responses((status = 200), (status = 403)))]
async fn end_session(State(auth): State<Arc<Auth>>, hosted: Hosted<false>, headers: HeaderMap) -> ApiResult<Response> {
    if let Visitor::SignedIn(visit) = auth.visitor(&hosted.site, &headers).await? {
        auth.end_session(visit.session.id).await?;
    }
    Ok(with_cookie(json_answer(json!({"ok": true})), Auth::cleared(&hosted.site)?))
}

/// Sign this browser in by a proof of identity
///
/// `provider` `wallet` wants an EIP-4361 message for this site, `oidc` an id token of the issuer configured for the
/// project. A proof signs in once.
#[utoipa::path(
    post,
    path = "/auth/v1/sessions/from-identity",
    tag = "auth",
    request_body(content_type = "application/json", description = "`provider`, `subject`, `proof`; `amr`, `createUser`"),
    responses(
        (status = 200, description = "`{ok, user: {id, email}}` and the session cookie"),
        (status = 401, description = "`R402_AUTH_SESSION_BRIDGE_UNVERIFIED`, `R402_AUTH_UNKNOWN_IDENTITY`"),
        (status = 403, description = "`SIGNUP_DISABLED`, `R402_AUTH_TENANT_SUFFIX_REQUIRED`"),
        (status = 409, description = "`R402_AUTH_IDENTITY_LINK_CONFLICT`"),
    ),
)]
async fn from_identity(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<false>,
    headers: HeaderMap,
    Fields(body): Fields,
) -> ApiResult<Response> {
    let claimed = Claimed::parse(&body)?;
    let made = auth.sign_in_by_identity(&hosted.site, &headers, &claimed, &hosted.client).await?;
    Ok(with_cookie(json_answer(made.body), made.cookie))
}
