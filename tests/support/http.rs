//! Requests as clients send them, answers as tests question them.

use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use std::time::Duration;

use super::{Wallet, payment};

/// Nothing the box answers may take longer, endless statements included.
const ANSWER_LIMIT: Duration = Duration::from_secs(100);

/// A client of one box. Make one per test: connections belong to the test's runtime.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    address: String,
}

impl Api {
    pub fn new(address: &str) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_LIMIT)
            .build()
            .expect("a plain client");
        Self { client, address: address.to_owned() }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The host name clients put into `domain` of a signed header: no port.
    pub fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host)
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        Call { api: self.clone(), method, path: path.to_owned(), headers: HeaderMap::new(), body: None }
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }
}

/// One request, before it is sent.
#[derive(Clone)]
#[must_use]
pub struct Call {
    api: Api,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Call {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    /// A header value that is not ASCII.
    pub fn header_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers.insert(name, HeaderValue::from_bytes(value).expect("a header value"));
        self
    }

    /// Signed in as a wallet.
    pub fn wallet(self, wallet: &Wallet) -> Self {
        let header = wallet.sign_in(self.api.host(), &self.url()).header();
        self.header("sign-in-with-x", &header)
    }

    pub fn bearer(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub fn api_key(self, key: &str) -> Self {
        self.header("apikey", key)
    }

    pub fn admin_key(self, key: &str) -> Self {
        self.header("x-admin-key", key)
    }

    pub fn json(self, body: &Value) -> Self {
        let bytes = serde_json::to_vec(body).expect("JSON");
        self.body("application/json", bytes)
    }

    pub fn text(self, body: &str) -> Self {
        self.body("text/plain", body.as_bytes().to_vec())
    }

    pub fn body(mut self, content_type: &str, bytes: Vec<u8>) -> Self {
        self.body = Some(bytes);
        self.header("content-type", content_type)
    }

    pub fn url(&self) -> String {
        format!("{}{}", self.api.base_url(), self.path)
    }

    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let asked = format!("{} {}", self.method, self.path);
        let mut request = self.api.client.request(self.method.clone(), self.url()).headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await?.to_vec();
        Ok(Answer { asked, status, headers, body })
    }

    pub async fn send(self) -> Answer {
        self.try_send().await.expect("the box answers")
    }

    /// Sends it, pays what the challenge asks, sends it again: what an x402 client does.
    pub async fn paid_by(self, payer: &Wallet) -> Answer {
        let challenge = self.clone().send().await;
        assert_eq!(challenge.status, 402, "nothing to pay: {challenge}");
        let offer = payment::Challenge::of(&challenge);
        self.header("payment-signature", &offer.pay(payer).header()).send().await
    }
}

/// What came back, read wholly.
#[derive(Clone, Debug)]
pub struct Answer {
    asked: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.body);
        let short: String = text.chars().take(2000).collect();
        write!(f, "{} -> {}: {short}", self.asked, self.status)
    }
}

const ENVELOPE: [&str; 10] = [
    "error",
    "message",
    "code",
    "category",
    "retryable",
    "safe_to_retry",
    "mutation_state",
    "trace_id",
    "details",
    "next_actions",
];

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header"))
    }

    pub fn json(&self) -> Value {
        let content_type = self.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("application/json"), "content type {content_type:?} of {self}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// The body as it came.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The JSON body of a success, with any 2xx status.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{self}");
        self.json()
    }

    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        self.json()
    }

    /// A refusal in the error envelope of contract 01 §1.2, whole.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self}");
        let body = self.json();
        for key in ENVELOPE {
            assert!(body.get(key).is_some(), "the envelope lacks {key}: {self}");
        }
        assert_eq!(body["code"], code, "{self}");
        assert!(body.get("status").is_none(), "`status` is reserved by the command line: {self}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{self}");
        assert!(body["error"].is_string() && body["category"].is_string(), "{self}");
        assert!(body["retryable"].is_boolean() && body["safe_to_retry"].is_boolean(), "{self}");
        assert!(body["details"].is_object() && body["next_actions"].is_array(), "{self}");
        for action in body["next_actions"].as_array().expect("just checked") {
            assert!(action["type"].is_string() && action["type"] == action["action"], "{self}");
        }
        let states = ["none", "not_started", "committed", "rolled_back", "partial", "unknown"];
        assert!(body["mutation_state"].as_str().is_some_and(|state| states.contains(&state)), "{self}");
        let trace = body["trace_id"].as_str().unwrap_or_default();
        assert!(trace.strip_prefix("trc_").is_some_and(|rest| rest.len() >= 16), "trace id of {self}");
        assert_eq!(self.header("x-run402-trace-id"), Some(trace), "{self}");
        assert_eq!(self.header("access-control-allow-origin"), Some("*"), "{self}");
        if status != 402 {
            assert!(self.header("payment-required").is_none(), "only a 402 offers payment: {self}");
        }
        body
    }

    /// The body without what differs from request to request, to compare two refusals.
    #[track_caller]
    pub fn body_without_trace(&self) -> Value {
        let mut body = self.json();
        body.as_object_mut().expect("an object").remove("trace_id");
        body
    }
}
