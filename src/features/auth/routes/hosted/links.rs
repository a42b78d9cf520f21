//! Links by mail. What fetches a page uses nothing up: only the form behind it does.

use std::sync::Arc;

use axum::{
    extract::{FromRef, Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use url::Url;
use utoipa_axum::router::OpenApiRouter;

use super::{Answer, Hosted, PageQuery, SIGN_IN, frame, locale, with_cookie};
use crate::{
    common::{ApiError, ApiResult},
    features::auth::{
        email::EmailAddress,
        error::AuthError,
        hosted::pages,
        magic_links::LinkRequest,
        redirects::with_query,
        routes::fields::Fields,
        secret,
        service::Auth,
        store,
        types::{Proof, method},
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new()
        .route("/auth/magic-link", get(link_page))
        .route("/auth/magic-link/send", post(send_link))
        .route("/auth/magic-link/confirm", post(confirm_link))
}

async fn send_link(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, headers: HeaderMap, fields: Fields) -> Answer {
    let return_to = hosted.return_to_of(&fields)?;
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
    let frame = frame(&auth, &hosted).await?;
    let nonce = frame.nonce.clone();
    let link = pages::link(SIGN_IN, &return_to);
    let page = pages::Message {
        frame,
        heading: "Look at your mail",
        text: "If this address may sign in, a link is on its way to it. It works once, for 15 minutes.",
        link: Some((&link, "Back to sign-in")),
        code: None,
    };
    Ok(pages::answer(StatusCode::OK, &page, &nonce)?)
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

async fn link_page(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, Query(query): Query<PageQuery>) -> Answer {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let token = query.token.unwrap_or_default();
    usable_link(&auth, &hosted, &token).await?;
    let frame = frame(&auth, &hosted).await?;
    let nonce = frame.nonce.clone();
    let page = pages::MagicLink { frame, token: &token, return_to: &return_to };
    Ok(pages::answer(StatusCode::OK, &page, &nonce)?)
}

async fn confirm_link(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    fields: Fields,
) -> Answer {
    let return_to = hosted.return_to_of(&fields)?;
    let token = fields.text("token")?;
    usable_link(&auth, &hosted, token).await?;
    let mut connection = auth.connection().await?;
    let tx = connection.transaction().await?;
    let exchanged = auth.exchange_link(&tx, &hosted.project, token, Some(&hosted.site.host)).await;
    // Usable a moment ago: somebody else was quicker.
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
