//! HTTP of app-user auth, a file for each group of routes.

mod account;
mod administration;
mod fields;
mod hosted;
mod internal;
mod oauth;
mod operator;
mod passkeys;
mod user;

use std::sync::Arc;

use axum::{
    extract::{DefaultBodyLimit, FromRef},
    http::{
        HeaderMap, HeaderValue,
        header::{CACHE_CONTROL, PRAGMA, USER_AGENT},
    },
    response::{IntoResponse, Response},
};
use utoipa_axum::router::OpenApiRouter;

use super::{service::Auth, types::Client};
use crate::{
    common::ClientIp,
    features::{identity::Identity, user_keys::UserKeys},
};

/// Largest request body, in bytes (contract 06 §1.2).
const MAX_BODY: usize = 64 * 1024;

/// The machine routes of this feature.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Auth>: FromRef<S>,
    Arc<Identity>: FromRef<S>,
    Arc<UserKeys>: FromRef<S>,
{
    OpenApiRouter::new()
        .merge(user::router())
        .merge(account::router())
        .merge(hosted::router())
        .merge(administration::router())
        .merge(oauth::router())
        .merge(operator::router())
        .merge(passkeys::router())
        .merge(internal::router())
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// What the request tells of its client.
fn client_of(ip: ClientIp, headers: &HeaderMap) -> Client {
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Client { ip: ip.0, user_agent }
}

/// Marks an answer that holds tokens: nobody may keep it (06 §1.2).
fn no_store(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
