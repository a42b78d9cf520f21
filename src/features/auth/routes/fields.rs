//! Request bodies of this feature: JSON objects, or forms where a client may send one, read field by field so that
//! each mistake is a 400 `BAD_REQUEST` that names its field.

use axum::{
    extract::{FromRequest, Request},
    http::header::CONTENT_TYPE,
};
use serde_json::{Map, Value};

use super::super::error::bad_field;
use crate::common::{
    ApiError, ApiResult,
    json::{parse, read_body},
};

/// The fields of a body.
pub(super) struct Fields(pub Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content_type.is_some_and(|value| value.trim().starts_with("application/x-www-form-urlencoded"));
        let body = read_body(request, state).await?;
        if is_form {
            let pairs =
                url::form_urlencoded::parse(&body).map(|(key, value)| (key.into(), Value::from(value.as_ref())));
            return Ok(Self(pairs.collect()));
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Map::new()));
        }
        parse(&body).map(Self)
    }
}

impl Fields {
    /// # Errors
    /// 400 when it is missing or no text.
    pub fn text(&self, name: &str) -> ApiResult<&str> {
        self.optional_text(name)?.ok_or_else(|| bad_field(name, format!("{name} is required.")))
    }

    /// `null` counts as absent.
    ///
    /// # Errors
    /// 400 when it is no text.
    pub fn optional_text(&self, name: &str) -> ApiResult<Option<&str>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(bad_field(name, format!("{name} must be a string."))),
        }
    }

    /// # Errors
    /// 400 when it is neither true nor false.
    pub fn optional_flag(&self, name: &str) -> ApiResult<Option<bool>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(bad_field(name, format!("{name} must be true or false."))),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}
