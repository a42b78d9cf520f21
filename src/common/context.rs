//! Facts about the request that the edge establishes before any handler runs.

use std::net::{IpAddr, Ipv4Addr};

use axum::{extract::FromRequestParts, http::request::Parts};

/// The address the request came from (the peer, or what a trusted proxy says).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(pub IpAddr);

/// Request extension of a call that a function makes to this box in process: how many functions called each other to
/// get here, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedCall {
    pub depth: u8,
}

impl NestedCall {
    /// How deep a request is; 0 from outside.
    pub fn depth_of(extensions: &axum::http::Extensions) -> u8 {
        extensions.get::<Self>().map_or(0, |nested| nested.depth)
    }
}

/// Response extension: whatever its status, this answer is its author's, and no error of ours to be put into words.
#[derive(Clone, Copy, Debug)]
pub struct Verbatim;

/// The id under which this request is logged and which its errors carry.
#[derive(Clone, Debug)]
pub struct TraceId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for ClientIp {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TraceId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self(super::ids::trace_id())))
    }
}
