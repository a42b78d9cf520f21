//! What the platform itself says of an invocation (contract 05 §3.5).

use serde::Serialize;

/// Becomes the message of an entry of [`Stream::Platform`](super::Stream::Platform): a JSON object, keys in order.
#[derive(Debug, Serialize)]
pub(in crate::features::functions) struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cold: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl<'a> Said<'a> {
    fn new(event: &'static str, request_id: &'a str) -> Self {
        Self { cold: None, duration_ms: None, error: None, event, method: None, request_id, status: None }
    }

    pub fn started(request_id: &'a str, method: &'a str) -> Self {
        Self { method: Some(method), ..Self::new("function_invocation_started", request_id) }
    }

    pub fn completed(request_id: &'a str, status: u16, duration_ms: u64, cold: bool) -> Self {
        Self {
            status: Some(status),
            duration_ms: Some(duration_ms),
            cold: Some(cold),
            ..Self::new("function_invocation_completed", request_id)
        }
    }

    pub fn failed(request_id: &'a str, status: u16, duration_ms: u64, error: &'a str) -> Self {
        Self {
            status: Some(status),
            duration_ms: Some(duration_ms),
            error: Some(error),
            ..Self::new("function_invocation_failed", request_id)
        }
    }

    /// Whether there is text in it that is not the platform's own.
    pub fn is_foreign(&self) -> bool {
        self.error.is_some()
    }

    pub fn to_json(&self) -> String {
        // Text and numbers under text keys can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_objects_with_their_keys_in_order() {
        let cases = [
            (
                Said::started("req_1234", "POST"),
                r#"{"event":"function_invocation_started","method":"POST","request_id":"req_1234"}"#,
            ),
            (
                Said::completed("req_1234", 204, 7, true),
                r#"{"cold":true,"duration_ms":7,"event":"function_invocation_completed","request_id":"req_1234","status":204}"#,
            ),
            (
                Said::failed("req_1234", 500, 0, "Error: \"no\""),
                r#"{"duration_ms":0,"error":"Error: \"no\"","event":"function_invocation_failed","request_id":"req_1234","status":500}"#,
            ),
        ];
        for (said, json) in cases {
            assert_eq!(said.to_json(), json);
        }
    }
}
