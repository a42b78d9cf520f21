//! The PostgREST-compatible data API.
pub mod error;
pub mod request;
pub mod schema_cache;
