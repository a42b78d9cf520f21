//! Requests and answers in the sandbox's words. Pure.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::{
    engines::sandbox::{Request, Response},
    features::functions::executor::{Actor, FunctionFailure, FunctionResponse, FunctionVersion, Invocation},
};

/// Headers an answer may have, and bytes of them.
const MOST_HEADERS: usize = 256;
const MOST_HEADER_BYTES: usize = 64 * 1024;

pub(super) fn request(version: &FunctionVersion, invocation: Invocation) -> Request {
    let context = context(version, &invocation);
    Request {
        method: invocation.method.as_str().to_owned(),
        url: invocation.url,
        headers: text_headers(&invocation.headers),
        body: invocation.body,
        context,
    }
}

/// The request context of the functions module (05 §8.4).
fn context(version: &FunctionVersion, invocation: &Invocation) -> Value {
    json!({
        "requestId": invocation.request_id,
        "projectId": version.project,
        "releaseId": version.release,
        "locale": invocation.locale,
        "defaultLocale": invocation.default_locale,
        "host": invocation.host,
        "invocationKind": invocation.kind.as_str(),
        "idempotencyKey": invocation.idempotency_key,
        "actor": invocation.actor.as_ref().map(view),
    })
}

/// The user as code sees him, with the session that forms are bound to (06 §9.5).
fn view(actor: &Actor) -> Value {
    json!({
        "id": actor.id,
        "email": actor.email,
        "isTest": actor.is_test,
        "emailVerified": actor.email_verified,
        "authTime": actor.auth_time,
        "amr": actor.amr,
        "amrTimes": actor.amr_times,
        "authzVersion": actor.authz_version,
        "sessionId": actor.session_id,
    })
}

/// Headers as the guest has them: bytes become characters one to one (Fetch §2.2).
pub(super) fn text_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The way back; none for what no header can be.
pub(super) fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let bytes = value.chars().map(|character| u8::try_from(character).ok()).collect::<Option<Vec<u8>>>()?;
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&bytes).ok()?))
}

/// # Errors
/// [`FunctionFailure::InvalidResponse`] for headers that cannot be sent.
pub(super) fn response(answered: Response) -> Result<FunctionResponse, FunctionFailure> {
    let invalid = FunctionFailure::InvalidResponse;
    let size: usize = answered.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if answered.headers.len() > MOST_HEADERS || size > MOST_HEADER_BYTES {
        return Err(invalid(format!(
            "The response has more than {MOST_HEADERS} headers or {MOST_HEADER_BYTES} bytes of them."
        )));
    }
    let mut headers = HeaderMap::with_capacity(answered.headers.len());
    for (name, value) in &answered.headers {
        let (name, value) = header(name, value).ok_or_else(|| {
            invalid(format!("The response has a header that cannot be sent: {}", name.escape_debug()))
        })?;
        headers.append(name, value);
    }
    let status = StatusCode::from_u16(answered.status)
        .map_err(|_| invalid(format!("The response has the status {}.", answered.status)))?;
    Ok(FunctionResponse {
        status,
        headers,
        body: answered.body,
        cache_bypass_tainted: answered.tainted,
        cold: answered.cold,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answered(headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response { status: 200, headers, body: Bytes::new(), cold: false, tainted: false }
    }

    #[test]
    fn headers_travel_byte_for_byte() {
        let mut headers = HeaderMap::new();
        headers.insert("x-name", HeaderValue::from_bytes("bücher".as_bytes()).unwrap());
        let text = text_headers(&headers);
        let (name, value) = header(&text[0].0, &text[0].1).unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("x-name", "bücher".as_bytes()));
    }

    #[test]
    fn cookies_stay_apart() {
        let sent = response(answered(&[("set-cookie", "a=1"), ("Set-Cookie", "b=2")])).unwrap();
        assert_eq!(sent.headers.get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn what_cannot_be_sent_is_no_answer() {
        let long = "x".repeat(MOST_HEADER_BYTES);
        for pair in [("bad name", "x"), ("x", "a\nb"), ("x", "€"), ("", "x"), ("x", &long)] {
            let refused = response(answered(&[pair]));
            assert!(matches!(refused, Err(FunctionFailure::InvalidResponse(_))), "{:?}", pair.0);
        }
        let many: Vec<(&str, &str)> = (0..=MOST_HEADERS).map(|_| ("a", "b")).collect();
        assert!(response(answered(&many)).is_err());
    }
}
