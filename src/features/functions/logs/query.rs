//! What a reader of logs asks for (contract 05 §3.5).

use serde::Deserialize;

use crate::{common::Timestamp, features::functions::error::FunctionError};

const DEFAULT_TAIL: i64 = 50;
const MAX_TAIL: i64 = 1_000;

/// The query string, as sent.
#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::features::functions) struct LogRequest {
    pub tail: Option<String>,
    pub since: Option<String>,
    pub request_id: Option<String>,
}

/// Which entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::functions) struct LogQuery {
    /// The newest so many, 1 to 1000.
    pub tail: i64,
    pub since: Option<Timestamp>,
    pub filter: Option<Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::functions) enum Filter {
    Request(String),
    Run(String),
    Attempt(String),
}

impl LogRequest {
    /// # Errors
    /// [`FunctionError::Invalid`] naming the parameter.
    pub fn parse(&self) -> Result<LogQuery, FunctionError> {
        Ok(LogQuery {
            tail: self.tail.as_deref().map_or(Ok(DEFAULT_TAIL), tail)?,
            since: self.since.as_deref().map(since).transpose()?,
            filter: self.request_id.as_deref().map(filter).transpose()?,
        })
    }
}

fn tail(text: &str) -> Result<i64, FunctionError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<i64>().unwrap_or(i64::MAX) {
        tail if digits && tail > 0 => Ok(tail.min(MAX_TAIL)),
        _ => Err(FunctionError::invalid("tail", "tail must be a whole number from 1 to 1000.")),
    }
}

fn since(text: &str) -> Result<Timestamp, FunctionError> {
    let millis = text.parse::<i64>().ok().and_then(Timestamp::from_millis);
    // A `+` of an offset arrives as a blank when it was not encoded.
    millis.or_else(|| text.replace(' ', "+").parse().ok().map(Timestamp)).ok_or_else(|| {
        FunctionError::invalid(
            "since",
            "since must be milliseconds since 1970, or a time such as 2026-06-19T10:00:00Z.",
        )
    })
}

fn filter(text: &str) -> Result<Filter, FunctionError> {
    let whole = text.to_owned();
    let made = match text.split_once('_') {
        Some(("req", rest)) => is_tail(rest).then_some(Filter::Request(whole)),
        Some(("fnrun", rest)) => is_tail(rest).then_some(Filter::Run(whole)),
        Some(("fnatt", rest)) => is_tail(rest).then_some(Filter::Attempt(whole)),
        _ => None,
    };
    made.ok_or_else(|| {
        FunctionError::invalid(
            "request_id",
            "request_id must be the id of a request (req_…), a run (fnrun_…) or an attempt (fnatt_…).",
        )
    })
}

/// `[A-Za-z0-9_-]{4,128}`
pub(in crate::features::functions) fn is_tail(text: &str) -> bool {
    (4..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tail: Option<&str>, since: Option<&str>, id: Option<&str>) -> LogRequest {
        LogRequest { tail: tail.map(Into::into), since: since.map(Into::into), request_id: id.map(Into::into) }
    }

    #[test]
    fn good_questions_are_understood() {
        for (text, tail) in [(None, 50), (Some("1"), 1), (Some("1000"), 1000), (Some("9999999999999999999999"), 1000)] {
            assert_eq!(request(text, None, None).parse().unwrap().tail, tail);
        }
        for text in ["1781863200000", "2026-06-19T10:00:00Z", "2026-06-19T12:00:00 02:00", "2026-06-19T10:00:00.000Z"] {
            let since = request(None, Some(text), None).parse().unwrap().since.unwrap();
            assert_eq!(since.as_millis(), 1_781_863_200_000, "{text}");
        }
        let filter = |text| request(None, None, Some(text)).parse().unwrap().filter.unwrap();
        assert_eq!(filter("req_abcd"), Filter::Request("req_abcd".into()));
        assert_eq!(filter("fnrun_12_-"), Filter::Run("fnrun_12_-".into()));
        assert_eq!(filter("fnatt_abcd"), Filter::Attempt("fnatt_abcd".into()));
    }

    #[test]
    fn bad_questions_are_refused() {
        for text in ["0", "-1", "1.5", "", "abc", "+5", " 5"] {
            assert!(request(Some(text), None, None).parse().is_err(), "tail {text:?}");
        }
        for text in ["abc", "", "2026-13-01", "99999999999999999999", "tomorrow"] {
            assert!(request(None, Some(text), None).parse().is_err(), "since {text:?}");
        }
        for text in ["", "req_", "req_abc", "req_ab/d", "trc_abcd", "abcd", &format!("req_{}", "a".repeat(129))] {
            assert!(request(None, None, Some(text)).parse().is_err(), "request_id {text:?}");
        }
    }
}
