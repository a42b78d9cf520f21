//! Hosted passkey ceremonies and the forms of the signed-in user's account (contract 06 §11).

use std::sync::Arc;

use axum::{
    extract::{FromRef, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::{
    fields::Fields,
    hosted::{FRESH_MINUTES, Hosted, PageQuery, back, entered, frame, json_answer, signed_in, wants_json, with_cookie},
    passkeys::credential,
};
use crate::{
    common::ApiResult,
    features::auth::{
        accounts::HOSTED_MINIMUM,
        error::{AuthError, bad_field},
        hosted::{Visit, pages},
        limits::Rule,
        passkeys::RelyingParty,
        passwords,
        service::Auth,
        store,
        types::{PasskeyView, Proof, method},
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .route("/auth/passkeys/login", get(login_page))
        .route("/auth/passkeys/register", get(register_page))
        .route("/auth/passkeys/login/options", post(login_options))
        .route("/auth/passkeys/login/verify", post(login))
        .route("/auth/passkeys/register/options", post(register_options))
        .route("/auth/passkeys/register/verify", post(register))
        .route("/auth/account/password", post(set_password))
        .route("/auth/account/passkeys/remove", post(remove_passkey))
        .route("/auth/account/sessions/revoke", post(revoke_session))
        .route("/auth/account/sign-out-everywhere", post(sign_out_everywhere))
        .route("/auth/account/identities/unlink", post(unlink_identity))
}

/// The site as a relying party; an `app_origin` in the body must say the same.
fn party_of(auth: &Auth, hosted: &Hosted<true>, fields: &Fields) -> ApiResult<RelyingParty> {
    if fields.optional_text("app_origin")?.is_some_and(|origin| origin != hosted.site.origin) {
        return Err(bad_field("app_origin", "app_origin must be the origin of this page."));
    }
    auth.relying_party(&hosted.project.id, &hosted.site.origin, None)
}

async fn login_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let frame = frame(&auth, &hosted.project).await?;
    let nonce = frame.nonce.clone();
    let back = pages::link("/auth/sign-in", &return_to);
    let page = pages::Passkey {
        frame,
        heading: "Sign in with a passkey",
        text: "Your device asks you to confirm with your fingerprint, face or screen lock.",
        button: "Use a passkey",
        back: &back,
        registers: false,
        return_to_json: pages::script_string(&return_to),
    };
    pages::answer(StatusCode::OK, &page, &nonce)
}

async fn register_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let here = pages::link("/auth/passkeys/register", &return_to);
    match signed_in(&auth, &hosted, &headers).await? {
        Err(_) => return pages::see_other(&pages::link("/auth/sign-in", &here)),
        Ok(visit) if !visit.is_fresh(FRESH_MINUTES, auth.clock.now()) => {
            return pages::see_other(&pages::link("/auth/re-auth", &here));
        }
        Ok(_) => {}
    }
    let frame = frame(&auth, &hosted.project).await?;
    let nonce = frame.nonce.clone();
    let page = pages::Passkey {
        frame,
        heading: "Add a passkey",
        text: "With a passkey you sign in by fingerprint, face or screen lock, without a password.",
        button: "Add a passkey",
        back: &return_to,
        registers: true,
        return_to_json: pages::script_string(&return_to),
    };
    pages::answer(StatusCode::OK, &page, &nonce)
}

async fn login_options(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, fields: Fields) -> ApiResult<Response> {
    let party = party_of(&auth, &hosted, &fields)?;
    let email = fields.optional_text("email")?;
    auth.begin_passkey_login(&hosted.project, &party, email, &hosted.client).await.map(json_answer)
}

async fn login(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let return_to = hosted.return_to(fields.optional_text("returnTo")?)?;
    let party = party_of(&auth, &hosted, &fields)?;
    let challenge = fields.text("challenge_id")?;
    let user = auth.check_passkey(&hosted.project, challenge, credential(&fields)?, Some(&party)).await?;
    let mut connection = auth.connection().await?;
    let tx = connection.transaction().await?;
    let found = store::users::for_session(&*tx, &hosted.project.id, user.id).await?;
    let user = found.ok_or(AuthError::UnknownPasskey)?;
    let proof = Proof::by(method::PASSKEY);
    let cookie = auth.sign_in_browser(&tx, &hosted.site, &headers, &user, &proof, &hosted.client).await?;
    tx.commit().await?;
    Ok(entered(&return_to, cookie))
}

/// The visit behind a call of the account surface, fresh if it has to be.
async fn visit_of(auth: &Auth, hosted: &Hosted<true>, headers: &HeaderMap, fresh: bool) -> ApiResult<Box<Visit>> {
    let visit = signed_in(auth, hosted, headers).await??;
    auth.limits.take(Rule::AccountMutations, &[&visit.user.id.to_string()])?;
    if fresh && !visit.is_fresh(FRESH_MINUTES, auth.clock.now()) {
        return Err(AuthError::FreshnessRequired { minutes: FRESH_MINUTES }.into());
    }
    Ok(visit)
}

async fn register_options(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let visit = visit_of(&auth, &hosted, &headers, true).await?;
    let party = party_of(&auth, &hosted, &fields)?;
    auth.begin_passkey_registration(&visit.user, &party, &hosted.client).await.map(json_answer)
}

async fn register(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let visit = visit_of(&auth, &hosted, &headers, true).await?;
    let (challenge, label) = (fields.text("challenge_id")?, fields.optional_text("label")?);
    let made = auth.finish_passkey_registration(&visit.user, challenge, credential(&fields)?, label).await?;
    Ok(json_answer(json!(PasskeyView::from(made))))
}

/// A form of the account page: who sent it, or the page a browser is sent to instead.
async fn form(
    auth: &Auth,
    hosted: &Hosted<true>,
    headers: &HeaderMap,
    fields: &Fields,
    fresh: bool,
) -> ApiResult<Result<Box<Visit>, Response>> {
    match visit_of(auth, hosted, headers, fresh).await {
        Ok(visit) => {
            auth.check_form(&visit, fields.optional_text("_csrf")?)?;
            Ok(Ok(visit))
        }
        Err(error) if error.code() == "R402_AUTH_FRESHNESS_REQUIRED" && !wants_json(headers) => {
            pages::see_other(&pages::link("/auth/re-auth", &back(hosted, headers))).map(Err)
        }
        Err(error) if error.code() == "R402_AUTH_REQUIRED" && !wants_json(headers) => {
            pages::see_other(&pages::link("/auth/sign-in", &back(hosted, headers))).map(Err)
        }
        Err(error) => Err(error),
    }
}

async fn set_password(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let visit = match form(&auth, &hosted, &headers, &fields, true).await? {
        Ok(visit) => visit,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let new = fields.text("new_password")?;
    passwords::check_new("new_password", new, HOSTED_MINIMUM)?;
    let current = fields.optional_text("current_password")?.filter(|text| !text.is_empty());
    auth.change_hosted_password(&hosted.project, &visit.user, &visit.session, new, current).await?;
    pages::see_other(&back(&hosted, &headers))
}

async fn remove_passkey(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let visit = match form(&auth, &hosted, &headers, &fields, true).await? {
        Ok(visit) => visit,
        Err(elsewhere) => return Ok(elsewhere),
    };
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
    pages::see_other(&back(&hosted, &headers))
}

async fn revoke_session(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let visit = match form(&auth, &hosted, &headers, &fields, false).await? {
        Ok(visit) => visit,
        Err(elsewhere) => return Ok(elsewhere),
    };
    auth.revoke_session_of(&visit.user, fields.text("session_id")?).await?;
    pages::see_other(&back(&hosted, &headers))
}

async fn sign_out_everywhere(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let visit = match form(&auth, &hosted, &headers, &fields, false).await? {
        Ok(visit) => visit,
        Err(elsewhere) => return Ok(elsewhere),
    };
    auth.sign_out_everywhere(&visit.user).await?;
    Ok(with_cookie(pages::see_other(&back(&hosted, &headers))?, Auth::cleared(&hosted.site)?))
}

async fn unlink_identity(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let visit = match form(&auth, &hosted, &headers, &fields, true).await? {
        Ok(visit) => visit,
        Err(elsewhere) => return Ok(elsewhere),
    };
    auth.unlink_identity(&visit.user, fields.text("provider")?, fields.text("subject")?).await?;
    pages::see_other(&back(&hosted, &headers))
}
