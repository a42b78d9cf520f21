//! Requests that other sites make a browser send (contract 06 §10.3). Pure.

use axum::http::{
    HeaderMap,
    header::{ORIGIN, REFERER},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;
use uuid::Uuid;

use crate::{common::Timestamp, features::auth::error::AuthError};

/// Whether an unsafe request comes from a page of its own site: `Origin`, else `Referer`, must be exactly the
/// site's origin. Neither is a refusal, and so is `Origin: null`.
///
/// # Errors
/// 403 `R402_AUTH_CSRF_ORIGIN_MISMATCH`
pub fn check_origin(headers: &HeaderMap, origin: &str) -> Result<(), AuthError> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let same = match (origins.next(), origins.next()) {
        (Some(given), None) => given.to_str().is_ok_and(|given| given == origin),
        (Some(_), Some(_)) => false,
        (None, _) => headers
            .get(REFERER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| Url::parse(text).ok())
            .is_some_and(|url| url.origin().ascii_serialization() == origin),
    };
    if same { Ok(()) } else { Err(AuthError::CsrfOriginMismatch) }
}

/// The token of a session's forms: 32 hexadecimal digits of `sha256("<session>:<auth_time>:csrf")`.
pub fn token(session: Uuid, auth_time: Timestamp) -> String {
    let digest = Sha256::digest(format!("{session}:{}:csrf", auth_time.as_seconds()).as_bytes());
    hex::encode(&digest[..16])
}

/// # Errors
/// 403 `R402_AUTH_CSRF_TOKEN_MISMATCH`
pub fn check_token(given: Option<&str>, session: Uuid, auth_time: Timestamp) -> Result<(), AuthError> {
    let expected = token(session, auth_time);
    let matches = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(expected.as_bytes())));
    if matches { Ok(()) } else { Err(AuthError::CsrfTokenMismatch) }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const SITE: &str = "https://shop.example.com";

    fn allowed(pairs: &[(HeaderName, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        check_origin(&headers, SITE).is_ok()
    }

    #[test]
    fn only_pages_of_the_site_itself_may_post() {
        assert!(allowed(&[(ORIGIN, SITE)]));
        assert!(allowed(&[(REFERER, "https://shop.example.com/a?b")]));
        for origin in [
            "null",
            "",
            "https://evil.example",
            "http://shop.example.com",
            "https://shop.example.com:8443",
            "https://shop.example.com.evil.example",
            "https://shop.example.com/",
            "HTTPS://shop.example.com",
        ] {
            assert!(!allowed(&[(ORIGIN, origin)]), "{origin}");
            assert!(!allowed(&[(ORIGIN, origin), (REFERER, "https://shop.example.com/")]), "{origin}");
        }
        assert!(!allowed(&[]));
        assert!(!allowed(&[(ORIGIN, SITE), (ORIGIN, SITE)]));
        assert!(!allowed(&[(REFERER, "https://shop.example.com.evil.example/")]));
        assert!(!allowed(&[(REFERER, "about:blank")]));
    }

    #[test]
    fn the_token_is_the_runtimes() {
        let session: Uuid = "6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b".parse().unwrap();
        let at = Timestamp::from_millis(1_800_000_000_123).unwrap();
        let expected = hex::encode(Sha256::digest(b"6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b:1800000000:csrf"));
        assert_eq!(token(session, at), expected[..32]);
        assert!(check_token(Some(&token(session, at)), session, at).is_ok());
        assert!(check_token(None, session, at).is_err());
        assert!(check_token(Some(""), session, at).is_err());
        assert!(check_token(Some(&token(Uuid::new_v4(), at)), session, at).is_err());
    }
}
