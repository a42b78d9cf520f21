//! Sign-in with Google from the hosted pages (contract 06 §7.2).

use std::sync::Arc;

use axum::{
    extract::{FromRef, Query, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use utoipa_axum::router::OpenApiRouter;

use super::{Answer, Hosted, PageQuery, SIGN_IN, visit_or_sign_in, with_cookie};
use crate::features::auth::{
    error::AuthError,
    google::{EXPIRES_IN, PROVIDER},
    hosted::{
        cookie::{self, Kind},
        pages,
    },
    limits::{Rule, network},
    secret,
    service::Auth,
    store::{
        self,
        oauth::{Delivery, Transaction},
    },
    types::{Proof, method},
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .route("/auth/sign-in/oauth/google/start", get(start))
        .route("/auth/oauth/complete", get(complete))
}

async fn start(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Answer {
    auth.limits.take(Rule::OauthStart, &[&network(hosted.client.ip)])?;
    auth.google()?;
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let error_return_to = match query.error_return_to.as_deref() {
        Some(text) => hosted.return_to(Some(text))?,
        None => pages::link(SIGN_IN, &return_to),
    };
    let linking_user = match query.intent.as_deref() {
        Some("link") => Some(visit_or_sign_in(&auth, &hosted, &headers, &return_to).await?.user.id),
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
    let cookie = cookie::set(Kind::Oauth, hosted.site.secure, Some(&tie), EXPIRES_IN)?;
    Ok(with_cookie(pages::see_other(&url)?, cookie))
}

async fn complete(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Answer {
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
