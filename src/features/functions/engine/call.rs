//! The platform's side of one call.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use url::Url;

use super::{own::OwnHosts, programs::Compiled};
use crate::{
    common::ProjectId,
    engines::sandbox::{HostServices, LogLevel, LogLine, OutboundRequest, OutboundResponse, ServiceError},
    features::functions::logs::{Level, LogSink, Stream},
};

pub(super) struct CallServices {
    pub logs: LogSink,
    pub project: ProjectId,
    /// Of the call itself.
    pub depth: u8,
    pub compiled: Arc<Compiled>,
    pub own: Arc<OwnHosts>,
    pub runtime: Handle,
}

#[async_trait]
impl HostServices for CallServices {
    fn log(&self, line: LogLine) {
        let (stream, level) = match line.level {
            LogLevel::Debug => (Stream::Stdout, Level::Debug),
            LogLevel::Info | LogLevel::Log => (Stream::Stdout, Level::Info),
            LogLevel::Warn => (Stream::Stderr, Level::Warn),
            LogLevel::Error => (Stream::Stderr, Level::Error),
        };
        // Stacks are of the author's own source.
        self.logs.write(stream, level, &self.compiled.maps.remap(&line.text));
    }

    fn owns(&self, url: &Url) -> bool {
        self.own.authority(url).is_some()
    }

    async fn dispatch(&self, request: OutboundRequest) -> Result<OutboundResponse, ServiceError> {
        self.own.dispatch(request, &self.project, self.depth.saturating_add(1), &self.runtime).await
    }

    async fn call(&self, name: &str, _: serde_json::Value, _: Vec<Bytes>) -> Result<Vec<u8>, ServiceError> {
        Err(ServiceError::new(format!("there is no operation {name}")).with_code("ENOSYS"))
    }
}
