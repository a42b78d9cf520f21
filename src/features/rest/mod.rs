//! The PostgREST-compatible data API.
pub mod error;
pub mod request;
