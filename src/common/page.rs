//! Keyset pagination (contract 01 §1.8).

use std::{fmt::Display, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::ApiError;

/// The query of a paged list: `limit`, and the cursor under either of its two names.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PageQuery {
    pub limit: Option<String>,
    pub after: Option<String>,
    pub cursor: Option<String>,
}

impl PageQuery {
    pub const DEFAULT_LIMIT: i64 = 50;
    pub const MAX_LIMIT: i64 = 200;

    /// Rows wanted: 1 to 200, larger values clamped, 50 when absent.
    ///
    /// # Errors
    /// 400 `INVALID_LIMIT` when it is not a positive integer.
    pub fn limit(&self) -> Result<i64, ApiError> {
        let Some(text) = &self.limit else { return Ok(Self::DEFAULT_LIMIT) };
        match text.parse::<i64>().unwrap_or(i64::MAX) {
            limit if is_digits(text) && limit > 0 => Ok(limit.min(Self::MAX_LIMIT)),
            _ => Err(ApiError::bad_request("INVALID_LIMIT", "limit must be a positive whole number.")
                .detail("limit", text.as_str())),
        }
    }

    /// The decoded cursor, if one was sent.
    ///
    /// # Errors
    /// 400 `INVALID_CURSOR` when it was not made by [`encode_cursor`] for this kind of list.
    pub fn cursor<K: DeserializeOwned>(&self) -> Result<Option<K>, ApiError> {
        let Some(text) = self.after.as_ref().or(self.cursor.as_ref()) else { return Ok(None) };
        URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).map(Some).ok_or_else(
            || ApiError::bad_request("INVALID_CURSOR", "The cursor is not one this list gave out. Start without it."),
        )
    }
}

/// A number of rows, for lists that refuse what is out of bounds rather than clamp it.
///
/// # Errors
/// 400 `INVALID_LIMIT` when it is not a whole number from 1 to `most`.
pub fn exact_limit<T>(field: &str, text: Option<&str>, default: T, most: T) -> Result<T, ApiError>
where
    T: FromStr + PartialOrd + From<u8> + Display,
{
    let Some(text) = text else { return Ok(default) };
    match text.parse::<T>() {
        Ok(limit) if is_digits(text) && limit >= T::from(1) && limit <= most => Ok(limit),
        _ => Err(ApiError::bad_request("INVALID_LIMIT", format!("{field} must be a whole number from 1 to {most}."))
            .detail("field", field)),
    }
}

/// No sign and no blanks, which the standard parsers take.
fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// One page of rows and the cursor of the next.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Builds a page from up to `limit + 1` fetched rows: the extra row only tells that there is more.
    pub fn from_fetched<K: Serialize>(mut rows: Vec<T>, limit: i64, key: impl Fn(&T) -> K) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = has_more.then(|| rows.last().map(|row| encode_cursor(&key(row)))).flatten();
        Self { rows, next_cursor }
    }

    pub fn has_more(&self) -> bool {
        self.next_cursor.is_some()
    }
}

/// An opaque cursor: base64url of the key's JSON.
pub fn encode_cursor<K: Serialize>(key: &K) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(limit: Option<&str>, after: Option<&str>) -> PageQuery {
        PageQuery { limit: limit.map(Into::into), after: after.map(Into::into), cursor: None }
    }

    #[test]
    fn limits() {
        for (text, expected) in
            [(None, 50), (Some("1"), 1), (Some("200"), 200), (Some("1000"), 200), (Some("99999999999999999999"), 200)]
        {
            assert_eq!(query(text, None).limit().unwrap(), expected);
        }
        for text in ["0", "-1", "NaN", "", "1.5", "+5"] {
            assert_eq!(query(Some(text), None).limit().unwrap_err().code(), "INVALID_LIMIT", "{text}");
        }
    }

    #[test]
    fn exact_limits_are_not_clamped() {
        for (text, expected) in [(None, Some(5)), (Some("1"), Some(1)), (Some("25"), Some(25))] {
            assert_eq!(exact_limit("limit", text, 5_usize, 25).ok(), expected);
        }
        for text in ["0", "26", "-1", "", "+5", "1.5", " 1", "99999999999999999999"] {
            let error = exact_limit("limit", Some(text), 5_i64, 25).unwrap_err();
            assert_eq!(error.code(), "INVALID_LIMIT", "{text}");
        }
    }

    #[test]
    fn pages_chain_by_cursor() {
        let page = Page::from_fetched(vec![1, 2, 3], 2, |row| *row);
        assert_eq!(page.rows, [1, 2]);
        let cursor: Option<i32> = query(None, page.next_cursor.as_deref()).cursor().unwrap();
        assert_eq!(cursor, Some(2));
        assert!(!Page::from_fetched(vec![1, 2], 2, |row| *row).has_more());
        assert!(query(None, Some("garbage!")).cursor::<i32>().is_err());
    }
}
