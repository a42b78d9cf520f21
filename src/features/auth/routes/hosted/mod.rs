//! The hosted pages and their forms (contract 06 §11). They exist on project hosts only and work without JavaScript,
//! passkeys excepted.

mod account;
mod google;
mod links;
mod passkeys;
mod re_auth;
mod sign_in;

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, FromRequestParts, Request},
    http::{
        HeaderMap, HeaderValue, Method,
        header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, REFERER, SET_COOKIE, USER_AGENT},
        request::Parts,
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::fields::Fields;
use crate::{
    common::{ApiError, ApiResult, ClientIp, NestedCall},
    features::{
        auth::{
            error::AuthError,
            hosted::{
                Site, Visit, Visitor,
                cookie::{self, Kind},
                forgery,
                pages::{self, Frame, Offers},
            },
            limits::{Rule, network},
            mail::Locale,
            redirects,
            service::Auth,
            store,
            types::Client,
        },
        hosts::TenantHost,
        projects::Project,
    },
};

/// Minutes that a sign-in counts as fresh on the account surface (06 §11).
pub(super) const FRESH_MINUTES: u8 = 5;

const SIGN_IN: &str = "/auth/sign-in";
const RE_AUTH: &str = "/auth/re-auth";
const ACCOUNT: &str = "/auth/account";

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .merge(sign_in::router())
        .merge(re_auth::router())
        .merge(links::router())
        .merge(google::router())
        .merge(passkeys::router())
        .merge(account::router())
        .layer(from_fn(errors_as_pages))
}

/// Why a handler gives no answer of its own.
pub(super) enum Elsewhere {
    /// The visitor goes to another page first: a path of this site.
    Page(String),
    Error(ApiError),
}

impl<E: Into<ApiError>> From<E> for Elsewhere {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl IntoResponse for Elsewhere {
    fn into_response(self) -> Response {
        match self {
            Self::Page(path) => pages::see_other(&path).into_response(),
            Self::Error(error) => error.into_response(),
        }
    }
}

/// What a handler of a page answers.
type Answer = Result<Response, Elsewhere>;

/// A request on a project host. With `STRICT` an unsafe method must come from a page of the site; without, only one
/// that carries a cookie must (06 §10.3).
pub(super) struct Hosted<const STRICT: bool> {
    pub site: Site,
    pub project: Arc<Project>,
    pub client: Client,
}

impl<S: Send + Sync, const STRICT: bool> FromRequestParts<S> for Hosted<STRICT>
where
    Arc<Auth>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let auth: Arc<Auth> = Arc::from_ref(state);
        let tenant = parts.extensions.get::<TenantHost>();
        let site = auth.site(tenant, tenant.and_then(|tenant| tenant.scheme), &parts.headers)?;
        let ip = parts.extensions.get::<ClientIp>().copied();
        let ip = ip.map_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |ip| ip.0);
        if !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            let carries_cookie = cookie::find(&parts.headers, Kind::Session, site.secure).is_some();
            if STRICT || carries_cookie {
                forgery::check_origin(&parts.headers, &site.origin)?;
            }
            // Functions speak for all their visitors from one address, and are metered themselves.
            if NestedCall::depth_of(&parts.extensions) == 0 {
                auth.limits.take(Rule::HostedForms, &[&network(ip)])?;
            }
        }
        let project = auth.admitted(&site.project, false)?;
        let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self { site, project, client: Client { ip, user_agent } })
    }
}

/// The query of the pages.
#[derive(Default, Deserialize)]
struct PageQuery {
    #[serde(rename = "returnTo")]
    return_to: Option<String>,
    #[serde(rename = "errorReturnTo")]
    error_return_to: Option<String>,
    r402_auth_error: Option<String>,
    intent: Option<String>,
    token: Option<String>,
    handoff: Option<String>,
    /// Methods of which a re-authentication wants one, separated by commas.
    amr: Option<String>,
    /// What was done on the account page just now.
    done: Option<String>,
}

impl<const STRICT: bool> Hosted<STRICT> {
    fn return_to(&self, text: Option<&str>) -> Result<String, AuthError> {
        redirects::return_to(text, &self.site.origin)
    }

    /// `returnTo` of a form.
    fn return_to_of(&self, fields: &Fields) -> ApiResult<String> {
        Ok(self.return_to(fields.optional_text("returnTo")?)?)
    }
}

/// Whether the client reads JSON rather than a page.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/html")
}

/// Errors of the pages are pages, unless the client asks for JSON.
async fn errors_as_pages(request: Request, next: Next) -> Response {
    let json = wants_json(request.headers())
        || request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let mut response = next.run(request).await;
    if !json && let Some(error) = response.extensions_mut().remove::<ApiError>() {
        if error.status().is_server_error() {
            response.extensions_mut().insert(error);
            return response;
        }
        let frame = Frame::nameless();
        let nonce = frame.nonce.clone();
        let page = pages::Message {
            frame,
            heading: "This did not work",
            text: error.message(),
            link: Some(("/", "Back to the site")),
            code: Some(error.code()),
        };
        if let Ok(mut answer) = pages::answer(error.status(), &page, &nonce) {
            for (name, value) in error.headers() {
                answer.headers_mut().append(name, value.clone());
            }
            return answer;
        }
        response.extensions_mut().insert(error);
    }
    pages::protect(&mut response);
    response
}

/// The frame of a page of this project.
async fn frame<const STRICT: bool>(auth: &Auth, hosted: &Hosted<STRICT>) -> ApiResult<Frame> {
    let facts = store::users::project_facts(&**auth.connection().await?, &hosted.project.id).await?;
    Ok(Frame::of(&hosted.project.id, facts.name))
}

pub(super) fn with_cookie(mut response: Response, cookie: HeaderValue) -> Response {
    response.headers_mut().append(SET_COOKIE, cookie);
    response
}

/// JSON of the hosted surface.
pub(super) fn json_answer(body: serde_json::Value) -> Response {
    let mut response = Json(body).into_response();
    pages::protect(&mut response);
    response
}

/// The visit of who is signed in.
///
/// # Errors
/// 401 `R402_AUTH_REQUIRED`, `R402_AUTH_SESSION_EXPIRED`, `R402_AUTH_SESSION_INVALID`.
async fn visit(auth: &Auth, hosted: &Hosted<true>, headers: &HeaderMap) -> ApiResult<Box<Visit>> {
    match auth.visitor(&hosted.site, headers).await? {
        Visitor::SignedIn(visit) => Ok(visit),
        Visitor::Stale(error) => Err(error.into()),
        Visitor::Anonymous => Err(AuthError::Required.into()),
    }
}

/// As [`visit`]; who is not signed in is sent to sign in first, and back to `here` then.
async fn visit_or_sign_in(
    auth: &Auth,
    hosted: &Hosted<true>,
    headers: &HeaderMap,
    here: &str,
) -> Result<Box<Visit>, Elsewhere> {
    match auth.visitor(&hosted.site, headers).await? {
        Visitor::SignedIn(visit) => Ok(visit),
        Visitor::Stale(_) | Visitor::Anonymous => Err(Elsewhere::Page(pages::link(SIGN_IN, here))),
    }
}

/// Ways in besides the password that a page offers; `has_passkey`: whether one could work here.
fn offers(auth: &Auth, hosted: &Hosted<true>, has_passkey: bool, has_address: bool, return_to: &str) -> Offers {
    let passkeys = has_passkey && auth.relying_party(&hosted.project.id, &hosted.site.origin, None).is_ok();
    Offers {
        google: auth.google().is_ok().then(|| pages::link("/auth/sign-in/oauth/google/start", return_to)),
        passkey: passkeys.then(|| pages::link("/auth/passkeys/login", return_to)),
        magic_link: has_address && auth.mailer.is_ready(),
    }
}

/// Where a form of the account goes back to: the page it was on, if that is one of this site.
fn back(hosted: &Hosted<true>, headers: &HeaderMap) -> String {
    let referer = headers.get(REFERER).and_then(|value| value.to_str().ok());
    hosted.return_to(referer).unwrap_or_else(|_| "/".to_owned())
}

fn locale(headers: &HeaderMap) -> Locale {
    Locale::of(headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}
