//! Passkey ceremonies on the hosted pages.

use std::sync::Arc;

use axum::{
    extract::{FromRef, Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

use super::{
    Answer, Elsewhere, FRESH_MINUTES, Hosted, PageQuery, RE_AUTH, SIGN_IN, account::caller, frame, json_answer,
    visit_or_sign_in, with_cookie,
};
use crate::{
    common::ApiResult,
    features::auth::{
        error::{AuthError, bad_field},
        hosted::pages,
        passkeys::RelyingParty,
        routes::{fields::Fields, passkeys::credential},
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
}

/// The site as a relying party; an `app_origin` in the body must say the same.
fn party_of(auth: &Auth, hosted: &Hosted<true>, fields: &Fields) -> ApiResult<RelyingParty> {
    if fields.optional_text("app_origin")?.is_some_and(|origin| origin != hosted.site.origin) {
        return Err(bad_field("app_origin", "app_origin must be the origin of this page."));
    }
    auth.relying_party(&hosted.project.id, &hosted.site.origin, None)
}

async fn login_page(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, Query(query): Query<PageQuery>) -> Answer {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let frame = frame(&auth, &hosted).await?;
    let nonce = frame.nonce.clone();
    let back = pages::link(SIGN_IN, &return_to);
    let page = pages::Passkey {
        frame,
        heading: "Sign in with a passkey",
        text: "Your device asks you to confirm with your fingerprint, face or screen lock.",
        button: "Use a passkey",
        back: &back,
        back_text: "Sign in another way",
        registers: false,
        return_to_json: pages::script_string(&return_to),
    };
    Ok(pages::answer(StatusCode::OK, &page, &nonce)?)
}

async fn register_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Answer {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let here = pages::link("/auth/passkeys/register", &return_to);
    let visit = visit_or_sign_in(&auth, &hosted, &headers, &here).await?;
    if !visit.is_fresh(FRESH_MINUTES, auth.clock.now()) {
        return Err(Elsewhere::Page(pages::link(RE_AUTH, &here)));
    }
    let frame = frame(&auth, &hosted).await?;
    let nonce = frame.nonce.clone();
    let page = pages::Passkey {
        frame,
        heading: "Add a passkey",
        text: "With a passkey you sign in by fingerprint, face or screen lock, without a password.",
        button: "Add a passkey",
        back: &return_to,
        back_text: "Not now",
        registers: true,
        return_to_json: pages::script_string(&return_to),
    };
    Ok(pages::answer(StatusCode::OK, &page, &nonce)?)
}

async fn login_options(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, fields: Fields) -> Answer {
    let party = party_of(&auth, &hosted, &fields)?;
    let email = fields.optional_text("email")?;
    Ok(json_answer(auth.begin_passkey_login(&hosted.project, &party, email, &hosted.client).await?))
}

async fn login(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, headers: HeaderMap, fields: Fields) -> Answer {
    let return_to = hosted.return_to_of(&fields)?;
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
    Ok(with_cookie(json_answer(json!({"ok": true, "redirectTo": return_to})), cookie))
}

async fn register_options(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> Answer {
    let visit = caller(&auth, &hosted, &headers, true).await?;
    let party = party_of(&auth, &hosted, &fields)?;
    Ok(json_answer(auth.begin_passkey_registration(&visit.user, &party, &hosted.client).await?))
}

async fn register(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, headers: HeaderMap, fields: Fields) -> Answer {
    let visit = caller(&auth, &hosted, &headers, true).await?;
    let (challenge, label) = (fields.text("challenge_id")?, fields.optional_text("label")?);
    let made = auth.finish_passkey_registration(&visit.user, challenge, credential(&fields)?, label).await?;
    Ok(json_answer(json!(PasskeyView::from(made))))
}
