//! What happens around every request: identity of the request, CORS, log line, metrics, error envelope.

use std::{
    any::Any,
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
            ACCESS_CONTROL_REQUEST_METHOD, VARY,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Metrics, errors, metrics::InFlight};
use crate::{
    common::{ApiError, ClientIp, Network, TraceId, ids, net::any_contains},
    features::{auth, content::UPLOAD_ROUTE},
};

/// What the outermost layer needs.
#[derive(Clone)]
pub(super) struct Around {
    pub metrics: Arc<Metrics>,
    pub trusted_proxies: Arc<[Network]>,
    pub request_timeout: Duration,
}

/// One request on its way through the API, from its arrival to its answer.
pub(super) struct Passage {
    started: Instant,
    method: Method,
    uri: Uri,
    trace_id: String,
    _in_flight: InFlight,
}

impl Around {
    pub(super) fn begin(&self, method: &Method, uri: &Uri) -> Passage {
        Passage {
            started: Instant::now(),
            method: method.clone(),
            uri: uri.clone(),
            trace_id: ids::trace_id(),
            _in_flight: self.metrics.started(),
        }
    }

    /// The answer in time, or the refusal of a request that takes too long.
    pub(super) async fn in_time(&self, work: impl Future<Output = Response>) -> Response {
        tokio::time::timeout(self.request_timeout, work).await.unwrap_or_else(|_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "The request took too long and was given up.")
                .into_response()
        })
    }

    /// Renders errors, names the request, counts and logs it. `route` is the pattern that was matched. The query
    /// string is never logged: it may hold tokens.
    pub(super) fn end(&self, passage: Passage, route: Cow<'static, str>, response: Response) -> Response {
        let Passage { started, method, uri, trace_id, .. } = passage;
        let mut response = errors::render(response, &method, &trace_id);
        if let Ok(value) = HeaderValue::from_str(&trace_id) {
            response.headers_mut().insert(errors::TRACE_HEADER, value);
        }
        let took = started.elapsed();
        let status = response.status();
        self.metrics.finished(&method, route, status, took);
        let (path, status) = (uri.path(), status.as_u16());
        tracing::info!(%method, path, status, ms = took.as_secs_f64() * 1e3, trace_id, "request");
        response
    }
}

/// The outermost layer: gives the request its trace id and client address, bounds its time, renders errors,
/// counts and logs.
pub(super) async fn around(State(around): State<Around>, mut request: Request, next: Next) -> Response {
    let passage = around.begin(request.method(), request.uri());
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    let client_ip = client_ip(peer, request.headers(), &around.trusted_proxies);
    request.extensions_mut().insert(ClientIp(client_ip));
    request.extensions_mut().insert(TraceId(passage.trace_id.clone()));
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let response = if route.as_deref() == Some(UPLOAD_ROUTE) {
        next.run(request).await
    } else {
        around.in_time(next.run(request)).await
    };
    around.end(passage, route.map_or(Cow::Borrowed("-"), Cow::Owned), response)
}

/// The answer when a handler panicked.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied().unwrap_or("panic");
    ApiError::internal(format!("panic: {text}")).into_response()
}

/// The right-most address of `X-Forwarded-For` that is not a trusted proxy, when a trusted proxy sent it;
/// otherwise the peer.
pub(super) fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    if !any_contains(trusted, peer) {
        return peer;
    }
    headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|part| part.trim().parse().ok())
        .rfind(|ip| !any_contains(trusted, *ip))
        .unwrap_or(peer)
}

/// Response headers that scripts of other origins may read.
pub(super) const EXPOSED: HeaderValue = HeaderValue::from_static(
    "payment-required, payment-response, x-payment-response, www-authenticate, payment-receipt, retry-after, \
     x-run402-request-id, x-run402-trace-id, content-range, content-location, location, range-unit, \
     preference-applied, etag, date, content-type, content-encoding, server, transfer-encoding",
);

/// CORS of the API: open by design, without cookies (contract 01 §1.6). A preflight is answered here, with 204 and
/// without a credential; any other OPTIONS request is the route's.
pub(super) async fn cors(request: Request, next: Next) -> Response {
    let is_cookie_path = auth::is_cookie_path(request.uri().path());
    let mut response = match preflight(request.method(), request.headers()) {
        Some(response) => response,
        None => {
            let mut response = next.run(request).await;
            response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            response
        }
    };
    // What lives by a cookie is for pages of its own origin alone.
    if !is_cookie_path {
        open(&mut response);
    }
    response
}

/// The answer to a preflight, and None for any other request.
pub(super) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response> {
    if method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or(HeaderValue::from_static("*")));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(VARY, HeaderValue::from_static("access-control-request-headers"));
    Some(response)
}

/// For scripts of every origin, unless the answer says otherwise: a function may have.
pub(super) fn open(response: &mut Response) {
    response.headers_mut().entry(ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(HeaderValue::from_static("*"));
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let headers = |value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(value))])
        };
        let proxy = [Network::from(ip("10.0.0.1"))];
        let cases = [
            ("192.0.2.9", "198.51.100.7", "192.0.2.9"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "6.6.6.6, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
            ("10.0.0.1", "garbage", "10.0.0.1"),
        ];
        for (peer, header, expected) in cases {
            assert_eq!(client_ip(ip(peer), &headers(header), &proxy), ip(expected), "{peer} {header}");
        }
    }
}
