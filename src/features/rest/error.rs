//! Errors in PostgREST's own dialect (contract 02 §1.1, §7.14).
//!
//! Whatever the REST layer or Postgres itself finds wrong is answered with exactly
//! `{code, message, details, hint}`, because PostgREST clients match on those four. Errors of the gateway
//! (credentials, quota, lifecycle) use the platform's [`ApiError`] instead; [`RestError`] holds either.

use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
};

use axum::{
    Json,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::common::ApiError;

/// `Proxy-Status` (RFC 9209) names the code for clients that asked with HEAD and see no body.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// An error with PostgREST's body.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} {}: {}", .0.status, .0.code, .0.message)]
pub struct NativeError(Box<Report>);

/// What a [`NativeError`] says. Boxed there, because results are everywhere and errors are rare.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub status: StatusCode,
    pub code: Cow<'static, str>,
    pub message: String,
    /// A string, an array of candidates (PGRST201), or null.
    pub details: Value,
    pub hint: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Reason phrase of the status line, when the database chose one.
    pub reason: Option<String>,
}

impl Deref for NativeError {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.0
    }
}

impl DerefMut for NativeError {
    fn deref_mut(&mut self) -> &mut Report {
        &mut self.0
    }
}

impl NativeError {
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            status,
            code: code.into(),
            message: message.into(),
            details: Value::Null,
            hint: None,
            headers: Vec::new(),
            reason: None,
        }))
    }

    /// 400 with a PGRST code.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// PGRST102: the body does not have an acceptable shape.
    pub fn invalid_body(message: impl Into<String>) -> Self {
        Self::bad_request("PGRST102", message)
    }

    /// PGRST103 before any SQL: the range itself makes no sense.
    pub fn invalid_range(details: &str) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "PGRST103", "Requested range not satisfiable").details(details)
    }

    /// PGRST301: a token that cannot be decoded or does not verify.
    pub fn invalid_token(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "PGRST301", message).challenge(message)
    }

    /// PGRST303: a well-signed token whose claims do not hold now.
    pub fn invalid_claims(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "PGRST303", message).challenge(message)
    }

    /// PGRSTX00: a state this layer should never reach. The detail goes to the log, not to the caller.
    pub fn unexpected(cause: &str) -> Self {
        tracing::error!(cause, "unexpected state in the REST layer");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "PGRSTX00", "Something unexpected happened in the REST layer")
    }

    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = details.into();
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// RFC 6750 §3: why the bearer token was refused.
    fn challenge(self, description: &str) -> Self {
        let text = format!("Bearer error=\"invalid_token\", error_description=\"{description}\"");
        match HeaderValue::from_str(&text) {
            Ok(value) => self.header(WWW_AUTHENTICATE, value),
            Err(_) => self,
        }
    }

    pub fn body(&self) -> Value {
        json!({ "code": self.code, "message": self.message, "details": self.details, "hint": self.hint })
    }
}

impl IntoResponse for NativeError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        if let Ok(value) = HeaderValue::from_str(&format!("PostgREST; error={}", self.code)) {
            headers.insert(PROXY_STATUS, value);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let Report { headers: chosen, reason, .. } = *self.0;
        for (name, value) in chosen {
            headers.insert(name, value);
        }
        if let Some(reason) = reason.and_then(|text| hyper::ext::ReasonPhrase::try_from(text.into_bytes()).ok()) {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// Everything a REST call can be refused with.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RestError {
    /// Found by the gateway: the platform's envelope.
    #[error(transparent)]
    Gateway(#[from] ApiError),
    /// Found by the REST layer or by Postgres.
    #[error(transparent)]
    Native(#[from] NativeError),
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        match self {
            Self::Gateway(error) => error.into_response(),
            Self::Native(error) => error.into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_has_exactly_four_members() {
        let body = NativeError::bad_request("PGRST100", "no").body();
        let mut keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["code", "details", "hint", "message"]);
        assert_eq!(body["hint"], Value::Null);
    }

    #[test]
    fn a_401_carries_a_challenge_and_the_proxy_status() {
        let response = NativeError::invalid_claims("JWT expired").into_response();
        assert_eq!(
            response.headers()[WWW_AUTHENTICATE],
            "Bearer error=\"invalid_token\", error_description=\"JWT expired\""
        );
        assert_eq!(response.headers()[PROXY_STATUS], "PostgREST; error=PGRST303");
        let plain = NativeError::new(StatusCode::UNAUTHORIZED, "42501", "no").into_response();
        assert_eq!(plain.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
