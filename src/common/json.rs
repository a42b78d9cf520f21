//! JSON request bodies with the API's rules (contract 01 §1.1).

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header::CONTENT_TYPE},
};
use serde::de::DeserializeOwned;

use super::ApiError;

/// A JSON object as request body. A missing body counts as `{}`: several clients POST without one.
///
/// Errors: 413 `PAYLOAD_TOO_LARGE` over the route's limit, 415 `UNSUPPORTED_MEDIA_TYPE` for a body of another
/// type, 400 `INVALID_JSON` for text that is not JSON, 400 `INVALID_REQUEST` for JSON that is not an object,
/// 400 `VALIDATION_ERROR` for a field of the wrong type.
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .map(|value| value.to_str().unwrap_or("").trim().to_ascii_lowercase())
            .map(|value| {
                let media_type = value.split(';').next().unwrap_or("").trim();
                media_type == "application/json" || media_type.ends_with("+json")
            });
        let body = read_body(request, state).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return parse(b"{}").map(Self);
        }
        if is_json == Some(false) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "Send the body as application/json.",
            ));
        }
        parse(&body).map(Self)
    }
}

/// The whole body, within the limit the route was given.
///
/// # Errors
/// 413 `PAYLOAD_TOO_LARGE`; 400 `INVALID_REQUEST` when the connection breaks off.
pub async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "PAYLOAD_TOO_LARGE",
                "The body is larger than this route accepts.",
            )
        } else {
            ApiError::bad_request("INVALID_REQUEST", "The body could not be read to its end.")
        }
    })
}

/// Parses a JSON object.
///
/// # Errors
/// As for [`ApiJson`].
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let value: serde_json::Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request("INVALID_JSON", format!("The body is not valid JSON: {error}.")))?;
    if !value.is_object() {
        return Err(ApiError::bad_request("INVALID_REQUEST", "The body must be a JSON object."));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        ApiError::validation(&field, format!("{field} does not have the expected form: {}.", error.inner()))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[expect(dead_code, reason = "only its type matters")]
        name: Option<String>,
    }

    #[test]
    fn each_mistake_has_its_code() {
        let cases: [(&[u8], &str); 4] = [
            (b"{\"name\":", "INVALID_JSON"),
            (b"\xff", "INVALID_JSON"),
            (b"[]", "INVALID_REQUEST"),
            (b"{\"name\":7}", "VALIDATION_ERROR"),
        ];
        for (body, code) in cases {
            assert_eq!(parse::<Body>(body).unwrap_err().code(), code);
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let body = parse::<Body>(b"{\"name\":7}").unwrap_err().body("trc_1", false);
        assert_eq!(body["details"]["field"], "name");
    }
}
