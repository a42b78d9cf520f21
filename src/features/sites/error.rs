//! What can go wrong on a tenant host (contract 04 §1.5, §2.10, §3.8).

use axum::http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ALLOW, CONTENT_RANGE},
};

use super::cache::FileError;
use crate::{
    common::{ApiError, Category},
    features::releases::{MethodSet, PathError},
};

const EDGE: HeaderName = HeaderName::from_static("x-run402-edge");

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum SiteError {
    /// 404 `SUBDOMAIN_NOT_CONFIGURED`
    #[error("No project answers to this host name.")]
    UnknownManaged,
    /// 404 `HOST_NOT_CONFIGURED`
    #[error("This host name is not configured on this box.")]
    Foreign,
    /// 404 `NO_SITE_DEPLOYED`
    #[error("Nothing has been deployed to this host yet.")]
    NothingDeployed,
    /// 403 `PROJECT_ARCHIVED`
    #[error("This project was archived by the operator of this box.")]
    Archived,
    /// 502 `ROUTE_MANIFEST_LOAD_FAILED`; the wording is the clients' (contract 04 §1.5).
    #[error("Route manifest lookup failed")]
    ManifestUnavailable(#[source] ApiError),
    /// 400 `PATH_*`
    #[error("{0}")]
    Path(#[from] PathError),
    /// 404 `STATIC_NOT_FOUND`
    #[error("There is nothing at this path.")]
    NotFound,
    /// 404 `STATIC_ROUTE_TARGET_NOT_FOUND`
    #[error("The file behind this path is missing from the release.")]
    AliasTargetMissing,
    /// 405 `METHOD_NOT_ALLOWED`
    #[error("There is a file at this path; it can only be read.")]
    MethodNotAllowed(MethodSet),
    /// 405 `ROUTE_METHOD_NOT_ALLOWED`
    #[error("No route at this path takes this method.")]
    RouteMethodNotAllowed(MethodSet),
    /// 412 `PRECONDITION_FAILED`
    #[error("The file is not the one the request expects.")]
    PreconditionFailed,
    /// 416 `RANGE_NOT_SATISFIABLE`
    #[error("The range lies outside the {size} bytes of the file.")]
    RangeNotSatisfiable { size: u64 },
    /// 500 `CONTENT_DIGEST_MISSING`
    #[error("The bytes of this file are not in the store.")]
    ContentMissing(#[source] FileError),
    /// 404 `BLOB_NOT_FOUND`
    #[error("There is no such asset, or it was not found under this name.")]
    BlobNotFound,
    /// 405 `METHOD_NOT_ALLOWED` below `/_blob/`
    #[error("Assets can only be read.")]
    BlobMethodNotAllowed,
    /// 413 `REQUEST_BODY_TOO_LARGE`
    #[error("The body of a request to a function has at most {limit} bytes.")]
    BodyTooLarge { limit: usize },
    /// 400 `INVALID_REQUEST`
    #[error("The body of the request broke off.")]
    BodyBrokeOff,
    /// 502 `ROUTED_RESPONSE_TOO_LARGE`
    #[error("The answer of the function has more than {limit} bytes.")]
    ResponseTooLarge { limit: usize },
    /// 502 `FUNCTION_RUNTIME_ERROR`: a status a function may not answer with.
    #[error("The function answered with a status that cannot be sent.")]
    ResponseInvalid,
    /// 501 `NOT_IMPLEMENTED`
    #[error("WebSockets are not available on routed functions.")]
    Upgrade,
}

impl From<SiteError> for ApiError {
    fn from(error: SiteError) -> Self {
        use SiteError as E;
        let (status, code) = match &error {
            E::UnknownManaged => (StatusCode::NOT_FOUND, "SUBDOMAIN_NOT_CONFIGURED"),
            E::Foreign => (StatusCode::NOT_FOUND, "HOST_NOT_CONFIGURED"),
            E::NothingDeployed => (StatusCode::NOT_FOUND, "NO_SITE_DEPLOYED"),
            E::Archived => (StatusCode::FORBIDDEN, "PROJECT_ARCHIVED"),
            E::ManifestUnavailable(_) => (StatusCode::BAD_GATEWAY, "ROUTE_MANIFEST_LOAD_FAILED"),
            E::Path(error) => (StatusCode::BAD_REQUEST, error.code()),
            E::NotFound => (StatusCode::NOT_FOUND, "STATIC_NOT_FOUND"),
            E::AliasTargetMissing => (StatusCode::NOT_FOUND, "STATIC_ROUTE_TARGET_NOT_FOUND"),
            E::MethodNotAllowed(_) | E::BlobMethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            E::RouteMethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "ROUTE_METHOD_NOT_ALLOWED"),
            E::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED"),
            E::RangeNotSatisfiable { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_NOT_SATISFIABLE"),
            E::ContentMissing(FileError::Store(_) | FileError::CutOff) => {
                (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE")
            }
            E::ContentMissing(_) => (StatusCode::INTERNAL_SERVER_ERROR, "CONTENT_DIGEST_MISSING"),
            E::BlobNotFound => (StatusCode::NOT_FOUND, "BLOB_NOT_FOUND"),
            E::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_BODY_TOO_LARGE"),
            E::BodyBrokeOff => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            E::ResponseTooLarge { .. } => (StatusCode::BAD_GATEWAY, "ROUTED_RESPONSE_TOO_LARGE"),
            E::ResponseInvalid => (StatusCode::BAD_GATEWAY, "FUNCTION_RUNTIME_ERROR"),
            E::Upgrade => (StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED"),
        };
        let api = Self::new(status, code, error.to_string());
        match error {
            E::UnknownManaged => api.header(EDGE, HeaderValue::from_static("kvs-miss")),
            E::Foreign => api.header(EDGE, HeaderValue::from_static("kv-miss")),
            E::Archived => api.category(Category::Lifecycle),
            E::ManifestUnavailable(cause) => api.caused_by(cause),
            E::MethodNotAllowed(allow) | E::RouteMethodNotAllowed(allow) => allowing(api, &allow.to_string()),
            E::BlobMethodNotAllowed => allowing(api, "GET, HEAD, OPTIONS"),
            E::RangeNotSatisfiable { size } => match HeaderValue::from_str(&format!("bytes */{size}")) {
                Ok(value) => api.header(CONTENT_RANGE, value),
                Err(_) => api,
            },
            E::ContentMissing(cause) => api.caused_by(cause),
            _ => api,
        }
    }
}

fn allowing(error: ApiError, methods: &str) -> ApiError {
    match HeaderValue::from_str(methods) {
        Ok(value) => error.header(ALLOW, value),
        Err(_) => error,
    }
}
