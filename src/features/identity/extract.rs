//! Extractors: what a handler writes in its signature to demand a caller.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};

use super::{Admin, Identity};
use crate::common::{ApiError, ApiResult, ClientIp, WalletAddress};

/// A wallet is required. 401 `AUTHENTICATION_REQUIRED` without one, 402 `SIWX_INVALID` for a bad signature.
#[derive(Clone, Copy, Debug)]
pub struct Wallet(pub WalletAddress);

/// A wallet, if there is one. 402 `SIWX_INVALID` for a bad signature.
#[derive(Clone, Copy, Debug)]
pub struct MaybeWallet(pub Option<WalletAddress>);

/// The platform admin is required. 401 when nobody signed in, 403 `ADMIN_REQUIRED` for anybody else.
#[derive(Clone, Debug)]
pub struct RequireAdmin(pub Admin);

/// Verifies the wallet and counts failures against the caller's address (01 §1.9).
fn wallet(parts: &Parts, identity: &Identity) -> ApiResult<Option<WalletAddress>> {
    identity.wallet_at(&parts.headers, parts.uri.path()).map_err(|invalid| {
        let limited = parts.extensions.get::<ClientIp>().and_then(|ip| {
            identity.siwx_failures.check(&ip.0, "Too many invalid wallet signatures from this address.").err()
        });
        limited.unwrap_or(invalid)
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Wallet
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        wallet(parts, &Arc::from_ref(state))?.map(Self).ok_or_else(|| {
            ApiError::authentication_required("Sign this request with a wallet: send the SIGN-IN-WITH-X header.")
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MaybeWallet
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        wallet(parts, &Arc::from_ref(state)).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequireAdmin
where
    Arc<Identity>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let identity: Arc<Identity> = Arc::from_ref(state);
        if let Some(admin) = identity.admin(&parts.headers)? {
            return Ok(Self(admin));
        }
        // A bad signature is told before a missing right.
        wallet(parts, &identity)?;
        let signed_in =
            ["sign-in-with-x", "authorization", "apikey"].iter().any(|name| parts.headers.contains_key(*name));
        Err(if signed_in {
            ApiError::admin_required()
        } else {
            ApiError::authentication_required(
                "This route is for the platform admin: send X-Admin-Key, or an admin wallet's signature with X-Admin-Mode: 1.",
            )
        })
    }
}
