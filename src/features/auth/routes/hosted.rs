//! The hosted pages and their forms (contract 06 §11). They exist on project hosts only and work without JavaScript,
//! passkeys excepted.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, FromRequestParts, Query, Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ACCEPT, ACCEPT_LANGUAGE, REFERER, SET_COOKIE, USER_AGENT},
        request::Parts,
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use utoipa_axum::router::OpenApiRouter;

use super::{fields::Fields, hosted_account};
use crate::{
    common::{ApiError, ApiResult, ClientIp},
    features::{
        auth::{
            accounts::{self, HOSTED_MINIMUM, Signup},
            email::EmailAddress,
            error::AuthError,
            google::PROVIDER,
            hosted::{
                Site, Visit, Visitor,
                cookie::{self, Kind},
                forgery,
                pages::{self, Frame},
            },
            limits::{Rule, network},
            magic_links::LinkRequest,
            mail::{self, Locale},
            passwords, redirects,
            redirects::with_query,
            secret,
            service::Auth,
            store::{
                self,
                oauth::{Delivery, Transaction},
            },
            types::{Client, Proof, PublicSignup, User, method},
        },
        hosts::TenantHost,
        projects::Project,
    },
};

/// Minutes that a sign-in counts as fresh on the account surface (06 §11).
pub(super) const FRESH_MINUTES: u8 = 5;

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .route("/auth/sign-in", get(sign_in_page).post(sign_in))
        .route("/auth/sign-up", get(sign_up_page).post(sign_up))
        .route("/auth/sign-out", get(sign_out_page).post(sign_out))
        .route("/auth/re-auth", get(re_auth_page).post(re_auth))
        .route("/auth/magic-link", get(magic_link_page))
        .route("/auth/magic-link/send", post(send_link))
        .route("/auth/magic-link/confirm", post(confirm_link))
        .route("/auth/sign-in/oauth/google/start", get(start_google))
        .route("/auth/oauth/complete", get(complete_google))
        .merge(hosted_account::router())
        .layer(from_fn(errors_as_pages))
}

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
            auth.limits.take(Rule::HostedForms, &[&network(ip)])?;
        }
        let project = auth.admitted(&site.project, false)?;
        let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self { site, project, client: Client { ip, user_agent } })
    }
}

/// The query of the pages.
#[derive(Default, Deserialize)]
pub(super) struct PageQuery {
    #[serde(rename = "returnTo")]
    pub return_to: Option<String>,
    #[serde(rename = "errorReturnTo")]
    error_return_to: Option<String>,
    r402_auth_error: Option<String>,
    intent: Option<String>,
    token: Option<String>,
    handoff: Option<String>,
}

impl<const STRICT: bool> Hosted<STRICT> {
    pub fn return_to(&self, text: Option<&str>) -> Result<String, AuthError> {
        redirects::return_to(text, &self.site.origin)
    }
}

/// Whether the client reads JSON rather than a page.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/html")
}

/// Errors of the pages are pages, unless the client asks for JSON.
async fn errors_as_pages(request: Request, next: Next) -> Response {
    let json = wants_json(request.headers())
        || request.headers().get(axum::http::header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let mut response = next.run(request).await;
    if !json && let Some(error) = response.extensions_mut().remove::<ApiError>() {
        if error.status().is_server_error() {
            response.extensions_mut().insert(error);
            return response;
        }
        let frame = Frame::new("Account".to_owned());
        let nonce = frame.nonce.clone();
        let page = pages::Message {
            frame,
            heading: "This did not work",
            text: error.message(),
            link: "/",
            link_text: "Back to the site",
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

pub(super) async fn frame(auth: &Auth, project: &Project) -> ApiResult<Frame> {
    Ok(Frame::new(store::users::project_facts(&**auth.connection().await?, &project.id).await?.name))
}

pub(super) fn with_cookie(mut response: Response, cookie: HeaderValue) -> Response {
    response.headers_mut().append(SET_COOKIE, cookie);
    response
}

/// Signs the browser in and sends it on.
async fn enter(
    auth: &Auth,
    hosted: &Hosted<true>,
    headers: &HeaderMap,
    user: &User,
    method: &str,
    return_to: &str,
) -> ApiResult<Response> {
    let mut connection = auth.connection().await?;
    let tx = connection.transaction().await?;
    let user = accounts::unchanged(&tx, user).await?;
    let proof = Proof::by(method);
    let cookie = auth.sign_in_browser(&tx, &hosted.site, headers, &user, &proof, &hosted.client).await?;
    tx.commit().await?;
    Ok(with_cookie(pages::see_other(return_to)?, cookie))
}

/// What a failed sign-in through Google says on the page.
fn problem_of(reason: &str) -> &'static str {
    match reason {
        "domain_not_allowed" => "Accounts of this e-mail domain may not sign in here.",
        "account_exists_requires_link" => {
            "An account with this e-mail address exists. Sign in to it first, then link Google."
        }
        "identity_already_linked" => "This Google account belongs to another account.",
        _ => "Signing in did not work. Try again.",
    }
}

async fn sign_in_form(
    auth: &Auth,
    hosted: &Hosted<true>,
    status: StatusCode,
    problem: Option<&str>,
    email: &str,
    return_to: &str,
) -> ApiResult<Response> {
    let settings = auth.pool_settings(&hosted.project.id).await?;
    let frame = frame(auth, &hosted.project).await?;
    let nonce = frame.nonce.clone();
    let passkeys = auth.relying_party(&hosted.project.id, &hosted.site.origin, None).is_ok();
    let page = pages::SignIn {
        frame,
        problem,
        email,
        return_to,
        google: auth.google().is_ok().then(|| pages::link("/auth/sign-in/oauth/google/start", return_to)),
        passkey: passkeys.then(|| pages::link("/auth/passkeys/login", return_to)),
        sign_up: (settings.public_signup == PublicSignup::Open).then(|| pages::link("/auth/sign-up", return_to)),
        magic_link: auth.mailer.is_ready(),
    };
    pages::answer(status, &page, &nonce)
}

async fn sign_in_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let visitor = auth.visitor(&hosted.site, &headers).await?;
    if matches!(visitor, Visitor::SignedIn(_)) && query.r402_auth_error.is_none() {
        return pages::see_other(&return_to);
    }
    let problem = query.r402_auth_error.as_deref().map(problem_of);
    let page = sign_in_form(&auth, &hosted, StatusCode::OK, problem, "", &return_to).await?;
    match visitor {
        Visitor::Stale(_) => Ok(with_cookie(page, Auth::cleared(&hosted.site)?)),
        _ => Ok(page),
    }
}

async fn sign_in(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(fields.optional_text("returnTo")?)?;
    let (email, password) = (fields.text("email")?, fields.text("password")?);
    match auth.check_password(&hosted.project, email, password, &hosted.client).await {
        Ok(user) => enter(&auth, &hosted, &headers, &user, method::PASSWORD, &return_to).await,
        // The hint of the machine API that an account has no password is not given here.
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
            if wants_json(&headers) {
                return Err(AuthError::InvalidCredentials.into());
            }
            let problem = AuthError::InvalidCredentials.to_string();
            sign_in_form(&auth, &hosted, StatusCode::UNAUTHORIZED, Some(&problem), email, &return_to).await
        }
        Err(error) => Err(error),
    }
}

async fn sign_up_form(
    auth: &Auth,
    hosted: &Hosted<true>,
    status: StatusCode,
    problem: Option<&str>,
    email: &str,
    return_to: &str,
) -> ApiResult<Response> {
    let frame = frame(auth, &hosted.project).await?;
    let nonce = frame.nonce.clone();
    let sign_in = pages::link("/auth/sign-in", return_to);
    pages::answer(status, &pages::SignUp { frame, problem, email, return_to, sign_in }, &nonce)
}

async fn sign_up_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    if matches!(auth.visitor(&hosted.site, &headers).await?, Visitor::SignedIn(_)) {
        return pages::see_other(&return_to);
    }
    if auth.pool_settings(&hosted.project.id).await?.public_signup != PublicSignup::Open {
        return Err(AuthError::SignupDisabled.into());
    }
    sign_up_form(&auth, &hosted, StatusCode::OK, None, "", &return_to).await
}

/// The one sentence of every refused sign-up.
const SIGNUP_REFUSED: &str = "This account could not be created. Check the address and the password, or sign in.";

async fn sign_up(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(fields.optional_text("returnTo")?)?;
    let (typed, password) = (fields.text("email")?, fields.text("password")?);
    let refused = |problem: &'static str| {
        let (auth, hosted, return_to) = (&auth, &hosted, &return_to);
        async move { sign_up_form(auth, hosted, StatusCode::BAD_REQUEST, Some(problem), typed, return_to).await }
    };
    if passwords::check_new("password", password, HOSTED_MINIMUM).is_err() {
        return refused("The password must have 8 to 1024 characters.").await;
    }
    let Ok(email) = EmailAddress::parse(typed) else { return refused(SIGNUP_REFUSED).await };
    let signup = Signup { email: &email, password, is_admin: false, by_service: false };
    match auth.sign_up(&hosted.project, &signup, HOSTED_MINIMUM, &hosted.client).await {
        Ok(user) => enter(&auth, &hosted, &headers, &user, method::PASSWORD, &return_to).await,
        Err(error) if error.status() == StatusCode::CONFLICT => {
            tell_owner(&auth, &hosted, &headers, &email).await?;
            refused(SIGNUP_REFUSED).await
        }
        Err(error) => Err(error),
    }
}

/// Tells the owner of an address that somebody tried to sign up with it; at most as often as links are sent.
async fn tell_owner(auth: &Auth, hosted: &Hosted<true>, headers: &HeaderMap, email: &EmailAddress) -> ApiResult<()> {
    if auth.limits.take(Rule::SignupNotices, &[hosted.project.id.as_str(), email.as_str()]).is_err() {
        return Ok(());
    }
    let sign_in = Url::parse(&format!("{}/auth/sign-in", hosted.site.origin)).map_err(ApiError::internal)?;
    let mut connection = auth.connection().await?;
    let tx = connection.transaction().await?;
    let occasion = mail::Occasion::SignupRefused(Some(&sign_in));
    auth.send_mail(&tx, &hosted.project.id, email.as_str(), locale(headers), &occasion, false).await?;
    tx.commit().await?;
    Ok(())
}

fn locale(headers: &HeaderMap) -> Locale {
    Locale::of(headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

async fn sign_out_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let visitor = auth.visitor(&hosted.site, &headers).await?;
    let frame = frame(&auth, &hosted.project).await?;
    let nonce = frame.nonce.clone();
    let (csrf, email) = match &visitor {
        Visitor::SignedIn(visit) => (Some(visit.csrf_token()), visit.user.email_text()),
        _ => (None, String::new()),
    };
    pages::answer(StatusCode::OK, &pages::SignOut { frame, csrf, email: &email, return_to: &return_to }, &nonce)
}

async fn sign_out(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(fields.optional_text("returnTo")?)?;
    if let Visitor::SignedIn(visit) = auth.visitor(&hosted.site, &headers).await? {
        auth.check_form(&visit, fields.optional_text("_csrf")?)?;
        auth.end_session(visit.session.id).await?;
    }
    Ok(with_cookie(pages::see_other(&return_to)?, Auth::cleared(&hosted.site)?))
}

/// The visit, or where a visitor without one goes.
pub(super) async fn signed_in(
    auth: &Auth,
    hosted: &Hosted<true>,
    headers: &HeaderMap,
) -> ApiResult<Result<Box<Visit>, AuthError>> {
    Ok(match auth.visitor(&hosted.site, headers).await? {
        Visitor::SignedIn(visit) => Ok(visit),
        Visitor::Stale(error) => Err(error),
        Visitor::Anonymous => Err(AuthError::Required),
    })
}

async fn re_auth_form(
    auth: &Auth,
    hosted: &Hosted<true>,
    visit: &Visit,
    status: StatusCode,
    problem: Option<&str>,
    return_to: &str,
) -> ApiResult<Response> {
    let frame = frame(auth, &hosted.project).await?;
    let nonce = frame.nonce.clone();
    let email = visit.user.email_text();
    let passkeys = store::passkeys::of_user(&**auth.connection().await?, visit.user.id).await?;
    let page = pages::ReAuth {
        frame,
        problem,
        email: &email,
        return_to,
        csrf: visit.csrf_token(),
        has_password: visit.user.password_hash.is_some(),
        google: auth.google().is_ok().then(|| pages::link("/auth/sign-in/oauth/google/start", return_to)),
        passkey: passkeys
            .iter()
            .any(|passkey| passkey.rp_id == hosted.site.host)
            .then(|| pages::link("/auth/passkeys/login", return_to)),
        magic_link: auth.mailer.is_ready() && visit.user.email.is_some(),
    };
    pages::answer(status, &page, &nonce)
}

async fn re_auth_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    match signed_in(&auth, &hosted, &headers).await? {
        Ok(visit) => re_auth_form(&auth, &hosted, &visit, StatusCode::OK, None, &return_to).await,
        Err(_) => pages::see_other(&pages::link("/auth/sign-in", &return_to)),
    }
}

async fn re_auth(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(fields.optional_text("returnTo")?)?;
    let visit = signed_in(&auth, &hosted, &headers).await??;
    auth.check_form(&visit, fields.optional_text("_csrf")?)?;
    let email = visit.user.email_text();
    let password = fields.text("password")?;
    match auth.check_password(&hosted.project, &email, password, &hosted.client).await {
        Ok(user) if user.id == visit.user.id => {
            let cookie = auth.renew_session(&hosted.site, &visit.session, method::PASSWORD).await?;
            Ok(with_cookie(pages::see_other(&return_to)?, cookie))
        }
        Err(error) if error.status() != StatusCode::UNAUTHORIZED => Err(error),
        _ if wants_json(&headers) => Err(AuthError::InvalidCredentials.into()),
        _ => {
            let problem = Some("The password is wrong.");
            re_auth_form(&auth, &hosted, &visit, StatusCode::UNAUTHORIZED, problem, &return_to).await
        }
    }
}

async fn send_link(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(fields.optional_text("returnTo")?)?;
    let email = EmailAddress::parse(fields.text("email")?)?;
    let page_url = Url::parse(&format!("{}/auth/magic-link", hosted.site.origin)).map_err(ApiError::internal)?;
    let request = LinkRequest {
        email: &email,
        redirect_url: &with_query(page_url, "returnTo", &return_to),
        intent: "signin",
        client_state: None,
        trusted: false,
        host: Some(&hosted.site.host),
        locale: locale(&headers),
    };
    auth.request_link(&hosted.project, &request, &hosted.client).await?;
    let frame = frame(&auth, &hosted.project).await?;
    let nonce = frame.nonce.clone();
    let link = pages::link("/auth/sign-in", &return_to);
    let page = pages::Message {
        frame,
        heading: "Look at your mail",
        text: "If this address may sign in, a link is on its way to it. It works once, for 15 minutes.",
        link: &link,
        link_text: "Back to sign-in",
        code: None,
    };
    pages::answer(StatusCode::OK, &page, &nonce)
}

/// 400 for a link nobody sent, 410 for one that is used up.
async fn usable_link(auth: &Auth, hosted: &Hosted<true>, token: &str) -> ApiResult<()> {
    let connection = auth.connection().await?;
    let found = store::links::find(&**connection, &hosted.project.id, &secret::digest(token), false).await?;
    let status = match found.filter(|link| link.host.as_deref() == Some(hosted.site.host.as_str())) {
        None => StatusCode::BAD_REQUEST,
        Some(link) if !link.is_usable(auth.clock.now()) => StatusCode::GONE,
        Some(_) => return Ok(()),
    };
    Err(AuthError::MagicLinkInvalid.at(status))
}

async fn magic_link_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let token = query.token.unwrap_or_default();
    usable_link(&auth, &hosted, &token).await?;
    let frame = frame(&auth, &hosted.project).await?;
    let nonce = frame.nonce.clone();
    pages::answer(StatusCode::OK, &pages::MagicLink { frame, token: &token, return_to: &return_to }, &nonce)
}

async fn confirm_link(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(fields.optional_text("returnTo")?)?;
    let token = fields.text("token")?;
    usable_link(&auth, &hosted, token).await?;
    let mut connection = auth.connection().await?;
    let tx = connection.transaction().await?;
    let exchanged = auth.exchange_link(&tx, &hosted.project, token, Some(&hosted.site.host)).await;
    let exchanged = exchanged.map_err(|error| {
        let gone = AuthError::MagicLinkInvalid;
        if error.code() == gone.code() { gone.at(StatusCode::GONE) } else { error }
    })?;
    let user = exchanged.user;
    let proof = Proof::by(method::MAGIC_LINK);
    let cookie = auth.sign_in_browser(&tx, &hosted.site, &headers, &user, &proof, &hosted.client).await?;
    tx.commit().await?;
    if exchanged.is_new {
        auth.announce(&user);
    }
    Ok(with_cookie(pages::see_other(&return_to)?, cookie))
}

async fn start_google(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    auth.limits.take(Rule::OauthStart, &[&network(hosted.client.ip)])?;
    auth.google()?;
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let error_return_to = match query.error_return_to.as_deref() {
        Some(text) => hosted.return_to(Some(text))?,
        None => pages::link("/auth/sign-in", &return_to),
    };
    let linking_user = match query.intent.as_deref() {
        Some("link") => match signed_in(&auth, &hosted, &headers).await? {
            Ok(visit) => Some(visit.user.id),
            Err(_) => return pages::see_other(&pages::link("/auth/sign-in", &return_to)),
        },
        _ => None,
    };
    let tie = secret::generate();
    let transaction = Transaction {
        project: hosted.project.id.clone(),
        delivery: Delivery::Hosted {
            origin: hosted.site.origin.clone(),
            error_return_to,
            cookie_hash: secret::digest(&tie),
        },
        redirect_url: return_to,
        client_state: None,
        code_challenge: None,
        linking_user,
    };
    let url = auth.begin_google(&transaction, None).await?;
    let cookie = cookie::set(Kind::Oauth, hosted.site.secure, Some(&tie), crate::features::auth::google::EXPIRES_IN)?;
    Ok(with_cookie(pages::see_other(&url)?, cookie))
}

async fn complete_google(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    let invalid = || AuthError::OauthHandoffInvalid.at(StatusCode::BAD_REQUEST);
    let tie = cookie::find(&headers, Kind::Oauth, hosted.site.secure).map(secret::digest);
    let code = secret::digest(query.handoff.as_deref().unwrap_or_default());
    let mut connection = auth.connection().await?;
    let taken = store::oauth::take_code(&**connection, &hosted.project.id, &code, auth.clock.now()).await?;
    let row = taken
        .filter(|row| row.origin.as_deref() == Some(hosted.site.origin.as_str()))
        .filter(|row| tie.is_some() && row.cookie_hash == tie)
        .ok_or_else(invalid)?;
    let tx = connection.transaction().await?;
    let user = store::users::for_session(&*tx, &hosted.project.id, row.user).await?.ok_or_else(invalid)?;
    let proof = Proof::by(method::GOOGLE);
    let cookie = auth.sign_in_browser(&tx, &hosted.site, &headers, &user, &proof, &hosted.client).await?;
    tx.commit().await?;
    tracing::debug!(provider = PROVIDER, project = %hosted.project.id, "signed in");
    let gone = cookie::set(Kind::Oauth, hosted.site.secure, None, 0)?;
    let return_to = hosted.return_to(row.return_to.as_deref())?;
    Ok(with_cookie(with_cookie(pages::see_other(&return_to)?, cookie), gone))
}

/// Where a form of the account goes back to: the page it was on, if that is one of this site.
pub(super) fn back(hosted: &Hosted<true>, headers: &HeaderMap) -> String {
    let referer = headers.get(REFERER).and_then(|value| value.to_str().ok());
    hosted.return_to(referer).unwrap_or_else(|_| "/".to_owned())
}

/// JSON of the hosted surface.
pub(super) fn json_answer(body: serde_json::Value) -> Response {
    let mut response = Json(body).into_response();
    pages::protect(&mut response);
    response
}

/// `{ok: true, redirectTo}` with a cookie.
pub(super) fn entered(return_to: &str, cookie: HeaderValue) -> Response {
    with_cookie(json_answer(json!({"ok": true, "redirectTo": return_to})), cookie)
}
