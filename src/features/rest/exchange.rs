//! One request on its way through the stages, from a parsed request to a response.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    response::Response,
};
use serde_json::Value;

use super::{
    error::{NativeError, RestError},
    plan::{self, Operation, Plan, PlanSettings, StatementPlan},
    query,
    request::{ApiRequest, preferences::TransactionEnd},
    response::{
        self, Outcome,
        openapi::{self, Location},
        sqlstate::DatabaseReport,
    },
    schema_cache::SchemaCache,
    store::{self, Failure, Job, TransactionSettings},
    token::{Caller, CallerRole, Surface},
};
use crate::{
    common::{ApiError, Category, NextAction},
    engines::postgres::{Pipeline, PipelineError},
};

/// Request headers SQL never sees: they hold credentials.
const SECRET_HEADERS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("apikey"),
    HeaderName::from_static("x-run402-actor-token"),
];

/// What of the instance's settings a request depends on.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeSettings {
    pub plan: PlanSettings,
    pub statement_timeout: Duration,
    /// `Prefer: tx=rollback` is honoured.
    pub transaction_end: bool,
}

/// A request that has been parsed and whose caller is known.
pub struct Exchange {
    pub surface: Surface,
    pub caller: Arc<Caller>,
    pub method: Method,
    /// After the API prefix, with its leading slash.
    pub path: String,
    pub headers: HeaderMap,
    pub request: ApiRequest,
    pub settings: ExchangeSettings,
}

/// Settings that have to be written first.
struct Rendered {
    headers: String,
    cookies: String,
    /// Milliseconds.
    statement_timeout: String,
}

impl Rendered {
    fn of(exchange: &Exchange) -> Self {
        Self {
            headers: headers_json(&exchange.headers),
            cookies: cookies_json(&exchange.headers),
            statement_timeout: exchange.settings.statement_timeout.as_millis().to_string(),
        }
    }
}

impl Exchange {
    /// # Errors
    /// As [`plan::plan`].
    pub fn plan(&self, cache: &SchemaCache) -> Result<Plan, NativeError> {
        plan::plan(&self.request, cache, self.settings.plan)
    }

    /// Runs the statement in its transaction and builds the response.
    ///
    /// # Errors
    /// Native errors of Postgres and of the checks after the statement; 403 `FORBIDDEN_FUNCTION` for a
    /// function the manifest does not list.
    pub async fn execute(&self, pipeline: &mut Pipeline, plan: &StatementPlan) -> Result<Response, RestError> {
        let request = &self.request;
        let http_reads = self.method == Method::GET || self.method == Method::HEAD;
        let read_only = plan.is_read_only(http_reads);
        let rolls_back =
            self.settings.transaction_end && request.preferences.transaction == Some(TransactionEnd::Rollback);
        let query = query::render(plan);
        let asks_planner_later = query.planned_count.as_ref().is_some_and(|count| count.above.is_some());
        let check = |outcome: &Outcome| response::check(plan, request, outcome);
        let rendered = Rendered::of(self);
        let job = Job {
            settings: self.settings(&rendered, read_only),
            is_told_all: plan.looks_beyond_caller() || self.request.preferences.timezone.is_some(),
            query: &query,
            // A read changes nothing, so what is wrong with its result can be found out after its end.
            ends_at_once: !asks_planner_later && (read_only || !response::must_check_before_commit(plan, request)),
            rolls_back,
            leaves_traces: plan.runs_user_code(),
            check: &check,
        };
        let outcome = store::run(pipeline, &job).await.map_err(|failure| self.explain(failure, plan))?;
        Ok(response::build(plan, request, outcome, self.settings.transaction_end)?)
    }

    /// The root document for the caller's role.
    ///
    /// # Errors
    /// Those of Postgres.
    pub async fn root_document(
        &self,
        pipeline: &mut Pipeline,
        cache: &SchemaCache,
        location: &Location,
        content_type: &str,
    ) -> Result<Response, RestError> {
        let rendered = Rendered::of(self);
        let privileges = store::privileges(pipeline, &self.settings(&rendered, true)).await;
        let privileges = privileges.map_err(|failure| self.native(failure))?;
        let document = openapi::document(cache, &privileges, location);
        let body = if self.request.headers_only { response::no_body() } else { Body::from(document.to_string()) };
        Ok(response::plain(StatusCode::OK, content_type, body))
    }

    fn settings<'a>(&'a self, rendered: &'a Rendered, read_only: bool) -> TransactionSettings<'a> {
        TransactionSettings {
            caller: &self.caller,
            read_only,
            method: self.method.as_str(),
            path: &self.path,
            headers: &rendered.headers,
            cookies: &rendered.cookies,
            timezone: self.request.preferences.timezone.as_deref(),
            statement_timeout: &rendered.statement_timeout,
        }
    }

    fn explain(&self, failure: Failure, plan: &StatementPlan) -> RestError {
        if self.surface == Surface::Public
            && let Operation::Call(call) = &plan.operation
            && let Failure::Database(PipelineError::Server(report)) = &failure
            && report.sqlstate == "42501"
            && report.message == format!("permission denied for function {}", call.function.name)
        {
            return forbidden_function(&call.function.name).into();
        }
        let mut native = self.native(failure);
        // Too deep for Postgres, and no function of the project was there to recurse: the operands are.
        if native.code == "54001" && !plan.runs_user_code() {
            native.status = StatusCode::BAD_REQUEST;
        }
        native.into()
    }

    fn native(&self, failure: Failure) -> NativeError {
        match failure {
            Failure::Refused(error) => error,
            Failure::Database(PipelineError::Server(report)) => {
                DatabaseReport::from(&*report).into_native(self.caller.role == CallerRole::Anon)
            }
            Failure::Database(error @ PipelineError::Broken(_)) => {
                tracing::warn!(%error, "the connection to a project database broke");
                NativeError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "PGRST001",
                    "Database client error. Retrying the connection.",
                )
            }
        }
    }
}

/// 403 for a function that exists but is not listed for this role (02 §6.4).
fn forbidden_function(name: &str) -> ApiError {
    let advice = format!("Add {name} to rpcs[] of the expose manifest and grant it to this role.");
    ApiError::forbidden("FORBIDDEN_FUNCTION", format!("The function {name} is not exposed to this role."))
        .category(Category::Auth)
        .retryable(false)
        .extra("error", "forbidden_function")
        .hint(advice.clone())
        .next_action(NextAction::new("edit_request", advice))
}

/// Lower-case names; several values of one name joined as HTTP allows.
fn headers_json(headers: &HeaderMap) -> String {
    let mut json = JsonObject::new();
    for name in headers.keys().filter(|name| !SECRET_HEADERS.contains(name)) {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let first = values.next().unwrap_or("");
        match values.next() {
            None => json.member(name.as_str(), first),
            Some(second) => {
                let all: Vec<&str> = [first, second].into_iter().chain(values).collect();
                json.member(name.as_str(), &all.join(", "));
            }
        }
    }
    json.end()
}

/// The last value of a name counts.
fn cookies_json(headers: &HeaderMap) -> String {
    let pairs: BTreeMap<&str, &str> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let mut json = JsonObject::new();
    for (name, value) in pairs {
        json.member(name, value);
    }
    json.end()
}

/// An object of strings being written: made for each request, so without a tree of values in between.
struct JsonObject(String);

impl JsonObject {
    fn new() -> Self {
        Self(String::with_capacity(256))
    }

    fn member(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.string(name);
        self.0.push(':');
        self.string(value);
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.0.push_str(text);
        } else {
            let quoted = Value::from(text).to_string();
            self.0.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        }
        self.0.push('"');
    }

    fn end(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn sql_sees_headers_and_cookies_but_no_credentials() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("apikey", "secret"),
            ("cookie", "a=1; b = x=y ;broken"),
            ("x-custom", "v"),
            ("x-quoted", "a \"b\" \\"),
            ("x-twice", "1"),
            ("x-twice", "2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(headers_json(&headers), r#"{"x-custom":"v","x-quoted":"a \"b\" \\","x-twice":"1, 2"}"#);
        assert_eq!(cookies_json(&headers), r#"{"a":"1","b":"x=y"}"#);
        assert_eq!(headers_json(&HeaderMap::new()), "{}");
    }
}
