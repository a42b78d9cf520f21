//! Reads the request body of a raw SQL call (contract 02 §4.1).

use serde_json::Value;

use crate::common::{ApiError, ApiResult};

use super::types::SqlRequest;

impl SqlRequest {
    /// Reads a request body (contract 02 §4.1): JSON `{sql|query, params?}`, or the SQL itself. Without a content
    /// type that decides, a JSON object with `sql` is taken as JSON and all else as SQL.
    ///
    /// # Errors
    /// 400 `VALIDATION_ERROR`.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> ApiResult<Self> {
        let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        let text = std::str::from_utf8(body).map_err(|_| ApiError::validation("sql", "The body is not UTF-8 text."))?;
        let request = if media_type.eq_ignore_ascii_case("application/json") {
            let value = serde_json::from_str(text)
                .map_err(|error| ApiError::validation("body", format!("The body is not valid JSON: {error}.")))?;
            Self::from_json(value)?
        } else if media_type.eq_ignore_ascii_case("text/plain") {
            Self { sql: text.into(), params: Vec::new() }
        } else {
            match serde_json::from_str(text) {
                Ok(value @ Value::Object(_)) if value.get("sql").is_some() => Self::from_json(value)?,
                _ => Self { sql: text.into(), params: Vec::new() },
            }
        };
        if request.sql.trim().is_empty() {
            return Err(ApiError::validation("sql", "The SQL is empty."));
        }
        if request.sql.contains('\0') {
            return Err(ApiError::validation("sql", "The SQL holds a NUL character."));
        }
        Ok(request)
    }

    fn from_json(value: Value) -> ApiResult<Self> {
        let Value::Object(mut object) = value else {
            return Err(ApiError::validation("body", "The body must be a JSON object with sql."));
        };
        let sql = object.remove("sql").or_else(|| object.remove("query"));
        let Some(Value::String(sql)) = sql else {
            return Err(ApiError::validation("sql", "sql must be a string."));
        };
        let params = match object.remove("params") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(params)) => params,
            Some(_) => return Err(ApiError::validation("params", "params must be an array.")),
        };
        Ok(Self { sql, params })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bodies_are_read_by_content_type() {
        let plain = |sql: &str| SqlRequest { sql: sql.into(), params: Vec::new() };
        let cases = [
            (Some("text/plain"), "select 1", plain("select 1")),
            (Some("text/plain; charset=utf-8"), r#"{"sql":"x"}"#, plain(r#"{"sql":"x"}"#)),
            (Some("Application/JSON"), r#"{"sql":"select 1"}"#, plain("select 1")),
            (Some("application/json"), r#"{"query":"select 1","params":null}"#, plain("select 1")),
            (
                Some("application/json;charset=utf-8"),
                r#"{"sql":"select $1","params":[7,{"k":1}]}"#,
                SqlRequest { sql: "select $1".into(), params: vec![json!(7), json!({"k": 1})] },
            ),
            (None, "select 1", plain("select 1")),
            (None, r#"{"sql":"select 1"}"#, plain("select 1")),
            (Some("application/sql"), "select 1", plain("select 1")),
            (Some("application/x-www-form-urlencoded"), "[1]", plain("[1]")),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(SqlRequest::parse(content_type, body.as_bytes()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn unusable_bodies_are_validation_errors_that_name_the_field() {
        let cases: [(Option<&str>, &[u8], &str); 10] = [
            (Some("text/plain"), b"", "sql"),
            (Some("text/plain"), b" \n", "sql"),
            (Some("text/plain"), b"select '\0'", "sql"),
            (Some("text/plain"), b"\xff", "sql"),
            (Some("application/json"), b"select 1", "body"),
            (Some("application/json"), b"[]", "body"),
            (Some("application/json"), b"{}", "sql"),
            (Some("application/json"), br#"{"sql":1}"#, "sql"),
            (Some("application/json"), br#"{"sql":"select 1","params":{}}"#, "params"),
            (None, br#"{"sql":""}"#, "sql"),
        ];
        for (content_type, body, field) in cases {
            let error = SqlRequest::parse(content_type, body).unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (400, "VALIDATION_ERROR"));
            assert_eq!(error.body("trc_1", false)["details"]["field"], field, "{body:?}");
        }
    }
}
