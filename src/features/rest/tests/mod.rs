//! Whole exchanges against a real server: every stage, from the text of a request to the bytes of its answer.

mod calls;
mod embeds;
mod reads;
mod responses;
mod sessions;
mod writes;

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    error::RestError,
    exchange::{Exchange, ExchangeSettings},
    plan::{Plan, PlanSettings},
    request::{ApiRequest, HttpRequest, Target},
    response::{self, openapi::Location},
    schema_cache::{SchemaCache, build, store::read_catalog},
    token::{Caller, CallerRole, Surface},
};
use crate::engines::postgres::{Cluster, Connection, Login, Pipeline, test_support::TestBox};

const SCHEMA: &str = include_str!("schema.sql");

/// A server with the schema of `schema.sql`.
struct Fixture {
    cluster: Cluster,
    settings: ExchangeSettings,
    _home: TestBox,
}

/// What a client sees.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request in one line: `METHOD /path?query`.
#[derive(Clone)]
struct Call<'a> {
    line: &'a str,
    role: CallerRole,
    user: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

fn call(line: &str) -> Call<'_> {
    Call { line, role: CallerRole::Service, user: "", headers: Vec::new(), body: "" }
}

impl<'a> Call<'a> {
    fn anon(self) -> Self {
        Self { role: CallerRole::Anon, ..self }
    }

    fn user(self, user: &'a str) -> Self {
        Self { role: CallerRole::Authenticated, user, ..self }
    }

    fn prefer(self, value: &'a str) -> Self {
        self.header("prefer", value)
    }

    fn accept(self, value: &'a str) -> Self {
        self.header("accept", value)
    }

    fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn body(self, body: &'a str) -> Self {
        Self { body, ..self }
    }
}

impl Fixture {
    async fn new() -> Self {
        let home = TestBox::new();
        let cluster = home.start().await;
        let platform = cluster.connect(&Login::maintenance()).await.unwrap();
        platform.batch_execute(SCHEMA).await.unwrap();
        let plan = PlanSettings { aggregates: true, max_rows: None, explain: false };
        let settings = ExchangeSettings { plan, statement_timeout: Duration::from_secs(20), transaction_end: false };
        Self { cluster, settings, _home: home }
    }

    async fn sql(&self, text: &str) -> String {
        let platform = self.cluster.connect(&Login::maintenance()).await.unwrap();
        let rows = platform.simple_query(text).await.unwrap();
        rows.iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
                _ => None,
            })
            .collect::<Vec<_>>()
            .join(",")
    }

    async fn connection(&self) -> Connection<Pipeline> {
        self.cluster.database(Login::new("postgres", "r402_p0001_rest")).pipeline().await.unwrap()
    }

    async fn cache(&self) -> SchemaCache {
        let mut connection = self.connection().await;
        build::build(read_catalog(&mut connection).await.unwrap())
    }

    async fn send(&self, call: Call<'_>) -> Answer {
        let response = self.exchange(call).await.unwrap_or_else(IntoResponse::into_response);
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Response, RestError> {
        let cache = self.cache().await;
        let mut connection = self.connection().await;
        self.exchange_on(&mut connection, &cache, call).await
    }

    async fn exchange_on(
        &self,
        connection: &mut Pipeline,
        cache: &SchemaCache,
        call: Call<'_>,
    ) -> Result<Response, RestError> {
        let (method, uri) = call.line.split_once(' ').unwrap();
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let method: Method = method.parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let target = Target::parse(path)?;
        let request = ApiRequest::parse(HttpRequest {
            method: &method,
            target: &target,
            query,
            headers: &headers,
            body: &Bytes::from(call.body.to_owned()),
            schema_label: "p0001",
        })?;
        let caller = Caller {
            project: "prj_1_test".parse().unwrap(),
            role: call.role,
            claims: json!({"role": call.role.name(), "sub": call.user}).to_string(),
            user_id: call.user.to_owned(),
            session_id: String::new(),
            authz_version: String::new(),
        };
        let exchange = Exchange {
            surface: if call.role == CallerRole::Service { Surface::Admin } else { Surface::Public },
            caller: Arc::new(caller),
            method,
            path: path.to_owned(),
            headers,
            request,
            settings: ExchangeSettings {
                plan: PlanSettings { explain: call.role == CallerRole::Service, ..self.settings.plan },
                ..self.settings
            },
        };
        match exchange.plan(cache)? {
            Plan::Describe(methods) => Ok(response::allow(&methods)),
            Plan::Root(format) => {
                let location = Location { host: "api.test".into(), base_path: "/rest/v1/", is_https: true };
                exchange.root_document(connection, cache, &location, &format.content_type).await
            }
            Plan::Statement(plan) => exchange.execute(connection, &plan).await,
        }
    }

    /// Each line's answer must be exactly this JSON.
    async fn rows(&self, cases: &[(&str, Value)]) {
        let mut wrong = Mismatches::default();
        for (line, expected) in cases {
            let answer = self.send(call(line)).await;
            wrong.compare(
                &format!("{line}: {}", answer.text()),
                &(answer.status < 300, answer.json()),
                &(true, expected.clone()),
            );
        }
        wrong.none();
    }

    /// Each line must be refused with this status and code.
    async fn refusals(&self, cases: &[(&str, u16, &str)]) {
        let mut wrong = Mismatches::default();
        for (line, status, code) in cases {
            let answer = self.send(call(line)).await;
            let what = format!("{line}: {}", answer.text());
            wrong.compare(&what, &(answer.status, answer.code().as_str()), &(*status, *code));
        }
        wrong.none();
    }
}

/// Collects what a table test finds wrong, so that one run shows all of it.
#[derive(Default)]
struct Mismatches(Vec<String>);

impl Mismatches {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: &T, expected: &T) {
        if found != expected {
            self.0.push(format!("{what}\n    found    {found:?}\n    expected {expected:?}"));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{} mismatches\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// The ids of a list of rows, for short tables.
fn ids(answer: &Answer) -> Vec<i64> {
    answer.json().as_array().unwrap_or(&Vec::new()).iter().map(|row| row["id"].as_i64().unwrap()).collect()
}
