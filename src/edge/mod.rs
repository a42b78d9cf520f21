//! What a socket sees: routes, limits, errors, CORS, metrics, the OpenAPI document.
//!
//! [`Front`] looks at the host first: tenants' requests go to the sites, everything else to the API's routes, but for
//! the data API, which is called without layers.
//! The edge knows every feature's router and no feature's rules. Order of the layers, outermost first: request
//! identity, time limit, error envelope, metrics and log ([`middleware`]); panics; CORS; body limit; routes.

mod errors;
mod front;
mod greeting;
mod host;
mod listener;
mod metrics;
mod middleware;
mod openapi;
mod settings;
mod timer;
mod unbuilt;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, Request, State},
    http::{HeaderMap, Method, Uri, header::HOST},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

pub use front::Front;
pub use greeting::Greeting;
pub use listener::serve;
pub use metrics::Metrics;
pub use settings::{HttpSettings, LogFormat, LogSettings};

use crate::{
    common::{ApiError, ClientIp, Network},
    engines::chain::assets::Chain,
    features::{identity::Identity, payments::Payments},
};

/// The whole HTTP surface over the features' routes.
pub fn router<S>(
    api: OpenApiRouter<S>,
    state: S,
    metrics: Arc<Metrics>,
    greeting: Greeting,
    limits: &HttpSettings,
    trusted_proxies: &[Network],
) -> Router
where
    S: Clone + Send + Sync + 'static,
    Arc<Identity>: FromRef<S>,
    Arc<Payments>: FromRef<S>,
{
    let (routes, document) = api.split_for_parts();
    let document = openapi::render(document);
    let around = middleware::Around {
        metrics: Arc::clone(&metrics),
        trusted_proxies: trusted_proxies.into(),
        request_timeout: Duration::from_secs(limits.request_seconds),
    };
    routes
        .route("/openapi.json", get(async move || openapi::answer(document)))
        .route(
            "/metrics",
            get(async move |State(identity): State<Arc<Identity>>, peer: ClientIp, headers: HeaderMap| {
                metrics::answer(&metrics, &identity, peer.0, &headers)
            }),
        )
        .route("/", post(chain_by_host).get(async move |headers: HeaderMap| greeting.answer(&headers)))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .with_state(state)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(from_fn(middleware::cors))
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn_with_state(around, middleware::around))
}

/// `POST /` under the host name of a public chain node is JSON-RPC to our chain of that name (contract 01 §5.2), for
/// clients whose requests to it are redirected here.
async fn chain_by_host(State(payments): State<Arc<Payments>>, peer: ClientIp, request: Request) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match Chain::from_public_rpc_host(host) {
        Some(chain) => payments.rpc_response(chain, request.into_body(), peer).await,
        None => unknown_route(request).await,
    }
}

/// 501 for what the contract knows and this version does not have, else 404; a wrong method on a known path is
/// the same 404 (contract 01 §1.1).
async fn unknown_route(request: Request) -> Response {
    let (method, uri): (&Method, &Uri) = (request.method(), request.uri());
    match unbuilt::feature(method, uri.path()) {
        Some(feature) => ApiError::not_implemented(feature).into_response(),
        None => ApiError::not_found("RESOURCE_NOT_FOUND", format!("Cannot {method} {}", uri.path())).into_response(),
    }
}
