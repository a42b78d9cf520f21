//! A fresh proof of who is signed in already.

use std::sync::Arc;

use axum::{
    extract::{FromRef, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use utoipa_axum::router::OpenApiRouter;

use super::{Answer, Hosted, PageQuery, RE_AUTH, frame, offers, visit, visit_or_sign_in, wants_json, with_cookie};
use crate::{
    common::ApiResult,
    features::auth::{
        error::AuthError,
        hosted::{
            Visit,
            pages::{self, Offers},
        },
        routes::fields::Fields,
        service::Auth,
        store,
        types::method,
    },
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
{
    OpenApiRouter::new().route(RE_AUTH, get(re_auth_page).post(re_auth))
}

/// The ways in that are wanted; all of them when none of those is to be had.
fn narrowed(has_password: bool, offers: Offers, wanted: Option<&str>) -> (bool, Offers) {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return (has_password, offers) };
    let wants = |method: &str| wanted.split(',').any(|one| one.trim() == method);
    let kept = Offers {
        google: offers.google.clone().filter(|_| wants(method::GOOGLE)),
        passkey: offers.passkey.clone().filter(|_| wants(method::PASSKEY)),
        magic_link: offers.magic_link && wants(method::MAGIC_LINK),
    };
    let keeps_password = has_password && wants(method::PASSWORD);
    if keeps_password || kept.is_any() { (keeps_password, kept) } else { (has_password, offers) }
}

async fn re_auth_form(
    auth: &Auth,
    hosted: &Hosted<true>,
    visit: &Visit,
    status: StatusCode,
    problem: Option<&str>,
    return_to: &str,
    wanted: Option<&str>,
) -> ApiResult<Response> {
    let frame = frame(auth, hosted).await?;
    let nonce = frame.nonce.clone();
    let email = visit.user.email_text();
    let passkeys = store::passkeys::of_user(&**auth.connection().await?, visit.user.id).await?;
    let has_passkey = passkeys.iter().any(|passkey| passkey.rp_id == hosted.site.host);
    let offers = offers(auth, hosted, has_passkey, visit.user.email.is_some(), return_to);
    let (has_password, offers) = narrowed(visit.user.password_hash.is_some(), offers, wanted);
    let page = pages::ReAuth {
        frame,
        problem,
        email: &email,
        return_to,
        csrf: visit.csrf_token(),
        amr: wanted.unwrap_or_default(),
        has_password,
        offers,
    };
    pages::answer(status, &page, &nonce)
}

async fn re_auth_page(
    State(auth): State<Arc<Auth>>,
    hosted: Hosted<true>,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Answer {
    let return_to = hosted.return_to(query.return_to.as_deref())?;
    let visit = visit_or_sign_in(&auth, &hosted, &headers, &return_to).await?;
    Ok(re_auth_form(&auth, &hosted, &visit, StatusCode::OK, None, &return_to, query.amr.as_deref()).await?)
}

async fn re_auth(State(auth): State<Arc<Auth>>, hosted: Hosted<true>, headers: HeaderMap, fields: Fields) -> Answer {
    let return_to = hosted.return_to_of(&fields)?;
    let visit = visit(&auth, &hosted, &headers).await?;
    auth.check_form(&visit, fields.optional_text("_csrf")?)?;
    let email = visit.user.email_text();
    let password = fields.text("password")?;
    match auth.check_password(&hosted.project, &email, password, &hosted.client).await {
        Ok(user) if user.id == visit.user.id => {
            let cookie = auth.renew_session(&hosted.site, &visit.session, method::PASSWORD).await?;
            Ok(with_cookie(pages::see_other(&return_to)?, cookie))
        }
        Err(error) if error.status() != StatusCode::UNAUTHORIZED => Err(error.into()),
        _ if wants_json(&headers) => Err(AuthError::InvalidCredentials.into()),
        _ => {
            let problem = Some("The password is wrong.");
            let (status, wanted) = (StatusCode::UNAUTHORIZED, fields.optional_text("amr")?);
            Ok(re_auth_form(&auth, &hosted, &visit, status, problem, &return_to, wanted).await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_methods_narrow_the_choice_unless_none_is_left() {
        let all = || Offers { google: Some("g".into()), passkey: Some("p".into()), magic_link: true };
        let seen = |wanted: Option<&str>| {
            let (password, offers) = narrowed(true, all(), wanted);
            (password, offers.google.is_some(), offers.passkey.is_some(), offers.magic_link)
        };
        assert_eq!(seen(None), (true, true, true, true));
        assert_eq!(seen(Some("")), (true, true, true, true));
        assert_eq!(seen(Some("passkey")), (false, false, true, false));
        assert_eq!(seen(Some("password, magic_link")), (true, false, false, true));
        assert_eq!(seen(Some("tenant_sso")), (true, true, true, true));
    }
}
