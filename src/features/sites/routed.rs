//! The envelope around routed functions (contract 04 §3.4-3.5): what reaches the function, what leaves the box. The
//! header rules are pure; running code is behind [`FunctionRunner`].

use std::{net::IpAddr, sync::Arc};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::error::SiteError;
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::releases::ServedRelease,
};

/// Largest body of a request and of an answer, in bytes.
pub(super) const MAX_BODY: usize = 6 * 1024 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-run402-request-id");
const CACHE: HeaderName = HeaderName::from_static("x-run402-cache");
/// Names the error of a page that crashed (contract 05 §4.4).
const ERROR_CODE: HeaderName = HeaderName::from_static("x-run402-error-code");
const PLATFORM_PREFIX: &str = "x-run402-";

/// What only the gateway may say; a client that sends it is up to something.
const SPOOFED: [&str; 5] = [
    "x-run402-actor-context",
    "x-run402-actor-token",
    "x-run402-user-id",
    "x-run402-user-role",
    "x-run402-user-membership",
];

/// Headers of one connection only (RFC 9110 §7.6.1), besides those `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A request for a function, as the function may see it.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub release: Arc<ServedRelease>,
    /// Its name in the release.
    pub function: String,
    /// The pattern that matched; `/*` when the SSR function caught the request.
    pub pattern: String,
    /// `req_` and 24 hexadecimal digits.
    pub request_id: String,
    pub method: Method,
    /// Scheme, public host with port, raw path and raw query.
    pub url: String,
    /// Without hop-by-hop headers and without what only the platform may say; with what it says.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Public host with its port when it is not the default of the scheme.
    pub host: String,
    pub client_ip: IpAddr,
    /// How many functions called each other to get here; 0 from outside.
    pub depth: u8,
}

/// Runs functions; the functions feature implements it.
pub trait FunctionRunner: Send + Sync {
    /// The answer as the function gave it, its status 200 to 599; or why there is none: 500
    /// `FUNCTION_RUNTIME_ERROR`, 504 `FUNCTION_TIMEOUT`, 503 `FUNCTION_BUSY`.
    fn run(&self, invocation: Invocation) -> BoxFuture<'_, ApiResult<Response<Bytes>>>;
}

/// No engine: every call fails closed with 501.
pub struct NoFunctions;

impl FunctionRunner for NoFunctions {
    fn run(&self, _: Invocation) -> BoxFuture<'_, ApiResult<Response<Bytes>>> {
        Box::pin(async { Err(ApiError::not_implemented("Running functions")) })
    }
}

/// `req_` and 24 hexadecimal digits.
pub(super) fn request_id() -> String {
    format!("req_{}", hex::encode(rand::random::<[u8; 12]>()))
}

/// What the platform tells a function about its request.
pub(super) struct Told<'a> {
    pub release: &'a ServedRelease,
    pub function: &'a str,
    pub pattern: &'a str,
    pub request_id: &'a str,
    pub host: &'a str,
    /// Whether a trusted proxy sent the request, whose word on the client is passed on.
    pub trusted_peer: bool,
}

/// Says in the log that a client claims to be the gateway (06 §9.4). What it claims is dropped.
pub fn note_spoofing(received: &HeaderMap, project: &ProjectId, request_id: &str) {
    if SPOOFED.iter().any(|name| received.contains_key(*name)) {
        tracing::warn!(%project, request_id, "R402_AUTH_ACTOR_HEADER_SPOOF");
    }
}

/// The headers a function sees.
pub(super) fn request_headers(received: &HeaderMap, told: &Told<'_>) -> HeaderMap {
    let named = named_by_connection(received);
    let mut headers = HeaderMap::with_capacity(received.len() + 6);
    for (name, value) in received {
        let dropped = HOP_BY_HOP.contains(name)
            || named.contains(name)
            || name.as_str().starts_with(PLATFORM_PREFIX)
            || (!told.trusted_peer && is_forwarding(name));
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    let facts = [
        ("x-run402-project-id", told.release.project.as_str()),
        ("x-run402-release-id", told.release.release.as_str()),
        ("x-run402-request-id", told.request_id),
        ("x-run402-function-name", told.function),
        ("x-run402-route-pattern", told.pattern),
        ("x-run402-host", told.host),
    ];
    for (name, value) in facts {
        // A pattern may hold characters beyond ASCII, which a header carries as bytes.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// What leaves the box of a function's answer.
///
/// # Errors
/// 502 `ROUTED_RESPONSE_TOO_LARGE`; 502 `FUNCTION_RUNTIME_ERROR` for a status no answer may have.
pub(super) fn response(answer: Response<Bytes>, head_only: bool, request_id: &str) -> ApiResult<Response<Bytes>> {
    let (mut parts, body) = answer.into_parts();
    if body.len() > MAX_BODY {
        return Err(SiteError::ResponseTooLarge { limit: MAX_BODY }.into());
    }
    if !(200..600).contains(&parts.status.as_u16()) || parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(SiteError::ResponseInvalid.into());
    }
    let named = named_by_connection(&parts.headers);
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + 3);
    for (name, value) in &parts.headers {
        let is_for_us = name.as_str().starts_with(PLATFORM_PREFIX) && *name != ERROR_CODE;
        let dropped = HOP_BY_HOP.contains(name) || named.contains(name) || is_for_us;
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    // The length of what is sent, whatever the function said; a HEAD keeps the length its GET would have.
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        headers.remove(header::CONTENT_LENGTH);
    } else if !(head_only && body.is_empty()) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        headers.insert(CACHE, HeaderValue::from_static("dynamic-bypass"));
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    parts.headers = headers;
    Ok(Response::from_parts(parts, if head_only || bodiless { Bytes::new() } else { body }))
}

/// An error about a function also tells the request's id (contract 04 §3.8).
pub(super) fn failure(error: ApiError, request_id: &str) -> ApiError {
    let error = error.extra("request_id", request_id);
    match HeaderValue::from_str(request_id) {
        Ok(value) => error.header(REQUEST_ID, value),
        Err(_) => error,
    }
}

/// Whether a request wants to leave HTTP for a WebSocket. Other upgrades, `h2c` say, are offers we ignore.
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    headers.get_all(header::UPGRADE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

/// What a proxy adds about the client.
fn is_forwarding(name: &HeaderName) -> bool {
    name == header::FORWARDED || name.as_str().starts_with("x-forwarded-") || name == "x-real-ip"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{common::Timestamp, features::releases::ReleaseState};

    fn release() -> ServedRelease {
        ServedRelease {
            project: "prj_1".parse().unwrap(),
            release: "rel_1".parse().unwrap(),
            deployment: "dpl_1_a".parse().unwrap(),
            generation: 1,
            activated_at: Timestamp::from_millis(0).unwrap(),
            state: Arc::new(ReleaseState::default()),
            static_manifest_sha256: None,
            route_manifest_sha256: None,
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn seen(pairs: &[(&'static str, &'static str)], trusted_peer: bool) -> BTreeMap<String, String> {
        let release = release();
        let told = Told {
            release: &release,
            function: "api",
            pattern: "/api/*",
            request_id: "req_1",
            host: "alpha.localhost:4020",
            trusted_peer,
        };
        let headers = request_headers(&headers(pairs), &told);
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn a_function_sees_the_browsers_headers_and_the_platforms_word() {
        let seen = seen(
            &[
                ("cookie", "a=1"),
                ("authorization", "Bearer x"),
                ("origin", "http://x"),
                ("x-run402-user-id", "evil"),
                ("x-run402-project-id", "prj_evil"),
                ("connection", "close, X-Custom-Hop"),
                ("x-custom-hop", "1"),
                ("keep-alive", "5"),
                ("te", "trailers"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-host", "evil"),
                ("forwarded", "for=6.6.6.6"),
            ],
            false,
        );
        let expected = [
            ("cookie", "a=1"),
            ("authorization", "Bearer x"),
            ("origin", "http://x"),
            ("x-run402-project-id", "prj_1"),
            ("x-run402-release-id", "rel_1"),
            ("x-run402-request-id", "req_1"),
            ("x-run402-function-name", "api"),
            ("x-run402-route-pattern", "/api/*"),
            ("x-run402-host", "alpha.localhost:4020"),
        ];
        assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_trusted_proxy_is_passed_on() {
        assert_eq!(seen(&[("x-forwarded-for", "1.2.3.4")], true)["x-forwarded-for"], "1.2.3.4");
    }

    fn answered(status: u16, pairs: &[(&'static str, &'static str)], body: &'static str) -> Response<Bytes> {
        let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        *answer.headers_mut() = headers(pairs);
        answer
    }

    #[test]
    fn what_a_function_answers_is_passed_on_without_platform_headers() {
        let pairs = [
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("location", "/next"),
            ("x-run402-mint-directive", "secret"),
            ("connection", "close"),
            ("content-length", "999"),
        ];
        let sent = response(answered(302, &pairs, "body"), false, "req_1").unwrap();
        let cookies: Vec<_> = sent.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(sent.headers()["location"], "/next");
        assert_eq!(sent.headers()["content-length"], "4");
        assert_eq!(sent.headers()["cache-control"], "private, no-store");
        assert_eq!(sent.headers()["x-run402-cache"], "dynamic-bypass");
        assert_eq!(sent.headers()["x-run402-request-id"], "req_1");
        assert!(!sent.headers().contains_key("x-run402-mint-directive") && !sent.headers().contains_key("connection"));
    }

    #[test]
    fn its_own_cache_control_stays() {
        let sent = response(answered(200, &[("cache-control", "public, max-age=5")], ""), false, "req_1").unwrap();
        assert_eq!(sent.headers()["cache-control"], "public, max-age=5");
        assert!(!sent.headers().contains_key("x-run402-cache"));
    }

    #[test]
    fn a_head_keeps_the_length_and_drops_the_body() {
        let sent = response(answered(200, &[], "body"), true, "req_1").unwrap();
        assert_eq!((sent.headers()["content-length"].to_str().unwrap(), sent.body().len()), ("4", 0));
        let sent = response(answered(204, &[("content-length", "4")], "body"), false, "req_1").unwrap();
        assert!(sent.body().is_empty() && !sent.headers().contains_key("content-length"));
    }

    #[test]
    fn what_cannot_be_sent_is_502() {
        let mut large = answered(200, &[], "");
        *large.body_mut() = vec![0; MAX_BODY + 1].into();
        assert_eq!(response(large, false, "req_1").unwrap_err().code(), "ROUTED_RESPONSE_TOO_LARGE");
        for status in [100, 101, 199, 600, 999] {
            let error = response(answered(status, &[], ""), false, "req_1").unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (502, "FUNCTION_RUNTIME_ERROR"), "{status}");
        }
    }

    #[test]
    fn request_ids_have_their_form() {
        let id = request_id();
        let rest = id.strip_prefix("req_").unwrap();
        assert!(rest.len() == 24 && rest.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        assert!(wants_websocket(&headers(&[("upgrade", "WebSocket")])));
        assert!(!wants_websocket(&headers(&[("upgrade", "h2c")])) && !wants_websocket(&HeaderMap::new()));
    }
}
