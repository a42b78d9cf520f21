//! All SQL of deploys, by subject.

pub mod operations;
pub mod plans;
pub mod project;
pub mod releases;

use std::str::FromStr;

use tokio_postgres::Row;

use crate::engines::postgres::DatabaseError;

/// Ids are checked by the tables, so this fails only on a damaged database.
fn id<T: FromStr>(row: &Row, column: &str) -> Result<T, DatabaseError> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| DatabaseError::damaged(column))
}

fn optional_id<T: FromStr>(row: &Row, column: &str) -> Result<Option<T>, DatabaseError> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(|_| DatabaseError::damaged(column))).transpose()
}
