//! What clients ask of runs, checked (contract 05 §6.1-6.2). Pure.

use axum::http::{HeaderMap, StatusCode};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::types::{Retry, Status};
use crate::{
    common::{ApiError, Timestamp},
    features::functions::logs::is_tail,
};

/// Largest payload, in bytes of JSON.
const MAX_PAYLOAD: usize = 256 * 1024;
const MAX_KEY: usize = 512;
const MAX_EVENT_TYPE: usize = 256;
/// A hundred years: nobody means later.
const MAX_DELAY_SECONDS: f64 = 3_155_760_000.0;
const FIELDS: [&str; 7] =
    ["event_type", "idempotency_key", "payload", "run_at", "delay_seconds", "expires_at", "retry"];

/// A run that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateRun {
    pub event_type: String,
    pub idempotency_key: String,
    pub payload: Value,
    pub run_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub retry: Retry,
    pub source: Value,
    /// What was asked, as far as it is not the key itself: a repetition has the same.
    pub intent: Value,
}

/// 400 `invalid_function_run_request`
fn invalid(field: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_function_run_request", message.into())
        .detail("field", field)
        .detail("fields", json!([field]))
}

impl CreateRun {
    /// # Errors
    /// 400 `invalid_function_run_request` naming the field.
    pub fn parse(body: &[u8], headers: &HeaderMap, now: Timestamp) -> Result<Self, ApiError> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| invalid("body", format!("The body is not JSON: {error}.")))?;
        let Value::Object(body) = body else { return Err(invalid("body", "The body must be a JSON object.")) };
        if let Some(unknown) = body.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(invalid(unknown, format!("{unknown} is not a field of a run.")));
        }
        let event_type = text(&body, "event_type", MAX_EVENT_TYPE)?
            .ok_or_else(|| invalid("event_type", "event_type is required: the name of what happened."))?;
        let payload = match body.get("payload") {
            None | Some(Value::Null) => json!({}),
            Some(payload @ Value::Object(_)) => payload.clone(),
            Some(_) => return Err(invalid("payload", "payload must be a JSON object.")),
        };
        if payload.to_string().len() > MAX_PAYLOAD {
            return Err(invalid("payload", format!("payload has at most {MAX_PAYLOAD} bytes of JSON.")));
        }
        let run_at = run_at(&body, now)?;
        let expires_at = moment(&body, "expires_at")?;
        if expires_at.is_some_and(|expires| expires <= run_at) {
            return Err(invalid("expires_at", "expires_at must be later than the time of the run."));
        }
        let intent: Map<String, Value> = ["event_type", "run_at", "delay_seconds", "expires_at", "retry"]
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), body.get(*field).filter(|value| !value.is_null())?.clone())))
            .chain([("payload".to_owned(), payload.clone())])
            .collect();
        Ok(Self {
            event_type,
            idempotency_key: idempotency_key(&body, headers)?,
            payload,
            run_at,
            expires_at,
            retry: retry(body.get("retry"))?,
            source: source(headers)?,
            intent: Value::Object(intent),
        })
    }
}

fn text(body: &Map<String, Value>, field: &str, longest: usize) -> Result<Option<String>, ApiError> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() && text.len() <= longest && !text.contains('\0') => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(invalid(field, format!("{field} must be a text of 1 to {longest} bytes."))),
    }
}

fn moment(body: &Map<String, Value>, field: &str) -> Result<Option<Timestamp>, ApiError> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_str()
            .and_then(|text| text.parse().ok())
            .map(|moment| Some(Timestamp(moment)))
            .ok_or_else(|| invalid(field, format!("{field} must be a time such as 2026-06-19T10:00:00Z."))),
    }
}

fn run_at(body: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, ApiError> {
    let at = moment(body, "run_at")?;
    let delay = match body.get("delay_seconds") {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_f64() {
            Some(delay) if (0.0..=MAX_DELAY_SECONDS).contains(&delay) => Some(delay),
            _ => return Err(invalid("delay_seconds", "delay_seconds must be a number of seconds, 0 or more.")),
        },
    };
    match (at, delay) {
        (Some(_), Some(_)) => Err(invalid("delay_seconds", "Send run_at or delay_seconds, not both.")),
        (Some(at), None) => Ok(at),
        (None, Some(delay)) => Ok(now.plus(SignedDuration::from_secs_f64(delay))),
        (None, None) => Ok(now),
    }
}

fn idempotency_key(body: &Map<String, Value>, headers: &HeaderMap) -> Result<String, ApiError> {
    let given = text(body, "idempotency_key", MAX_KEY)?;
    let header = match headers.get("idempotency-key").map(|value| value.to_str()) {
        None => None,
        Some(Ok(text)) if !text.trim().is_empty() && text.len() <= MAX_KEY => Some(text.to_owned()),
        Some(_) => {
            let message = format!("The header Idempotency-Key must be a text of 1 to {MAX_KEY} bytes.");
            return Err(invalid("idempotency_key", message));
        }
    };
    match (given, header) {
        (Some(given), Some(header)) if given != header => {
            Err(invalid("idempotency_key", "idempotency_key and the header Idempotency-Key must be equal."))
        }
        (given, header) => given.or(header).ok_or_else(|| {
            invalid("idempotency_key", "idempotency_key is required, in the body or as header Idempotency-Key.")
        }),
    }
}

/// The policy of a run.
///
/// # Errors
/// 400 `invalid_function_run_request`.
pub fn retry(value: Option<&Value>) -> Result<Retry, ApiError> {
    let fields = match value {
        None | Some(Value::Null) => return Ok(Retry::default()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(invalid("retry", "retry must be an object.")),
    };
    let mut retry = Retry::default();
    for (field, value) in fields {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        let path = format!("retry.{field}");
        let number = || number.ok_or_else(|| invalid(&path, format!("{path} must be a whole number above 0.")));
        match field.as_str() {
            "max_attempts" => retry.max_attempts = number()?.min(1_000),
            "min_delay_seconds" => retry.min_delay_seconds = number()?,
            "max_delay_seconds" => retry.max_delay_seconds = number()?,
            // A word for a set of numbers that this box does not tell apart.
            "preset" if value.is_string() => {}
            _ => return Err(invalid(&path, format!("{path} is not a field of a retry policy."))),
        }
    }
    if retry.min_delay_seconds > retry.max_delay_seconds {
        return Err(invalid("retry.min_delay_seconds", "retry.min_delay_seconds is larger than max_delay_seconds."));
    }
    Ok(retry)
}

fn source(headers: &HeaderMap) -> Result<Value, ApiError> {
    let parent = |header: &'static str, prefix: &str, field: &str| match headers.get(header) {
        None => Ok(None),
        Some(value) => value
            .to_str()
            .ok()
            .filter(|id| id.strip_prefix(prefix).is_some_and(is_tail))
            .map(|id| Some(id.to_owned()))
            .ok_or_else(|| invalid(field, format!("The header {header} must be an id that begins with {prefix}."))),
    };
    let run = parent("x-run402-parent-run-id", "fnrun_", "parent_run_id")?;
    let attempt = parent("x-run402-parent-attempt-id", "fnatt_", "parent_attempt_id")?;
    Ok(match (run, attempt) {
        (Some(run), Some(attempt)) => {
            json!({"type": "function", "parent_run_id": run, "parent_attempt_id": attempt})
        }
        (Some(run), None) => json!({"type": "function", "parent_run_id": run}),
        _ => json!({"type": "api"}),
    })
}

/// `GET /functions/v1/{name}/runs`, as sent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ListRuns {
    status: Option<String>,
    event_type: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Which runs, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub status: Option<Status>,
    pub event_type: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub limit: i64,
    /// Those after this one.
    pub after: Option<(Timestamp, String)>,
}

impl ListRuns {
    /// # Errors
    /// 400 `invalid_function_run_request`.
    pub fn parse(&self) -> Result<Selection, ApiError> {
        let moment = |field: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                let millis = text.parse::<i64>().ok().and_then(Timestamp::from_millis);
                millis
                    .or_else(|| text.replace(' ', "+").parse().ok().map(Timestamp))
                    .map(Some)
                    .ok_or_else(|| invalid(field, format!("{field} must be a time such as 2026-06-19T10:00:00Z.")))
            }
        };
        let status = self.status.as_deref().map(|text| {
            Status::parse(text).ok_or_else(|| invalid("status", format!("{text} is not a status of a run.")))
        });
        let limit = self.limit.as_deref().map_or(Ok(20), |text| match text.parse::<i64>() {
            Ok(limit @ 1..=100) => Ok(limit),
            _ => Err(invalid("limit", "limit must be a whole number from 1 to 100.")),
        })?;
        let page = crate::common::PageQuery { limit: None, after: None, cursor: self.cursor.clone() };
        let after: Option<(Timestamp, String)> =
            page.cursor().map_err(|_| invalid("cursor", "The cursor is not one this list gave out."))?;
        Ok(Selection {
            status: status.transpose()?,
            event_type: self.event_type.clone().filter(|text| !text.contains('\0')),
            since: moment("since", &self.since)?,
            until: moment("until", &self.until)?,
            limit,
            after,
        })
    }
}

/// `POST /functions/v1/runs/{run_id}/redrive`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redrive {
    /// None: as before.
    pub retry: Option<Retry>,
}

impl Redrive {
    /// An empty body changes nothing about the policy.
    ///
    /// # Errors
    /// 400 `invalid_function_run_request`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let body: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| invalid("body", "The body must be a JSON object with nothing but retry."))?;
        if let Some(unknown) = body.keys().find(|key| *key != "retry") {
            return Err(invalid(unknown, format!("{unknown} is not a field of a redrive.")));
        }
        let given = body.get("retry").filter(|value| !value.is_null());
        Ok(Self { retry: given.map(|given| retry(Some(given))).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_781_863_200_000;

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW).unwrap()
    }

    fn parse(body: &Value) -> Result<CreateRun, ApiError> {
        CreateRun::parse(body.to_string().as_bytes(), &HeaderMap::new(), now())
    }

    #[test]
    fn a_plain_run_is_for_now_with_the_usual_policy() {
        let run = parse(&json!({"event_type": "e", "idempotency_key": "k"})).unwrap();
        assert_eq!((run.run_at, run.retry, run.payload), (now(), Retry::default(), json!({})));
        assert_eq!(run.source, json!({"type": "api"}));
        let later = parse(&json!({"event_type": "e", "idempotency_key": "k", "delay_seconds": 1.5})).unwrap();
        assert_eq!(later.run_at.as_millis(), NOW + 1500);
    }

    #[test]
    fn mistakes_are_named() {
        let base = json!({"event_type": "e", "idempotency_key": "k"});
        let cases = [
            (json!({"event_type": null}), "event_type"),
            (json!({"event_type": ""}), "event_type"),
            (json!({"event_type": 5}), "event_type"),
            (json!({"idempotency_key": null}), "idempotency_key"),
            (json!({"idempotency_key": "x".repeat(513)}), "idempotency_key"),
            (json!({"payload": []}), "payload"),
            (json!({"payload": {"a": "x".repeat(300_000)}}), "payload"),
            (json!({"run_at": "soon"}), "run_at"),
            (json!({"run_at": 5}), "run_at"),
            (json!({"delay_seconds": -1}), "delay_seconds"),
            (json!({"delay_seconds": 1e300}), "delay_seconds"),
            (json!({"delay_seconds": 1, "run_at": "2026-06-19T10:00:00Z"}), "delay_seconds"),
            (json!({"expires_at": "2026-06-19T10:00:00Z"}), "expires_at"),
            (json!({"retry": 3}), "retry"),
            (json!({"retry": {"max_attempts": 0}}), "retry.max_attempts"),
            (json!({"retry": {"max_attempts": 1.5}}), "retry.max_attempts"),
            (json!({"retry": {"tries": 1}}), "retry.tries"),
            (json!({"retry": {"min_delay_seconds": 10, "max_delay_seconds": 5}}), "retry.min_delay_seconds"),
            (json!({"surprise": 1}), "surprise"),
        ];
        for (change, field) in cases {
            let mut body = base.clone();
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let error = parse(&body).unwrap_err();
            assert_eq!(error.code(), "invalid_function_run_request", "{change}");
            assert_eq!(error.body("trc_1", false)["details"]["field"], field, "{change}");
        }
        for body in [&b"["[..], b"[]", b"\xff", b"null"] {
            assert!(CreateRun::parse(body, &HeaderMap::new(), now()).is_err());
        }
    }

    #[test]
    fn header_and_body_name_the_same_key_and_parents_are_ids() {
        let body = json!({"event_type": "e", "idempotency_key": "k"}).to_string();
        let with = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            CreateRun::parse(body.as_bytes(), &headers, now())
        };
        assert!(with("idempotency-key", "k").is_ok());
        assert!(with("idempotency-key", "other").is_err());
        assert_eq!(with("x-run402-parent-run-id", "fnrun_abcd").unwrap().source["parent_run_id"], "fnrun_abcd");
        for bad in ["fnrun_a", "run_abcd", "fnrun_ab cd"] {
            assert!(with("x-run402-parent-run-id", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_wish_has_the_same_intent() {
        let run = |more: Value| {
            let mut body = json!({"event_type": "e", "idempotency_key": "k"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            parse(&body).unwrap().intent
        };
        assert_eq!(run(json!({})), run(json!({"payload": {}})));
        assert_eq!(run(json!({"run_at": null})), run(json!({})));
        assert_ne!(run(json!({"payload": {"a": 1}})), run(json!({})));
        assert_ne!(run(json!({"delay_seconds": 5})), run(json!({})));
    }

    #[test]
    fn lists_are_bounded_and_filters_checked() {
        let list = |status: Option<&str>, limit: Option<&str>, cursor: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            ListRuns { status: own(status), limit: own(limit), cursor: own(cursor), ..ListRuns::default() }.parse()
        };
        assert_eq!(list(None, None, None).unwrap().limit, 20);
        assert_eq!(list(Some("scheduled"), Some("100"), None).unwrap().status, Some(Status::Scheduled));
        for (status, limit, cursor) in [
            (Some("done"), None, None),
            (None, Some("0"), None),
            (None, Some("101"), None),
            (None, Some("x"), None),
            (None, None, Some("garbage!")),
        ] {
            assert!(list(status, limit, cursor).is_err());
        }
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let retry = Retry { max_attempts: 9, min_delay_seconds: 10, max_delay_seconds: 35 };
        assert_eq!([1, 2, 3, 4, 99].map(|attempt| retry.delay(attempt)), [10, 20, 35, 35, 35]);
    }
}
