//! Sign-in with Google over the machine API (contract 06 §7.1-7.2).

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    extract::{FromRef, Path, Query, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY},
    },
    response::{Html, IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use url::{Url, form_urlencoded};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{client_of, fields::Fields, no_store};
use crate::{
    common::{ApiError, ApiResult, ClientIp},
    features::auth::{
        error::{AuthError, bad_field},
        google::{EXPIRES_IN, Failure, Outcome, PROVIDER},
        hosted::pages::{self, Frame},
        limits::{Rule, network},
        magic_links, secret,
        service::Auth,
        store::oauth::{Delivery, Transaction},
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(callback))
}

/// Begin a sign-in with Google
#[utoipa::path(
    post,
    path = "/auth/v1/oauth/{provider}/start",
    tag = "auth",
    params(("provider" = String, Path, description = "`google`")),
    request_body(content_type = "application/json", description = "`redirect_url`; `mode`, `intent`, `code_challenge`, `client_state`, `login_hint`"),
    responses(
        (status = 200, description = "`{provider, authorization_url, expires_in}`"),
        (status = 400, description = "`BAD_REQUEST`, `REDIRECT_NOT_ALLOWED`"),
        (status = 503, description = "`OAUTH_PROVIDER_NOT_CONFIGURED`"),
    ),
)]
async fn start(
    State(auth): State<Arc<Auth>>,
    ip: ClientIp,
    Path(provider): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    if provider != PROVIDER {
        return Err(AuthError::NotFound.into());
    }
    let caller = auth.public_caller(&headers, false)?;
    auth.limits.take(Rule::OauthStart, &[&network(client_of(ip, &headers).ip)])?;
    auth.google()?;
    let redirect_url = auth.allowed_redirect(&caller.project.id, fields.text("redirect_url")?)?;
    let delivery = match fields.optional_text("mode")?.unwrap_or("redirect") {
        "redirect" => Delivery::Redirect,
        "popup" => Delivery::Popup,
        _ => return Err(bad_field("mode", "mode must be redirect or popup.")),
    };
    let linking_user = match fields.optional_text("intent")?.unwrap_or("signin") {
        "signin" => None,
        "link" => {
            let claims = caller.claims.as_ref().ok_or(AuthError::UserRequired)?;
            Some(auth.user_of(Arc::clone(&caller.project), claims).await?.user.id)
        }
        _ => return Err(bad_field("intent", "intent must be signin or link.")),
    };
    let transaction = Transaction {
        project: caller.project.id.clone(),
        delivery,
        redirect_url: redirect_url.into(),
        client_state: magic_links::client_state(fields.get("client_state"))?,
        code_challenge: code_challenge(&fields)?,
        linking_user,
    };
    let hint = fields.optional_text("login_hint")?.filter(|hint| hint.len() <= 320);
    let url = auth.begin_google(&transaction, hint).await?;
    Ok(no_store(Json(json!({"provider": PROVIDER, "authorization_url": url, "expires_in": EXPIRES_IN}))))
}

fn code_challenge(fields: &Fields) -> ApiResult<Option<String>> {
    if fields.optional_text("code_challenge_method")?.is_some_and(|method| method != "S256") {
        return Err(bad_field("code_challenge_method", "code_challenge_method must be S256."));
    }
    let challenge = fields.optional_text("code_challenge")?;
    let is_token = |text: &str| {
        (43..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    };
    if challenge.is_some_and(|text| !is_token(text)) {
        return Err(bad_field("code_challenge", "code_challenge must have 43 to 128 characters of base64url."));
    }
    Ok(challenge.map(str::to_owned))
}

#[derive(Deserialize)]
struct CallbackQuery {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

/// Where Google sends the browser back to
#[utoipa::path(
    get,
    path = "/auth/v1/oauth/{provider}/callback",
    tag = "auth",
    params(("provider" = String, Path, description = "`google`")),
    responses((status = 303, description = "To the app"), (status = 200, description = "A page that tells its opener"), (status = 400)),
)]
async fn callback(
    State(auth): State<Arc<Auth>>,
    Path(provider): Path<String>,
    Query(query): Query<CallbackQuery>,
) -> ApiResult<Response> {
    if provider != PROVIDER {
        return Err(AuthError::NotFound.into());
    }
    let code = query.code.as_deref().filter(|_| query.error.is_none());
    let outcome = match query.state.as_deref().filter(|state| !state.is_empty()) {
        Some(state) => auth.finish_google(state, code).await?,
        None => None,
    };
    let Some(outcome) = outcome else { return lost() };
    match &outcome.transaction.delivery {
        Delivery::Redirect => redirect(&auth, &outcome),
        Delivery::Popup => popup(&auth, &outcome),
        Delivery::Hosted { origin, error_return_to, .. } => {
            Ok(see_other(&hosted_landing(origin, error_return_to, &outcome.result)))
        }
    }
}

/// The app's URL, if it is still the project's (06 §13).
fn landing(auth: &Auth, outcome: &Outcome) -> Option<Url> {
    auth.allowed_redirect(&outcome.transaction.project, &outcome.transaction.redirect_url).ok()
}

fn redirect(auth: &Auth, outcome: &Outcome) -> ApiResult<Response> {
    let Some(mut url) = landing(auth, outcome) else { return lost() };
    let mut fragment = form_urlencoded::Serializer::new(String::new());
    match &outcome.result {
        Ok(code) => fragment.append_pair("code", code),
        Err(failure) => fragment.append_pair("error", &failure.to_string()),
    };
    if let Some(state) = &outcome.transaction.client_state {
        fragment.append_pair("state", state);
    }
    url.set_fragment(Some(&fragment.finish()));
    Ok(see_other(url.as_str()))
}

/// The hosted page that goes on, on the project's own host.
fn hosted_landing(origin: &str, error_return_to: &str, result: &Result<String, Failure>) -> String {
    match result {
        Ok(code) => format!("{origin}/auth/oauth/complete?handoff={code}"),
        Err(failure) => {
            let separator = if error_return_to.contains('?') { '&' } else { '?' };
            format!("{origin}{error_return_to}{separator}r402_auth_error={failure}")
        }
    }
}

/// A page that hands its opener a message.
#[derive(Template)]
#[template(path = "popup.html")]
struct PopupPage<'a> {
    nonce: &'a str,
    /// JSON, safe inside a script element.
    message: &'a str,
    origin: &'a str,
}

fn popup(auth: &Auth, outcome: &Outcome) -> ApiResult<Response> {
    let Some(url) = landing(auth, outcome) else { return lost() };
    let message = match &outcome.result {
        Ok(code) => json!({
            "source": "run402-auth", "type": "oauth_result", "code": code,
            "state": outcome.transaction.client_state, "provider": PROVIDER,
        }),
        Err(failure) => {
            json!({"source": "run402-auth", "type": "oauth_error", "error": failure.to_string(),
                   "state": outcome.transaction.client_state})
        }
    };
    let nonce = secret::generate();
    // No text of the message can end the script element or open a comment in it.
    let message = message.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let origin = json!(url.origin().ascii_serialization()).to_string();
    let page = PopupPage { nonce: &nonce, message: &message, origin: &origin };
    let policy = format!("default-src 'none'; script-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'");
    page_response(StatusCode::OK, &page, &policy)
}

/// Nobody can be told where to go.
fn lost() -> ApiResult<Response> {
    let frame = Frame::nameless();
    let nonce = frame.nonce.clone();
    let page = pages::Message {
        frame,
        heading: "This sign-in cannot go on",
        text: "It was finished already or has expired. Go back to the app and sign in again.",
        link: None,
        code: None,
    };
    pages::answer(StatusCode::BAD_REQUEST, &page, &nonce)
}

fn page_response(status: StatusCode, page: &impl Template, policy: &str) -> ApiResult<Response> {
    let mut response = (status, Html(page.render().map_err(ApiError::internal)?)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_str(policy).map_err(ApiError::internal)?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn see_other(url: &str) -> Response {
    let mut response = no_store(StatusCode::SEE_OTHER);
    // Serialised URLs are ASCII without control characters.
    if let Ok(location) = HeaderValue::from_str(url) {
        response.headers_mut().insert(LOCATION, location);
    }
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
