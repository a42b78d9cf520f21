//! Who is calling.
//!
//! Every credential the API accepts is verified here, from bytes to a typed principal, without a database:
//!
//! | credential | proves | room |
//! |---|---|---|
//! | `SIGN-IN-WITH-X` | a wallet (contract 01 §2.2-2.3) | [`siwx`] |
//! | `Authorization: Bearer` / `apikey` with a project key | a role in one project (01 §2.5) | [`keys`] |
//! | `X-Admin-Key`, or an admin wallet with `X-Admin-Mode: 1` | the owner of this box (01 §2.6) | [`admin`] |
//!
//! Invariants: a credential *authenticates*; what its holder may do is decided by the feature that owns the
//! thing (membership of an organisation, existence of a project). Secrets are compared in constant time and
//! derived from the master key by purpose. Reading a wallet never writes anything.
//!
//! Not built yet: control-plane, operator and CI sessions, and the `run402_admin` cookie; they arrive with
//! their features and are refused as unknown bearers until then.

pub mod admin;
mod extract;
mod keys;
mod siwx;

use std::{net::IpAddr, time::Duration};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use serde_json::Value;
use url::Url;

use crate::common::{
    ApiError, ApiResult, Clock, PrincipalId, ProjectId, WalletAddress,
    rate::{Rate, RateLimiter},
    sealing::{MasterKey, hmac_sha256},
};

pub use admin::Admin;
pub use extract::{MaybeWallet, RequireAdmin, Wallet};
pub use keys::{KeyRole, ProjectKey};

/// What identity needs to know about the box.
pub struct IdentitySettings {
    /// The public base URL of the API; SIWX messages must name its host.
    pub public_url: Url,
    /// Further host names SIWX messages may name (`siwx_accept_domains`).
    pub accept_domains: Vec<String>,
    /// Loopback names are accepted in SIWX messages while the box listens on loopback only.
    pub loopback: bool,
    /// Wallets of the box's owner (`admin.wallets`).
    pub admin_wallets: Vec<WalletAddress>,
    /// SHA-256 of the admin key, hexadecimal (`admin.key_hash`).
    pub admin_key_hash: String,
    /// Whether failed SIWX verifications are limited per address.
    pub rate_limits: bool,
}

/// Verifies every kind of credential.
pub struct Identity {
    settings: IdentitySettings,
    clock: Clock,
    keys: keys::KeyMint,
    principal_secret: [u8; 32],
    siwx_failures: RateLimiter<IpAddr>,
}

impl Identity {
    pub fn new(settings: IdentitySettings, master: &MasterKey, clock: Clock) -> Self {
        let siwx_failures = if settings.rate_limits {
            RateLimiter::new(Rate::new(60, Duration::from_secs(60)))
        } else {
            RateLimiter::unlimited()
        };
        Self {
            keys: keys::KeyMint::new(&master.derive("project-keys")[..]),
            principal_secret: *master.derive("principals"),
            settings,
            clock,
            siwx_failures,
        }
    }

    /// The wallet that signed the request, or `None` without the header.
    ///
    /// # Errors
    /// 402 `SIWX_INVALID` when the header is present and any check of 01 §2.3 fails.
    pub fn wallet(&self, headers: &HeaderMap) -> ApiResult<Option<WalletAddress>> {
        self.wallet_at(headers, "/")
    }

    /// As [`Identity::wallet`], naming the requested path in the error's challenge.
    fn wallet_at(&self, headers: &HeaderMap, path: &str) -> ApiResult<Option<WalletAddress>> {
        let Some(header) = headers.get("sign-in-with-x") else { return Ok(None) };
        let rules = siwx::Rules {
            public_url: &self.settings.public_url,
            accept_domains: &self.settings.accept_domains,
            loopback: self.settings.loopback,
            now: self.clock.now(),
        };
        siwx::verify(header.as_bytes(), &rules).map(Some).map_err(|reason| {
            tracing::debug!(%reason, "SIGN-IN-WITH-X refused");
            siwx::invalid(reason, &self.resource_url(path), self.sign_in_extension(&self.resource_url(path)))
        })
    }

    /// The project key in `Authorization: Bearer`, else in `apikey`; `None` without either.
    ///
    /// # Errors
    /// 401 `UNAUTHORIZED` when a presented key does not verify, 403 `FORBIDDEN` when the two headers name
    /// different projects.
    pub fn project_key(&self, headers: &HeaderMap) -> ApiResult<Option<ProjectKey>> {
        let verify = |token: &str| {
            self.keys.verify(token).ok_or_else(|| ApiError::unauthorized("The project key is not valid on this box."))
        };
        let bearer = bearer_token(headers).map(verify).transpose()?;
        let apikey = headers.get("apikey").map(|value| verify(value.to_str().unwrap_or_default())).transpose()?;
        match (bearer, apikey) {
            (Some(bearer), Some(apikey)) if bearer.project != apikey.project => {
                Err(ApiError::forbidden("FORBIDDEN", "Authorization and apikey name different projects."))
            }
            (bearer, apikey) => Ok(bearer.or(apikey)),
        }
    }

    /// Verifies one project key; `None` when it is not one of this box.
    pub fn verify_project_key(&self, token: &str) -> Option<ProjectKey> {
        self.keys.verify(token)
    }

    /// The key of a project for a role: the same bytes every time (01 §2.5).
    pub fn mint_project_key(&self, project: &ProjectId, role: KeyRole) -> String {
        self.keys.mint(project, role)
    }

    /// The platform admin, or `None` for any other caller: an ordinary wallet is not an error here.
    ///
    /// # Errors
    /// 403 `ADMIN_REQUIRED` for a wrong admin key, 402 `SIWX_INVALID` for a bad wallet signature.
    pub fn admin(&self, headers: &HeaderMap) -> ApiResult<Option<Admin>> {
        if let Some(key) = headers.get("x-admin-key") {
            return if admin::key_matches(key.as_bytes(), &self.settings.admin_key_hash) {
                Ok(Some(Admin::Key))
            } else {
                Err(ApiError::admin_required())
            };
        }
        let admin_mode = headers.get("x-admin-mode").is_some_and(|value| value.as_bytes() == b"1");
        let wallet = if admin_mode { self.wallet(headers)? } else { None };
        Ok(wallet.filter(|wallet| self.settings.admin_wallets.contains(wallet)).map(Admin::Wallet))
    }

    /// The principal of a wallet: derived, so that a first read writes nothing (08 §2.1).
    pub fn principal_of(&self, wallet: WalletAddress) -> PrincipalId {
        let digest = hmac_sha256(&self.principal_secret, wallet.to_string().as_bytes());
        PrincipalId::from_digest(&digest)
    }

    /// The `sign-in-with-x` extension of a 402 challenge for a resource (01 §3.3).
    pub fn sign_in_extension(&self, resource_url: &str) -> Value {
        siwx::sign_in_extension(
            resource_url,
            self.settings.public_url.host_str().unwrap_or("localhost"),
            self.clock.now(),
        )
    }

    fn resource_url(&self, path: &str) -> String {
        format!("{}{path}", self.settings.public_url.as_str().trim_end_matches('/'))
    }
}

/// The token of an `Authorization: Bearer` header; other schemes do not count.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
