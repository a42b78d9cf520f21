//! Turning an [`ApiError`] into bytes, in one place (contract 01 §1.2).

use axum::{
    Json,
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use crate::common::{ApiError, Verbatim};

/// Header that carries the trace id of every answer.
pub(super) const TRACE_HEADER: HeaderName = HeaderName::from_static("x-run402-trace-id");

/// Writes the envelope into a response that carries an [`ApiError`], and logs its cause. Bare errors of the
/// framework (an over-long path, an unreadable parameter) become envelopes as well, so that every error of the
/// API is JSON with a code.
pub(super) fn render(mut response: Response, method: &Method, trace_id: &str) -> Response {
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if response.extensions().get::<Verbatim>().is_some() => return response,
        None => match from_framework(&response) {
            Some(error) => error,
            None => return response,
        },
    };
    if error.status().is_server_error() && error.status() != StatusCode::NOT_IMPLEMENTED {
        let cause = error.cause().map(|cause| chain(cause));
        tracing::error!(trace_id, code = error.code(), cause, "request failed");
    } else {
        tracing::debug!(trace_id, code = error.code(), message = error.message(), "request refused");
    }
    let reads_only = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let (rendered, body) = Json(error.body(trace_id, reads_only)).into_response().into_parts();
    // The headers stay: the inner layers (CORS) and the error itself have put theirs there.
    *response.body_mut() = body;
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().extend(rendered.headers);
    response
}

/// The error of a response the framework made itself: plain text, never ours.
fn from_framework(response: &Response) -> Option<ApiError> {
    let status = response.status();
    let is_plain = response
        .headers()
        .get(CONTENT_TYPE)
        .is_none_or(|value| value == HeaderValue::from_static("text/plain; charset=utf-8"));
    if !is_plain || !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    Some(match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(status, "PAYLOAD_TOO_LARGE", "The body is larger than this route accepts.")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ApiError::new(status, "UNSUPPORTED_MEDIA_TYPE", "Send the body as application/json.")
        }
        StatusCode::REQUEST_TIMEOUT => {
            ApiError::new(status, "REQUEST_TIMEOUT", "The request took too long and was given up.")
        }
        status if status.is_client_error() => {
            ApiError::new(status, "INVALID_REQUEST", "The path or the query of this request could not be read.")
        }
        status => ApiError::internal(format!("the framework answered {status}")),
    })
}

/// An error and its sources, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
