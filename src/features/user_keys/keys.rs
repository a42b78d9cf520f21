//! Key pairs and signatures; nothing here knows of a database.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use p256::{SecretKey, elliptic_curve::sec1::ToEncodedPoint, pkcs8::EncodePrivateKey};
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::types::Jwk;
use crate::common::ids::random_word;

/// 24 of 36 letters: 124 bits.
const KID_LENGTH: usize = 24;

/// A new pair: the public half and the private one as PKCS #8.
pub(super) fn generate() -> Result<(Jwk, Zeroizing<Vec<u8>>), p256::pkcs8::Error> {
    // All but one in 2^32 random scalars are below the order of the group.
    let secret = loop {
        let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
        if let Ok(secret) = SecretKey::from_slice(&bytes[..]) {
            break secret;
        }
    };
    let point = secret.public_key().to_encoded_point(false);
    let coordinate = |bytes: Option<&p256::FieldBytes>| URL_SAFE_NO_PAD.encode(bytes.map_or(&[][..], |b| &b[..]));
    let public = Jwk {
        kty: "EC".into(),
        crv: "P-256".into(),
        x: coordinate(point.x()),
        y: coordinate(point.y()),
        kid: format!("uk_{}", random_word(KID_LENGTH)),
        alg: "ES256".into(),
        purpose: "sig".into(),
    };
    let private = secret.to_pkcs8_der()?;
    Ok((public, Zeroizing::new(private.as_bytes().to_vec())))
}

/// Signs `claims` with a private key in PKCS #8.
pub(super) fn sign(
    kid: &str,
    private: &[u8],
    claims: &Map<String, Value>,
) -> Result<String, jsonwebtoken::errors::Error> {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(private))
}

/// The key that a token names, if it is of the kind that users' tokens are.
pub(super) fn kid_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        alg: String,
        kid: String,
    }
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let named: Named = serde_json::from_slice(&header).ok()?;
    (named.alg == "ES256").then_some(named.kid)
}

/// The claims of a token whose ES256 signature this key made; None for any other. Times, roles and projects are
/// for the caller to judge.
pub fn signed_claims(token: &str, key: &DecodingKey) -> Option<Map<String, Value>> {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    jsonwebtoken::decode(token, key, &validation).ok().map(|data| data.claims)
}
