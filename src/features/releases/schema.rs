//! The JSON Schema of the wire form of a spec, for editors.

/// Answered at `/schemas/release-spec.v1.json`.
pub const RELEASE_SPEC_SCHEMA: &str = include_str!("release-spec.v1.json");
