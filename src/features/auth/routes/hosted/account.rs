//! The signed-in user's account: its page, and the forms that change it.

use std::sync::Arc;

use axum::{
    extract::{FromRef, Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::{
    ACCOUNT, Answer, Elsewhere, FRESH_MINUTES, Hosted, PageQuery, RE_AUTH, SIGN_IN, back, frame, visit,
    visit_or_sign_in, wants_json, with_cookie,
};
use crate::{
    common::ApiResult,
    features::auth::{
        accounts::HOSTED_MINIMUM,
        error::AuthError,
        google::PROVIDER,
        hosted::{
            Visit,
            pages::{self, Account, IdentityRow, PasskeyRow, SessionRow},
        },
        limits::Rule,
        passwords,
        routes::fields::Fields,
        service::Auth,
        store,
        tenants::TENANT_PREFIX,
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .route(ACCOUNT, get(account_page))
        .route("/auth/account/password", post(set_password))
        .route("/auth/account/passkeys/remove", post(remove_passkey))
        .route("/auth/account/sessions/revoke", post(revoke_session))
        .route("/auth/account/sign-out-everywhere", post(sign_out_everywhere))
        .route("/auth/account/identities/unlink", post(unlink_identity))
}

/// What the account page says of a change.
fn notice(done: &str) -> Option<&'static str> {
    Some(match done {
        "password" => "Your password is changed. Other devices are signed out.",
        "passkey" => "The passkey is removed.",
        "session" => "That device is signed out.",
        "identity" => "The account is unlinked.",
        _ => return None,
    })
}

async fn account_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Answer {
    let visit = visit_or_sign_in(&auth, &hosted, &headers, ACCOUNT).await?;
    let user = &visit.user;
    let connection = auth.connection().await?;
    let passkeys = store::passkeys::of_user(&**connection, user.id).await?;
    let identities = store::users::identities(&**connection, user.id).await?;
    let sessions = store::sessions::of_user(&**connection, user.id, auth.clock.now()).await?;
    drop(connection);
    let settings = auth.pool_settings(&hosted.project.id).await?;
    let frame = frame(&auth, &hosted).await?;
    let nonce = frame.nonce.clone();
    let has_password = user.password_hash.is_some();
    let may_link = auth.google().is_ok() && !identities.iter().any(|one| one.provider == PROVIDER);
    let has_passkeys = auth.relying_party(&hosted.project.id, &hosted.site.origin, None).is_ok();
    let page = Account {
        frame,
        notice: query.done.as_deref().and_then(notice),
        email: user.email.as_deref(),
        verified: user.email_verified_at.is_some(),
        confirms: user.email.is_some() && user.email_verified_at.is_none() && auth.mailer.is_ready(),
        csrf: visit.csrf_token(),
        has_password,
        may_set_password: has_password || settings.allow_password_set,
        add_passkey: has_passkeys.then(|| pages::link("/auth/passkeys/register", ACCOUNT)),
        passkeys: passkeys.iter().map(PasskeyRow::from).collect(),
        link_google: may_link
            .then(|| format!("{}&intent=link", pages::link("/auth/sign-in/oauth/google/start", ACCOUNT))),
        identities: identities
            .iter()
            .filter(|one| !one.provider.starts_with(TENANT_PREFIX))
            .map(IdentityRow::from)
            .collect(),
        sessions: sessions.iter().map(|one| SessionRow::of(one, visit.session.id)).collect(),
    };
    Ok(pages::answer(StatusCode::OK, &page, &nonce)?)
}

/// The visit behind a call of the account surface, fresh if it has to be.
///
/// # Errors
/// 401 without a session or with an old one, 429.
pub(super) async fn caller(
    auth: &Auth,
    hosted: &Hosted<true>,
    headers: &HeaderMap,
    fresh: bool,
) -> ApiResult<Box<Visit>> {
    let visit = visit(auth, hosted, headers).await?;
    auth.limits.take(Rule::AccountMutations, &[&visit.user.id.to_string()])?;
    if fresh && !visit.is_fresh(FRESH_MINUTES, auth.clock.now()) {
        return Err(AuthError::FreshnessRequired { minutes: FRESH_MINUTES }.into());
    }
    Ok(visit)
}

/// Who sent a form of the account. A browser is sent to sign in, or to prove itself again, where that is missing.
async fn sender(
    auth: &Auth,
    hosted: &Hosted<true>,
    headers: &HeaderMap,
    fields: &Fields,
    fresh: bool,
) -> Result<Box<Visit>, Elsewhere> {
    let visit = match caller(auth, hosted, headers, fresh).await {
        Ok(visit) => visit,
        Err(error) if wants_json(headers) => return Err(error.into()),
        Err(error) => {
            let page = match error.code() {
                "R402_AUTH_FRESHNESS_REQUIRED" => RE_AUTH,
                "R402_AUTH_REQUIRED" => SIGN_IN,
                _ => return Err(error.into()),
            };
            return Err(Elsewhere::Page(pages::link(page, &back(hosted, headers))));
        }
    };
    auth.check_form(&visit, fields.optional_text("_csrf")?)?;
    Ok(visit)
}

/// Back to where the form was; our own page says what was done.
fn done(hosted: &Hosted<true>, headers: &HeaderMap, what: &str) -> Answer {
    let back = back(hosted, headers);
    let on_our_page = back.split('?').next() == Some(ACCOUNT);
    Ok(pages::see_other(&if on_our_page { format!("{ACCOUNT}?done={what}") } else { back })?)
}

async fn set_password(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> Answer {
    let visit = sender(&auth, &hosted, &headers, &fields, true).await?;
    let new = fields.text("new_password")?;
    passwords::check_new("new_password", new, HOSTED_MINIMUM)?;
    let current = fields.optional_text("current_password")?.filter(|text| !text.is_empty());
    auth.change_hosted_password(&hosted.project, &visit.user, &visit.session, new, current).await?;
    done(&hosted, &headers, "password")
}

async fn remove_passkey(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> Answer {
    let visit = sender(&auth, &hosted, &headers, &fields, true).await?;
    let given = fields.text("credential_id")?;
    // The id of the record, or the credential's own.
    let id = match Uuid::try_parse(given) {
        Ok(id) => Some(id),
        Err(_) => {
            let passkeys = store::passkeys::of_user(&**auth.connection().await?, visit.user.id).await?;
            passkeys.iter().find(|one| URL_SAFE_NO_PAD.encode(&one.credential_id) == given).map(|one| one.id)
        }
    };
    auth.delete_passkey(&visit.user, id.ok_or(AuthError::NotFound)?).await?;
    done(&hosted, &headers, "passkey")
}

async fn revoke_session(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> Answer {
    let visit = sender(&auth, &hosted, &headers, &fields, false).await?;
    auth.revoke_session_of(&visit.user, fields.text("session_id")?).await?;
    done(&hosted, &headers, "session")
}

async fn sign_out_everywhere(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> Answer {
    let visit = sender(&auth, &hosted, &headers, &fields, false).await?;
    auth.sign_out_everywhere(&visit.user).await?;
    Ok(with_cookie(pages::see_other(&back(&hosted, &headers))?, Auth::cleared(&hosted.site)?))
}

async fn unlink_identity(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> Answer {
    let visit = sender(&auth, &hosted, &headers, &fields, true).await?;
    auth.unlink_identity(&visit.user, fields.text("provider")?, fields.text("subject")?).await?;
    done(&hosted, &headers, "identity")
}
