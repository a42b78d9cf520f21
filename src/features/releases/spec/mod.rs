//! Reading a ReleaseSpec: every field rule of contract 03 §4.3, every violation at once.

mod error;
mod limits;

pub(in crate::features::releases) use error::Violations;
pub use error::{SpecError, Violation};
pub use limits::{ImmutableChange, SpecLimits};
use serde_json::Value;

use super::types::Spec;
use crate::features::content::Reference;

impl Spec {
    /// Reads the `spec` of a plan request.
    ///
    /// # Errors
    /// Everything that is wrong with it, all at once.
    pub fn parse(spec: Value, limits: &SpecLimits) -> Result<Self, SpecError> {
        let _ = (spec, limits);
        Err(Violation::invalid("", "skeleton").into())
    }

    /// SHA-256 of the canonical JSON of the normalised spec, in hexadecimal (contract 03 §1.2).
    pub fn manifest_digest(&self) -> String {
        String::new()
    }

    /// Every distinct content the spec names, of all slices, sorted by digest.
    pub fn references(&self) -> Vec<Reference> {
        Vec::new()
    }
}
