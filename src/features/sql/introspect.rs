//! Schema introspection (contract 02 §5): the tables of a project, read from the catalog in one query.

use tokio_postgres::Client;

use super::{
    store,
    types::{SchemaDocument, Table},
};

/// Why the schema could not be told.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectError {
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
    #[error("the catalog query gave an unexpected document: {0}")]
    Document(#[from] serde_json::Error),
}

/// Reads the tables. `label`: the project's slot. Needs a session of the project's owner role.
///
/// # Errors
/// [`IntrospectError`].
pub async fn introspect(owner: &mut Client, label: &str) -> Result<SchemaDocument, IntrospectError> {
    let tables: Vec<Table> = serde_json::from_str(&store::schema_tables(owner).await?)?;
    Ok(SchemaDocument { schema: label.into(), tables })
}
