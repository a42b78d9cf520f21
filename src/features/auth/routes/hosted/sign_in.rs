//! Sign-in, sign-up and sign-out by forms.

use std::sync::Arc;

use axum::{
    extract::{FromRef, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use url::Url;
use utoipa_axum::router::OpenApiRouter;

use super::{Answer, Elsewhere, Hosted, PageQuery, SIGN_IN, frame, locale, offers, wants_json, with_cookie};
use crate::{
    common::{ApiError, ApiResult},
    features::auth::{
        accounts::{self, HOSTED_MINIMUM, Signup},
        email::EmailAddress,
        error::AuthError,
        hosted::{Visitor, pages},
        limits::Rule,
        mail, passwords,
        routes::fields::Fields,
        service::Auth,
        types::{Proof, PublicSignup, User, method},
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .route(SIGN_IN, get(sign_in_page).post(sign_in))
        .route("/auth/sign-up", get(sign_up_page).post(sign_up))
        .route("/auth/sign-out", get(sign_out_page).post(sign_out))
}

/// Signs the browser in by password and sends it on.
async fn enter(auth: &Auth, hosted: &Hosted<true>, headers: &HeaderMap, user: &User, return_to: &str) -> Answer {
    let mut connection = auth.connection().await?;
    let tx = connection.transaction().await?;
    let user = accounts::unchanged(&tx, user).await?;
    let proof = Proof::by(method::PASSWORD);
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
    let frame = frame(auth, hosted).await?;
    let nonce = frame.nonce.clone();
    let page = pages::SignIn {
        frame,
        problem,
        email,
        return_to,
        offers: offers(auth, hosted, true, true, return_to),
        sign_up: (settings.public_signup == PublicSignup::Open).then(|| pages::link("/auth/sign-up", return_to)),
    };
    pages::answer(status, &page, &nonce)
}

async fn sign_in_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Answer {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let visitor = auth.visitor(&hosted.site, &headers).await?;
    if matches!(visitor, Visitor::SignedIn(_)) && query.r402_auth_error.is_none() {
        return Err(Elsewhere::Page(return_to));
    }
    let problem = query.r402_auth_error.as_deref().map(problem_of);
    let page = sign_in_form(&auth, &hosted, StatusCode::OK, problem, "", &return_to).await?;
    match visitor {
        Visitor::Stale(_) => Ok(with_cookie(page, Auth::cleared(&hosted.site)?)),
        _ => Ok(page),
    }
}

async fn sign_in(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, headers: HeaderMap, fields: Fields) -> Answer {
    let return_to = hosted.return_to_of(&fields)?;
    let (email, password) = (fields.text("email")?, fields.text("password")?);
    match auth.check_password(&hosted.project, email, password, &hosted.client).await {
        Ok(user) => enter(&auth, &hosted, &headers, &user, &return_to).await,
        // The hint of the machine API that an account has no password is not given here.
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
            if wants_json(&headers) {
                return Err(AuthError::InvalidCredentials.into());
            }
            let problem = AuthError::InvalidCredentials.to_string();
            let status = StatusCode::UNAUTHORIZED;
            Ok(sign_in_form(&auth, &hosted, status, Some(&problem), email, &return_to).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn sign_up_form(
    auth: &Auth,
    hosted: &Hosted<true>,
    status: StatusCode,
    problem: Option<&str>,
    email: &str,
    return_to: &str,
) -> Answer {
    let frame = frame(auth, hosted).await?;
    let nonce = frame.nonce.clone();
    let page = pages::SignUp { frame, problem, email, return_to, sign_in: pages::link(SIGN_IN, return_to) };
    Ok(pages::answer(status, &page, &nonce)?)
}

async fn sign_up_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Answer {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    if matches!(auth.visitor(&hosted.site, &headers).await?, Visitor::SignedIn(_)) {
        return Err(Elsewhere::Page(return_to));
    }
    if auth.pool_settings(&hosted.project.id).await?.public_signup != PublicSignup::Open {
        return Err(AuthError::SignupDisabled.into());
    }
    sign_up_form(&auth, &hosted, StatusCode::OK, None, "", &return_to).await
}

/// The one sentence of every refused sign-up.
const SIGNUP_REFUSED: &str = "This account could not be created. Check the address and the password, or sign in.";
const PASSWORD_RULE: &str = "The password must have 8 to 1024 characters.";

async fn sign_up(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, headers: HeaderMap, fields: Fields) -> Answer {
    let return_to = hosted.return_to_of(&fields)?;
    let (typed, password) = (fields.text("email")?, fields.text("password")?);
    let refused =
        |problem: &'static str| sign_up_form(&auth, &hosted, StatusCode::BAD_REQUEST, Some(problem), typed, &return_to);
    if passwords::check_new("password", password, HOSTED_MINIMUM).is_err() {
        return refused(PASSWORD_RULE).await;
    }
    let Ok(email) = EmailAddress::parse(typed) else { return refused(SIGNUP_REFUSED).await };
    let signup = Signup { email: &email, password, is_admin: false, by_service: false };
    match auth.sign_up(&hosted.project, &signup, HOSTED_MINIMUM, &hosted.client).await {
        Ok(user) => enter(&auth, &hosted, &headers, &user, &return_to).await,
        Err(error) if error.status() == StatusCode::CONFLICT => {
            tell_owner(&auth, &hosted, &headers, &email).await?;
            refused(SIGNUP_REFUSED).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Tells the owner of an address that somebody tried to sign up with it; at most as often as links are sent.
async fn tell_owner(auth: &Auth, hosted: &Hosted<true>, headers: &HeaderMap, email: &EmailAddress) -> ApiResult<()> {
    if auth.limits.take(Rule::SignupNotices, &[hosted.project.id.as_str(), email.as_str()]).is_err() {
        return Ok(());
    }
    let sign_in = Url::parse(&format!("{}{SIGN_IN}", hosted.site.origin)).map_err(ApiError::internal)?;
    let mut connection = auth.connection().await?;
    let tx = connection.transaction().await?;
    let occasion = mail::Occasion::SignupRefused(Some(&sign_in));
    auth.send_mail(&tx, &hosted.project.id, email.as_str(), locale(headers), &occasion, false).await?;
    tx.commit().await?;
    Ok(())
}

async fn sign_out_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Answer {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let visitor = auth.visitor(&hosted.site, &headers).await?;
    let frame = frame(&auth, &hosted).await?;
    let nonce = frame.nonce.clone();
    let (csrf, email) = match &visitor {
        Visitor::SignedIn(visit) => (Some(visit.csrf_token()), visit.user.email_text()),
        _ => (None, String::new()),
    };
    let page = pages::SignOut { frame, csrf, email: &email, return_to: &return_to };
    Ok(pages::answer(StatusCode::OK, &page, &nonce)?)
}

async fn sign_out(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, headers: HeaderMap, fields: Fields) -> Answer {
    let return_to = hosted.return_to_of(&fields)?;
    if let Visitor::SignedIn(visit) = auth.visitor(&hosted.site, &headers).await? {
        auth.check_form(&visit, fields.optional_text("_csrf")?)?;
        auth.end_session(visit.session.id).await?;
    }
    Ok(with_cookie(pages::see_other(&return_to)?, Auth::cleared(&hosted.site)?))
}
