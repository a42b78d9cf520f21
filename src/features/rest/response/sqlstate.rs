//! What an error of Postgres means to an HTTP client (contract 02 §7.14).

use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{engines::postgres::ServerReport, features::rest::error::NativeError};

/// The parts of a Postgres error that reach the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseReport {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl From<&ServerReport> for DatabaseReport {
    fn from(report: &ServerReport) -> Self {
        let ServerReport { sqlstate, message, detail, hint } = report.clone();
        Self { sqlstate, message, detail, hint }
    }
}

impl DatabaseReport {
    /// The native error; `anonymous` requests are told to sign in where others are forbidden.
    pub fn into_native(self, anonymous: bool) -> NativeError {
        if self.sqlstate == "PGRST" {
            return raised(&self);
        }
        let status = status(&self, anonymous);
        let reason = self.sqlstate.starts_with("PT").then(|| self.message.clone());
        let hint = self.hint.or_else(|| dark_hint(&self.sqlstate, &self.message));
        let mut error = NativeError::new(status, self.sqlstate, self.message).maybe_hint(hint);
        error.details = self.detail.map_or(Value::Null, Value::String);
        error.reason = reason;
        error
    }
}

/// Advice that Postgres cannot give: why the role has no right (02 §6.4).
fn dark_hint(sqlstate: &str, message: &str) -> Option<String> {
    let relation = message.strip_prefix("permission denied for table ").or_else(|| {
        message
            .strip_prefix("permission denied for view ")
            .or_else(|| message.strip_prefix("permission denied for materialized view "))
    })?;
    (sqlstate == "42501").then(|| {
        format!("Declare '{relation}' with expose: true and a policy that lets this role in, in the expose manifest.")
    })
}

fn status(report: &DatabaseReport, anonymous: bool) -> StatusCode {
    let code = report.sqlstate.as_str();
    let forbidden = if anonymous { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
    match code {
        "23503" | "23505" => return StatusCode::CONFLICT,
        "25006" => return StatusCode::METHOD_NOT_ALLOWED,
        "42501" => return forbidden,
        "42883" if report.message.starts_with("function xmlagg(") => return StatusCode::NOT_ACCEPTABLE,
        "42P01" | "42883" => return StatusCode::NOT_FOUND,
        "42P17" | "53400" => return StatusCode::INTERNAL_SERVER_ERROR,
        "21000" if !report.message.ends_with("requires a WHERE clause") => return StatusCode::INTERNAL_SERVER_ERROR,
        "22023" if report.message.starts_with("role \"") && report.message.ends_with("does not exist") => {
            return StatusCode::UNAUTHORIZED;
        }
        "57P01" => return StatusCode::SERVICE_UNAVAILABLE,
        "P0001" => return StatusCode::BAD_REQUEST,
        _ => {}
    }
    if let Some(chosen) = code.strip_prefix("PT") {
        return chosen_status(chosen);
    }
    match code.get(..2).unwrap_or("") {
        "08" | "53" => StatusCode::SERVICE_UNAVAILABLE,
        "0L" | "0P" | "28" => StatusCode::FORBIDDEN,
        "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV" | "P0" | "XX" => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

/// `PTnnn`: the database chose the status.
fn chosen_status(digits: &str) -> StatusCode {
    digits
        .parse::<u16>()
        .ok()
        .filter(|code| (200..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[derive(Deserialize)]
struct RaisedMessage {
    code: String,
    message: String,
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    hint: Option<String>,
}

#[derive(Deserialize)]
struct RaisedDetail {
    status: u16,
    headers: Map<String, Value>,
    #[serde(default)]
    status_text: Option<String>,
}

/// `RAISE SQLSTATE 'PGRST'` with JSON in message and detail: a whole response of the database's own.
fn raised(report: &DatabaseReport) -> NativeError {
    let unreadable = |what: &str, text: &str| {
        NativeError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "PGRST121",
            "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error",
        )
        .details(format!("Invalid JSON value for {what}: '{text}'"))
    };
    let Ok(message) = serde_json::from_str::<RaisedMessage>(&report.message) else {
        return unreadable("MESSAGE", &report.message)
            .hint("MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', 'hint'.");
    };
    let text = report.detail.as_deref().unwrap_or("");
    let hint =
        "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: 'status_text'.";
    let Ok(detail) = serde_json::from_str::<RaisedDetail>(text) else {
        return unreadable("DETAIL", text).hint(hint);
    };
    let Some(status) = StatusCode::from_u16(detail.status).ok().filter(|status| status.as_u16() >= 200) else {
        return unreadable("DETAIL", text).hint(hint);
    };
    let mut error = NativeError::new(status, message.code, message.message).maybe_hint(message.hint);
    error.details = message.details.map_or(Value::Null, Value::String);
    error.reason = detail.status_text;
    for (name, value) in detail.headers {
        let name = HeaderName::try_from(name);
        let value = value.as_str().map(HeaderValue::from_str);
        match (name, value) {
            (Ok(name), Some(Ok(value))) => error = error.header(name, value),
            _ => return unreadable("DETAIL", text).hint(hint),
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sqlstate: &str, message: &str) -> DatabaseReport {
        DatabaseReport { sqlstate: sqlstate.into(), message: message.into(), detail: None, hint: None }
    }

    #[test]
    fn sqlstates_map_to_http() {
        for (sqlstate, message, expected) in [
            ("23503", "", 409),
            ("23505", "", 409),
            ("23502", "", 400),
            ("23514", "", 400),
            ("25006", "", 405),
            ("25P02", "", 500),
            ("42P01", "", 404),
            ("42883", "operator does not exist", 404),
            ("42883", "function xmlagg(integer) does not exist", 406),
            ("42P17", "", 500),
            ("42703", "", 400),
            ("42804", "", 400),
            ("21000", "UPDATE requires a WHERE clause", 400),
            ("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time", 500),
            ("22023", "role \"x\" does not exist", 401),
            ("22023", "invalid parameter", 400),
            ("22P02", "", 400),
            ("P0001", "", 400),
            ("P0002", "", 500),
            ("PT402", "", 402),
            ("PT999", "", 500),
            ("PT1xx", "", 500),
            ("53400", "", 500),
            ("53300", "", 503),
            ("57P01", "", 503),
            ("57014", "", 500),
            ("08006", "", 503),
            ("28000", "", 403),
            ("0LP01", "", 403),
            ("0P000", "", 403),
            ("40001", "", 500),
            ("XX000", "", 500),
            ("54001", "", 500),
            ("0A000", "", 400),
            ("", "", 400),
        ] {
            let native = report(sqlstate, message).into_native(false);
            assert_eq!(native.status.as_u16(), expected, "{sqlstate} {message}");
            assert_eq!(native.code, sqlstate);
        }
        assert_eq!(report("42501", "").into_native(true).status, StatusCode::UNAUTHORIZED);
        assert_eq!(report("42501", "").into_native(false).status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_dark_table_is_hinted_at_but_a_policy_is_not() {
        let dark = report("42501", "permission denied for table t").into_native(true);
        assert!(dark.hint.as_ref().unwrap().contains("'t'"));
        let policy = report("42501", "new row violates row-level security policy for table \"t\"").into_native(false);
        assert_eq!(policy.hint, None);
    }

    #[test]
    fn a_raised_response_chooses_everything() {
        let mut raised = report("PGRST", r#"{"code":"X1","message":"no","hint":"h"}"#);
        raised.detail = Some(r#"{"status":418,"headers":{"X-A":"b"},"status_text":"teapot"}"#.into());
        let native = raised.clone().into_native(false);
        assert_eq!((native.status.as_u16(), native.code.as_ref(), native.message.as_str()), (418, "X1", "no"));
        assert_eq!(native.headers[0].1, "b");
        assert_eq!(native.reason.as_deref(), Some("teapot"));
        for (message, detail) in [
            ("no json", "{}"),
            (r#"{"code":"X","message":"m"}"#, "x"),
            (r#"{"code":"X","message":"m"}"#, r#"{"status":9999,"headers":{}}"#),
            (r#"{"code":"X","message":"m"}"#, r#"{"status":400,"headers":{"a b":"c"}}"#),
        ] {
            raised.message = message.into();
            raised.detail = Some(detail.into());
            assert_eq!(raised.clone().into_native(false).code, "PGRST121", "{message} {detail}");
        }
    }
}
