//! SKELETON: who is calling. Real code comes from the integrator; signatures are binding.
use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, request::Parts},
};

use crate::common::{ApiError, ApiResult, PrincipalId, ProjectId, WalletAddress};

/// Verifies every kind of credential. No database: signatures and hashes only.
pub struct Identity {}

/// Role of a project key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    Anon,
    Service,
}

/// What a project key proves. Whether the project still exists is for the projects feature to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectKey {
    pub project: ProjectId,
    pub role: KeyRole,
}

/// The owner of this box.
#[derive(Clone, Debug)]
pub struct Admin {
    pub name: String,
}

impl Identity {
    /// The SIWX wallet: None without the header. Errors: 402 `SIWX_INVALID`.
    pub fn wallet(&self, _headers: &HeaderMap) -> ApiResult<Option<WalletAddress>> {
        todo!()
    }
    /// The project key in `Authorization: Bearer` (first) or `apikey`; None without either. 401 `UNAUTHORIZED` when it does not verify;
    /// 403 `FORBIDDEN` when both are present and name different projects.
    pub fn project_key(&self, _headers: &HeaderMap) -> ApiResult<Option<ProjectKey>> {
        todo!()
    }
    /// Platform admin (01 §2.6); None when no admin credential is presented. 403 ADMIN_REQUIRED for a bad one.
    pub fn admin(&self, _headers: &HeaderMap) -> ApiResult<Option<Admin>> {
        todo!()
    }
    /// The stable key of a project (01 §2.5): a JWT that can be derived again from the id.
    pub fn mint_project_key(&self, _project: &ProjectId, _role: KeyRole) -> String {
        todo!()
    }
    /// Deterministic principal of a wallet (08 §2.1).
    pub fn principal_of(&self, _wallet: WalletAddress) -> PrincipalId {
        todo!()
    }
    /// The `sign-in-with-x` extension object for a resource URL (01 §3.3).
    pub fn sign_in_extension(&self, _resource_url: &str) -> serde_json::Value {
        todo!()
    }
}

/// Extractor: a wallet is required. 401 `AUTHENTICATION_REQUIRED`, 402 `SIWX_INVALID`.
#[derive(Clone, Copy, Debug)]
pub struct Wallet(pub WalletAddress);
/// Extractor: a wallet, if there is one. 402 `SIWX_INVALID` for a bad header.
#[derive(Clone, Copy, Debug)]
pub struct MaybeWallet(pub Option<WalletAddress>);
/// Extractor: platform admin required. 401 when nobody signed in, 403 `ADMIN_REQUIRED` otherwise.
#[derive(Clone, Debug)]
pub struct RequireAdmin(pub Admin);

impl<S: Send + Sync> FromRequestParts<S> for Wallet
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Arc::<Identity>::from_ref(state)
            .wallet(&parts.headers)?
            .map(Self)
            .ok_or_else(|| ApiError::authentication_required("Sign the request with a wallet."))
    }
}
impl<S: Send + Sync> FromRequestParts<S> for MaybeWallet
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Arc::<Identity>::from_ref(state).wallet(&parts.headers).map(Self)
    }
}
impl<S: Send + Sync> FromRequestParts<S> for RequireAdmin
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let identity = Arc::<Identity>::from_ref(state);
        match identity.admin(&parts.headers)? {
            Some(admin) => Ok(Self(admin)),
            None => Err(ApiError::admin_required()),
        }
    }
}
