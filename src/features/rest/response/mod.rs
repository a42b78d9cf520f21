//! Last stage: status, headers and body from what the statement returned (contract 02 §7.8, §7.9, §7.13).
//! Pure, so that every rule about status codes can be tested in a table.

pub mod openapi;
pub mod sqlstate;

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{
    error::NativeError,
    plan::{
        Operation, StatementPlan,
        mutate::{Change, MutatePlan, put_mismatch},
    },
    request::{
        ApiRequest,
        preferences::{Honoured, Resolution, Return},
    },
    schema_cache::Returns,
};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");
/// What the main statement returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub body: Option<Bytes>,
    /// Rows in the body; for writes, rows affected.
    pub rows: i64,
    pub total: Option<i64>,
    /// `response.headers`
    pub headers: Option<String>,
    /// `response.status`
    pub status: Option<String>,
    /// Text of the key columns of the first inserted row.
    pub location: Option<Vec<Option<String>>>,
    /// New rows of an upsert.
    pub inserted: Option<i64>,
}

/// What must hold before a transaction may commit.
///
/// # Errors
/// PGRST116 when one row was wanted, PGRST124 when too many were touched, PGRST115 when a PUT hit no row.
pub fn check(plan: &StatementPlan, request: &ApiRequest, outcome: &Outcome) -> Result<(), NativeError> {
    if let Operation::Mutate(MutatePlan { is_put: true, .. }) = &plan.operation
        && outcome.rows != 1
    {
        return Err(put_mismatch());
    }
    let limited = !matches!(&plan.operation, Operation::Read)
        && !matches!(&plan.operation, Operation::Mutate(MutatePlan { change: Change::Insert { .. }, .. }));
    if let Some(most) = request.preferences.enforced_max_affected()
        && limited
        && outcome.rows > most
    {
        return Err(NativeError::bad_request("PGRST124", "Query result exceeds max-affected preference constraint")
            .details(format!("The query affects {} rows", outcome.rows)));
    }
    let shows_rows = match &plan.operation {
        Operation::Read => true,
        Operation::Mutate(_) => plan.read.is_some(),
        Operation::Call(call) => call.function.returns != Returns::Void,
    };
    if plan.format.is_single() && shows_rows && outcome.rows != 1 {
        return Err(NativeError::new(
            StatusCode::NOT_ACCEPTABLE,
            "PGRST116",
            "Cannot coerce the result to a single JSON object",
        )
        .details(format!("The result contains {} rows", outcome.rows)));
    }
    Ok(())
}

/// Does anything have to be looked at before COMMIT?
pub fn must_check_before_commit(plan: &StatementPlan, request: &ApiRequest) -> bool {
    plan.format.is_single()
        || request.preferences.enforced_max_affected().is_some()
        || matches!(&plan.operation, Operation::Mutate(MutatePlan { is_put: true, .. }))
}

/// The response of a statement that was committed.
///
/// # Errors
/// PGRST103 for an offset behind the end, PGRST111 and PGRST112 for unusable settings of the database.
pub fn build(
    plan: &StatementPlan,
    request: &ApiRequest,
    outcome: Outcome,
    transaction_end_honoured: bool,
) -> Result<Response, NativeError> {
    let mut headers = HeaderMap::new();
    let is_explain = matches!(plan.format.format, super::plan::negotiate::BodyFormat::Explain { .. });
    let status = if is_explain {
        StatusCode::OK
    } else {
        match &plan.operation {
            Operation::Read => read_status(request, &outcome, plan, &mut headers)?,
            Operation::Call(call) if call.function.returns == Returns::Void => StatusCode::NO_CONTENT,
            Operation::Call(call) => {
                // A single value is one row whatever the range says.
                if call.function.returns_set {
                    range_status(request, &outcome, &mut headers)?
                } else {
                    insert(&mut headers, header::CONTENT_RANGE, content_range(0, outcome.rows - 1, outcome.total));
                    StatusCode::OK
                }
            }
            Operation::Mutate(mutation) => mutation_status(plan, request, mutation, &outcome, &mut headers),
        }
    };
    if let Some(applied) = request.preferences.applied(honoured(&plan.operation, transaction_end_honoured)) {
        insert(&mut headers, PREFERENCE_APPLIED, applied);
    }
    if let Some(profile) = &request.profile {
        insert(&mut headers, CONTENT_PROFILE, profile.clone());
    }
    let has_body = status != StatusCode::NO_CONTENT && outcome.body.is_some();
    if has_body || is_explain {
        insert(&mut headers, header::CONTENT_TYPE, plan.format.content_type.clone());
    }
    let body = match outcome.body.filter(|_| has_body) {
        _ if request.headers_only => no_body(),
        Some(body) => Body::from(body),
        None => Body::empty(),
    };
    let settings = ResponseSettings::parse(outcome.headers.as_deref(), outcome.status.as_deref())?;
    Ok(assemble(settings.status.unwrap_or(status), headers, settings.headers, body))
}

/// The body of an answer to HEAD: of unknown length, so that no `Content-Length: 0` is made of it.
pub fn no_body() -> Body {
    Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())
}

/// A response with a body of this layer's own making.
pub fn plain(status: StatusCode, content_type: &str, body: Body) -> Response {
    let mut headers = HeaderMap::new();
    insert(&mut headers, header::CONTENT_TYPE, content_type.to_owned());
    assemble(status, headers, Vec::new(), body)
}

/// The answer to OPTIONS.
pub fn allow(methods: &str) -> Response {
    let mut headers = HeaderMap::new();
    insert(&mut headers, header::ALLOW, methods.to_owned());
    assemble(StatusCode::OK, headers, Vec::new(), Body::empty())
}

fn assemble(status: StatusCode, headers: HeaderMap, chosen: Vec<(HeaderName, HeaderValue)>, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let own = response.headers_mut();
    own.clear();
    own.extend(headers);
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    // What the database says overrides; several values of one name (Set-Cookie) all stay.
    for (name, _) in &chosen {
        own.remove(name);
    }
    for (name, value) in chosen {
        own.append(name, value);
    }
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn honoured(operation: &Operation, transaction: bool) -> Honoured {
    let none = Honoured { resolution: false, missing: false, returning: false, max_affected: false, transaction };
    match operation {
        Operation::Read => none,
        Operation::Call(_) => Honoured { max_affected: true, ..none },
        Operation::Mutate(plan) => match &plan.change {
            Change::Insert { .. } if plan.is_put => Honoured { returning: true, ..none },
            Change::Insert { conflict, .. } => {
                Honoured { resolution: conflict.is_some(), missing: true, returning: true, ..none }
            }
            Change::Update { .. } | Change::NoUpdate => {
                Honoured { missing: true, returning: true, max_affected: true, ..none }
            }
            Change::Delete => Honoured { returning: true, max_affected: true, ..none },
        },
    }
}

fn read_status(
    request: &ApiRequest,
    outcome: &Outcome,
    plan: &StatementPlan,
    headers: &mut HeaderMap,
) -> Result<StatusCode, NativeError> {
    let name = plan.read.as_ref().and_then(|level| level.relation.as_ref()).map_or("", |relation| &relation.name);
    let query = &request.query.canonical;
    let separator = if query.is_empty() { "" } else { "?" };
    insert(headers, header::CONTENT_LOCATION, format!("/{}{separator}{query}", encode(name)));
    range_status(request, outcome, headers)
}

/// 200, 206 or 416 and the `Content-Range` that explains it (02 §7.8).
fn range_status(request: &ApiRequest, outcome: &Outcome, headers: &mut HeaderMap) -> Result<StatusCode, NativeError> {
    let first = request.range.offset;
    let last = first + outcome.rows - 1;
    let range = content_range(first, last, outcome.total);
    match outcome.total {
        Some(total) if first > total => {
            let mut error = NativeError::invalid_range(&format!(
                "An offset of {first} was requested, but there are only {total} rows."
            ));
            if let Ok(value) = HeaderValue::try_from(range) {
                error = error.header(header::CONTENT_RANGE, value);
            }
            Err(error)
        }
        total => {
            insert(headers, header::CONTENT_RANGE, range);
            let partial = total.is_some_and(|total| outcome.rows < total);
            Ok(if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
        }
    }
}

fn content_range(first: i64, last: i64, total: Option<i64>) -> String {
    let rows = if last < first || total == Some(0) { "*".to_owned() } else { format!("{first}-{last}") };
    let total = total.map_or("*".to_owned(), |total| total.to_string());
    format!("{rows}/{total}")
}

fn mutation_status(
    plan: &StatementPlan,
    request: &ApiRequest,
    mutation: &MutatePlan,
    outcome: &Outcome,
    headers: &mut HeaderMap,
) -> StatusCode {
    let represented = plan.read.is_some();
    let counted = plan.count.map(|_| outcome.rows);
    let range = match &mutation.change {
        Change::Update { .. } | Change::NoUpdate => content_range(0, outcome.rows - 1, counted),
        Change::Insert { .. } | Change::Delete => content_range(0, -1, counted),
    };
    insert(headers, header::CONTENT_RANGE, range);
    match &mutation.change {
        Change::Insert { conflict, .. } => {
            if request.preferences.returning == Some(Return::HeadersOnly)
                && outcome.rows == 1
                && let Some(values) = &outcome.location
            {
                insert(headers, header::LOCATION, location(mutation, values));
            }
            let merged = conflict.as_ref().is_some_and(|one| one.resolution == Resolution::MergeDuplicates);
            let is_new = !merged || outcome.inserted.is_some_and(|inserted| inserted > 0);
            match (mutation.is_put, represented, is_new) {
                (true, false, _) => StatusCode::NO_CONTENT,
                (_, _, true) => StatusCode::CREATED,
                (_, _, false) => StatusCode::OK,
            }
        }
        _ if represented => StatusCode::OK,
        _ => StatusCode::NO_CONTENT,
    }
}

/// Everything but RFC 3986's unreserved characters.
const PATH_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PATH_ESCAPED).to_string()
}

fn location(mutation: &MutatePlan, values: &[Option<String>]) -> String {
    let filters: Vec<String> = mutation
        .location
        .iter()
        .zip(values)
        .map(|(column, value)| match value {
            Some(value) => format!("{}=eq.{}", encode(column), encode(value)),
            None => format!("{}=is.null", encode(column)),
        })
        .collect();
    format!("/{}?{}", encode(&mutation.relation.name), filters.join("&"))
}

/// What functions and triggers may say about the response.
#[derive(Debug, Default, PartialEq)]
struct ResponseSettings {
    status: Option<StatusCode>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ResponseSettings {
    fn parse(headers: Option<&str>, status: Option<&str>) -> Result<Self, NativeError> {
        let status = status
            .map(|text| {
                let code = text.trim().parse::<u16>().ok().filter(|code| (200..600).contains(code));
                code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(|| {
                    NativeError::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "PGRST112",
                        "response.status guc must be a valid status code",
                    )
                })
            })
            .transpose()?;
        let headers = headers.map_or(Ok(Vec::new()), |text| {
            parse_headers(text).ok_or_else(|| {
                NativeError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "PGRST111",
                    "response.headers guc must be a JSON array composed of objects with a single key and a string value",
                )
            })
        })?;
        Ok(Self { status, headers })
    }
}

fn parse_headers(text: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let Value::Array(elements) = serde_json::from_str(text).ok()? else { return None };
    elements
        .into_iter()
        .map(|element| {
            let Value::Object(object) = element else { return None };
            let mut members = object.into_iter();
            let (Some((name, Value::String(value))), None) = (members.next(), members.next()) else { return None };
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        for (first, rows, total, expected) in [
            (0, 10, None, "0-9/*"),
            (0, 0, None, "*/*"),
            (0, 0, Some(0), "*/0"),
            (0, 10, Some(10), "0-9/10"),
            (40, 2, Some(42), "40-41/42"),
            (42, 0, Some(42), "*/42"),
        ] {
            assert_eq!(content_range(first, first + rows - 1, total), expected);
        }
    }

    #[test]
    fn settings_of_the_database_are_checked() {
        let good = ResponseSettings::parse(Some(r#"[{"X-A":"b"},{"Set-Cookie":"c"}]"#), Some("201")).unwrap();
        assert_eq!(good.status, Some(StatusCode::CREATED));
        assert_eq!(good.headers.len(), 2);
        for text in ["x", "{}", r#"[{"a":1}]"#, r#"[{"a":"b","c":"d"}]"#, r#"[{}]"#, r#"[{"a b":"c"}]"#, r#"["a"]"#] {
            assert_eq!(ResponseSettings::parse(Some(text), None).unwrap_err().code, "PGRST111", "{text}");
        }
        for text in ["x", "99", "1000", "-1", "100"] {
            assert_eq!(ResponseSettings::parse(None, Some(text)).unwrap_err().code, "PGRST112", "{text}");
        }
    }
}
