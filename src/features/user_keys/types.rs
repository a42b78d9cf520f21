//! Keys and claims as the wire has them.

use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::common::{ProjectId, Timestamp};

/// The public half of a pair as a JSON Web Key (RFC 7517, RFC 7518 §6.2; contract 06 §9.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Jwk {
    /// `EC`
    pub kty: String,
    /// `P-256`
    pub crv: String,
    /// Coordinates of the point, 32 bytes each in base64url.
    pub x: String,
    pub y: String,
    pub kid: String,
    /// `ES256`
    pub alg: String,
    /// `sig`
    #[serde(rename = "use")]
    pub purpose: String,
}

/// A key set: the key in use first, then retired ones, the youngest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Jwks {
    pub keys: Vec<Jwk>,
}

/// A published key, ready to verify with.
#[derive(Clone)]
pub struct VerifyingKey {
    pub key: Arc<DecodingKey>,
    /// The only project whose tokens it signs.
    pub project: ProjectId,
}

/// What a token says of its user (contract 06 §3.1). Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// User id.
    pub sub: String,
    /// `authenticated` or `project_admin`.
    pub role: String,
    pub project_id: ProjectId,
    /// Empty when the user has none.
    #[serde(default)]
    pub email: String,
    pub iat: i64,
    pub exp: i64,
    pub auth_time: Option<i64>,
    #[serde(default)]
    pub amr: Vec<String>,
    pub aal: Option<String>,
    pub session_id: Option<String>,
    pub authz_version: Option<i64>,
    #[serde(default)]
    pub is_test: bool,
    /// Everything else the token carries.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// A pair as it is stored.
#[derive(Clone)]
pub(super) struct StoredKey {
    pub project: ProjectId,
    pub public: Jwk,
    /// PKCS #8, sealed.
    pub private: Vec<u8>,
    pub created_at: Timestamp,
    pub retired_at: Option<Timestamp>,
}
