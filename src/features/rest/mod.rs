//! The PostgREST-compatible data API.
pub mod error;
pub mod plan;
pub mod query;
pub mod request;
pub mod response;
pub mod schema_cache;
