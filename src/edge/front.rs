//! The front door: which requests are for the API and which for a tenant's site, before any routing.
//!
//! A tenant's request does not pass the API's layers. Most are answered from memory on the spot; the rest goes to
//! [`Sites::answer`], with what a request needs around it here.

use std::{
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
        header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tower::ServiceExt as _;

use super::{Metrics, errors, host, middleware};
use crate::{
    common::{ApiError, Network, ids, net::any_contains},
    engines::chain::assets::Chain,
    features::{
        auth,
        functions::FrontDoor,
        hosts::{Bound, Hostname, Hosts, TenantHost},
        sites::{Sites, Visit, error_page},
    },
};

/// What the API answers on a tenant host as well: the data API, whose project comes from the token (contract 02
/// §7.1), and app users' auth, whose project is the host's (06 §1).
const API_ON_TENANT_HOSTS: [&str; 2] = ["/rest/v1", "/auth/v1"];
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// Nothing may run in the page of an error.
const ERROR_PAGE_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Everything behind the listener.
pub struct Front {
    api: Router,
    hosts: Arc<Hosts>,
    sites: Arc<Sites>,
    metrics: Arc<Metrics>,
    trusted_proxies: Arc<[Network]>,
    request_timeout: Duration,
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
        hosts: Arc<Hosts>,
        sites: Arc<Sites>,
        metrics: Arc<Metrics>,
        trusted_proxies: &[Network],
        request_timeout: Duration,
    ) -> Self {
        Self { api, hosts, sites, metrics, trusted_proxies: trusted_proxies.into(), request_timeout }
    }

    /// Answers one request of a connection from `peer`.
    pub(super) fn answer<B: SentBody>(self: &Arc<Self>, request: Request<B>, peer: SocketAddr) -> Answer {
        let trusted_peer = any_contains(&self.trusted_proxies, peer.ip());
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
                    self.metrics.site_answered(response.status());
                    return Answer::Ready(Some(response));
                }
                (bound, name.as_str().to_owned())
            }
            Err(error) => {
                let asked = Asked::of(request.method(), request.headers());
                let response = asked.finish(ApiError::from(error).into_response());
                self.metrics.site_answered(response.status());
                return Answer::Ready(Some(response));
            }
        };
        self.to_site(bound, name, trusted_peer, request, peer)
    }

    fn to_api<B: SentBody>(&self, mut request: Request<B>, peer: SocketAddr) -> Answer {
        request.extensions_mut().insert(ConnectInfo(peer));
        let api = self.api.clone();
        Answer::Coming(Box::pin(async move {
            match api.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }))
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
                client_ip: middleware::client_ip(peer.ip(), request.headers(), &front.trusted_proxies),
                trusted_peer,
                forwarded_scheme: if trusted_peer { host::forwarded_scheme(request.headers()) } else { None },
            };
            let work = AssertUnwindSafe(front.sites.answer(visit, request.map(Body::new))).catch_unwind();
            let response = match tokio::time::timeout(front.request_timeout, work).await {
                Ok(Ok(response)) => response,
                Ok(Err(panic)) => {
                    let text = panic.downcast_ref::<&str>().copied().unwrap_or("panic");
                    ApiError::internal(format!("panic: {text}")).into_response()
                }
                Err(_) => ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "REQUEST_TIMEOUT",
                    "The request took too long and was given up.",
                )
                .into_response(),
            };
            let response = asked.finish(response);
            front.metrics.site_answered(response.status());
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
            headers.insert(axum::http::header::CONTENT_SECURITY_POLICY, ERROR_PAGE_POLICY);
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

fn is_api_path(path: &str) -> bool {
    auth::is_hosted_path(path)
        || API_ON_TENANT_HOSTS
            .iter()
            .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
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
