//! All SQL of this feature, a file for each kind of row.

pub(super) mod links;
pub(super) mod mail;
pub(super) mod oauth;
pub(super) mod passkeys;
pub(super) mod proofs;
pub(super) mod sessions;
pub(super) mod settings;
pub(super) mod users;

use crate::{common::ProjectId, engines::postgres::DatabaseError};

/// Ids are checked by the tables, so this fails only on a damaged database.
fn stored_project(text: &str) -> Result<ProjectId, DatabaseError> {
    text.parse().map_err(|_| DatabaseError::Unavailable(format!("the control database holds a bad id: {text}")))
}
