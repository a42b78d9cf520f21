//! The front door: which requests are for the API and which for a tenant's site, before any routing.
//!
//! A tenant's request does not pass the API's layers. Most are answered from memory on the spot; the rest goes to
//! [`Sites::answer`], with what a request needs around it here. Nor does a request to the data API, at any host.

use std::{
    borrow::Cow,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{ConnectInfo, Request},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{
            ACCEPT, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
            CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tower::ServiceExt as _;

use super::{
    Metrics, errors, greeting, host,
    middleware::{self, Around},
};
use crate::{
    common::{ApiError, Network, ids, net::any_contains, path::is_at},
    engines::chain::assets::Chain,
    features::{
        auth,
        functions::FrontDoor,
        hosts::{Bound, Hostname, Hosts, TenantHost},
        rest::{self, Rest},
        sites::{Sites, Visit, error_page},
    },
};

/// App users' auth, which tenant hosts answer as well: its project is the host's (contract 06 §1).
const AUTH: &str = "/auth/v1";
/// The data API among the routes of the metrics.
const DATA_ROUTE: Cow<'static, str> = Cow::Borrowed("/rest/v1/{*path}");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Everything behind the listener.
pub struct Front {
    api: Router,
    rest: Arc<Rest>,
    hosts: Arc<Hosts>,
    sites: Arc<Sites>,
    around: Around,
}

/// A body as a request brings it.
pub(super) trait SentBody: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static {}

impl<B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static> SentBody for B {}

/// An answer, there already or to come.
pub(super) enum Answer {
    Ready(Option<Response>),
    Coming(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Future for Answer {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        match self.get_mut() {
            Self::Ready(response) => response.take().map_or(Poll::Pending, Poll::Ready),
            Self::Coming(future) => future.as_mut().poll(context),
        }
    }
}

impl Front {
    pub fn new(
        api: Router,
        rest: Arc<Rest>,
        hosts: Arc<Hosts>,
        sites: Arc<Sites>,
        metrics: Arc<Metrics>,
        trusted_proxies: &[Network],
        request_timeout: Duration,
    ) -> Self {
        let around = Around { metrics, trusted_proxies: trusted_proxies.into(), request_timeout };
        Self { api, rest, hosts, sites, around }
    }

    /// Answers one request of a connection from `peer`.
    pub(super) fn answer<B: SentBody>(self: &Arc<Self>, request: Request<B>, peer: SocketAddr) -> Answer {
        let trusted_peer = any_contains(&self.around.trusted_proxies, peer.ip());
        let (bound, name) = match host::of(request.uri(), request.headers(), trusted_peer) {
            Ok(name) => {
                let bound = self.hosts.find(&name);
                match &*bound {
                    Bound::Api => return self.to_api(request, peer),
                    Bound::Foreign if is_chain_node(&name) => return self.to_api(request, peer),
                    _ => {}
                }
                // Paths of the API and the box's own pages (contract 06 §11) are never a site's, whatever its files and
                // fallback say.
                if !is_api_path(request.uri().path())
                    && let Some(response) = self.sites.now(&bound, request.method(), request.uri(), request.headers())
                {
                    self.around.metrics.site_answered(response.status());
                    return Answer::Ready(Some(response));
                }
                (bound, name.as_str().to_owned())
            }
            Err(error) => {
                let asked = Asked::of(request.method(), request.headers());
                let response = asked.finish(ApiError::from(error).into_response());
                self.around.metrics.site_answered(response.status());
                return Answer::Ready(Some(response));
            }
        };
        self.to_site(bound, name, trusted_peer, request, peer)
    }

    fn to_api<B: SentBody>(self: &Arc<Self>, mut request: Request<B>, peer: SocketAddr) -> Answer {
        if rest::is_public(request.uri().path()) {
            return Answer::Coming(Box::pin(Arc::clone(self).to_data(request)));
        }
        request.extensions_mut().insert(ConnectInfo(peer));
        let api = self.api.clone();
        Answer::Coming(Box::pin(async move {
            match api.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }))
    }

    /// The data API, with around it what the layers of the API's other routes do.
    async fn to_data(self: Arc<Self>, request: Request<impl SentBody>) -> Response {
        let passage = self.around.begin(request.method(), request.uri());
        let mut response = match middleware::preflight(request.method(), request.headers()) {
            Some(response) => response,
            None => {
                let work = AssertUnwindSafe(rest::public(Arc::clone(&self.rest), request)).catch_unwind();
                let work = work.map(|done| done.unwrap_or_else(middleware::panicked));
                let mut response = self.around.in_time(work).await;
                response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, middleware::EXPOSED);
                response
            }
        };
        middleware::open(&mut response);
        self.around.end(passage, DATA_ROUTE, response)
    }

    fn to_site<B: SentBody>(
        self: &Arc<Self>,
        bound: Arc<Bound>,
        name: String,
        trusted_peer: bool,
        mut request: Request<B>,
        peer: SocketAddr,
    ) -> Answer {
        let front = Arc::clone(self);
        Answer::Coming(Box::pin(async move {
            let asked = Asked::of(request.method(), request.headers());
            if is_api_path(request.uri().path()) {
                return match front.sites.check_host(&bound).await {
                    Ok(()) => {
                        let scheme = if trusted_peer { host::forwarded_scheme(request.headers()) } else { None };
                        request.extensions_mut().insert(TenantHost { bound, host: name, scheme });
                        front.to_api(request, peer).await
                    }
                    Err(error) => asked.finish(error.into_response()),
                };
            }
            let visit = Visit {
                bound,
                host: name,
                client_ip: middleware::client_ip(peer.ip(), request.headers(), &front.around.trusted_proxies),
                trusted_peer,
                forwarded_scheme: if trusted_peer { host::forwarded_scheme(request.headers()) } else { None },
            };
            let work = AssertUnwindSafe(front.sites.answer(visit, request.map(Body::new))).catch_unwind();
            let response = match tokio::time::timeout(front.around.request_timeout, work).await {
                Ok(Ok(response)) => response,
                Ok(Err(panic)) => middleware::panicked(panic),
                Err(_) => ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "REQUEST_TIMEOUT",
                    "The request took too long and was given up.",
                )
                .into_response(),
            };
            let response = asked.finish(response);
            front.around.metrics.site_answered(response.status());
            response
        }))
    }
}

/// Functions of this box call it without a socket; the request is treated as any other.
impl FrontDoor for Front {
    fn answer(self: Arc<Self>, request: Request, peer: SocketAddr) -> BoxFuture<'static, Response> {
        Box::pin(Self::answer(&self, request, peer))
    }
}

/// What an error's body depends on.
struct Asked {
    method: Method,
    accept: HeaderMap,
}

impl Asked {
    fn of(method: &Method, headers: &HeaderMap) -> Self {
        let accept = headers.get_all(ACCEPT).iter().map(|value| (ACCEPT, value.clone())).collect();
        Self { method: method.clone(), accept }
    }

    /// Renders the error a response carries, if it does (contract 04 §2.10): never stored, JSON unless the client
    /// would rather read HTML.
    fn finish(&self, mut response: Response) -> Response {
        let Some(error) = response.extensions().get::<ApiError>().cloned() else { return response };
        let trace_id = ids::trace_id();
        let page = error_page(&self.accept, error.status(), error.code(), error.message());
        response = errors::render(response, &self.method, &trace_id);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.append(VARY, HeaderValue::from_static("Accept"));
        if let Ok(value) = HeaderValue::from_str(&trace_id) {
            headers.insert(errors::TRACE_HEADER, value);
        }
        if let Some(page) = page {
            headers.insert(CONTENT_TYPE, HTML);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(page.len()));
            headers.insert(CONTENT_SECURITY_POLICY, greeting::policy(&page));
            *response.body_mut() = Body::from(page);
        }
        if self.method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }
}

/// Clients send JSON-RPC to the host names of public chain nodes, which may be redirected here (contract 01 §5.2).
fn is_chain_node(host: &Hostname<'_>) -> bool {
    Chain::from_public_rpc_host(host.as_str()).is_some()
}

/// What the API answers on a tenant host as well. The data API's project comes from the token (contract 02 §7.1).
fn is_api_path(path: &str) -> bool {
    auth::is_hosted_path(path) || rest::is_public(path) || is_at(path, AUTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_answers_its_prefixes_and_the_hosted_pages_on_tenant_hosts() {
        for path in ["/rest/v1", "/rest/v1/", "/rest/v1/todos", "/auth/v1/session", "/auth/sign-in"] {
            assert!(is_api_path(path), "{path}");
        }
        for path in ["/", "/rest/v1x", "/rest", "/projects/v1", "/apply/v1/plans", "/auth", "/auth/callback"] {
            assert!(!is_api_path(path), "{path}");
        }
    }
}
