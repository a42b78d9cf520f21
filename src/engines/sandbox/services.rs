//! What the sandbox asks of the platform: logs, its own hosts, and named operations.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde::Serialize;
use url::Url;

/// Level of a console entry, in the order of `web/guest/src/console.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Log,
    Warn,
    Error,
}

impl LogLevel {
    pub(super) fn of(number: i32) -> Self {
        match number {
            0 => Self::Debug,
            1 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            _ => Self::Log,
        }
    }
}

/// One call of a console method.
#[derive(Clone, Debug)]
pub struct LogLine {
    pub at: SystemTime,
    pub level: LogLevel,
    pub text: String,
}

/// A body that arrives as it is asked for, so that the host never holds more of it than a chunk.
pub type OutboundBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A body that is there already.
pub fn whole_body(bytes: impl Into<Bytes>) -> OutboundBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A request of the guest to one of the platform's own hosts. Values of headers are bytes, one a character.
#[derive(Debug)]
pub struct OutboundRequest {
    pub method: String,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: OutboundBody,
}

/// The answer to it.
#[derive(Debug)]
pub struct OutboundResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: OutboundBody,
}

/// An operation that failed. The guest throws it: `name` is the error class, `code` its `code` property.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceError {
    pub name: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
}

impl ServiceError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { name: "Error", message: message.into(), code: None }
    }

    pub fn named(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, message: message.into(), code: None }
    }

    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec())
    }
}

/// The platform's side of one call. The sandbox keeps it no longer than the call.
#[async_trait]
pub trait HostServices: Send + Sync + 'static {
    /// Takes a console entry. Must not block.
    fn log(&self, line: LogLine);

    /// Whether the platform answers this URL itself, without a socket.
    fn owns(&self, url: &Url) -> bool;

    /// Answers a request to a host it owns.
    async fn dispatch(&self, request: OutboundRequest) -> Result<OutboundResponse, ServiceError>;

    /// Runs the operation `name`, which the prelude asked for with a JSON head and byte parts.
    async fn call(&self, name: &str, head: serde_json::Value, parts: Vec<Bytes>) -> Result<Vec<u8>, ServiceError>;
}
