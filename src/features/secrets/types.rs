//! Names, values and refusals.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::common::{ApiError, Category, MutationState, NextAction, Timestamp};

const MAX_KEY_BYTES: usize = 128;
/// Bytes of a value, as UTF-8 (contract 05 §7.2).
const MAX_VALUE_BYTES: usize = 4096;

/// A name of a secret: `^[A-Z_][A-Z0-9_]{0,127}$`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SecretKey(String);

impl SecretKey {
    /// # Errors
    /// [`SecretError::Key`] for a text of another shape and for JSON that is no text.
    pub fn parse(value: Option<&Value>) -> Result<Self, SecretError> {
        let text = value.and_then(Value::as_str).ok_or(SecretError::Key)?;
        Self::of(text).ok_or(SecretError::Key)
    }

    pub fn of(text: &str) -> Option<Self> {
        let shaped = (1..=MAX_KEY_BYTES).contains(&text.len())
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        shaped.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value in memory: wiped when dropped, and silent when printed.
#[derive(Clone)]
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    /// # Errors
    /// [`SecretError::Value`] for JSON that is no text and for a text of more than 4096 bytes.
    pub(super) fn parse(value: Option<Value>) -> Result<Self, SecretError> {
        match value {
            Some(Value::String(text)) if text.len() <= MAX_VALUE_BYTES => Ok(Self(Zeroizing::new(text))),
            _ => Err(SecretError::Value),
        }
    }

    pub(super) fn of(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The value itself: for the environment of a function, and for redacting logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// One row of the list: never a value, nor anything derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SecretEntry {
    pub key: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Why a secret was refused. Never repeats what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// 400 `INVALID_SECRET_KEY`
    #[error("A secret key has 1 to 128 upper-case letters, digits or `_`, and does not start with a digit.")]
    Key,
    /// 400 `INVALID_SECRET_VALUE`
    #[error("A secret value is a text of at most 4096 bytes of UTF-8.")]
    Value,
    /// 404 `SECRET_NOT_FOUND`
    #[error("The project has no secret of this name.")]
    NotFound,
    /// 403 `TIER_LIMIT_EXCEEDED`
    #[error("The organisation has {used} secrets, and its tier allows {limit}: delete one, or change the tier.")]
    TooMany { used: i64, limit: i64 },
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        let message = error.to_string();
        match error {
            SecretError::Key => Self::bad_request("INVALID_SECRET_KEY", message).detail("field", "key"),
            SecretError::Value => Self::bad_request("INVALID_SECRET_VALUE", message).detail("field", "value"),
            SecretError::NotFound => Self::not_found("SECRET_NOT_FOUND", message),
            SecretError::TooMany { used, limit } => Self::forbidden("TIER_LIMIT_EXCEEDED", message)
                .category(Category::Quota)
                .retryable(false)
                .mutation_state(MutationState::NotStarted)
                .detail("scope", "organization")
                .detail("resource", "secrets")
                .detail("used", used)
                .detail("limit", limit)
                .next_action(NextAction::new("check_usage", "Shows what the organisation uses.")),
        }
    }
}
