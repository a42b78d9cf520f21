//! What can be wrong with a host or a name.

use axum::http::StatusCode;

use super::BadHost;
use crate::common::ApiError;

/// Why a name cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    /// 409 `SUBDOMAIN_TAKEN`
    #[error("The subdomain {0} belongs to another project. Choose another name.")]
    Taken(String),
    /// 409 `SUBDOMAIN_RESERVED`: of a deleted project, during its grace.
    #[error("The subdomain {0} is held for the owner of a deleted project. Choose another name, or wait.")]
    Held(String),
    /// 400 `SUBDOMAIN_RESERVED`: a word of the platform.
    #[error("The subdomain {0} is reserved by the platform. Choose another name.")]
    Reserved(String),
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        let (status, code, name) = match &error {
            NameError::Taken(name) => (StatusCode::CONFLICT, "SUBDOMAIN_TAKEN", name),
            NameError::Held(name) => (StatusCode::CONFLICT, "SUBDOMAIN_RESERVED", name),
            NameError::Reserved(name) => (StatusCode::BAD_REQUEST, "SUBDOMAIN_RESERVED", name),
        };
        Self::new(status, code, error.to_string()).detail("name", name.as_str())
    }
}

impl From<BadHost> for ApiError {
    /// 400 `BAD_HOST`
    fn from(error: BadHost) -> Self {
        Self::bad_request("BAD_HOST", error.to_string())
    }
}
